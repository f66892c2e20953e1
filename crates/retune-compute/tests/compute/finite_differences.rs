//! Backward functions against differences of the forward ones.
//!
//! The slope of `L = Σ weight · output` along a random direction of all
//! inputs, from two forward passes, is the inner product of that direction
//! with the gradients.

use proptest::prelude::*;
use retune_compute::ops::*;
use retune_compute::{DType, Device, Tensor};

use crate::cases::Numbers;
use crate::devices::{FAST, REFERENCE, tensor};
use crate::tolerance::{FINITE_DIFFERENCE, assert_close};

/// Half the distance of the two passes.
const STEP: f32 = 3e-3;

/// Inputs of an operation: shapes and values.
type Inputs = Vec<(Vec<usize>, Vec<f32>)>;

/// The plain operations, the fastest ones of the CPU, and a GPU where there is one.
fn devices() -> impl Iterator<Item = &'static Device> {
    std::iter::once(&*REFERENCE).chain(FAST.iter().rev().take(2))
}

/// Compares the slope along random directions with what `gradients` says.
fn check(
    what: &str,
    numbers: &Numbers<'_>,
    inputs: &Inputs,
    forward: impl Fn(&[Tensor]) -> Tensor,
    gradients: impl Fn(&[Tensor], &Tensor) -> Vec<Tensor>,
    device: &Device,
) {
    let tensors = |inputs: &Inputs| -> Vec<Tensor> {
        inputs
            .iter()
            .map(|(shape, values)| tensor(device, shape, values, DType::F32))
            .collect()
    };
    let at = tensors(inputs);
    let output = forward(&at);
    let weights = numbers.values(output.len());
    let d_output = tensor(device, output.shape(), &weights, DType::F32);
    let gradients = gradients(&at, &d_output);
    assert_eq!(gradients.len(), inputs.len());
    let value = |inputs: &Inputs| -> f64 {
        let output = forward(&tensors(inputs)).to_f32_vec();
        output
            .iter()
            .zip(&weights)
            .map(|(o, w)| f64::from(*o) * f64::from(*w))
            .sum()
    };
    // One direction per input, so that none hides behind another.
    for (index, gradient) in gradients.iter().enumerate() {
        let len = inputs[index].1.len();
        let direction = numbers.values(len);
        let moved = |by: f32| -> f64 {
            let mut inputs = inputs.clone();
            for (value, d) in inputs[index].1.iter_mut().zip(&direction) {
                *value += by * d;
            }
            value(&inputs)
        };
        let slope = (moved(STEP) - moved(-STEP)) / (2.0 * f64::from(STEP));
        let values = gradient.to_f32_vec();
        let expected: f64 = values
            .iter()
            .zip(&direction)
            .map(|(g, d)| f64::from(*g) * f64::from(*d))
            .sum();
        // The size of a slope along such directions; a single one may be
        // small by chance.
        let size = values
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>()
            .sqrt()
            .max(1e-2);
        let found = [(slope / size) as f32, 1.0];
        let what = format!("input {index} of {what} on {}", device.name());
        assert_close(
            &FINITE_DIFFERENCE,
            &what,
            &found,
            &[(expected / size) as f32, 1.0],
        );
    }
}

fn inputs(numbers: &Numbers<'_>, shapes: &[&[usize]]) -> Inputs {
    shapes
        .iter()
        .map(|shape| (shape.to_vec(), numbers.values(shape.iter().product())))
        .collect()
}

