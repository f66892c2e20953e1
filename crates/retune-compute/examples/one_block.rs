//! Trains a language model of one transformer block on a few sentences, every
//! forward and backward call written out, and lets it recite them.
//!
//! ```text
//! cargo run --release --example one_block
//! ```

use std::time::Instant;

use retune_compute::ops::*;
use retune_compute::{DType::F32, Device, RandomKey, Result, Tensor, random_normal};

/// A sample is packed behind the other; each is a segment of its own.
const SENTENCES: [&str; 6] = [
    "what is packed needs no padding.",
    "a frozen weight gets no gradient.",
    "gradients add up until the step.",
    "every forward has its backward.",
    "the same seed gives the same bytes.",
    "a loss is divided by scored tokens.",
];
const STEPS: u32 = 150;

const BYTES: usize = 128;
const HIDDEN: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;
const FEED_FORWARD: usize = 160;
const EPS: f32 = 1e-6;

/// A parameter with its gradient and the optimizer's two moments.
struct Param {
    value: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
}

impl Param {
    fn new(value: Tensor) -> Result<Self> {
        let zeros = || Tensor::zeros(value.device(), value.shape(), F32);
        let (grad, exp_avg, exp_avg_sq) = (zeros()?, zeros()?, zeros()?);
        Ok(Self {
            value,
            grad,
            exp_avg,
            exp_avg_sq,
        })
    }

    /// A weight of `[out, input]`, or an embedding of as many rows.
    fn random(device: &Device, purpose: u64, out: usize, input: usize) -> Result<Self> {
        let std = (1.0 / input as f32).sqrt();
        let key = RandomKey::new(42, purpose);
        Self::new(random_normal::<f32>(device, &[out, input], key, 0.0, std)?)
    }

    fn ones(device: &Device, len: usize) -> Result<Self> {
        Self::new(Tensor::from_slice(device, &[len], &vec![1.0f32; len])?)
    }

    fn step(&mut self, adamw: &AdamW) -> Result<()> {
        adamw_step(
            &mut self.value,
            &self.grad,
            &mut self.exp_avg,
            &mut self.exp_avg_sq,
            None,
            adamw,
        )?;
        self.grad.fill_zero();
        Ok(())
    }

    /// `y = x · valueᵀ`.
    fn linear(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = Tensor::empty(x.device(), &[x.shape()[0], self.value.shape()[0]], F32)?;
        linear_forward(x, &self.value, Epilogue::default(), &mut y)?;
        Ok(y)
    }

    /// Adds to `d_x` and to the weight's own gradient.
    fn linear_backward(&mut self, d_y: &Tensor, x: &Tensor, d_x: &mut Tensor) -> Result<()> {
        linear_backward(d_y, &self.value, Epilogue::default().accumulate(), d_x)?;
        matmul_tn(d_y, x, Epilogue::default().accumulate(), &mut self.grad)
    }
}

/// Embedding, one block, a last norm; the head is the embedding (tied).
struct Model {
    embed_tokens: Param,
    input_layernorm: Param,
    q_proj: Param,
    k_proj: Param,
    v_proj: Param,
    o_proj: Param,
    post_attention_layernorm: Param,
    gate_proj: Param,
    up_proj: Param,
    down_proj: Param,
    norm: Param,
}

/// What the backward pass wants of the forward one.
struct Saved {
    angles: RopeAngles,
    embedded: Tensor,
    input: RmsNormOutput,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention: AttentionOutput,
    after_attention: Tensor,
    post: RmsNormOutput,
    gate: Tensor,
    up: Tensor,
    activated: Tensor,
    after_mlp: Tensor,
    last: RmsNormOutput,
}

impl Model {
    fn new(device: &Device) -> Result<Self> {
        let random = |purpose, out, input| Param::random(device, purpose, out, input);
        let kv = KV_HEADS * HEAD_DIM;
        Ok(Self {
            embed_tokens: random(0, BYTES, HIDDEN)?,
            input_layernorm: Param::ones(device, HIDDEN)?,
            q_proj: random(1, HEADS * HEAD_DIM, HIDDEN)?,
            k_proj: random(2, kv, HIDDEN)?,
            v_proj: random(3, kv, HIDDEN)?,
            o_proj: random(4, HIDDEN, HEADS * HEAD_DIM)?,
            post_attention_layernorm: Param::ones(device, HIDDEN)?,
            gate_proj: random(5, FEED_FORWARD, HIDDEN)?,
            up_proj: random(6, FEED_FORWARD, HIDDEN)?,
            down_proj: random(7, HIDDEN, FEED_FORWARD)?,
            norm: Param::ones(device, HIDDEN)?,
        })
    }

