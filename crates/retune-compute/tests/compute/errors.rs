//! Arguments that do not fit: each is a typed error that names the operation,
//! the argument, what was expected and what was found, and nothing is written.

use retune_compute::ops::*;
use retune_compute::{CpuOptions, DType, Device, Error, RandomKey, Tensor};

pub(crate) fn zeros(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::zeros(device, shape, DType::F32).unwrap()
}

#[track_caller]
pub(crate) fn assert_message<T: std::fmt::Debug>(result: Result<T, Error>, message: &str) {
    assert_eq!(result.unwrap_err().to_string(), message);
}

#[test]
fn shapes_of_products() {
    let device = Device::cpu();
    let (a, b) = (zeros(&device, &[3, 4]), zeros(&device, &[5, 2]));
    let mut out = zeros(&device, &[3, 2]);
    assert_message(
        matmul_nn(&a, &b, Epilogue::default(), &mut out),
        "matmul_nn: `a` has shape [3, 4], expected [M, 5] to fit `b`",
    );
    let b = zeros(&device, &[4, 2]);
    let mut wrong = zeros(&device, &[2, 3]);
    assert_message(
        matmul_nn(&a, &b, Epilogue::default(), &mut wrong),
        "matmul_nn: `out` has shape [2, 3], expected [3, 2]",
    );
    let bias = zeros(&device, &[3]);
    assert_message(
        matmul_nn(&a, &b, Epilogue::default().bias(Some(&bias)), &mut out),
        "matmul_nn: `bias` has shape [3], expected [2]",
    );
    let narrow = Tensor::zeros(&device, &[4, 2], DType::BF16).unwrap();
    assert_message(
        matmul_nn(&a, &narrow, Epilogue::default(), &mut out),
        "matmul_nn: `a` is f32, expected bf16",
    );
    let u = zeros(&device, &[2, 1]);
    let low = zeros(&device, &[1, 2]);
    let term = LowRank {
        u: &u,
        b: (&low).into(),
        transposed: false,
        scale: 1.0,
        row_scales: None,
    };
    assert_message(
        matmul_nn(&a, &b, Epilogue::default().low_rank(Some(term)), &mut out),
        "matmul_nn: `low_rank.u` has shape [2, 1], expected [3, r]",
    );
    let weight = FrozenWeight::new(&zeros(&device, &[2, 5]), Packing::Forward).unwrap();
    assert_message(
        linear_forward(&a, &weight, Epilogue::default(), &mut out),
        "linear_forward: `x` has shape [3, 4], expected [M, 5] to fit `weight`",
    );
    assert_message(
        FrozenWeight::new(&zeros(&device, &[5]), Packing::Both),
        "FrozenWeight::new: `weight` has shape [5], expected [out_features, in_features]",
    );
    assert!(out.to_f32_vec().iter().all(|v| *v == 0.0));
}

#[test]
fn devices_that_differ() {
    let here = Device::cpu();
    let there = Device::cpu_with(&CpuOptions {
        threads: Some(1),
        ..CpuOptions::default()
    })
    .unwrap();
    let error = matmul_nn(
        &zeros(&here, &[1, 1]),
        &zeros(&there, &[1, 1]),
        Epilogue::default(),
        &mut zeros(&here, &[1, 1]),
    )
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::DeviceMismatch {
                op: "matmul_nn",
                argument: "b",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("hint:"), "{error}");
    let error = add_assign(&mut zeros(&here, &[1]), &zeros(&there, &[1])).unwrap_err();
    assert!(matches!(
        error,
        Error::DeviceMismatch {
            op: "add_assign",
            argument: "x",
            ..
        }
    ));
}

#[test]
fn indices_out_of_range() {
    let device = Device::cpu();
    let table = zeros(&device, &[10, 4]);
    assert_message(
        embedding_forward(&table, &[3, 10], DType::F32),
        "embedding_forward: `ids[1]` is 10, expected a value below 10",
    );
    assert_message(
        embedding_backward(
            &zeros(&device, &[1, 4]),
            &[11],
            &mut zeros(&device, &[10, 4]),
        ),
        "embedding_backward: `ids[0]` is 11, expected a value below 10",
    );
    assert_message(
        gather_rows(&table, &[u32::MAX]),
        "gather_rows: `rows[0]` is 4294967295, expected a value below 10",
    );
    assert_message(
        scatter_rows(
            &zeros(&device, &[1, 4]),
            &[10],
            &mut zeros(&device, &[10, 4]),
        ),
        "scatter_rows: `rows[0]` is 10, expected a value below 10",
    );
    let (hidden, head) = (zeros(&device, &[2, 4]), zeros(&device, &[10, 4]));
    let scored = Scored {
        rows: &[0, 1],
        targets: &[1, 10],
        chunk_rows: 8,
    };
    assert_message(
        head_cross_entropy_forward(&hidden, &head, scored),
        "head_cross_entropy_forward: `scored.targets[1]` is 10, expected a value below 10",
    );
    assert_message(
        head_cross_entropy_forward(
            &hidden,
            &head,
            Scored {
                rows: &[0, 2],
                ..scored
            },
        ),
        "head_cross_entropy_forward: `scored.rows[1]` is 2, expected a value below 2",
    );
    assert_message(
        head_cross_entropy_forward(
            &hidden,
            &head,
            Scored {
                targets: &[1],
                ..scored
            },
        ),
        "head_cross_entropy_forward: `scored.targets` has shape [1], expected [2]",
    );
    assert_message(
        head_cross_entropy_forward(
            &hidden,
            &head,
            Scored {
                chunk_rows: 0,
                ..scored
            },
        ),
        "head_cross_entropy_forward: `scored.chunk_rows` is 0, expected at least 1",
    );
}

