//! What each case computes.

use retune_compute::ops::*;
use retune_compute::{DType, Device, RandomKey, Tensor};

use super::{Attention, Case, Numbers, Output};
use crate::devices::tensor;

/// What a case has computed so far.
#[derive(Default)]
struct Outputs(Vec<Output>);

impl Outputs {
    fn value(&mut self, name: &'static str, tensor: Tensor) {
        self.0.push(Output {
            name,
            gradient: false,
            tensor,
        });
    }

    fn gradient(&mut self, name: &'static str, tensor: Tensor) {
        self.0.push(Output {
            name,
            gradient: true,
            tensor,
        });
    }
}

impl Case {
    /// Runs the case on `device` with activations of type `dtype`.
    pub(crate) fn run(&self, device: &Device, dtype: DType, seed: u64) -> Vec<Output> {
        let numbers = Numbers::new(device, dtype, seed);
        let mut outputs = Outputs::default();
        match self {
            &Self::Embedding {
                tokens,
                vocabulary,
                width,
            } => run_embedding(&numbers, &mut outputs, [tokens, vocabulary, width]),
            &Self::RmsNorm { rows, width } => run_rms_norm(&numbers, &mut outputs, [rows, width]),
            &Self::LayerNorm { rows, width } => {
                run_layer_norm(&numbers, &mut outputs, [rows, width])
            }
            &Self::Rope {
                tokens,
                heads,
                pairs,
            } => run_rope(&numbers, &mut outputs, [tokens, heads, pairs]),
            Self::Attention(attention) => attention.run_all(&numbers, &mut outputs),
            &Self::Swiglu { rows, width } => run_swiglu(&numbers, &mut outputs, [rows, width]),
            &Self::Gelu { rows, width, kind } => {
                run_gelu(&numbers, &mut outputs, [rows, width], kind)
            }
            &Self::Elementwise { rows, width } => {
                run_elementwise(&numbers, &mut outputs, [rows, width])
            }
            &Self::Dropout { rows, width } => run_dropout(&numbers, &mut outputs, [rows, width]),
            &Self::Head {
                tokens,
                width,
                vocabulary,
                chunk_rows,
            } => run_head(
                &numbers,
                &mut outputs,
                [tokens, width, vocabulary, chunk_rows],
            ),
            &Self::AdamW { len } => run_adamw(&numbers, &mut outputs, len),
        }
        outputs.0
    }
}

fn run_embedding(
    numbers: &Numbers<'_>,
    outputs: &mut Outputs,
    [tokens, vocabulary, width]: [usize; 3],
) {
    let table = numbers.tensor(&[vocabulary, width]);
    let ids = numbers.indices(tokens, vocabulary);
    for packing in [Packing::Rows, Packing::Forward] {
        let frozen = FrozenWeight::new(&table, packing).unwrap();
        outputs.value(
            "y of frozen",
            embedding_forward(&frozen, &ids, DType::F32).unwrap(),
        );
    }
    outputs.value("y", embedding_forward(&table, &ids, numbers.dtype).unwrap());
    let mut d_table = numbers.wide(&[vocabulary, width]);
    embedding_backward(&numbers.tensor(&[tokens, width]), &ids, &mut d_table).unwrap();
    outputs.gradient("d_table", d_table);
    let x = numbers.tensor(&[tokens + 1, width]);
    let rows = numbers.indices(5, tokens + 1);
    let picked = gather_rows(&x, &rows).unwrap();
    let mut cache = numbers.tensor(&[tokens + 1, width]);
    scatter_rows(&picked, &rows, &mut cache).unwrap();
    let mut sums = numbers.wide(&[tokens + 1, width]);
    scatter_add_rows(&picked, &rows, &mut sums).unwrap();
    outputs.value("gathered", picked);
    outputs.value("scattered", cache);
    outputs.gradient("added", sums);
}

fn run_rms_norm(numbers: &Numbers<'_>, outputs: &mut Outputs, [rows, width]: [usize; 2]) {
    let x = numbers.tensor(&[rows, width]);
    let weight = numbers.wide(&[width]);
    let output = rms_norm_forward(&x, &weight, 1e-6, numbers.dtype).unwrap();
    let d_y = numbers.tensor(&[rows, width]);
    let mut d_x = numbers.wide(&[rows, width]);
    let mut d_weight = numbers.wide(&[width]);
    let gradients = NormGradients {
        d_weight: Some(&mut d_weight),
        d_bias: None,
    };
    rms_norm_backward(&d_y, &x, &weight, &output.rstd, &mut d_x, gradients).unwrap();
    outputs.value("y", output.y);
    outputs.value("rstd", output.rstd);
    outputs.gradient("d_x", d_x);
    outputs.gradient("d_weight", d_weight);
}