    fn params(&mut self) -> [&mut Param; 11] {
        [
            &mut self.embed_tokens,
            &mut self.input_layernorm,
            &mut self.q_proj,
            &mut self.k_proj,
            &mut self.v_proj,
            &mut self.o_proj,
            &mut self.post_attention_layernorm,
            &mut self.gate_proj,
            &mut self.up_proj,
            &mut self.down_proj,
            &mut self.norm,
        ]
    }

    fn forward(&self, ids: &[u32], segments: &Segments) -> Result<Saved> {
        let tokens = ids.len();
        let config = RopeConfig {
            head_dim: HEAD_DIM,
            rope_theta: 1e4,
            scaling: RopeScaling::Default,
        };
        let embedded = embedding_forward(&self.embed_tokens.value, ids, F32)?;
        let angles = RopeAngles::new(embedded.device(), &config, &segments.positions())?;

        let input = rms_norm_forward(&embedded, &self.input_layernorm.value, EPS, F32)?;
        let heads = |x: Tensor, heads| x.reshape(&[tokens, heads, HEAD_DIM]);
        let q = rope_forward(&heads(self.q_proj.linear(&input.y)?, HEADS)?, &angles, F32)?;
        let k = rope_forward(
            &heads(self.k_proj.linear(&input.y)?, KV_HEADS)?,
            &angles,
            F32,
        )?;
        let v = heads(self.v_proj.linear(&input.y)?, KV_HEADS)?;
        let causal = AttentionConfig::causal(HEAD_DIM);
        let mut attention = attention_forward(&q, &k, &v, segments, &causal)?;
        attention.out = attention.out.reshape(&[tokens, HEADS * HEAD_DIM])?;
        let mut after_attention = self.o_proj.linear(&attention.out)?;
        add_assign(&mut after_attention, &embedded)?;

        let weight = &self.post_attention_layernorm.value;
        let post = rms_norm_forward(&after_attention, weight, EPS, F32)?;
        let gate = self.gate_proj.linear(&post.y)?;
        let up = self.up_proj.linear(&post.y)?;
        let activated = swiglu_forward(&gate, &up, F32)?;
        let mut after_mlp = self.down_proj.linear(&activated)?;
        add_assign(&mut after_mlp, &after_attention)?;

        let last = rms_norm_forward(&after_mlp, &self.norm.value, EPS, F32)?;
        Ok(Saved {
            angles,
            embedded,
            input,
            q,
            k,
            v,
            attention,
            after_attention,
            post,
            gate,
            up,
            activated,
            after_mlp,
            last,
        })
    }

    /// The mean loss of the scored rows. Its gradients are added to all
    /// parameters.
    fn loss_and_backward(&mut self, batch: &Batch) -> Result<f64> {
        let saved = self.forward(&batch.ids, &batch.segments)?;
        let (device, tokens) = (saved.embedded.device(), batch.ids.len());
        let zeros = |width| Tensor::zeros(device, &[tokens, width], F32);
        let scored = Scored {
            rows: &batch.rows,
            targets: &batch.targets,
            chunk_rows: 128,
        };
        let share = 1.0 / batch.rows.len() as f32;

        let mut d_last = zeros(HIDDEN)?;
        let wanted = HeadGradients {
            d_hidden: Some(&mut d_last),
            d_weight: Some(&mut self.embed_tokens.grad),
        };
        let head = &self.embed_tokens.value;
        let loss = head_cross_entropy_backward(&saved.last.y, head, scored, share, wanted)?;

        // From here on, `d_x` is the gradient of the residual stream.
        let mut d_x = zeros(HIDDEN)?;
        norm_backward(
            &mut self.norm,
            &d_last,
            &saved.after_mlp,
            &saved.last.rstd,
            &mut d_x,
        )?;

        let mut d_activated = zeros(FEED_FORWARD)?;
        self.down_proj
            .linear_backward(&d_x, &saved.activated, &mut d_activated)?;
        let (d_gate, d_up) = swiglu_backward(&d_activated, &saved.gate, &saved.up, F32)?;
        let mut d_post = zeros(HIDDEN)?;
        self.gate_proj
            .linear_backward(&d_gate, &saved.post.y, &mut d_post)?;
        self.up_proj
            .linear_backward(&d_up, &saved.post.y, &mut d_post)?;
        let (x, rstd) = (&saved.after_attention, &saved.post.rstd);
        norm_backward(
            &mut self.post_attention_layernorm,
            &d_post,
            x,
            rstd,
            &mut d_x,
        )?;

        let mut d_attention = zeros(HEADS * HEAD_DIM)?;
        self.o_proj
            .linear_backward(&d_x, &saved.attention.out, &mut d_attention)?;
        let shape = [tokens, HEADS, HEAD_DIM];
        let output = AttentionOutput {
            out: saved.attention.out.reshape(&shape)?,
            logsumexp: saved.attention.logsumexp,
        };
        let d_attention = d_attention.reshape(&shape)?;
        let causal = AttentionConfig::causal(HEAD_DIM);
        let qkv = [&saved.q, &saved.k, &saved.v];
        let (d_q, d_k, d_v) =
            attention_backward(&d_attention, qkv, &output, &batch.segments, &causal)?;
        let mut d_input = zeros(HIDDEN)?;
        let flat = |x: Tensor| {
            let width = x.len() / tokens;
            x.reshape(&[tokens, width])
        };
        let d_q = flat(rope_backward(&d_q, &saved.angles, F32)?)?;
        let d_k = flat(rope_backward(&d_k, &saved.angles, F32)?)?;
        self.q_proj
            .linear_backward(&d_q, &saved.input.y, &mut d_input)?;
        self.k_proj
            .linear_backward(&d_k, &saved.input.y, &mut d_input)?;
        self.v_proj
            .linear_backward(&flat(d_v)?, &saved.input.y, &mut d_input)?;
        let (x, rstd) = (&saved.embedded, &saved.input.rstd);
        norm_backward(&mut self.input_layernorm, &d_input, x, rstd, &mut d_x)?;

        embedding_backward(&d_x, &batch.ids, &mut self.embed_tokens.grad)?;
        Ok(sum(&loss.losses) * f64::from(share))
    }

