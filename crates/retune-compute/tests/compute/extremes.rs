//! Sizes and numbers at the end of what can be counted: a typed error or a
//! defined result.

use retune_compute::ops::*;
use retune_compute::{DType, Device, Error, RandomKey, Tensor, random_uniform};

use crate::errors::{assert_message, zeros};

/// Numbers that are in range as they come, and not as f32 or in combination.
#[test]
fn numbers_that_would_overflow() {
    let device = Device::cpu();
    let [mut param, mut m, mut v] = [(); 3].map(|()| zeros(&device, &[4]));
    let grad = zeros(&device, &[4]);
    let good = AdamW::new(1e-3, 1);
    for (step, argument) in [
        (AdamW { eps: 0.0, ..good }, "step.eps"),
        (AdamW { eps: 1e-50, ..good }, "step.eps"),
        (
            AdamW {
                learning_rate: 1e300,
                ..good
            },
            "step.learning_rate",
        ),
        (
            AdamW {
                weight_decay: 1e300,
                ..good
            },
            "step.weight_decay",
        ),
    ] {
        let error = adamw_step(&mut param, &grad, &mut m, &mut v, None, &step).unwrap_err();
        assert!(error.to_string().contains(argument), "{error}");
    }
    for device in [&device, &Device::reference()] {
        let [mut param, mut m, mut v] = [(); 3].map(|()| zeros(device, &[1]));
        let grad = Tensor::from_slice(device, &[1], &[1.0f32]).unwrap();
        let last = AdamW::new(1e-3, u32::MAX);
        adamw_step(&mut param, &grad, &mut m, &mut v, None, &last).unwrap();
        assert!(param.to_f32_vec()[0].is_finite() && param.to_f32_vec()[0] < 0.0);
    }
    let rope = |head_dim, scaling| RopeConfig {
        head_dim,
        rope_theta: 1e4,
        scaling,
    };
    for config in [
        rope(usize::MAX - 1, RopeScaling::Default),
        rope(8, RopeScaling::Linear { factor: 1e-45 }),
    ] {
        let error = RopeAngles::new(&device, &config, &[]).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
    assert!(Segments::new(&[0, 1 << 32]).is_err());
    let (hidden, head) = (zeros(&device, &[1, 2]), zeros(&device, &[3, 2]));
    let scored = Scored {
        rows: &[0],
        targets: &[0],
        chunk_rows: 1,
    };
    assert_message(
        head_cross_entropy_backward(&hidden, &head, scored, f32::NAN, HeadGradients::default()),
        "head_cross_entropy_backward: `grad_scale` is NaN, expected a finite number",
    );
    let x = Tensor::from_slice(&device, &[3], &[5e19f32, -5e19, 30.0]).unwrap();
    let d_y = Tensor::from_slice(&device, &[3], &[1.0f32; 3]).unwrap();
    for kind in [GeluKind::Exact, GeluKind::Tanh] {
        let slopes = gelu_backward(&d_y, &x, kind, DType::F32).unwrap();
        assert_eq!(slopes.to_f32_vec(), [1.0, 0.0, 1.0]);
    }
    let key = RandomKey::new(1, 2);
    let wide = random_uniform::<f32>(&device, &[64], key, -3e38, 3e38).unwrap();
    assert!(wide.to_f32_vec().iter().all(|v| v.is_finite()));
}

/// Empty tensors may have axes whose product could not be counted.
#[test]
fn empty_tensors_with_huge_axes() {
    const HUGE: usize = 1 << 60;
    for device in [Device::cpu(), Device::reference()] {
        for shape in [[HUGE, HUGE, 0], [0, HUGE, HUGE], [HUGE, 0, HUGE]] {
            let x = zeros(&device, &shape);
            assert_eq!((x.len(), sum(&x).to_bits()), (0, 0));
            assert!(add_assign(&mut zeros(&device, &shape), &x).is_ok());
            assert!(cast(&x, DType::BF16).is_ok());
        }
        let x = zeros(&device, &[0, HUGE, HUGE]);
        assert!(gather_rows(&x, &[]).is_ok());
        let none = zeros(&device, &[0, HUGE]);
        assert!(scatter_rows(&none, &[], &mut zeros(&device, &[0, HUGE])).is_ok());
        assert!(scatter_add_rows(&none, &[], &mut zeros(&device, &[0, HUGE])).is_ok());
        assert!(embedding_backward(&none, &[], &mut zeros(&device, &[0, HUGE])).is_ok());
        assert!(argmax_rows(&zeros(&device, &[HUGE, 0])).is_err());
        for [rows, width] in [[0, HUGE], [HUGE, 0]] {
            for packing in [Packing::Rows, Packing::Forward, Packing::Both] {
                let weight = FrozenWeight::new(&zeros(&device, &[rows, width]), packing).unwrap();
                assert_eq!(weight.out_features(), rows);
            }
        }
        let head = zeros(&device, &[3, 0]);
        let scored = Scored {
            rows: &[7],
            targets: &[1],
            chunk_rows: usize::MAX,
        };
        let loss = head_cross_entropy_forward(&zeros(&device, &[HUGE, 0]), &head, scored).unwrap();
        assert!((loss.losses.to_f32_vec()[0] - 3f32.ln()).abs() < 1e-6);
        let config = AttentionConfig::causal(8);
        let none = zeros(&device, &[0, HUGE, 8]);
        let segments = Segments::single(0);
        let forward = attention_forward(&none, &none, &none, &segments, &config).unwrap();
        let all = [&none, &none, &none];
        assert!(attention_backward(&none, all, &forward, &segments, &config).is_ok());
        let cache = zeros(&device, &[1, 4, 1, 8]);
        let sequence = CachedSequence {
            queries: usize::MAX,
            length: usize::MAX,
            blocks: vec![0],
        };
        let q = zeros(&device, &[2, 1, 8]);
        let twice = [sequence.clone(), sequence];
        assert!(attention_cached(&q, &cache, &cache, &twice, &config).is_err());
        assert_eq!(norm([]).to_bits(), 0);
    }
}
