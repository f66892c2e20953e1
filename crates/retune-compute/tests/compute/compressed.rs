//! Compressed weights are the weights: the same bytes in less memory.

use proptest::prelude::*;
use retune_compute::ops::*;
use retune_compute::{DType, Device, Tensor, Tier, bf16};

use crate::cases::{Numbers, at_most};
use crate::devices::cpu;

/// Weights as trained models have them, some of which do not fit in: zeros, large, tiny
/// and not finite ones.
fn weight(device: &Device, [n, k]: [usize; 2], odd_ones: &[(usize, u16)]) -> Tensor {
    let mut state = 1_u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let mut values: Vec<bf16> = (0..n * k)
        .map(|_| bf16::from_f64(0.02 * ((0..6).map(|_| uniform()).sum::<f64>() - 3.0)))
        .collect();
    for &(place, bits) in odd_ones {
        let len = values.len().max(1);
        if let Some(value) = values.get_mut(place % len) {
            *value = bf16::from_bits(bits);
        }
    }
    Tensor::from_slice(device, &[n, k], &values).unwrap()
}

/// What a product, its gradient and a look-up make of a weight.
fn results(x: &Tensor, d_y: &Tensor, weight: &FrozenWeight) -> Vec<Vec<u8>> {
    let (m, n, k) = (x.shape()[0], weight.out_features(), weight.in_features());
    let mut y = Tensor::zeros(x.device(), &[m, n], DType::F32).unwrap();
    linear_forward(x, weight, Epilogue::default().scale(0.5), &mut y).unwrap();
    let mut d_x = Tensor::zeros(x.device(), &[m, k], DType::F32).unwrap();
    linear_backward(d_y, weight, Epilogue::default(), &mut d_x).unwrap();
    let ids = [0, n as u32 - 1, n as u32 / 2];
    let rows = embedding_forward(weight, &ids, DType::F32).unwrap();
    [y, d_x, rows].map(|tensor| tensor.to_bytes()).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 60 }))]

    #[test]
    fn compressed_weights_give_the_same_bytes(
        m in 1..at_most(20),
        panels in 1_usize..4,
        k in 1..at_most(1200),
        odd_ones in prop::collection::vec(any::<(usize, u16)>(), 0..6),
        seed: u64,
    ) {
        let n = 64 * panels;
        for device in Tier::available().map(|tier| cpu(tier, 2)) {
            let weight = weight(&device, [n, k], &odd_ones);
            let numbers = Numbers::new(&device, DType::BF16, seed);
            let (x, d_y) = (numbers.tensor(&[m, k]), numbers.tensor(&[m, n]));
            let [expected, found] = [Packing::Forward, Packing::Compressed]
                .map(|packing| results(&x, &d_y, &FrozenWeight::new(&weight, packing).unwrap()));
            prop_assert_eq!(found, expected, "{}", device.name());
        }
    }
}

#[test]
fn compressed_weights_take_three_quarters_of_the_memory() {
    for tier in [Tier::Avx512, Tier::Avx512Bf16]
        .into_iter()
        .filter(|t| *t <= Tier::best())
    {
        let device = cpu(tier, 2);
        let weight = weight(&device, [256, 1024], &[(5, 0x7149)]);
        let [forward, compressed] = [Packing::Forward, Packing::Compressed].map(|packing| {
            let before = device.memory().in_use;
            let frozen = FrozenWeight::new(&weight, packing).unwrap();
            let taken = device.memory().in_use - before;
            drop(frozen);
            taken
        });
        // And groups that are kept as they are, a few.
        let most = 3 * forward + forward / 8;
        assert!(
            (3 * forward..most).contains(&(4 * compressed)),
            "{tier}: {compressed} of {forward}"
        );
    }
}

#[test]
fn weights_that_cannot_be_compressed_are_kept_as_they_are() {
    for device in Tier::available().map(|tier| cpu(tier, 2)) {
        let numbers = Numbers::new(&device, DType::BF16, 3);
        // All exponents there are; panels that are not full; another type.
        let bits = (0..64 * 256).map(|i| bf16::from_bits((i * 257 % 0x7f00) as u16));
        let bits: Vec<bf16> = bits.collect();
        let wide = Numbers::new(&device, DType::F32, 3);
        for (weight, numbers) in [
            (
                Tensor::from_slice(&device, &[64, 256], &bits).unwrap(),
                &numbers,
            ),
            (weight(&device, [70, 33], &[]), &numbers),
            (wide.tensor(&[64, 32]), &wide),
        ] {
            let (n, k) = (weight.shape()[0], weight.shape()[1]);
            let (x, d_y) = (numbers.tensor(&[3, k]), numbers.tensor(&[3, n]));
            let [expected, found] = [Packing::Forward, Packing::Compressed]
                .map(|packing| results(&x, &d_y, &FrozenWeight::new(&weight, packing).unwrap()));
            assert_eq!(found, expected, "{}", device.name());
        }
    }
}
