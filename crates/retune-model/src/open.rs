//! A model from its folder.

use std::collections::BTreeMap;
use std::path::Path;

use retune_compute::ops::{AttentionConfig, FrozenWeight, Packing};
use retune_compute::{DType, Device, RandomKey, Tensor, random_uniform};

use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::layers::{Attention, Block, Linear, Lora, Matrix, Mlp, RmsNorm};
use crate::lora_config::{LoraConfig, TargetModules};
use crate::parameter::{Parameter, Vector};
use crate::pattern::name_matches;
use crate::weights::Weights;

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Tuning {
    /// Nothing.
    Frozen,
    /// Low-rank terms beside frozen weights.
    Lora(LoraConfig),
    /// Everything but tensors whose names one of the patterns matches
    /// ([`name_matches`]).
    Full {
        /// The patterns.
        freeze: Vec<String>,
    },
}

impl Tuning {
    /// Everything, nothing frozen.
    pub const FULL: Self = Self::Full { freeze: Vec::new() };

    /// What is trained of a model, by name.
    pub fn trained(&self, model: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::Frozen => BTreeMap::new(),
            Self::Full { .. } => {
                let mut tensors = model.tensors();
                tensors.retain(|name, _| self.trains(name));
                tensors
            }
            Self::Lora(config) => {
                let layers = linears(model).filter(|layer| self.adapts(&layer.name));
                let factors = layers.flat_map(
                    |LinearShape {
                         name, out, input, ..
                     }| {
                        [
                            (lora_name(&name, "lora_A"), vec![config.r, input]),
                            (lora_name(&name, "lora_B"), vec![out, config.r]),
                        ]
                    },
                );
                factors.collect()
            }
        }
    }

    /// The names and patterns that mean nothing of a model.
    pub fn unmatched(&self, model: &ModelConfig) -> Vec<String> {
        let tensors = model.tensors();
        let nothing = |pattern: &&String| match self {
            Self::Frozen => false,
            Self::Full { .. } => !tensors.keys().any(|name| name_matches(pattern, name)),
            Self::Lora(_) => {
                let one = TargetModules::Name((*pattern).clone());
                !linears(model).any(|layer| one.contains(&layer.name))
            }
        };
        let patterns: &[String] = match self {
            Self::Frozen => &[],
            Self::Full { freeze } => freeze,
            Self::Lora(config) => match &config.target_modules {
                TargetModules::Name(name) => std::slice::from_ref(name),
                TargetModules::Names(names) => names,
            },
        };
        patterns.iter().filter(nothing).cloned().collect()
    }

    /// Whether this tensor of the model itself is trained.
    fn trains(&self, name: &str) -> bool {
        match self {
            Self::Full { freeze } => !freeze.iter().any(|pattern| name_matches(pattern, name)),
            _ => false,
        }
    }

    /// Whether this linear layer gets LoRA.
    fn adapts(&self, layer: &str) -> bool {
        match self {
            Self::Lora(config) => config.target_modules.contains(layer),
            _ => false,
        }
    }
}

/// PEFT's name of a layer's `lora_A` or `lora_B`.
pub(crate) fn lora_name(layer: &str, part: &str) -> String {
    format!("base_model.model.{layer}.{part}.weight")
}

/// How a model is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenOptions {
    /// The type of products' factors.
    pub dtype: DType,
    /// How frozen weights are kept.
    pub packing: Packing,
    /// What is trained.
    pub tuning: Tuning,
    /// What LoRA's initial values and dropout are drawn from.
    pub seed: u64,
}

/// How the embedding and the head are kept where layers are kept as `layers`: not
/// packed twice. The vocabulary makes them large, few rows of a step are scored,
/// and the second copy costs memory and time to open (docs/LOG.md has the figures).
pub fn head_packing(layers: Packing) -> Packing {
    match layers {
        Packing::Both => Packing::Forward,
        other => other,
    }
}

/// What random numbers are for: LoRA's initial values, its dropout, the weights
/// of a new model.
const INIT: u64 = 1 << 32;
const DROPOUT: u64 = 2 << 32;
pub(crate) const WEIGHTS: u64 = 3 << 32;

impl Decoder {
    /// Opens a Hugging Face folder: `config.json` and safetensors.
    ///
    /// # Errors
    /// `File`, `Config`; `Tensors` with all that is missing, surplus or
    /// misshapen; `Compute` if memory runs out.
    pub fn open(folder: &Path, device: &Device, options: &OpenOptions) -> Result<Self> {
        let config = ModelConfig::open(folder)?;
        let weights = Weights::open(folder)?;
        weights.check(&shapes(&config), |name| ignored(&config, name))?;
        Builder {
            config: &config,
            weights: &weights,
            device,
            options,
            linears: 0,
        }
        .decoder()
    }

