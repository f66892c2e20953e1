//! Element types of tensors.

use std::fmt;

use half::bf16;

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 single precision, 4 bytes.
    F32,
    /// bfloat16: the upper half of an f32, 2 bytes.
    BF16,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::BF16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::BF16 => "bf16",
        })
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

/// A Rust type that is an element type of tensors: `f32` or [`bf16`].
pub trait Element: sealed::Sealed + Copy + Send + Sync + Default + fmt::Debug + 'static {
    /// The tensor element type that this Rust type stands for.
    const DTYPE: DType;
    /// Widens to f32; exact.
    fn to_f32(self) -> f32;
    /// Rounds to the nearest value, ties to even; NaN stays NaN.
    fn from_f32(value: f32) -> Self;
    /// The bytes of the elements.
    fn as_bytes(elements: &[Self]) -> &[u8] {
        // SAFETY: the two types that can be `Self` have no padding, and bytes
        // have no alignment.
        unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
    }
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::BF16;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    // Written without a branch, unlike `bf16::from_f32`, so that loops over it
    // become vector code.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        let quiet_nan = bits | 0x0040_0000;
        let kept = if value.is_nan() { quiet_nan } else { rounded };
        Self::from_bits((kept >> 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_that_of_half_for_every_upper_half() {
        let step = if cfg!(miri) { 499 } else { 1 };
        for upper in (0..=u16::MAX).step_by(step) {
            for lower in [0u16, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(upper) << 16 | u32::from(lower));
                let ours = <bf16 as Element>::from_f32(value);
                let theirs = bf16::from_f32(value);
                assert!(
                    ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                    "{value:?}: {ours:?} against {theirs:?}"
                );
            }
        }
    }
}