    /// Continues `start` with the most likely bytes until a line ends.
    fn recite(&self, start: &str) -> Result<String> {
        let mut text = start.to_owned();
        while text.len() < 60 && !text.ends_with('.') {
            let ids: Vec<u32> = text.bytes().map(u32::from).collect();
            let saved = self.forward(&ids, &Segments::single(ids.len()))?;
            let last = gather_rows(&saved.last.y, &[ids.len() as u32 - 1])?;
            let logits = self.embed_tokens.linear(&last)?.to_f32_vec();
            let best = (0..BYTES).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
            text.push(best.expect("there are logits") as u8 as char);
        }
        Ok(text)
    }
}

/// Adds to `d_x` and to the weight's own gradient.
fn norm_backward(
    weight: &mut Param,
    d_y: &Tensor,
    x: &Tensor,
    rstd: &Tensor,
    d_x: &mut Tensor,
) -> Result<()> {
    let wanted = NormGradients {
        d_weight: Some(&mut weight.grad),
        d_bias: None,
    };
    rms_norm_backward(d_y, x, &weight.value, rstd, d_x, wanted)
}

/// All sentences, packed end to end.
struct Batch {
    ids: Vec<u32>,
    segments: Segments,
    /// Every byte of a sentence but its last is scored on the next one.
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl Batch {
    fn new(sentences: &[&str]) -> Result<Self> {
        let (mut ids, mut offsets) = (Vec::new(), vec![0]);
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for sentence in sentences {
            for pair in sentence.as_bytes().windows(2) {
                rows.push(ids.len() as u32);
                targets.push(u32::from(pair[1]));
                ids.push(u32::from(pair[0]));
            }
            ids.extend(sentence.bytes().last().map(u32::from));
            offsets.push(ids.len());
        }
        Ok(Self {
            ids,
            segments: Segments::new(&offsets)?,
            rows,
            targets,
        })
    }
}

fn main() -> Result<()> {
    let device = Device::cpu();
    let batch = Batch::new(&SENTENCES)?;
    let mut model = Model::new(&device)?;
    println!(
        "{} · {} tokens a step, no padding",
        device.name(),
        batch.ids.len()
    );
    let start = Instant::now();
    for step in 1..=STEPS {
        let loss = model.loss_and_backward(&batch)?;
        let adamw = AdamW::new(3e-3, step);
        for param in model.params() {
            param.step(&adamw)?;
        }
        if step == 1 || step % 25 == 0 {
            println!("step {step:>3}   loss {loss:.4}");
        }
    }
    let rate = batch.ids.len() as f64 * STEPS as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} tokens/s\n");
    for sentence in SENTENCES {
        let start = &sentence[..9];
        println!("{start:?} → {:?}", model.recite(start)?);
    }
    Ok(())
}