#[test]
fn attention_arguments() {
    let device = Device::cpu();
    let [q, k] = [zeros(&device, &[4, 6, 8]), zeros(&device, &[4, 2, 8])];
    let segments = Segments::single(4);
    let config = AttentionConfig::causal(8);
    let call = |q: &Tensor, k: &Tensor, segments: &Segments, config: &AttentionConfig| {
        attention_forward(q, k, k, segments, config)
    };
    assert!(call(&q, &k, &segments, &config).is_ok());
    assert_message(
        call(&q, &k, &Segments::single(5), &config),
        "attention_forward: `q` has shape [4, 6, 8], expected [5, heads, D] to fit `segments`",
    );
    assert_message(
        call(&q, &zeros(&device, &[4, 4, 8]), &segments, &config),
        "attention_forward: `k` has shape [4, 4, 8], expected heads of size 8, their number dividing 6",
    );
    assert_message(
        call(
            &zeros(&device, &[4, 2, 7]),
            &zeros(&device, &[4, 2, 7]),
            &segments,
            &config,
        ),
        "attention_forward: `q` has shape [4, 2, 7], expected [T, H, D] with an even D of at most 256",
    );
    assert_message(
        call(&q, &k, &segments, &config.with_sliding_window(Some(0))),
        "attention_forward: `config.sliding_window` is 0, expected at least 1",
    );
    assert_message(
        call(
            &q,
            &k,
            &segments,
            &AttentionConfig::bidirectional(8).with_sliding_window(Some(3)),
        ),
        "attention_forward: `config.sliding_window` is 3, expected none for bidirectional attention",
    );
    let cache = zeros(&device, &[2, 64, 2, 8]);
    let cached =
        |sequence: CachedSequence| attention_cached(&q, &cache, &cache, &[sequence], &config);
    let sequence = CachedSequence {
        queries: 4,
        length: 100,
        blocks: vec![1, 0],
    };
    assert!(cached(sequence.clone()).is_ok());
    assert_message(
        cached(CachedSequence {
            blocks: vec![1, 2],
            ..sequence.clone()
        }),
        "attention_cached: `sequences.blocks[1]` is 2, expected a value below 2",
    );
    assert_message(
        cached(CachedSequence {
            blocks: vec![1],
            ..sequence.clone()
        }),
        "attention_cached: `sequences.blocks` is 1, expected enough blocks of 64 rows for the 100 tokens of sequence 0",
    );
    assert_message(
        cached(CachedSequence {
            length: 3,
            ..sequence.clone()
        }),
        "attention_cached: `sequences.queries` is 4, expected at most the 3 tokens of sequence 0",
    );
    assert_message(
        cached(CachedSequence {
            queries: 3,
            ..sequence
        }),
        "attention_cached: `q` has shape [4, 6, 8], expected [3, H, D] to fit `sequences`",
    );
}

