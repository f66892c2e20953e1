//! What can go wrong when an operation is called.

use crate::{DType, Tier};

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that an operation refuses. Nothing has been written when one is
/// returned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor's shape does not fit the operation or its other arguments.
    #[error("{op}: `{argument}` has shape {found:?}, expected {expected}")]
    ShapeMismatch {
        /// The operation that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// The shape that would have been accepted, in words.
        expected: String,
        /// The shape that was given.
        found: Vec<usize>,
    },
    /// A tensor's element type is not one that the operation takes here.
    #[error("{op}: `{argument}` is {found}, expected {expected}")]
    DTypeMismatch {
        /// The operation that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// The element types that would have been accepted.
        expected: String,
        /// The element type that was given.
        found: DType,
    },
    /// Arguments of one call live on different devices.
    #[error(
        "{op}: `{argument}` is on {found}, the other arguments are on {expected}\n\
         hint: copy it with `Tensor::to_device`; a device made twice is two devices, so clone one"
    )]
    DeviceMismatch {
        /// The operation that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// The device of the first argument.
        expected: String,
        /// The device of this argument.
        found: String,
    },
    /// An index (a token id, a row, a target, a cache block) is too large.
    #[error("{op}: `{argument}[{position}]` is {found}, expected a value below {limit}")]
    IndexOutOfRange {
        /// The operation that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// Where in the argument the index stands.
        position: usize,
        /// The index.
        found: usize,
        /// The first value that is too large.
        limit: usize,
    },
    /// Segment offsets do not start at zero, go backwards, or miss the end.
    #[error("{op}: `{argument}[{position}]` is {found}, expected {expected}")]
    InvalidOffsets {
        /// The operation that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// Which offset is at fault.
        position: usize,
        /// What would have been accepted, in words.
        expected: String,
        /// The offset that was given.
        found: usize,
    },
    /// A number or option is outside what the operation defines.
    #[error("{op}: `{argument}` is {found}, expected {expected}")]
    InvalidArgument {
        /// The operation that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// What would have been accepted, in words.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// The device has no memory for a tensor of this size.
    #[error(
        "{device} cannot allocate {bytes} bytes\n\
         hint: use fewer tokens per step, smaller chunks, or a smaller packing of the weights"
    )]
    OutOfMemory {
        /// The device that was asked.
        device: String,
        /// The size that was asked for, in bytes.
        bytes: usize,
    },
    /// A device that was asked for is not there, or cannot be used.
    #[error("{device} cannot be used: {reason}\nhint: {hint}")]
    DeviceUnavailable {
        /// The device that was asked for.
        device: String,
        /// What is missing.
        reason: String,
        /// What can be done about it.
        hint: String,
    },
    /// The processor lacks the instructions of the tier that was forced.
    #[error("this processor cannot run tier `{requested}`\nhint: the best it can run is `{best}`")]
    TierUnavailable {
        /// The tier that was asked for.
        requested: Tier,
        /// The fastest tier that this processor can run.
        best: Tier,
    },
}
