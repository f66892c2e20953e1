//! Tensors: a shape, an element type, and memory on a device.

use std::fmt;
use std::io::{self, Read};

use half::bf16;

use crate::backend::Storage;
use crate::dtype::Element;
use crate::error::{Error, Result};
use crate::{DType, Device};

/// A dense, row-major array on a [`Device`].
///
/// A tensor owns its memory; there are no views and no strides. Operations
/// take tensors by reference and either return new ones or write into one
/// that the caller passes as `&mut`.
pub struct Tensor {
    shape: Vec<usize>,
    dtype: DType,
    device: Device,
    storage: Storage,
}

impl Tensor {
    /// A tensor whose elements are arbitrary (but initialised) values, for an
    /// operation to overwrite.
    ///
    /// # Errors
    /// `OutOfMemory` if the device refuses the size.
    pub fn empty(device: &Device, shape: &[usize], dtype: DType) -> Result<Self> {
        let bytes = element_count(shape)
            .and_then(|len| len.checked_mul(dtype.size()))
            .ok_or_else(|| Error::OutOfMemory {
                device: device.name(),
                bytes: usize::MAX,
            })?;
        let storage = device.backend().allocate(bytes)?;
        Ok(Self {
            shape: shape.to_vec(),
            dtype,
            device: device.clone(),
            storage,
        })
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// `OutOfMemory` if the device refuses the size.
    pub fn zeros(device: &Device, shape: &[usize], dtype: DType) -> Result<Self> {
        let mut tensor = Self::empty(device, shape, dtype)?;
        tensor.fill_zero();
        Ok(tensor)
    }

    /// Copies `values` from the host.
    ///
    /// # Errors
    /// `ShapeMismatch` if `values` is not as long as `shape` says;
    /// `OutOfMemory` if the device refuses the size.
    pub fn from_slice<E: Element>(device: &Device, shape: &[usize], values: &[E]) -> Result<Self> {
        if element_count(shape) != Some(values.len()) {
            return Err(Error::ShapeMismatch {
                op: "Tensor::from_slice",
                argument: "values",
                expected: format!("{} for a tensor {shape:?}", extent(element_count(shape))),
                found: vec![values.len()],
            });
        }
        let mut tensor = Self::empty(device, shape, E::DTYPE)?;
        tensor.copy_from_slice(values)?;
        Ok(tensor)
    }

    /// Copies little-endian `bytes`, as in a weight file, from the host.
    ///
    /// # Errors
    /// `ShapeMismatch` if `bytes` is not as long as `shape` and `dtype` say;
    /// `OutOfMemory` if the device refuses the size.
    pub fn from_bytes(
        device: &Device,
        shape: &[usize],
        dtype: DType,
        bytes: &[u8],
    ) -> Result<Self> {
        let expected = element_count(shape).and_then(|len| len.checked_mul(dtype.size()));
        if expected != Some(bytes.len()) {
            return Err(Error::ShapeMismatch {
                op: "Tensor::from_bytes",
                argument: "bytes",
                expected: format!("{} for a {dtype} tensor {shape:?}", extent(expected)),
                found: vec![bytes.len()],
            });
        }
        let mut tensor = Self::empty(device, shape, dtype)?;
        if cfg!(target_endian = "big") {
            let mut swapped = bytes.to_vec();
            swapped
                .chunks_exact_mut(dtype.size())
                .for_each(<[u8]>::reverse);
            tensor.write(&swapped);
        } else {
            tensor.write(bytes);
        }
        Ok(tensor)
    }

    /// Overwrites all elements from the host.
    ///
    /// # Errors
    /// `DTypeMismatch` if `E` is not the tensor's element type,
    /// `ShapeMismatch` if `values` has another length.
    pub fn copy_from_slice<E: Element>(&mut self, values: &[E]) -> Result<()> {
        const OP: &str = "Tensor::copy_from_slice";
        if self.dtype != E::DTYPE {
            return Err(Error::DTypeMismatch {
                op: OP,
                argument: "values",
                expected: self.dtype.to_string(),
                found: E::DTYPE,
            });
        }
        if self.len() != values.len() {
            return Err(Error::ShapeMismatch {
                op: OP,
                argument: "values",
                expected: format!("[{}] for a tensor {:?}", self.len(), self.shape),
                found: vec![values.len()],
            });
        }
        self.write(E::as_bytes(values));
        Ok(())
    }

    /// Overwrites all elements with the next little-endian bytes of `reader`, as in
    /// a weight file.
    ///
    /// # Errors
    /// Those of `reader`, also that it ends before; then the elements are
    /// arbitrary.
    pub fn fill_from(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        let bytes = self.size_in_bytes();
        if cfg!(target_endian = "big") {
            let mut swapped = vec![0; bytes];
            reader.read_exact(&mut swapped)?;
            swapped
                .chunks_exact_mut(self.dtype.size())
                .for_each(<[u8]>::reverse);
            self.write(&swapped);
            return Ok(());
        }
        let backend = self.device.backend();
        backend.fill_from(&mut self.storage, bytes, reader)
    }

    /// Sets every element to zero.
    pub fn fill_zero(&mut self) {
        let bytes = self.size_in_bytes();
        self.device.backend().fill_zero(&mut self.storage, bytes);
    }

    /// A copy on the same device.
    ///
    /// # Errors
    /// `OutOfMemory` if the device refuses the size.
    pub fn try_clone(&self) -> Result<Self> {
        self.to_device(&self.device)
    }

    /// A copy on `device`.
    ///
    /// # Errors
    /// `OutOfMemory` if the device refuses the size.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let mut copy = Self::empty(device, &self.shape, self.dtype)?;
        if *device == self.device {
            let bytes = self.size_in_bytes();
            device
                .backend()
                .copy(&self.storage, &mut copy.storage, bytes);
        } else {
            let mut bytes = host_vec(device, self.size_in_bytes())?;
            bytes.resize(self.size_in_bytes(), 0);
            self.device.backend().read(&self.storage, &mut bytes);
            copy.write(&bytes);
        }
        Ok(copy)
    }

