//! PyTorch's numbers, made by `scripts/golden/make_op_goldens.py`, on every
//! device.

use std::collections::HashMap;
use std::str::FromStr;

use retune_compute::ops::*;
use retune_compute::{DType, Device, Tensor};
use safetensors::SafeTensors;

use crate::devices::{all, tensor};
use crate::tolerance::{GOLDEN_GRADIENT, GOLDEN_VALUE, assert_close};

/// One golden file.
struct Golden {
    bytes: Vec<u8>,
    numbers: HashMap<String, String>,
}

impl Golden {
    fn open(family: &str) -> Self {
        let path = format!(
            "{}/tests/goldens/{family}.safetensors",
            env!("CARGO_MANIFEST_DIR")
        );
        let bytes = std::fs::read(&path).expect("the goldens are in the repository");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let numbers = metadata.metadata().clone().unwrap_or_default();
        Self { bytes, numbers }
    }

    fn read(&self, key: &str) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let view = file
            .tensor(key)
            .unwrap_or_else(|_| panic!("no tensor {key}"));
        (view.shape().to_vec(), view.data().to_vec())
    }

    fn values(&self, key: &str) -> Vec<f32> {
        let (_, bytes) = self.read(key);
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    }

    fn integers(&self, key: &str) -> Vec<u32> {
        let (_, bytes) = self.read(key);
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect()
    }

    fn tensor(&self, device: &Device, key: &str) -> Tensor {
        let (shape, _) = self.read(key);
        tensor(device, &shape, &self.values(key), DType::F32)
    }

    fn number<N: FromStr>(&self, key: &str) -> N {
        let text = self
            .numbers
            .get(key)
            .unwrap_or_else(|| panic!("no number {key}"));
        text.parse()
            .ok()
            .unwrap_or_else(|| panic!("{key} is {text}"))
    }

    fn has(&self, key: &str) -> bool {
        self.numbers.contains_key(key)
    }

    #[track_caller]
    fn value(&self, found: &Tensor, key: &str) {
        let what = format!("{key} on {}", found.device().name());
        assert_close(&GOLDEN_VALUE, &what, &found.to_f32_vec(), &self.values(key));
    }

    #[track_caller]
    fn gradient(&self, found: &Tensor, key: &str) {
        let what = format!("{key} on {}", found.device().name());
        assert_close(
            &GOLDEN_GRADIENT,
            &what,
            &found.to_f32_vec(),
            &self.values(key),
        );
    }
}

fn zeros_like(tensor: &Tensor) -> Tensor {
    Tensor::zeros(tensor.device(), tensor.shape(), DType::F32).unwrap()
}

#[test]
fn matmul() {
    let golden = Golden::open("matmul");
    for device in all() {
        for case in ["small", "odd"] {
            let a = golden.tensor(device, &format!("{case}.a"));
            let b = golden.tensor(device, &format!("{case}.b"));
            let bias = golden.tensor(device, &format!("{case}.bias"));
            let mut out = golden.tensor(device, &format!("{case}.c"));
            let epilogue = Epilogue::default()
                .scale(0.5)
                .bias(Some(&bias))
                .accumulate();
            matmul_nn(&a, &b, epilogue, &mut out).unwrap();
            golden.value(&out, &format!("{case}.out_bias_acc"));
            matmul_nn(&a, &b, Epilogue::default(), &mut out).unwrap();
            golden.value(&out, &format!("{case}.out"));
        }
    }
}

#[test]
fn matmul_in_bf16() {
    let golden = Golden::open("bf16");
    for device in all() {
        let [a, b] = ["matmul.a", "matmul.b_nt"].map(|key| {
            let (shape, bytes) = golden.read(key);
            Tensor::from_bytes(device, &shape, DType::BF16, &bytes).unwrap()
        });
        let mut out = Tensor::zeros(device, &[9, 21], DType::F32).unwrap();
        matmul_nt(&a, &b, Epilogue::default(), &mut out).unwrap();
        golden.value(&out, "matmul.out");
    }
}

