//! A device that measures its operations.

use proptest::prelude::*;
use retune_compute::ops::{Epilogue, FrozenWeight, Packing, linear_forward};
use retune_compute::{DType, Tensor};

use crate::cases::any_case;
use crate::devices::FAST;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn measuring_changes_no_byte(case in any_case(), seed: u64) {
        let plain = &FAST[0];
        let measured = plain.profiled();
        let bytes = |device| -> Vec<Vec<u8>> {
            let outputs = case.run(device, DType::F32, seed).into_iter();
            outputs.map(|output| output.tensor.to_bytes()).collect()
        };
        prop_assert_eq!(bytes(plain), bytes(&measured));
        prop_assert!(plain.take_profile().is_empty());
        prop_assert!(!measured.take_profile().is_empty());
    }
}

#[test]
fn a_profile_counts_calls_and_the_work_of_products_since_the_last_one() {
    let device = FAST[0].profiled();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape, DType::F32).unwrap();
    let weight = FrozenWeight::new(&zeros(&[7, 11]), Packing::Both).unwrap();
    let (x, mut y) = (zeros(&[5, 11]), zeros(&[5, 7]));
    device.take_profile();
    for _ in 0..3 {
        linear_forward(&x, &weight, Epilogue::default(), &mut y).unwrap();
    }
    let profile = device.take_profile();
    let product = profile["linear_forward"];
    assert_eq!((product.calls, product.flops), (3, 3 * 2 * 5 * 7 * 11));
    assert!(!product.time.is_zero());
    assert!(!device.take_profile().contains_key("linear_forward"));
}