    /// Puts an adapter's values, by PEFT's names, in the place of LoRA's.
    ///
    /// # Errors
    /// `Tensors` with all that does not fit; `File` if they cannot be read, or one is no
    /// number.
    pub fn load_adapter(&mut self, weights: &Weights) -> Result<()> {
        let dtype = self.dtype;
        let mut parameters = self.parameters();
        parameters.retain(|parameter| parameter.name.contains(".lora_"));
        let wanted: BTreeMap<String, Vec<usize>> = parameters
            .iter()
            .map(|parameter| (parameter.name.clone(), parameter.value.shape().to_vec()))
            .collect();
        weights.check_adapter(&wanted)?;
        for parameter in parameters {
            let device = parameter.value.device().clone();
            let value = weights.finite(&device, &parameter.name, DType::F32)?;
            *parameter = Parameter::new(parameter.name.clone(), value, dtype)?;
        }
        Ok(())
    }
}

/// A head that stands in the file though it is the embedding, and buffers that
/// older files hold.
fn ignored(config: &ModelConfig, name: &str) -> bool {
    (config.tie_word_embeddings && name == "lm_head.weight")
        || name.ends_with("rotary_emb.inv_freq")
}

impl ModelConfig {
    /// The tensors in the model's file, and their shapes.
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        shapes(self)
    }

    /// Numbers in the model's file.
    pub fn num_parameters(&self) -> u64 {
        let shapes = shapes(self);
        let numbers = shapes.values().map(|shape| shape.iter().product::<usize>());
        numbers.sum::<usize>() as u64
    }
}

/// The tensors that a configuration asks for.
pub(crate) fn shapes(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let hidden = config.hidden_size;
    let mut add = |name: String, shape: &[usize]| {
        shapes.insert(name, shape.to_vec());
    };
    add(
        "model.embed_tokens.weight".into(),
        &[config.vocab_size, hidden],
    );
    add("model.norm.weight".into(), &[hidden]);
    if !config.tie_word_embeddings {
        add("lm_head.weight".into(), &[config.vocab_size, hidden]);
    }
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        add(name("input_layernorm.weight"), &[hidden]);
        add(name("post_attention_layernorm.weight"), &[hidden]);
        if config.qk_norm {
            add(name("self_attn.q_norm.weight"), &[config.head_dim]);
            add(name("self_attn.k_norm.weight"), &[config.head_dim]);
        }
    }
    for LinearShape {
        name,
        out,
        input,
        bias,
    } in linears(config)
    {
        add(format!("{name}.weight"), &[out, input]);
        if bias {
            add(format!("{name}.bias"), &[out]);
        }
    }
    shapes
}

/// A linear layer of a configuration.
pub(crate) struct LinearShape {
    pub(crate) name: String,
    pub(crate) out: usize,
    pub(crate) input: usize,
    pub(crate) bias: bool,
}

/// The linear layers that a configuration asks for, in the order in which they are
/// numbered.
pub(crate) fn linears(config: &ModelConfig) -> impl Iterator<Item = LinearShape> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let q = config.num_attention_heads * config.head_dim;
    let kv = config.num_key_value_heads * config.head_dim;
    let of_layer = [
        ("self_attn.q_proj", q, hidden, config.qkv_bias),
        ("self_attn.k_proj", kv, hidden, config.qkv_bias),
        ("self_attn.v_proj", kv, hidden, config.qkv_bias),
        ("self_attn.o_proj", hidden, q, config.o_bias),
        ("mlp.gate_proj", inner, hidden, config.mlp_bias),
        ("mlp.up_proj", inner, hidden, config.mlp_bias),
        ("mlp.down_proj", hidden, inner, config.mlp_bias),
    ];
    (0..config.num_hidden_layers).flat_map(move |layer| {
        of_layer.map(|(part, out, input, bias)| LinearShape {
            name: format!("model.layers.{layer}.{part}"),
            out,
            input,
            bias,
        })
    })
}

struct Builder<'a> {
    config: &'a ModelConfig,
    weights: &'a Weights,
    device: &'a Device,
    options: &'a OpenOptions,
    /// Linear layers so far: each has random numbers of its own.
    linears: u64,
}

