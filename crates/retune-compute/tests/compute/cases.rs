//! Calls of every operation with made-up arguments of a given shape, for the
//! tests that compare devices with one another.

use proptest::prelude::*;
use retune_compute::ops::*;
use retune_compute::{DType, Device, RandomKey, Tensor, random_normal};

use crate::devices::tensor;

/// One call (or a forward call and its backward one).
#[derive(Debug, Clone)]
pub(crate) enum Case {
    Embedding {
        tokens: usize,
        vocabulary: usize,
        width: usize,
    },
    RmsNorm {
        rows: usize,
        width: usize,
    },
    LayerNorm {
        rows: usize,
        width: usize,
    },
    Rope {
        tokens: usize,
        heads: usize,
        pairs: usize,
    },
    Attention(Attention),
    Swiglu {
        rows: usize,
        width: usize,
    },
    Gelu {
        rows: usize,
        width: usize,
        kind: GeluKind,
    },
    Elementwise {
        rows: usize,
        width: usize,
    },
    Dropout {
        rows: usize,
        width: usize,
    },
    Head {
        tokens: usize,
        width: usize,
        vocabulary: usize,
        chunk_rows: usize,
    },
    AdamW {
        len: usize,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) segments: Vec<usize>,
    pub(crate) shared_prefix: bool,
    pub(crate) kv_heads: usize,
    pub(crate) group: usize,
    pub(crate) head_dim: usize,
    pub(crate) causal: bool,
    pub(crate) window: Option<usize>,
}

/// What a case gives back: named tensors, and whether each is a gradient.
pub(crate) struct Output {
    pub(crate) name: &'static str,
    pub(crate) gradient: bool,
    pub(crate) tensor: Tensor,
}

/// Random numbers for one case.
pub(crate) struct Numbers<'a> {
    device: &'a Device,
    dtype: DType,
    seed: u64,
    drawn: std::cell::Cell<u64>,
}

impl<'a> Numbers<'a> {
    pub(crate) fn new(device: &'a Device, dtype: DType, seed: u64) -> Self {
        Self {
            device,
            dtype,
            seed,
            drawn: std::cell::Cell::new(0),
        }
    }

    pub(crate) fn values(&self, len: usize) -> Vec<f32> {
        let key = RandomKey::new(self.seed, self.drawn.replace(self.drawn.get() + 1));
        random_normal::<f32>(&crate::devices::REFERENCE, &[len], key, 0.0, 1.0)
            .unwrap()
            .to_f32_vec()
    }

    /// Activations or weights, of the case's element type.
    pub(crate) fn tensor(&self, shape: &[usize]) -> Tensor {
        tensor(
            self.device,
            shape,
            &self.values(shape.iter().product()),
            self.dtype,
        )
    }

    /// What is f32 in every case.
    pub(crate) fn wide(&self, shape: &[usize]) -> Tensor {
        tensor(
            self.device,
            shape,
            &self.values(shape.iter().product()),
            DType::F32,
        )
    }

    pub(crate) fn indices(&self, len: usize, limit: usize) -> Vec<u32> {
        let key = RandomKey::new(self.seed, self.drawn.replace(self.drawn.get() + 1));
        (0..len)
            .map(|i| key.block([i as u32, 0, 0, 0])[0] % limit as u32)
            .collect()
    }
}

