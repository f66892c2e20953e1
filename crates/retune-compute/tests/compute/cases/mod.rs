//! Calls of every operation with made-up arguments of a given shape, for the
//! tests that compare devices with one another.

mod run;

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