fn zeros(like: &Tensor) -> Tensor {
    Tensor::zeros(like.device(), like.shape(), DType::F32).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    #[cfg_attr(miri, ignore = "thousands of forward passes")]
    fn norms(rows in 1..6usize, width in 2..70usize, seed: u64) {
        for device in devices() {
            let numbers = Numbers::new(device, DType::F32, seed);
            let eps = 0.1;
            check(
                "rms_norm",
                &numbers,
                &inputs(&numbers, &[&[rows, width], &[width]]),
                |x| rms_norm_forward(&x[0], &x[1], eps, DType::F32).unwrap().y,
                |x, d_y| {
                    let rstd = rms_norm_forward(&x[0], &x[1], eps, DType::F32).unwrap().rstd;
                    let (mut d_x, mut d_weight) = (zeros(&x[0]), zeros(&x[1]));
                    let wanted = NormGradients { d_weight: Some(&mut d_weight), d_bias: None };
                    rms_norm_backward(d_y, &x[0], &x[1], &rstd, &mut d_x, wanted).unwrap();
                    vec![d_x, d_weight]
                },
                device,
            );
            check(
                "layer_norm",
                &numbers,
                &inputs(&numbers, &[&[rows, width], &[width], &[width]]),
                |x| layer_norm_forward(&x[0], &x[1], &x[2], eps, DType::F32).unwrap().y,
                |x, d_y| {
                    let output = layer_norm_forward(&x[0], &x[1], &x[2], eps, DType::F32).unwrap();
                    let (mut d_x, mut d_weight, mut d_bias) = (zeros(&x[0]), zeros(&x[1]), zeros(&x[2]));
                    let wanted =
                        NormGradients { d_weight: Some(&mut d_weight), d_bias: Some(&mut d_bias) };
                    layer_norm_backward(d_y, &x[0], &x[1], &output.saved, &mut d_x, wanted).unwrap();
                    vec![d_x, d_weight, d_bias]
                },
                device,
            );
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of forward passes")]
    fn activations(rows in 1..6usize, width in 1..70usize, seed: u64) {
        for device in devices() {
            let numbers = Numbers::new(device, DType::F32, seed);
            check(
                "swiglu",
                &numbers,
                &inputs(&numbers, &[&[rows, width], &[rows, width]]),
                |x| swiglu_forward(&x[0], &x[1], DType::F32).unwrap(),
                |x, d_y| {
                    let (d_gate, d_up) = swiglu_backward(d_y, &x[0], &x[1], DType::F32).unwrap();
                    vec![d_gate, d_up]
                },
                device,
            );
            for kind in [GeluKind::Exact, GeluKind::Tanh] {
                check(
                    "gelu",
                    &numbers,
                    &inputs(&numbers, &[&[rows, width]]),
                    |x| gelu_forward(&x[0], kind, DType::F32).unwrap(),
                    |x, d_y| vec![gelu_backward(d_y, &x[0], kind, DType::F32).unwrap()],
                    device,
                );
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of forward passes")]
    fn rope_and_linear(tokens in 1..8usize, heads in 1..4usize, pairs in 1..20usize, out in 1..40usize, seed: u64) {
        for device in devices() {
            let numbers = Numbers::new(device, DType::F32, seed);
            let config = RopeConfig { head_dim: 2 * pairs, rope_theta: 1e4, scaling: RopeScaling::Default };
            let angles = RopeAngles::new(device, &config, &numbers.indices(tokens, 300)).unwrap();
            check(
                "rope",
                &numbers,
                &inputs(&numbers, &[&[tokens, heads, 2 * pairs]]),
                |x| rope_forward(&x[0], &angles, DType::F32).unwrap(),
                |_, d_y| vec![rope_backward(d_y, &angles, DType::F32).unwrap()],
                device,
            );
            check(
                "linear",
                &numbers,
                &inputs(&numbers, &[&[tokens, pairs], &[out, pairs]]),
                |x| {
                    let mut y = Tensor::zeros(device, &[tokens, out], DType::F32).unwrap();
                    linear_forward(&x[0], &x[1], Epilogue::default(), &mut y).unwrap();
                    y
                },
                |x, d_y| {
                    let (mut d_x, mut d_weight) = (zeros(&x[0]), zeros(&x[1]));
                    linear_backward(d_y, &x[1], Epilogue::default(), &mut d_x).unwrap();
                    matmul_tn(d_y, &x[0], Epilogue::default().accumulate(), &mut d_weight).unwrap();
                    vec![d_x, d_weight]
                },
                device,
            );
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of forward passes")]
    fn attention(
        lengths in proptest::collection::vec(0..20usize, 1..4),
        shared_prefix: bool,
        kv_heads in 1..3usize,
        group in 1..4usize,
        causal: bool,
        window in proptest::option::of(1..20usize),
        seed: u64,
    ) {
        const DIM: usize = 16;
        let offsets: Vec<usize> = std::iter::once(0)
            .chain(lengths.iter().scan(0, |end, len| { *end += len; Some(*end) }))
            .collect();
        let tokens = *offsets.last().unwrap();
        let segments = if shared_prefix {
            Segments::with_shared_prefix(&offsets).unwrap()
        } else {
            Segments::new(&offsets).unwrap()
        };
        let config = if causal {
            AttentionConfig::causal(DIM).with_sliding_window(window)
        } else {
            AttentionConfig::bidirectional(DIM)
        };
        for device in devices() {
            let numbers = Numbers::new(device, DType::F32, seed);
            let keys = [tokens, kv_heads, DIM];
            check(
                "attention",
                &numbers,
                &inputs(&numbers, &[&[tokens, kv_heads * group, DIM], &keys, &keys]),
                |x| attention_forward(&x[0], &x[1], &x[2], &segments, &config).unwrap().out,
                |x, d_out| {
                    let forward = attention_forward(&x[0], &x[1], &x[2], &segments, &config).unwrap();
                    let qkv = [&x[0], &x[1], &x[2]];
                    let (d_q, d_k, d_v) =
                        attention_backward(d_out, qkv, &forward, &segments, &config).unwrap();
                    vec![d_q, d_k, d_v]
                },
                device,
            );
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of forward passes")]
    fn head_and_embedding(tokens in 1..10usize, width in 1..40usize, vocabulary in 2..60usize, seed: u64) {
        for device in devices() {
            let numbers = Numbers::new(device, DType::F32, seed);
            let rows = numbers.indices(tokens.div_ceil(2), tokens);
            let targets = numbers.indices(rows.len(), vocabulary);
            let scored = Scored { rows: &rows, targets: &targets, chunk_rows: 2 };
            check(
                "head_cross_entropy",
                &numbers,
                &inputs(&numbers, &[&[tokens, width], &[vocabulary, width]]),
                |x| {
                    let losses = head_cross_entropy_forward(&x[0], &x[1], scored).unwrap().losses;
                    tensor(device, &[1], &[sum(&losses) as f32], DType::F32)
                },
                |x, d_y| {
                    let (mut d_hidden, mut d_weight) = (zeros(&x[0]), zeros(&x[1]));
                    let wanted =
                        HeadGradients { d_hidden: Some(&mut d_hidden), d_weight: Some(&mut d_weight) };
                    let scale = d_y.to_f32_vec()[0];
                    // The scale of a loss is at least zero; a negative one
                    // turns the gradients round.
                    head_cross_entropy_backward(&x[0], &x[1], scored, scale, wanted).unwrap();
                    vec![d_hidden, d_weight]
                },
                device,
            );
            let ids = numbers.indices(tokens, vocabulary);
            check(
                "embedding",
                &numbers,
                &inputs(&numbers, &[&[vocabulary, width]]),
                |x| embedding_forward(&x[0], &ids, DType::F32).unwrap(),
                |x, d_y| {
                    let mut d_table = zeros(&x[0]);
                    embedding_backward(d_y, &ids, &mut d_table).unwrap();
                    vec![d_table]
                },
                device,
            );
        }
    }
}