impl Case {
    /// Runs the case on `device` with activations of type `dtype`.
    pub(crate) fn run(&self, device: &Device, dtype: DType, seed: u64) -> Vec<Output> {
        let numbers = Numbers::new(device, dtype, seed);
        let mut outputs = Vec::new();
        let mut put = |name, gradient, tensor| {
            outputs.push(Output {
                name,
                gradient,
                tensor,
            })
        };
        match self {
            &Self::Embedding {
                tokens,
                vocabulary,
                width,
            } => {
                let table = numbers.tensor(&[vocabulary, width]);
                let ids = numbers.indices(tokens, vocabulary);
                for packing in [Packing::Rows, Packing::Forward] {
                    let frozen = FrozenWeight::new(&table, packing).unwrap();
                    put(
                        "y of frozen",
                        false,
                        embedding_forward(&frozen, &ids, DType::F32).unwrap(),
                    );
                }
                put("y", false, embedding_forward(&table, &ids, dtype).unwrap());
                let mut d_table = numbers.wide(&[vocabulary, width]);
                embedding_backward(&numbers.tensor(&[tokens, width]), &ids, &mut d_table).unwrap();
                put("d_table", true, d_table);
                let x = numbers.tensor(&[tokens + 1, width]);
                let rows = numbers.indices(5, tokens + 1);
                let picked = gather_rows(&x, &rows).unwrap();
                let mut cache = numbers.tensor(&[tokens + 1, width]);
                scatter_rows(&picked, &rows, &mut cache).unwrap();
                let mut sums = numbers.wide(&[tokens + 1, width]);
                scatter_add_rows(&picked, &rows, &mut sums).unwrap();
                put("gathered", false, picked);
                put("scattered", false, cache);
                put("added", true, sums);
            }
            &Self::RmsNorm { rows, width } => {
                let x = numbers.tensor(&[rows, width]);
                let weight = numbers.wide(&[width]);
                let output = rms_norm_forward(&x, &weight, 1e-6, dtype).unwrap();
                let d_y = numbers.tensor(&[rows, width]);
                let mut d_x = numbers.wide(&[rows, width]);
                let mut d_weight = numbers.wide(&[width]);
                let gradients = NormGradients {
                    d_weight: Some(&mut d_weight),
                    d_bias: None,
                };
                rms_norm_backward(&d_y, &x, &weight, &output.rstd, &mut d_x, gradients).unwrap();
                put("y", false, output.y);
                put("rstd", false, output.rstd);
                put("d_x", true, d_x);
                put("d_weight", true, d_weight);
            }
            &Self::LayerNorm { rows, width } => {
                let x = numbers.tensor(&[rows, width]);
                let [weight, bias] = [(); 2].map(|()| numbers.wide(&[width]));
                let output = layer_norm_forward(&x, &weight, &bias, 1e-5, dtype).unwrap();
                let d_y = numbers.tensor(&[rows, width]);
                let mut d_x = numbers.wide(&[rows, width]);
                let [mut d_weight, mut d_bias] = [(); 2].map(|()| numbers.wide(&[width]));
                let gradients = NormGradients {
                    d_weight: Some(&mut d_weight),
                    d_bias: Some(&mut d_bias),
                };
                layer_norm_backward(&d_y, &x, &weight, &output.saved, &mut d_x, gradients).unwrap();
                put("y", false, output.y);
                // With one column, the gradient is zero but for rounding.
                if width > 1 {
                    put("d_x", true, d_x);
                }
                put("d_weight", true, d_weight);
                put("d_bias", true, d_bias);
            }
            &Self::Rope {
                tokens,
                heads,
                pairs,
            } => {
                let config = RopeConfig {
                    head_dim: 2 * pairs,
                    rope_theta: 1e4,
                    scaling: RopeScaling::Linear { factor: 2.0 },
                };
                let angles =
                    RopeAngles::new(device, &config, &numbers.indices(tokens, 500)).unwrap();
                let x = numbers.tensor(&[tokens, heads, 2 * pairs]);
                put("y", false, rope_forward(&x, &angles, dtype).unwrap());
                put("d_x", true, rope_backward(&x, &angles, DType::F32).unwrap());
            }
            Self::Attention(attention) => {
                let (forward, gradients) = attention.run(&numbers);
                put("out", false, forward.out);
                put("logsumexp", false, forward.logsumexp);
                let [d_q, d_k, d_v] = gradients;
                put("d_q", true, d_q);
                put("d_k", true, d_k);
                put("d_v", true, d_v);
            }
            &Self::Swiglu { rows, width } => {
                let [gate, up, d_y] = [(); 3].map(|()| numbers.tensor(&[rows, width]));
                put("y", false, swiglu_forward(&gate, &up, dtype).unwrap());
                let (d_gate, d_up) = swiglu_backward(&d_y, &gate, &up, dtype).unwrap();
                put("d_gate", true, d_gate);
                put("d_up", true, d_up);
            }
            &Self::Gelu { rows, width, kind } => {
                let [x, d_y] = [(); 2].map(|()| numbers.tensor(&[rows, width]));
                put("y", false, gelu_forward(&x, kind, dtype).unwrap());
                put("d_x", true, gelu_backward(&d_y, &x, kind, dtype).unwrap());
            }
            &Self::Elementwise { rows, width } => {
                let x = numbers.tensor(&[rows, width]);
                let mut y = numbers.wide(&[rows, width]);
                add_assign(&mut y, &x).unwrap();
                scale(&mut y, 0.75);
                let totals = [
                    sum(&y) as f32,
                    sum_of_squares(&x) as f32,
                    norm([&x, &y]) as f32,
                ];
                put("totals", true, tensor(device, &[3], &totals, DType::F32));
                put("cast", false, cast(&y, DType::BF16).unwrap());
                put("y", false, y);
                let mut x = x;
                scale(&mut x, -1.5);
                put("scaled", false, x);
            }
            &Self::Dropout { rows, width } => {
                let x = numbers.tensor(&[rows, width]);
                let [samples, positions] = [(); 2].map(|()| numbers.indices(rows, 1000));
                let keys: Vec<RowKey> = samples
                    .iter()
                    .zip(&positions)
                    .map(|(&sample, &position)| RowKey { sample, position })
                    .collect();
                let settings = Dropout {
                    probability: 0.3,
                    key: RandomKey::new(seed, 9),
                    step: 4,
                };
                put("y", false, dropout(&x, &keys, &settings).unwrap());
            }
            &Self::Head {
                tokens,
                width,
                vocabulary,
                chunk_rows,
            } => {
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
                let loss =
                    head_cross_entropy_backward(&hidden, &head, scored, scale, gradients).unwrap();
                put("losses", false, loss.losses);
                put("d_hidden", true, d_hidden);
                put("d_weight", true, d_weight);
                let loss = head_cross_entropy_forward(&hidden, &head, scored).unwrap();
                put("losses of the forward pass", false, loss.losses);
            }
            &Self::AdamW { len } => {
                let [mut param, grad, mut exp_avg] = [(); 3].map(|()| numbers.wide(&[len]));
                let squares: Vec<f32> = numbers.values(len).iter().map(|v| v * v).collect();
                let mut exp_avg_sq = tensor(device, &[len], &squares, DType::F32);
                let mut copy = Tensor::zeros(device, &[len], dtype).unwrap();
                let step = AdamW {
                    weight_decay: 0.1,
                    grad_scale: 0.5,
                    ..AdamW::new(1e-2, 7)
                };
                let state = (&mut exp_avg, &mut exp_avg_sq);
                adamw_step(&mut param, &grad, state.0, state.1, Some(&mut copy), &step).unwrap();
                put("param", true, param);
                put("exp_avg", true, exp_avg);
                put("exp_avg_sq", true, exp_avg_sq);
                put("copy", false, copy);
            }
        }
        outputs
    }
}