#[test]
fn numbers_out_of_range() {
    let device = Device::cpu();
    let (x, weight) = (zeros(&device, &[2, 4]), zeros(&device, &[4]));
    assert_message(
        rms_norm_forward(&x, &weight, -1.0, DType::F32),
        "rms_norm_forward: `eps` is -1, expected a number of at least 0",
    );
    assert_message(
        rms_norm_forward(&x, &zeros(&device, &[5]), 1e-6, DType::F32),
        "rms_norm_forward: `weight` has shape [5], expected [4]",
    );
    let settings = Dropout {
        probability: 1.0,
        key: RandomKey::new(0, 0),
        step: 0,
    };
    let rows = [RowKey {
        sample: 0,
        position: 0,
    }; 2];
    assert_message(
        dropout(&x, &rows, &settings),
        "dropout: `probability` is 1, expected a probability of at least 0 and below 1",
    );
    assert_message(
        dropout(
            &x,
            &rows[..1],
            &Dropout {
                probability: 0.1,
                ..settings
            },
        ),
        "dropout: `rows` has shape [1], expected [2]",
    );
    let config = RopeConfig {
        head_dim: 5,
        rope_theta: 1e4,
        scaling: RopeScaling::Default,
    };
    assert_message(
        RopeAngles::new(&device, &config, &[0]),
        "RopeConfig: `head_dim` is 5, expected an even number from 2 to 256",
    );
    let config = RopeConfig {
        head_dim: 4,
        rope_theta: f32::NAN,
        scaling: RopeScaling::Default,
    };
    assert_message(
        RopeAngles::new(&device, &config, &[0]),
        "RopeConfig: `rope_theta` is NaN, expected a number above 1",
    );
    let config = RopeConfig {
        head_dim: 4,
        rope_theta: 1e4,
        scaling: RopeScaling::Linear { factor: 0.0 },
    };
    assert_message(
        RopeAngles::new(&device, &config, &[0]),
        "RopeConfig: `factor` is 0, expected a number above 0",
    );
    let config = RopeConfig {
        head_dim: 4,
        rope_theta: 1e4,
        scaling: RopeScaling::Default,
    };
    let angles = RopeAngles::new(&device, &config, &[0, 1]).unwrap();
    assert_message(
        rope_forward(&zeros(&device, &[3, 1, 4]), &angles, DType::F32),
        "rope_forward: `x` has shape [3, 1, 4], expected [2, H, 4] to fit `angles`",
    );
    let mut param = zeros(&device, &[4]);
    let (mut m, mut v) = (zeros(&device, &[4]), zeros(&device, &[4]));
    let step = AdamW::new(1e-3, 0);
    assert_message(
        adamw_step(&mut param, &weight, &mut m, &mut v, None, &step),
        "adamw_step: `step.step` is 0, expected 1 for the first step",
    );
    let step = AdamW {
        learning_rate: f64::INFINITY,
        ..AdamW::new(1e-3, 1)
    };
    assert_message(
        adamw_step(&mut param, &weight, &mut m, &mut v, None, &step),
        "adamw_step: `step.learning_rate` is inf, expected a finite number of at least 0",
    );
    assert_message(
        adamw_step(
            &mut param,
            &zeros(&device, &[5]),
            &mut m,
            &mut v,
            None,
            &AdamW::new(1e-3, 1),
        ),
        "adamw_step: `grad` has shape [5], expected [4]",
    );
}

#[test]
fn tensors_and_threads() {
    let device = Device::cpu();
    assert_message(
        Tensor::from_slice(&device, &[2, 2], &[1.0f32; 3]),
        "Tensor::from_slice: `values` has shape [3], expected [4] for a tensor [2, 2]",
    );
    assert_message(
        Tensor::from_bytes(&device, &[2], DType::BF16, &[0; 5]),
        "Tensor::from_bytes: `bytes` has shape [5], expected [4] for a bf16 tensor [2]",
    );
    assert_message(
        zeros(&device, &[2, 3]).reshape(&[4]),
        "Tensor::reshape: `shape` has shape [4], expected as many elements as [2, 3]",
    );
    assert_message(
        Device::cpu_with(&CpuOptions {
            threads: Some(0),
            ..CpuOptions::default()
        }),
        "Device::cpu_with: `options.threads` is 0, expected 1 to 1024",
    );
    assert_message(
        swiglu_forward(&zeros(&device, &[2]), &zeros(&device, &[3]), DType::F32),
        "swiglu_forward: `up` has shape [3], expected [2]",
    );
    assert_message(
        layer_norm_forward(
            &zeros(&device, &[0]).reshape(&[3, 0]).unwrap(),
            &zeros(&device, &[0]),
            &zeros(&device, &[0]),
            1e-5,
            DType::F32,
        ),
        "layer_norm_forward: `x` has shape [3, 0], expected […, C] with C > 0",
    );
}

#[test]
fn names_are_those_of_the_signature() {
    let device = Device::cpu();
    let (x, weight) = (zeros(&device, &[2, 4]), zeros(&device, &[3, 4]));
    assert_message(
        linear_forward(
            &x,
            &weight,
            Epilogue::default(),
            &mut zeros(&device, &[2, 2]),
        ),
        "linear_forward: `y` has shape [2, 2], expected [2, 3]",
    );
    assert_message(
        linear_backward(
            &zeros(&device, &[2, 3]),
            &weight,
            Epilogue::default(),
            &mut zeros(&device, &[2, 2]),
        ),
        "linear_backward: `d_x` has shape [2, 2], expected [2, 4]",
    );
    assert_message(
        embedding_forward(&zeros(&device, &[4]), &[], DType::F32),
        "embedding_forward: `table` has shape [4], expected [V, C]",
    );
    let cache = zeros(&device, &[1, 64, 4, 8]);
    assert_message(
        attention_cached(
            &zeros(&device, &[0, 6, 8]),
            &cache,
            &cache,
            &[],
            &AttentionConfig::causal(8),
        ),
        "attention_cached: `k_cache` has shape [1, 64, 4, 8], \
         expected heads of size 8, their number dividing 6",
    );
    assert_message(
        Segments::new(&[]),
        "Segments::new: `offsets` is 0 of them, expected at least two, the first 0 and the last T",
    );
}
