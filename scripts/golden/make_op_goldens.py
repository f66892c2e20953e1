"""Reference numbers for the ops of the retune-compute crate, made with PyTorch.

    pip install torch transformers safetensors numpy
    python scripts/golden/make_op_goldens.py [--out DIR]

Writes one small safetensors file per op family into DIR (by default
crates/retune-compute/tests/goldens, found from this script's own place).
README.md beside this script lists every file, key, shape and scalar.

Everything runs in f32 on one CPU thread. Each case draws from its own
torch.Generator with a fixed seed. Gradients come from autograd, started from a
random upstream gradient, and results come from PyTorch's own functions and
transformers' Llama rotary code. Tensors are named `case.tensor`; scalars
are strings in the file's metadata, named `case.scalar`.
"""

import argparse
import json
import math
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "crates/retune-compute/tests/goldens"


class Family:
    """The tensors and scalars of one file."""

    def __init__(self):
        self.tensors, self.scalars = {}, {}

    def add(self, case, tensors, **scalars):
        for name, tensor in tensors.items():
            self.tensors[f"{case}.{name}"] = tensor.detach().clone().contiguous()
        for name, value in scalars.items():
            self.scalars[f"{case}.{name}"] = str(value)

    def write(self, path):
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        path.write_bytes(sorted_header(save(self.tensors, metadata=self.scalars | versions)))


def sorted_header(data):
    """safetensors orders its metadata at random; sort it, so that a rerun gives the same bytes."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def randn(seed):
    """A source of normal tensors with its own generator."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def int32(values):
    return torch.tensor(values, dtype=torch.int32)


def backward(output, d_output, **inputs):
    """Gradients of the inputs, named d_<input>."""
    grads = torch.autograd.grad(output, list(inputs.values()), d_output)
    return {f"d_{name}": grad for name, grad in zip(inputs, grads)}


def matmul(family):
    for seed, case, (m, k, n) in [(1, "small", (5, 7, 3)), (2, "odd", (13, 67, 70))]:
        rand = randn(seed)
        a, b, bias, c = rand(m, k), rand(k, n), rand(n), rand(m, n)
        out = torch.matmul(a, b)
        tensors = dict(a=a, b=b, bias=bias, c=c, out=out, out_bias_acc=c + 0.5 * out + bias)
        family.add(case, tensors, alpha=0.5)


def embedding(family):
    rand = randn(10)
    table = rand(11, 6).requires_grad_()
    ids = int32([3, 0, 7, 3, 10, 3, 0, 5, 1])
    y = F.embedding(ids, table)
    d_y = rand(9, 6)
    family.add("base", dict(table=table, ids=ids, y=y, d_y=d_y, **backward(y, d_y, table=table)))


NORM_CASES = [("odd", (7, 33), 1e-6), ("wide", (3, 130), 1e-5)]


def rms_norm(family):
    for seed, (case, (rows, width), eps) in enumerate(NORM_CASES, 20):
        rand = randn(seed)
        x = (1.5 * rand(rows, width) + 0.5).requires_grad_()
        weight = (1 + 0.3 * rand(width)).requires_grad_()
        y = F.rms_norm(x, (width,), weight, eps)
        d_y = rand(rows, width)
        grads = backward(y, d_y, x=x, weight=weight)
        family.add(case, dict(x=x, weight=weight, y=y, d_y=d_y, **grads), eps=eps)


def layer_norm(family):
    for seed, (case, (rows, width), eps) in enumerate(NORM_CASES, 30):
        rand = randn(seed)
        x = (1.5 * rand(rows, width) + 0.5).requires_grad_()
        weight = (1 + 0.3 * rand(width)).requires_grad_()
        bias = (0.3 * rand(width)).requires_grad_()
        y = F.layer_norm(x, (width,), weight, bias, eps)
        d_y = rand(rows, width)
        grads = backward(y, d_y, x=x, weight=weight, bias=bias)
        family.add(case, dict(x=x, weight=weight, bias=bias, y=y, d_y=d_y, **grads), eps=eps)


LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
YARN = dict(factor=4.0, original_max_position_embeddings=64)
YARN_DEFAULT = YARN | dict(beta_fast=32.0, beta_slow=1.0)
YARN_MSCALE = YARN | dict(beta_fast=2.0, beta_slow=0.5, attention_factor=1.1)
ROPE_CASES = [
    # case, max_position_embeddings, rope parameters
    ("default", 256, dict(rope_type="default", rope_theta=10000.0)),
    ("linear", 256, dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
    ("llama3", 512, dict(rope_type="llama3", rope_theta=500000.0, **LLAMA3)),
    ("yarn", 256, dict(rope_type="yarn", rope_theta=10000.0, **YARN_DEFAULT)),
    ("yarn_mscale", 256, dict(rope_type="yarn", rope_theta=10000.0, **YARN_MSCALE)),
]


def rope(family):
    heads, dim = 2, 16
    positions = int32([0, 1, 2, 3, 17, 63, 64, 130, 199])
    for seed, (case, max_positions, parameters) in enumerate(ROPE_CASES, 40):
        config = LlamaConfig(
            hidden_size=heads * dim,
            num_attention_heads=heads,
            max_position_embeddings=max_positions,
            rope_parameters=dict(parameters),
        )
        rotary = LlamaRotaryEmbedding(config)  # takes ROPE_INIT_FUNCTIONS[rope_type], or its own default
        check_rope_init(config, rotary)
        rand = randn(seed)
        x = rand(len(positions), heads, dim).requires_grad_()
        d_y = rand(len(positions), heads, dim)
        cos, sin = rotary(x, positions[None])
        y, _ = apply_rotary_pos_emb(x[None], x[None], cos, sin, unsqueeze_dim=2)
        y = y[0]
        tensors = dict(positions=positions, x=x, y=y, d_y=d_y, **backward(y, d_y, x=x))
        half = dict(cos=cos[0, :, : dim // 2], sin=sin[0, :, : dim // 2], inv_freq=rotary.inv_freq)
        scalars = dict(head_dim=dim, max_position_embeddings=max_positions, attention_scaling=rotary.attention_scaling)
        family.add(case, tensors | half, **(parameters | scalars))


def check_rope_init(config, rotary):
    init = ROPE_INIT_FUNCTIONS.get(rotary.rope_type, LlamaRotaryEmbedding.compute_default_rope_parameters)
    inv_freq, scaling = init(config)
    assert torch.equal(inv_freq, rotary.inv_freq) and scaling == rotary.attention_scaling


def segment_of(offsets):
    """The segment each token is in."""
    lengths = torch.tensor(offsets).diff()
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


def attention_masks():
    """case -> (offsets, (H, KV, D), mask[i, j] = query i sees key j, scalars)."""

    def parts(offsets):
        segment, token = segment_of(offsets), torch.arange(offsets[-1])
        return segment, segment[:, None] == segment, token[:, None] - token

    short, window = [0, 5, 5, 12], 6
    segment, same, back = parts(short)
    masks = {
        "causal": (short, (4, 2, 16), same & (back >= 0), {}),
        "bidirectional": (short, (3, 3, 20), same, {}),
    }
    segment, same, back = parts([0, 21])
    masks["window"] = ([0, 21], (2, 1, 32), (back >= 0) & (back < window), dict(window=window))
    segment, same, back = parts([0, 4, 9, 16])
    mask = (same | (segment == 0)) & (back >= 0)
    masks["prefix"] = ([0, 4, 9, 16], (4, 1, 16), mask, {})
    return masks


def attention(family):
    for seed, (case, (offsets, shape, mask, scalars)) in enumerate(attention_masks().items(), 50):
        heads, kv_heads, dim = shape
        tokens, scale = offsets[-1], 1 / math.sqrt(dim)
        rand = randn(seed)
        q = rand(tokens, heads, dim).requires_grad_()
        k = rand(tokens, kv_heads, dim).requires_grad_()
        v = rand(tokens, kv_heads, dim).requires_grad_()
        d_out = rand(tokens, heads, dim)
        heads_first = [t.transpose(0, 1)[None] for t in (q, k, v)]
        with sdpa_kernel(SDPBackend.MATH):
            out = F.scaled_dot_product_attention(*heads_first, attn_mask=mask, scale=scale, enable_gqa=True)
        out = out[0].transpose(0, 1)
        k_of_head = k.repeat_interleave(heads // kv_heads, dim=1)
        scores = scale * torch.einsum("ihd,jhd->ihj", q, k_of_head)
        logsumexp = scores.masked_fill(~mask[:, None], -math.inf).logsumexp(-1)
        tensors = dict(offsets=int32(offsets), q=q, k=k, v=v, out=out, logsumexp=logsumexp, d_out=d_out)
        grads = backward(out, d_out, q=q, k=k, v=v)
        family.add(case, tensors | grads, heads=heads, kv_heads=kv_heads, head_dim=dim, scale=scale, **scalars)


def activation(family):
    rand = randn(60)
    gate, up = (2 * rand(5, 37)).requires_grad_(), rand(5, 37).requires_grad_()
    out, d_out = F.silu(gate) * up, rand(5, 37)
    grads = backward(out, d_out, gate=gate, up=up)
    family.add("swiglu", dict(gate=gate, up=up, out=out, d_out=d_out, **grads))

    for seed, case, approximate in [(61, "gelu_exact", "none"), (62, "gelu_tanh", "tanh")]:
        rand = randn(seed)
        x = 2 * rand(5, 37)
        x[0] = torch.linspace(-9, 9, 37)
        x.requires_grad_()
        y, d_y = F.gelu(x, approximate=approximate), rand(5, 37)
        family.add(case, dict(x=x, y=y, d_y=d_y, **backward(y, d_y, x=x)))


def cross_entropy(family):
    rand = randn(70)
    hidden = rand(6, 24).requires_grad_()
    weight = (0.5 * rand(97, 24)).requires_grad_()
    rows, targets = int32([0, 2, 3, 5]), int32([96, 0, 41, 7])
    logits = F.linear(hidden[rows], weight)
    nll = F.cross_entropy(logits, targets.long(), reduction="none")
    tensors = dict(hidden=hidden, weight=weight, rows=rows, targets=targets, nll=nll)
    grads = backward(nll.sum() / 4, None, hidden=hidden, weight=weight)
    family.add("base", tensors | grads | dict(predicted=logits.argmax(-1).int()), loss_divisor=4)


def adamw(family):
    steps, size = 3, 23
    options = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    rand = randn(80)
    param = rand(size).requires_grad_()
    tensors = dict(param=param.detach().clone(), grads=rand(steps, size))
    optimizer = torch.optim.AdamW([param], foreach=False, **options)
    after = []
    for grad in tensors["grads"]:
        param.grad = grad.clone()
        optimizer.step()
        after.append(param.detach().clone())
    state = optimizer.state[param]
    tensors |= dict(param_after=torch.stack(after), exp_avg=state["exp_avg"], exp_avg_sq=state["exp_avg_sq"])
    beta1, beta2 = options.pop("betas")
    family.add("base", tensors, beta1=beta1, beta2=beta2, **options)


def reductions(family):
    x = randn(90)(1003)
    total, l2 = x.double().sum(), torch.linalg.vector_norm(x.double())
    family.add("norms", dict(x=x, sum=total.float().reshape(1), l2=l2.float().reshape(1)))

    rand, max_norm = randn(91), 0.7
    a, b = rand(13), rand(7, 5)
    params = [torch.nn.Parameter(torch.zeros_like(t)) for t in (a, b)]
    for param, grad in zip(params, (a, b)):
        param.grad = grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
    clipped = dict(a_clipped=params[0].grad, b_clipped=params[1].grad)
    family.add("clip", dict(a=a, b=b, norm=norm.reshape(1), **clipped), max_norm=max_norm)


def bf16(family):
    rand = randn(100)
    a, b = rand(9, 50).bfloat16(), rand(21, 50).bfloat16()
    family.add("matmul", dict(a=a, b_nt=b, out=(a.double() @ b.double().T).float()))


FAMILIES = [
    matmul,
    embedding,
    rms_norm,
    layer_norm,
    rope,
    attention,
    activation,
    cross_entropy,
    adamw,
    reductions,
    bf16,
]


def main():
    parser = argparse.ArgumentParser(description="Write the op goldens.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write into")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out.mkdir(parents=True, exist_ok=True)
    for make in FAMILIES:
        family = Family()
        make(family)
        path = out / f"{make.__name__}.safetensors"
        family.write(path)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