impl Attention {
    pub(crate) fn offsets(&self) -> Vec<usize> {
        let ends = self.segments.iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    pub(crate) fn segments(&self) -> Segments {
        let offsets = self.offsets();
        if self.shared_prefix {
            Segments::with_shared_prefix(&offsets).unwrap()
        } else {
            Segments::new(&offsets).unwrap()
        }
    }

    pub(crate) fn config(&self) -> AttentionConfig {
        if self.causal {
            AttentionConfig::causal(self.head_dim).with_sliding_window(self.window)
        } else {
            AttentionConfig::bidirectional(self.head_dim)
        }
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

/// A size, or a smaller one where Miri interprets every instruction.
pub(crate) fn at_most(size: usize) -> usize {
    if cfg!(miri) { size.min(34) } else { size }
}

/// Sizes with a liking for the edges of vectors and blocks.
fn size(most: usize) -> impl Strategy<Value = usize> {
    let most = at_most(most);
    let edges: Vec<usize> = [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 129]
        .into_iter()
        .filter(|s| *s <= most)
        .collect();
    prop_oneof![proptest::sample::select(edges), 1..=most]
}

fn lengths() -> impl Strategy<Value = usize> {
    if cfg!(miri) {
        return prop_oneof![Just(0), 1..10usize, 1..34usize];
    }
    prop_oneof![Just(0), 1..20usize, 60..140usize]
}

fn attention() -> impl Strategy<Value = Case> {
    let segments = proptest::collection::vec(lengths(), 1..5);
    let heads = (1..4usize, prop_oneof![Just(1usize), Just(3), Just(7)]);
    let head_dim = proptest::sample::select(vec![16usize, 20, 32, 64, 80, 128, 256]);
    let window = proptest::option::of(1..100usize);
    (
        segments,
        any::<bool>(),
        heads,
        head_dim,
        any::<bool>(),
        window,
    )
        .prop_map(
            |(segments, shared_prefix, (kv_heads, group), head_dim, causal, window)| {
                Case::Attention(Attention {
                    segments,
                    shared_prefix,
                    kv_heads,
                    group,
                    head_dim,
                    causal,
                    window: window.filter(|_| causal),
                })
            },
        )
}

/// Any case of moderate size.
pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    let matrix = || (prop_oneof![Just(0usize), size(40)], size(300));
    prop_oneof![
        (0..30usize, size(40), size(130)).prop_map(|(tokens, vocabulary, width)| {
            Case::Embedding {
                tokens,
                vocabulary,
                width,
            }
        }),
        matrix().prop_map(|(rows, width)| Case::RmsNorm { rows, width }),
        matrix().prop_map(|(rows, width)| Case::LayerNorm { rows, width }),
        (0..20usize, 1..5usize, size(64)).prop_map(|(tokens, heads, pairs)| {
            Case::Rope {
                tokens,
                heads,
                pairs,
            }
        }),
        attention(),
        attention(),
        matrix().prop_map(|(rows, width)| Case::Swiglu { rows, width }),
        (matrix(), any::<bool>()).prop_map(|((rows, width), exact)| {
            let kind = if exact {
                GeluKind::Exact
            } else {
                GeluKind::Tanh
            };
            Case::Gelu { rows, width, kind }
        }),
        matrix().prop_map(|(rows, width)| Case::Elementwise { rows, width }),
        (0..20usize, size(200)).prop_map(|(rows, width)| Case::Dropout { rows, width }),
        (1..30usize, size(130), size(300), 1..20usize).prop_map(
            |(tokens, width, vocabulary, chunk_rows)| {
                Case::Head {
                    tokens,
                    width,
                    vocabulary,
                    chunk_rows,
                }
            }
        ),
        size(5000).prop_map(|len| Case::AdamW { len }),
    ]
}
