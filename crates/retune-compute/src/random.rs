//! The counter-based generator behind all randomness.
//!
//! A number is a function of what it is for (seed, purpose, step, sample,
//! position, element), not of what was drawn before it. So it comes out the
//! same on any number of threads, for any split of a step, and after a resume.

use crate::dtype::Element;
use crate::error::Result;
use crate::tensor::host_vec;
use crate::{Device, Tensor};

/// Which stream of random numbers: a run's seed, and what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RandomKey {
    words: [u32; 2],
}

impl RandomKey {
    /// A key for `purpose` (a layer's dropout, a parameter's initial values, …)
    /// under `seed`. Different pairs give unrelated streams.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mixed = mix(mix(seed).wrapping_add(purpose));
        Self {
            words: [mixed as u32, (mixed >> 32) as u32],
        }
    }

    pub(crate) fn words(self) -> [u32; 2] {
        self.words
    }

    /// Four independent words of 32 random bits for one counter value:
    /// Philox 4×32 with 10 rounds.
    ///
    /// # Reference
    /// Salmon et al. 2011, doi:10.1145/2063384.2063405
    #[inline(always)]
    pub fn block(self, counter: [u32; 4]) -> [u32; 4] {
        philox(counter, self.words)
    }
}

/// The finaliser of SplitMix64: a bijection in which every input bit changes
/// half of the output bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[inline(always)]
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xd251_1f53;
        let second = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [
            key[0].wrapping_add(0x9e37_79b9),
            key[1].wrapping_add(0xbb67_ae85),
        ];
    }
    counter
}

/// A uniform number in `[0, 1)` with 24 random bits.
#[inline(always)]
pub(crate) fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The counter of the block that holds element `index`.
fn counter(index: usize) -> [u32; 4] {
    let block = (index / 4) as u64;
    [block as u32, (block >> 32) as u32, 0, 0]
}

/// A tensor of numbers uniform between `low` and `high`; rounding may give
/// `high` itself.
///
/// # Errors
/// `OutOfMemory` if the device refuses the size.
pub fn random_uniform<E: Element>(
    device: &Device,
    shape: &[usize],
    key: RandomKey,
    low: f32,
    high: f32,
) -> Result<Tensor> {
    let mut tensor = Tensor::empty(device, shape, E::DTYPE)?;
    let mut values: Vec<E> = host_vec(device, tensor.len())?;
    let (low, width) = (f64::from(low), f64::from(high) - f64::from(low));
    values.extend((0..tensor.len()).map(|index| {
        let unit = unit(key.block(counter(index))[index % 4]);
        E::from_f32((low + width * f64::from(unit)) as f32)
    }));
    tensor.copy_from_slice(&values)?;
    Ok(tensor)
}

/// A tensor of normally distributed numbers, by the Box–Muller transform.
///
/// # Errors
/// `OutOfMemory` if the device refuses the size.
pub fn random_normal<E: Element>(
    device: &Device,
    shape: &[usize],
    key: RandomKey,
    mean: f32,
    standard_deviation: f32,
) -> Result<Tensor> {
    let mut tensor = Tensor::empty(device, shape, E::DTYPE)?;
    let mut values: Vec<E> = host_vec(device, tensor.len())?;
    values.extend((0..tensor.len()).map(|index| {
        let words = key.block(counter(index));
        let pair = index % 4 / 2 * 2;
        // One minus a number in [0, 1) is never zero.
        let radius = (-2.0 * (1.0 - unit(words[pair])).ln()).sqrt();
        let angle = std::f32::consts::TAU * unit(words[pair + 1]);
        let turned = if index % 2 == 0 {
            angle.cos()
        } else {
            angle.sin()
        };
        E::from_f32(mean + standard_deviation * radius * turned)
    }));
    tensor.copy_from_slice(&values)?;
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the Random123 library publishes.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