#[test]
fn embedding() {
    let golden = Golden::open("embedding");
    for device in all() {
        let table = golden.tensor(device, "base.table");
        let ids = golden.integers("base.ids");
        golden.value(
            &embedding_forward(&table, &ids, DType::F32).unwrap(),
            "base.y",
        );
        let mut d_table = zeros_like(&table);
        embedding_backward(&golden.tensor(device, "base.d_y"), &ids, &mut d_table).unwrap();
        golden.gradient(&d_table, "base.d_table");
    }
}

#[test]
fn rms_norm() {
    let golden = Golden::open("rms_norm");
    for device in all() {
        for case in ["odd", "wide"] {
            let key = |name: &str| format!("{case}.{name}");
            let x = golden.tensor(device, &key("x"));
            let weight = golden.tensor(device, &key("weight"));
            let output =
                rms_norm_forward(&x, &weight, golden.number(&key("eps")), DType::F32).unwrap();
            golden.value(&output.y, &key("y"));
            let (mut d_x, mut d_weight) = (zeros_like(&x), zeros_like(&weight));
            let gradients = NormGradients {
                d_weight: Some(&mut d_weight),
                d_bias: None,
            };
            let d_y = golden.tensor(device, &key("d_y"));
            rms_norm_backward(&d_y, &x, &weight, &output.rstd, &mut d_x, gradients).unwrap();
            golden.gradient(&d_x, &key("d_x"));
            golden.gradient(&d_weight, &key("d_weight"));
        }
    }
}

#[test]
fn layer_norm() {
    let golden = Golden::open("layer_norm");
    for device in all() {
        for case in ["odd", "wide"] {
            let key = |name: &str| format!("{case}.{name}");
            let x = golden.tensor(device, &key("x"));
            let weight = golden.tensor(device, &key("weight"));
            let bias = golden.tensor(device, &key("bias"));
            let eps = golden.number(&key("eps"));
            let output = layer_norm_forward(&x, &weight, &bias, eps, DType::F32).unwrap();
            golden.value(&output.y, &key("y"));
            let mut d_x = zeros_like(&x);
            let (mut d_weight, mut d_bias) = (zeros_like(&weight), zeros_like(&weight));
            let gradients = NormGradients {
                d_weight: Some(&mut d_weight),
                d_bias: Some(&mut d_bias),
            };
            let d_y = golden.tensor(device, &key("d_y"));
            layer_norm_backward(&d_y, &x, &weight, &output.saved, &mut d_x, gradients).unwrap();
            golden.gradient(&d_x, &key("d_x"));
            golden.gradient(&d_weight, &key("d_weight"));
            golden.gradient(&d_bias, &key("d_bias"));
        }
    }
}

fn rope_config(golden: &Golden, case: &str) -> RopeConfig {
    let number = |name: &str| golden.number(&format!("{case}.{name}"));
    let optional = |name: &str| {
        let key = format!("{case}.{name}");
        golden.has(&key).then(|| golden.number(&key))
    };
    let scaling = match case {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear {
            factor: number("factor"),
        },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor"),
            low_freq_factor: number("low_freq_factor"),
            high_freq_factor: number("high_freq_factor"),
            original_max_position_embeddings: golden
                .number(&format!("{case}.original_max_position_embeddings")),
        },
        _ => RopeScaling::Yarn {
            factor: number("factor"),
            original_max_position_embeddings: golden
                .number(&format!("{case}.original_max_position_embeddings")),
            beta_fast: optional("beta_fast").unwrap_or(32.0),
            beta_slow: optional("beta_slow").unwrap_or(1.0),
            attention_factor: optional("attention_factor"),
            truncate: true,
        },
    };
    RopeConfig {
        head_dim: golden.number(&format!("{case}.head_dim")),
        rope_theta: number("rope_theta"),
        scaling,
    }
}

