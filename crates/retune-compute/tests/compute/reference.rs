//! Every fast tier against the plain reference, over random shapes.

use proptest::prelude::*;
use retune_compute::DType;

use crate::cases::any_case;
use crate::devices::{FAST, REFERENCE};
use crate::tolerance::{
    GRADIENT_BF16, GRADIENT_F32, LOSS_F32, VALUE_BF16, VALUE_F32, assert_close,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fast_operations_equal_the_plain_ones(case in any_case(), wide in any::<bool>(), seed: u64) {
        let dtype = if wide { DType::F32 } else { DType::BF16 };
        let expected = case.run(&REFERENCE, dtype, seed);
        for device in FAST.iter() {
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
    }
}