fn run_layer_norm(numbers: &Numbers<'_>, outputs: &mut Outputs, [rows, width]: [usize; 2]) {
    let x = numbers.tensor(&[rows, width]);
    let [weight, bias] = [(); 2].map(|()| numbers.wide(&[width]));
    let output = layer_norm_forward(&x, &weight, &bias, 1e-5, numbers.dtype).unwrap();
    let d_y = numbers.tensor(&[rows, width]);
    let mut d_x = numbers.wide(&[rows, width]);
    let [mut d_weight, mut d_bias] = [(); 2].map(|()| numbers.wide(&[width]));
    let gradients = NormGradients {
        d_weight: Some(&mut d_weight),
        d_bias: Some(&mut d_bias),
    };
    layer_norm_backward(&d_y, &x, &weight, &output.saved, &mut d_x, gradients).unwrap();
    outputs.value("y", output.y);
    // With one column, the gradient is zero but for rounding.
    if width > 1 {
        outputs.gradient("d_x", d_x);
    }
    outputs.gradient("d_weight", d_weight);
    outputs.gradient("d_bias", d_bias);
}

fn run_rope(numbers: &Numbers<'_>, outputs: &mut Outputs, [tokens, heads, pairs]: [usize; 3]) {
    let config = RopeConfig {
        head_dim: 2 * pairs,
        rope_theta: 1e4,
        scaling: RopeScaling::Linear { factor: 2.0 },
    };
    let angles = RopeAngles::new(numbers.device, &config, &numbers.indices(tokens, 500)).unwrap();
    let x = numbers.tensor(&[tokens, heads, 2 * pairs]);
    outputs.value("y", rope_forward(&x, &angles, numbers.dtype).unwrap());
    outputs.gradient("d_x", rope_backward(&x, &angles, DType::F32).unwrap());
}

fn run_swiglu(numbers: &Numbers<'_>, outputs: &mut Outputs, [rows, width]: [usize; 2]) {
    let [gate, up, d_y] = [(); 3].map(|()| numbers.tensor(&[rows, width]));
    outputs.value("y", swiglu_forward(&gate, &up, numbers.dtype).unwrap());
    let (d_gate, d_up) = swiglu_backward(&d_y, &gate, &up, numbers.dtype).unwrap();
    outputs.gradient("d_gate", d_gate);
    outputs.gradient("d_up", d_up);
}

fn run_gelu(
    numbers: &Numbers<'_>,
    outputs: &mut Outputs,
    [rows, width]: [usize; 2],
    kind: GeluKind,
) {
    let [x, d_y] = [(); 2].map(|()| numbers.tensor(&[rows, width]));
    outputs.value("y", gelu_forward(&x, kind, numbers.dtype).unwrap());
    outputs.gradient("d_x", gelu_backward(&d_y, &x, kind, numbers.dtype).unwrap());
}

fn run_elementwise(numbers: &Numbers<'_>, outputs: &mut Outputs, [rows, width]: [usize; 2]) {
    let x = numbers.tensor(&[rows, width]);
    let mut y = numbers.wide(&[rows, width]);
    add_assign(&mut y, &x).unwrap();
    scale(&mut y, 0.75);
    let totals = [
        sum(&y) as f32,
        sum_of_squares(&x) as f32,
        norm([&x, &y]) as f32,
    ];
    outputs.gradient("totals", tensor(numbers.device, &[3], &totals, DType::F32));
    outputs.value("cast", cast(&y, DType::BF16).unwrap());
    outputs.value("y", y);
    let mut x = x;
    scale(&mut x, -1.5);
    outputs.value("scaled", x);
}

fn run_dropout(numbers: &Numbers<'_>, outputs: &mut Outputs, [rows, width]: [usize; 2]) {
    let x = numbers.tensor(&[rows, width]);
    let [samples, positions] = [(); 2].map(|()| numbers.indices(rows, 1000));
    let keys: Vec<RowKey> = samples
        .iter()
        .zip(&positions)
        .map(|(&sample, &position)| RowKey { sample, position })
        .collect();
    let settings = Dropout {
        probability: 0.3,
        key: RandomKey::new(numbers.seed, 9),
        step: 4,
    };
    outputs.value("y", dropout(&x, &keys, &settings).unwrap());
}