#[test]
fn rope() {
    let golden = Golden::open("rope");
    for case in ["default", "linear", "llama3", "yarn", "yarn_mscale"] {
        let key = |name: &str| format!("{case}.{name}");
        let config = rope_config(&golden, case);
        let (frequencies, factor) = config.inverse_frequencies().unwrap();
        assert_close(
            &GOLDEN_VALUE,
            &key("inv_freq"),
            &frequencies,
            &golden.values(&key("inv_freq")),
        );
        let expected: f32 = golden.number(&key("attention_scaling"));
        assert!(
            (factor - expected).abs() < 1e-6,
            "{case}: {factor} against {expected}"
        );
        for device in all() {
            let angles =
                RopeAngles::new(device, &config, &golden.integers(&key("positions"))).unwrap();
            golden.value(angles.cos(), &key("cos"));
            golden.value(angles.sin(), &key("sin"));
            let x = golden.tensor(device, &key("x"));
            golden.value(&rope_forward(&x, &angles, DType::F32).unwrap(), &key("y"));
            let d_y = golden.tensor(device, &key("d_y"));
            golden.gradient(
                &rope_backward(&d_y, &angles, DType::F32).unwrap(),
                &key("d_x"),
            );
        }
    }
}

#[test]
fn attention() {
    let golden = Golden::open("attention");
    for device in all() {
        for case in ["causal", "bidirectional", "window", "prefix"] {
            let key = |name: &str| format!("{case}.{name}");
            let [q, k, v, d_out] = ["q", "k", "v", "d_out"].map(|t| golden.tensor(device, &key(t)));
            let offsets: Vec<usize> = golden
                .integers(&key("offsets"))
                .into_iter()
                .map(|o| o as usize)
                .collect();
            let segments = match case {
                "prefix" => Segments::with_shared_prefix(&offsets),
                _ => Segments::new(&offsets),
            }
            .unwrap();
            let head_dim = q.shape()[2];
            let config = match case {
                "bidirectional" => AttentionConfig::bidirectional(head_dim),
                "window" => AttentionConfig::causal(head_dim).with_sliding_window(Some(6)),
                _ => AttentionConfig::causal(head_dim),
            };
            let forward = attention_forward(&q, &k, &v, &segments, &config).unwrap();
            golden.value(&forward.out, &key("out"));
            golden.value(&forward.logsumexp, &key("logsumexp"));
            let (d_q, d_k, d_v) =
                attention_backward(&d_out, [&q, &k, &v], &forward, &segments, &config).unwrap();
            golden.gradient(&d_q, &key("d_q"));
            golden.gradient(&d_k, &key("d_k"));
            golden.gradient(&d_v, &key("d_v"));
        }
    }
}

#[test]
fn activations() {
    let golden = Golden::open("activation");
    for device in all() {
        let [gate, up, d_out] =
            ["gate", "up", "d_out"].map(|t| golden.tensor(device, &format!("swiglu.{t}")));
        golden.value(
            &swiglu_forward(&gate, &up, DType::F32).unwrap(),
            "swiglu.out",
        );
        let (d_gate, d_up) = swiglu_backward(&d_out, &gate, &up, DType::F32).unwrap();
        golden.gradient(&d_gate, "swiglu.d_gate");
        golden.gradient(&d_up, "swiglu.d_up");
        for (case, kind) in [
            ("gelu_exact", GeluKind::Exact),
            ("gelu_tanh", GeluKind::Tanh),
        ] {
            let [x, d_y] = ["x", "d_y"].map(|t| golden.tensor(device, &format!("{case}.{t}")));
            golden.value(
                &gelu_forward(&x, kind, DType::F32).unwrap(),
                &format!("{case}.y"),
            );
            let d_x = gelu_backward(&d_y, &x, kind, DType::F32).unwrap();
            golden.gradient(&d_x, &format!("{case}.d_x"));
        }
    }
}

