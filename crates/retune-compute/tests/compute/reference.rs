//! Every fast tier against the plain reference, over random shapes.

use proptest::prelude::*;
use retune_compute::ops::argmax_rows;
use retune_compute::{DType, Device};

use crate::cases::{Attention, Case, any_case};
use crate::devices::{FAST, REFERENCE, all, tensor};
use crate::tolerance::{
    GRADIENT_BF16, GRADIENT_F32, LOSS_F32, VALUE_BF16, VALUE_F32, assert_close,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fast_operations_equal_the_plain_ones(case in any_case(), wide in any::<bool>(), seed: u64) {
        let dtype = if wide { DType::F32 } else { DType::BF16 };
        FAST.iter().for_each(|device| assert_equal(&case, device, dtype, seed));
    }
}

fn assert_equal(case: &Case, device: &Device, dtype: DType, seed: u64) {
    let expected = case.run(&REFERENCE, dtype, seed);
    for (found, expected) in case.run(device, dtype, seed).iter().zip(&expected) {
        let tolerance = match (dtype, found.gradient) {
            (DType::F32, false) if found.name.starts_with("losses") => &LOSS_F32,
            (DType::F32, false) if found.tensor.dtype() == DType::F32 => &VALUE_F32,
            (DType::F32, true) => &GRADIENT_F32,
            (_, false) => &VALUE_BF16,
            (_, true) => &GRADIENT_BF16,
        };
        let what = format!("{} of {case:?} in {dtype} on {}", found.name, device.name());
        let (found, expected) = (found.tensor.to_f32_vec(), expected.tensor.to_f32_vec());
        assert_close(tolerance, &what, &found, &expected);
    }
}

/// So many rows read one beginning that a GPU shares them out.
#[test]
#[cfg_attr(miri, ignore = "long")]
fn a_beginning_that_many_share() {
    let case = Case::Attention(Attention {
        segments: std::iter::once(17)
            .chain((0..40).map(|i| 9 + i % 5))
            .collect(),
        shared_prefix: true,
        kv_heads: 1,
        group: 7,
        head_dim: 64,
        causal: true,
        window: None,
    });
    for device in FAST.iter() {
        for dtype in [DType::F32, DType::BF16] {
            assert_equal(&case, device, dtype, 3);
        }
    }
}

#[test]
fn the_first_largest_of_each_row() {
    const INFINITE: f32 = f32::INFINITY;
    for device in all() {
        for dtype in [DType::F32, DType::BF16] {
            let found = |width: usize, values: &[f32]| {
                let rows = values.len() / width.max(1);
                argmax_rows(&tensor(device, &[rows, width], values, dtype)).unwrap()
            };
            let name = device.name();
            let ties = [1.0, 3.0, 3.0, -2.0, -2.0, -5.0, 0.0, -0.0, -1.0];
            assert_eq!(found(3, &ties), [Some(1), Some(0), Some(0)], "{name}");
            let strange = [1.0, f32::NAN, 0.0, INFINITE, 2.0, -INFINITE, 5.0, 6.0];
            assert_eq!(found(2, &strange), [None, None, None, Some(1)], "{name}");
            assert_eq!(found(1, &[-7.0, 2.0]), [Some(0), Some(0)], "{name}");
            assert_eq!(found(4, &[]), [], "{name}");
            // More than a block of threads has, the largest at each end and between.
            let mut wide = vec![0.5; 3 * 5003];
            for (row, place) in [0, 2500, 5002].into_iter().enumerate() {
                wide[row * 5003 + place] = 1.5;
            }
            assert_eq!(
                found(5003, &wide),
                [Some(0), Some(2500), Some(5002)],
                "{name}"
            );
        }
    }
}