    /// The same elements under another shape of equal size.
    ///
    /// # Errors
    /// `ShapeMismatch` if the sizes differ.
    pub fn reshape(mut self, shape: &[usize]) -> Result<Self> {
        self.set_shape(shape)?;
        Ok(self)
    }

    /// Gives the same elements another shape of equal size.
    ///
    /// # Errors
    /// `ShapeMismatch` if the sizes differ; then the shape stays.
    pub fn set_shape(&mut self, shape: &[usize]) -> Result<()> {
        if element_count(shape) != Some(self.len()) {
            return Err(Error::ShapeMismatch {
                op: "Tensor::reshape",
                argument: "shape",
                expected: format!("as many elements as {:?}", self.shape),
                found: shape.to_vec(),
            });
        }
        self.shape = shape.to_vec();
        Ok(())
    }

    /// The extents of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device that holds the elements.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        element_count(&self.shape).expect("counted when the tensor was made")
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the elements.
    pub fn size_in_bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// The elements, copied to the host and widened to f32.
    pub fn to_f32_vec(&self) -> Vec<f32> {
        let bytes = self.read();
        match self.dtype {
            DType::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                words.map(|word| f32::from_ne_bytes(*word)).collect()
            }
            DType::BF16 => {
                let words = bytes.as_chunks::<2>().0.iter();
                words
                    .map(|word| bf16::from_ne_bytes(*word).to_f32())
                    .collect()
            }
        }
    }

    /// The elements, copied to the host as little-endian bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.read();
        if cfg!(target_endian = "big") {
            bytes
                .chunks_exact_mut(self.dtype.size())
                .for_each(<[u8]>::reverse);
        }
        bytes
    }

    /// The elements' bytes as they are in memory.
    fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size_in_bytes()];
        self.device.backend().read(&self.storage, &mut bytes);
        bytes
    }

    /// Overwrites all elements with their bytes.
    fn write(&mut self, bytes: &[u8]) {
        debug_assert_eq!(bytes.len(), self.size_in_bytes());
        self.device.backend().write(&mut self.storage, bytes);
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Keeps the first `rows` rows, and the memory of all.
    pub(crate) fn truncate_rows(&mut self, rows: usize) {
        assert!(
            rows <= self.shape[0],
            "a tensor cannot be truncated to more rows"
        );
        self.shape[0] = rows;
    }

    /// The extents of the first axis and of all others together: any tensor
    /// seen as a matrix of rows.
    pub(crate) fn rows_by_width(&self) -> (usize, usize) {
        match self.shape.split_first() {
            Some((&rows, rest)) => (rows, element_count(rest).unwrap_or(usize::MAX)),
            None => (1, 1),
        }
    }

    /// The elements on a host device. The caller has checked the type.
    pub(crate) fn as_slice<E: Element>(&self) -> &[E] {
        assert_eq!(self.dtype, E::DTYPE, "an operation mixed up element types");
        self.storage.host().slice(self.len())
    }

    /// The elements on a host device, writable. The caller has checked the type.
    pub(crate) fn as_mut_slice<E: Element>(&mut self) -> &mut [E] {
        assert_eq!(self.dtype, E::DTYPE, "an operation mixed up element types");
        let len = self.len();
        self.storage.host_mut().slice_mut(len)
    }
}

/// The number of elements of a tensor of this shape, if it can be counted.
fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1usize, |len, &extent| len.checked_mul(extent))
}

/// An empty vector with room for `len` values on their way to `device`.
pub(crate) fn host_vec<E>(device: &Device, len: usize) -> Result<Vec<E>> {
    let mut values = Vec::new();
    match values.try_reserve_exact(len) {
        Ok(()) => Ok(values),
        Err(_) => Err(Error::OutOfMemory {
            device: device.name(),
            bytes: len.saturating_mul(size_of::<E>()),
        }),
    }
}

fn extent(len: Option<usize>) -> String {
    len.map_or("more than can be counted".to_owned(), |len| {
        format!("[{len}]")
    })
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Tensor({:?}, {}, {})",
            self.shape,
            self.dtype,
            self.device.name()
        )
    }
}

/// Runs `$body` with `$type` standing for the Rust type of `$dtype`.
macro_rules! with_element {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $type = f32;
                $body
            }
            $crate::DType::BF16 => {
                type $type = ::half::bf16;
                $body
            }
        }
    };
}
pub(crate) use with_element;
