//! Picking rows out of a tensor and putting them back.

use super::check::Check;
use crate::error::Result;
use crate::{DType, Tensor};

/// `y[i] = x[rows[i]]`.
///
/// # Shapes
/// `x`: `[T, …]`; `rows`: `[R]`; returned: `[R, …]` of the type of `x`.
/// # Errors
/// `IndexOutOfRange` if a row is not below `T`; `ShapeMismatch` if `x` has
/// fewer than two axes.
pub fn gather_rows(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let check = Check::new("gather_rows");
    let (count, _) = check.first_axis("x", x)?;
    check.indices("rows", rows, count)?;
    let mut shape = x.shape().to_vec();
    shape[0] = rows.len();
    let mut y = Tensor::empty(x.device(), &shape, x.dtype())?;
    x.device().backend().gather_rows(x, rows, &mut y);
    Ok(y)
}

/// `y[rows[i]] = x[i]`, in the order of `i`; other rows of `y` stay. Appends
/// keys and values to a cache, for one.
///
/// # Shapes
/// `x`: `[R, …]`; `rows`: `[R]`; `y`: `[T, …]` of the type of `x`, the further
/// axes of the same total size.
/// # Errors
/// `IndexOutOfRange` if a row is not below `T`; `ShapeMismatch`,
/// `DTypeMismatch`, `DeviceMismatch`.
pub fn scatter_rows(x: &Tensor, rows: &[u32], y: &mut Tensor) -> Result<()> {
    let check = Check::new("scatter_rows");
    check.dtype("y", y, x.dtype())?;
    check_scatter(check, x, rows, y)?;
    x.device().backend().scatter_rows(x, rows, y, false);
    Ok(())
}

/// `y[rows[i]] += x[i]`, in the order of `i`.
///
/// # Shapes
/// `x`: `[R, …]`; `rows`: `[R]`; `y`: `[T, …]`, f32, the further axes of the
/// same total size.
/// # Errors
/// As for [`scatter_rows`].
pub fn scatter_add_rows(x: &Tensor, rows: &[u32], y: &mut Tensor) -> Result<()> {
    let check = Check::new("scatter_add_rows");
    check.dtype("y", y, DType::F32)?;
    check_scatter(check, x, rows, y)?;
    x.device().backend().scatter_rows(x, rows, y, true);
    Ok(())
}

/// Where each row has its largest number, the first of equal ones; `None` for a row
/// in which a number is not finite.
///
/// # Shapes
/// `x`: `[rows, …]`, f32 or bf16; returned: one for each row.
/// # Errors
/// `ShapeMismatch` if `x` has fewer than two axes, or rows of no numbers.
pub fn argmax_rows(x: &Tensor) -> Result<Vec<Option<u32>>> {
    let check = Check::new("argmax_rows");
    let (rows, width) = check.first_axis("x", x)?;
    if width == 0 && rows > 0 {
        return Err(check.wrong_shape("x", x, "rows of at least one number".to_owned()));
    }
    Ok(x.device().backend().argmax_rows(x))
}

fn check_scatter(check: Check, x: &Tensor, rows: &[u32], y: &Tensor) -> Result<()> {
    check.device("y", y.device(), x.device())?;
    let (count, width) = check.first_axis("x", x)?;
    let (limit, y_width) = check.first_axis("y", y)?;
    if width != y_width {
        return Err(check.wrong_shape("y", y, format!("[T, …] with rows of {width} elements")));
    }
    check.length("rows", rows.len(), count)?;
    check.indices("rows", rows, limit)
}