impl Builder<'_> {
    fn decoder(mut self) -> Result<Decoder> {
        let embed_tokens = self.matrix(
            "model.embed_tokens.weight",
            head_packing(self.options.packing),
        )?;
        let layers = 0..self.config.num_hidden_layers;
        let blocks: Result<Vec<Block>> = layers.map(|layer| self.block(layer)).collect();
        let lm_head = match self.config.tie_word_embeddings {
            true => None,
            false => Some(self.matrix("lm_head.weight", head_packing(self.options.packing))?),
        };
        Ok(Decoder {
            blocks: blocks?,
            norm: self.norm("model.norm.weight")?,
            config: self.config.clone(),
            dtype: self.options.dtype,
            embed_tokens,
            lm_head,
        })
    }

    fn block(&mut self, layer: usize) -> Result<Block> {
        let config = self.config;
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let window = config.sliding_window.get(layer).copied().flatten();
        let qk_norm = match config.qk_norm {
            true => Some([
                self.norm(&name("self_attn.q_norm.weight"))?,
                self.norm(&name("self_attn.k_norm.weight"))?,
            ]),
            false => None,
        };
        Ok(Block {
            input_layernorm: self.norm(&name("input_layernorm.weight"))?,
            self_attn: Attention {
                q_proj: self.linear(&name("self_attn.q_proj"), config.qkv_bias)?,
                k_proj: self.linear(&name("self_attn.k_proj"), config.qkv_bias)?,
                v_proj: self.linear(&name("self_attn.v_proj"), config.qkv_bias)?,
                o_proj: self.linear(&name("self_attn.o_proj"), config.o_bias)?,
                qk_norm,
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
                config: AttentionConfig::causal(config.head_dim).with_sliding_window(window),
            },
            post_attention_layernorm: self.norm(&name("post_attention_layernorm.weight"))?,
            mlp: Mlp {
                gate_proj: self.linear(&name("mlp.gate_proj"), config.mlp_bias)?,
                up_proj: self.linear(&name("mlp.up_proj"), config.mlp_bias)?,
                down_proj: self.linear(&name("mlp.down_proj"), config.mlp_bias)?,
                intermediate_size: config.intermediate_size,
            },
        })
    }

    fn trains(&self, name: &str) -> bool {
        self.options.tuning.trains(name)
    }

    fn matrix(&self, name: &str, packing: Packing) -> Result<Matrix> {
        let dtype = self.options.dtype;
        if self.trains(name) {
            let value = self.weights.tensor(self.device, name, DType::F32)?;
            return Ok(Matrix::Trained(Parameter::new(
                name.to_owned(),
                value,
                dtype,
            )?));
        }
        let value = self.weights.tensor(self.device, name, dtype)?;
        Ok(Matrix::Frozen(FrozenWeight::new(&value, packing)?))
    }

    fn vector(&self, name: &str) -> Result<Vector> {
        let value = self.weights.tensor(self.device, name, DType::F32)?;
        Ok(match self.trains(name) {
            // Norms and biases are used in f32.
            true => Vector::Trained(Parameter::new(name.to_owned(), value, DType::F32)?),
            false => Vector::Frozen(value),
        })
    }

    fn norm(&self, name: &str) -> Result<RmsNorm> {
        Ok(RmsNorm {
            weight: self.vector(name)?,
            eps: self.config.rms_norm_eps,
        })
    }

    fn linear(&mut self, name: &str, bias: bool) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), self.options.packing)?;
        let bias = match bias {
            true => Some(self.vector(&format!("{name}.bias"))?),
            false => None,
        };
        let number = self.linears as usize;
        self.linears += 1;
        let lora = match &self.options.tuning {
            Tuning::Lora(config) if self.options.tuning.adapts(name) => {
                Some(self.lora(name, config)?)
            }
            _ => None,
        };
        Ok(Linear {
            number,
            weight,
            bias,
            lora,
        })
    }

    /// A as PEFT draws it (Kaiming's uniform for `a = √5`, a bound of one over
    /// the root of the inputs), B zero.
    fn lora(&self, name: &str, config: &LoraConfig) -> Result<Lora> {
        let (dtype, seed) = (self.options.dtype, self.options.seed);
        let shape = self.weights.shape(&format!("{name}.weight"));
        let &[out, input] = shape.unwrap_or_default() else {
            unreachable!("shapes were checked");
        };
        let bound = 1.0 / (input as f32).sqrt();
        let key = RandomKey::new(seed, INIT + self.linears);
        let a = random_uniform::<f32>(self.device, &[config.r, input], key, -bound, bound)?;
        let b = Tensor::zeros(self.device, &[out, config.r], DType::F32)?;
        let name = |part: &str| lora_name(name, part);
        Ok(Lora {
            a: Parameter::new(name("lora_A"), a, dtype)?,
            b: Parameter::new(name("lora_B"), b, dtype)?,
            scale: config.scale(),
            dropout: config.lora_dropout,
            key: RandomKey::new(seed, DROPOUT + self.linears),
        })
    }
}
