//! Looking up the rows of a table by token id.

use super::check::Check;
use super::weight::Weight;
use crate::error::Result;
use crate::{DType, Tensor};

/// `y[t] = table[ids[t]]`.
///
/// # Shapes
/// `table`: `[V, C]`; `ids`: `[T]`; returned `y`: `[T, C]` of type `dtype`.
/// # Errors
/// `IndexOutOfRange` if an id is not below `V`; `ShapeMismatch` if the table is
/// not a matrix.
pub fn embedding_forward<'a>(
    table: impl Into<Weight<'a>>,
    ids: &[u32],
    dtype: DType,
) -> Result<Tensor> {
    let check = Check::new("embedding_forward");
    let table = table.into();
    let [vocabulary, width] = check.weight("table", table, "[V, C]")?;
    check.indices("ids", ids, vocabulary)?;
    let mut y = Tensor::empty(table.device(), &[ids.len(), width], dtype)?;
    table
        .device()
        .backend()
        .embedding_forward(table, ids, &mut y);
    Ok(y)
}

/// `d_table[ids[t]] += d_y[t]`, in the order of `t`.
///
/// # Shapes
/// `d_y`: `[T, C]`; `ids`: `[T]`; `d_table`: `[V, C]`, f32.
/// # Errors
/// `IndexOutOfRange` if an id is not below `V`; `ShapeMismatch`,
/// `DTypeMismatch`, `DeviceMismatch`.
pub fn embedding_backward(d_y: &Tensor, ids: &[u32], d_table: &mut Tensor) -> Result<()> {
    let check = Check::new("embedding_backward");
    check.device("d_table", d_table.device(), d_y.device())?;
    check.dtype("d_table", d_table, DType::F32)?;
    let &[vocabulary, width] = d_table.shape() else {
        return Err(check.wrong_shape("d_table", d_table, "[V, C]".into()));
    };
    check.shape("d_y", d_y, &[ids.len(), width])?;
    check.indices("ids", ids, vocabulary)?;
    d_y.device().backend().embedding_backward(d_y, ids, d_table);
    Ok(())
}