fn run_head(
    numbers: &Numbers<'_>,
    outputs: &mut Outputs,
    [tokens, width, vocabulary, chunk_rows]: [usize; 4],
) {
    let hidden = numbers.tensor(&[tokens, width]);
    let head = numbers.tensor(&[vocabulary, width]);
    let count = tokens * 2 / 3;
    let rows = numbers.indices(count, tokens.max(1));
    let targets = numbers.indices(count, vocabulary);
    let scored = Scored {
        rows: &rows,
        targets: &targets,
        chunk_rows,
    };
    let mut d_hidden = numbers.wide(&[tokens, width]);
    let mut d_weight = numbers.wide(&[vocabulary, width]);
    let gradients = HeadGradients {
        d_hidden: Some(&mut d_hidden),
        d_weight: Some(&mut d_weight),
    };
    let scale = 1.0 / count.max(1) as f32;
    let loss = head_cross_entropy_backward(&hidden, &head, scored, scale, gradients).unwrap();
    outputs.value("losses", loss.losses);
    outputs.gradient("d_hidden", d_hidden);
    outputs.gradient("d_weight", d_weight);
    let loss = head_cross_entropy_forward(&hidden, &head, scored).unwrap();
    outputs.value("losses of the forward pass", loss.losses);
}

fn run_adamw(numbers: &Numbers<'_>, outputs: &mut Outputs, len: usize) {
    let [mut param, grad, mut exp_avg] = [(); 3].map(|()| numbers.wide(&[len]));
    let squares: Vec<f32> = numbers.values(len).iter().map(|v| v * v).collect();
    let mut exp_avg_sq = tensor(numbers.device, &[len], &squares, DType::F32);
    let mut copy = Tensor::zeros(numbers.device, &[len], numbers.dtype).unwrap();
    let step = AdamW {
        weight_decay: 0.1,
        grad_scale: 0.5,
        ..AdamW::new(1e-2, 7)
    };
    let state = (&mut exp_avg, &mut exp_avg_sq);
    adamw_step(&mut param, &grad, state.0, state.1, Some(&mut copy), &step).unwrap();
    outputs.gradient("param", param);
    outputs.gradient("exp_avg", exp_avg);
    outputs.gradient("exp_avg_sq", exp_avg_sq);
    outputs.value("copy", copy);
    run_adamw_steps(numbers, outputs, len);
}

/// Three parameters at once, of several lengths, one of them without a copy.
fn run_adamw_steps(numbers: &Numbers<'_>, outputs: &mut Outputs, len: usize) {
    let lens = [len, 3 * len + 1, 1];
    let mut tensors = lens.map(|len| [(); 3].map(|()| numbers.wide(&[len])));
    let mut squares = lens.map(|len| {
        let squares: Vec<f32> = numbers.values(len).iter().map(|v| v * v).collect();
        tensor(numbers.device, &[len], &squares, DType::F32)
    });
    let mut copies = lens.map(|len| Tensor::zeros(numbers.device, &[len], numbers.dtype).unwrap());
    let parts = tensors.iter_mut().zip(&mut squares).zip(&mut copies);
    let updates = parts
        .enumerate()
        .map(
            |(index, (([param, grad, exp_avg], exp_avg_sq), copy))| AdamWUpdate {
                param,
                grad,
                exp_avg,
                exp_avg_sq,
                copy: (index != 1).then_some(copy),
                step: AdamW {
                    weight_decay: 0.1 * index as f64,
                    ..AdamW::new(1e-2, 3 + index as u32)
                },
            },
        );
    adamw_steps(updates.collect()).unwrap();
    for [param, grad, exp_avg] in tensors {
        assert!(
            grad.to_f32_vec().iter().all(|g| *g == 0.0),
            "gradients are zeroed"
        );
        outputs.gradient("param of several", param);
        outputs.gradient("exp_avg of several", exp_avg);
    }
    for (exp_avg_sq, copy) in squares.into_iter().zip(copies) {
        outputs.gradient("exp_avg_sq of several", exp_avg_sq);
        outputs.value("copy of several", copy);
    }
}

impl Attention {
    fn run_all(&self, numbers: &Numbers<'_>, outputs: &mut Outputs) {
        let (forward, gradients) = self.run(numbers);
        outputs.value("out", forward.out);
        outputs.value("logsumexp", forward.logsumexp);
        let [d_q, d_k, d_v] = gradients;
        outputs.gradient("d_q", d_q);
        outputs.gradient("d_k", d_k);
        outputs.gradient("d_v", d_v);
    }

    fn run(&self, numbers: &Numbers<'_>) -> (AttentionOutput, [Tensor; 3]) {
        let segments = self.segments();
        let tokens = segments.tokens();
        let heads = self.kv_heads * self.group;
        let q = numbers.tensor(&[tokens, heads, self.head_dim]);
        let [k, v] = [(); 2].map(|()| numbers.tensor(&[tokens, self.kv_heads, self.head_dim]));
        let forward = attention_forward(&q, &k, &v, &segments, &self.config()).unwrap();
        let d_out = numbers.tensor(&[tokens, heads, self.head_dim]);
        let (d_q, d_k, d_v) =
            attention_backward(&d_out, [&q, &k, &v], &forward, &segments, &self.config()).unwrap();
        (forward, [d_q, d_k, d_v])
    }
}