#[test]
fn head_and_cross_entropy() {
    let golden = Golden::open("cross_entropy");
    let rows = golden.integers("base.rows");
    let targets = golden.integers("base.targets");
    let hits: Vec<f32> = golden
        .integers("base.predicted")
        .iter()
        .zip(&targets)
        .map(|(p, t)| if p == t { 1.0 } else { 0.0 })
        .collect();
    for device in all() {
        for chunk_rows in [1, 3, 64] {
            let scored = Scored {
                rows: &rows,
                targets: &targets,
                chunk_rows,
            };
            let hidden = golden.tensor(device, "base.hidden");
            let weight = golden.tensor(device, "base.weight");
            let frozen = FrozenWeight::new(&weight, Packing::Both).unwrap();
            let loss = head_cross_entropy_forward(&hidden, &frozen, scored).unwrap();
            golden.value(&loss.losses, "base.nll");
            assert_eq!(loss.correct.to_f32_vec(), hits);
            let (mut d_hidden, mut d_weight) = (zeros_like(&hidden), zeros_like(&weight));
            let gradients = HeadGradients {
                d_hidden: Some(&mut d_hidden),
                d_weight: Some(&mut d_weight),
            };
            let scale = 1.0 / golden.number::<f32>("base.loss_divisor");
            let loss =
                head_cross_entropy_backward(&hidden, &weight, scored, scale, gradients).unwrap();
            golden.value(&loss.losses, "base.nll");
            golden.gradient(&d_hidden, "base.d_hidden");
            golden.gradient(&d_weight, "base.d_weight");
        }
    }
}

#[test]
fn adamw() {
    let golden = Golden::open("adamw");
    let grads = golden.values("base.grads");
    let after = golden.values("base.param_after");
    for device in all() {
        let mut param = golden.tensor(device, "base.param");
        let (mut exp_avg, mut exp_avg_sq) = (zeros_like(&param), zeros_like(&param));
        let len = param.len();
        for step in 1..=3u32 {
            let range = (step as usize - 1) * len..step as usize * len;
            let grad = tensor(device, &[len], &grads[range.clone()], DType::F32);
            let settings = AdamW {
                beta1: golden.number("base.beta1"),
                beta2: golden.number("base.beta2"),
                eps: golden.number("base.eps"),
                weight_decay: golden.number("base.weight_decay"),
                ..AdamW::new(golden.number("base.lr"), step)
            };
            let mut copy = Tensor::zeros(device, &[len], DType::BF16).unwrap();
            adamw_step(
                &mut param,
                &grad,
                &mut exp_avg,
                &mut exp_avg_sq,
                Some(&mut copy),
                &settings,
            )
            .unwrap();
            let found = param.to_f32_vec();
            assert_close(
                &GOLDEN_VALUE,
                &format!("step {step}"),
                &found,
                &after[range],
            );
            assert_eq!(
                copy.to_bytes(),
                cast(&param, DType::BF16).unwrap().to_bytes()
            );
        }
        golden.value(&exp_avg, "base.exp_avg");
        golden.value(&exp_avg_sq, "base.exp_avg_sq");
    }
}

#[test]
fn reductions_and_clipping() {
    let golden = Golden::open("reductions");
    for device in all() {
        let x = golden.tensor(device, "norms.x");
        assert_close(
            &GOLDEN_VALUE,
            "sum",
            &[sum(&x) as f32],
            &golden.values("norms.sum"),
        );
        assert_close(
            &GOLDEN_VALUE,
            "norm",
            &[norm([&x]) as f32],
            &golden.values("norms.l2"),
        );
        let mut a = golden.tensor(device, "clip.a");
        let mut b = golden.tensor(device, "clip.b");
        let total = norm([&a, &b]);
        assert_close(
            &GOLDEN_VALUE,
            "clip.norm",
            &[total as f32],
            &golden.values("clip.norm"),
        );
        let factor = (golden.number::<f64>("clip.max_norm") / (total + 1e-6)).min(1.0);
        scale(&mut a, factor as f32);
        scale(&mut b, factor as f32);
        golden.value(&a, "clip.a_clipped");
        golden.value(&b, "clip.b_clipped");
    }
}
