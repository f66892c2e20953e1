#!/usr/bin/env python3
"""Trains LoRA on one GPU with PyTorch and PEFT, on token ids that are given; prints losses, speed and memory.

    pip install torch transformers peft
    scripts/gpu/peer_train.py MODEL TOKENS.jsonl --variant eager,sdpa,varlen [--adapter FOLDER] [--steps 20] [--warmup 5]
    scripts/gpu/peer_train.py MODEL TOKENS.jsonl --variant varlen-compile --tokens-per-step 16384 --batch 62

TOKENS.jsonl has `input_ids` and `labels` on each line, as `scripts/bench-gpu prepare` writes them. r 8, alpha 32, all seven
projections, no dropout, AdamW (fused), clip 1.0, a constant rate; weights in bf16, the adapter in f32, which is PEFT's
default, and its products in TF32. A step's loss is the sum over its scored tokens divided by their number.

Variants, several by commas, one after the other:
    eager, sdpa     that attention; batches of --batch, padded; a step has --batch times --accumulate samples
    varlen          a step's samples end to end in one row, each attending to itself: torch.nn.attention.varlen where it
                    is there, else flex_attention
    liger           varlen with liger-kernel's norms, rotations, SwiGLU and loss; it has to be the last one
    compile         short for sdpa-compile
and behind any of them, as in varlen-compile:
    -compile        blocks and loss compiled by torch.compile, for any length; the whole model with --whole
    -graph          packed ones only: rows of one length, the step recorded as a CUDA graph and replayed
    -bf16           the adapter in bf16 as well

With --tokens-per-step N a step has as many samples as have N tokens at their mean length: in one row where they are packed,
else in batches of --batch. What does not fit into memory is tried again with half as many samples at a time.

Tokens are those of samples, never padding. Their rate is the median over the timed steps, taken between CUDA events, so
that nothing waits for the device between steps; `overall` is all of them over the time between two synchronizations.
A variant that fails says so in a line, and the exit code is 0 all the same.
"""
import argparse, gc, inspect, statistics, sys, time

# Beside this file; other packages are compiled once.
sys.dont_write_bytecode = True
import job
sys.dont_write_bytecode = False

PACKED_ATTENTION = "packed_rows"


def say(text):
    print(text, flush=True)


class Variant:
    """What a name such as varlen-compile asks for."""

    def __init__(self, name):
        self.name = name
        self.base, *flags = ("sdpa-compile" if name == "compile" else name).split("-")
        unknown = sorted(set(flags) - {"compile", "graph", "bf16"})
        if self.base not in ("eager", "sdpa", "varlen", "liger") or unknown:
            raise ValueError(f"there is no variant {name}")
        self.packed = self.base in ("varlen", "liger")
        self.compiled, self.graph, self.bf16 = ("compile" in flags, "graph" in flags, "bf16" in flags)
        if self.graph and not self.packed:
            raise ValueError(f"{name}: only packed rows can be of one length")


def varlen_attention(config):
    """Attention of packed rows, `[T, H, D]` and where samples begin, if PyTorch has one that is right; else None."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    # The settings' names differ between versions.
    settings = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    shared = {"enable_gqa": True} if "enable_gqa" in known else {}

    def of_groups(query, key, value, starts, longest):
        return varlen_attn(query, key, value, starts, starts, longest, longest, **settings, **shared)

    def repeated(query, key, value, starts, longest):
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
        return varlen_attn(query, key, value, starts, starts, longest, longest, **settings)

    for attend in (of_groups, repeated):
        try:
            if is_right(attend, config):
                return attend
        except Exception as error:
            say(f"varlen_attn, {attend.__name__}: {job.in_a_line(error)}")
    return None


def is_right(attend, config):
    """Against one sample at a time, forward and backward."""
    import torch

    heads = config.num_attention_heads
    groups = heads // config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    lengths = [5, 17, 40]
    made = lambda count: torch.randn(sum(lengths), count, size, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    inputs = [made(heads), made(heads // groups), made(heads // groups)]
    starts = torch.tensor([0, 5, 22, 62], dtype=torch.int32, device="cuda")
    found = attend(*inputs, starts, max(lengths))
    expected = []
    for query, key, value in zip(*(tensor.split(lengths) for tensor in inputs)):
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        rows = [tensor.float().transpose(0, 1) for tensor in (query, key, value)]
        expected.append(torch.nn.functional.scaled_dot_product_attention(*rows, is_causal=True).transpose(0, 1))
    expected = torch.cat(expected)
    d_out = torch.randn_like(expected)
    pairs = [(found, expected), *zip(torch.autograd.grad(found, inputs, d_out.to(found.dtype)),
                                     torch.autograd.grad(expected, inputs, d_out))]
    return all((a.float() - b.float()).norm() < 0.03 * b.float().norm() for a, b in pairs)


def register(attend):
    """Makes it an attention of transformers; batches of one row."""
    from transformers import AttentionInterface

    def packed(module, query, key, value, attention_mask, cu_seq_lens_q=None, max_length_q=None, **_):
        query, key, value = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        return attend(query, key, value, cu_seq_lens_q, max_length_q).unsqueeze(0), None

    AttentionInterface.register(PACKED_ATTENTION, packed)


def open_model(args, variant):
    """The model with its adapter, and whether packed rows are told where samples begin."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    opener, attention = AutoModelForCausalLM, variant.base
    if variant.packed:
        attend = varlen_attention(AutoConfig.from_pretrained(args.model))
        attention = "flex_attention" if attend is None else PACKED_ATTENTION
        if attend is not None:
            register(attend)
        else:
            say(f"{variant.name}: no varlen_attn that is right here; flex_attention instead")
    if variant.base == "liger":
        from liger_kernel.transformers import AutoLigerKernelForCausalLM as opener
    model = opener.from_pretrained(args.model, dtype=torch.bfloat16, attn_implementation=attention).to("cuda")
    model.config.use_cache = False
    in_f32 = {"autocast_adapter_dtype": not variant.bf16}
    if args.adapter:
        model = PeftModel.from_pretrained(model, args.adapter, is_trainable=True, **in_f32)
    else:
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=job.RANK, lora_alpha=job.ALPHA, lora_dropout=0.0,
                                                 target_modules=job.PROJECTIONS), **in_f32)
    model.train()
    return model, attention == PACKED_ATTENTION


def compiled(model, args, variant):
    """What is called instead of the model."""
    import torch

    for name in ("recompile_limit", "cache_size_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 64)
    any_length = not variant.graph
    if args.whole:
        return torch.compile(model, dynamic=any_length)
    base = model.get_base_model()
    # All blocks are the same code, which is compiled once.
    for layer in base.model.layers:
        layer.compile(dynamic=any_length)
    if variant.base != "liger":
        base.loss_function = torch.compile(base.loss_function, dynamic=any_length)
    return model


def padded(rows):
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    fill = lambda values, other: torch.tensor([row + [other] * (longest - len(row)) for row in values])
    ids = [row["input_ids"] for row in rows]
    return {"input_ids": fill(ids, 0), "attention_mask": fill([[1] * len(row) for row in ids], 0),
            "labels": fill([row["labels"] for row in rows], -100)}


def packed(rows, longest, told, room=None):
    """One row; up to `room` tokens, what is left over is a sequence of its own that nothing is learned from."""
    import torch

    lengths = [len(row["input_ids"]) for row in rows]
    ids, labels = ([token for row in rows for token in row[key]] for key in ("input_ids", "labels"))
    if room is not None:
        lengths.append(room - len(ids))
        ids, labels = ids + [0] * lengths[-1], labels + [-100] * lengths[-1]
    positions = [position for length in lengths for position in range(length)]
    inputs = {name: torch.tensor([values]) for name, values in
              (("input_ids", ids), ("labels", labels), ("position_ids", positions))}
    if told:
        starts = torch.tensor([0] + lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32)
        inputs |= {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}
    return inputs


def batches_of(steps, variant, at_once, told):
    """For each step its batches, and how many tokens are scored; on the host, as a loader would have them ready."""
    import torch

    longest = max(len(row["input_ids"]) for rows in steps for row in rows)
    room = None
    if variant.graph:
        room = -(-max(map(job.tokens_of, steps)) // 64) * 64
        longest = max(longest, *(room - job.tokens_of(rows) for rows in steps))
    pinned = lambda value: value.pin_memory() if torch.is_tensor(value) else value
    made = []
    for rows in steps:
        parts = [rows[first:first + at_once] for first in range(0, len(rows), at_once)]
        parts = [packed(part, longest, told, room) if variant.packed else padded(part) for part in parts]
        parts = [{name: pinned(value) for name, value in part.items()} for part in parts]
        made.append((parts, torch.tensor(job.scored_of(rows)).pin_memory()))
    return made


def on_device(value):
    return value.to("cuda", non_blocking=True) if hasattr(value, "to") else value


class Graph:
    """A step that is run as it is three times, then recorded, and replayed from there on."""

    def __init__(self, step):
        self.step, self.calls, self.graph = step, 0, None

    def __call__(self, parts, scored):
        import torch

        [inputs] = parts
        if self.calls == 0:
            self.inputs, self.scored = {name: on_device(value) for name, value in inputs.items()}, on_device(scored)
            self.side = torch.cuda.Stream()
        else:
            for name, value in inputs.items():
                if torch.is_tensor(value):
                    self.inputs[name].copy_(value, non_blocking=True)
            self.scored.copy_(scored, non_blocking=True)
        self.calls += 1
        if self.calls <= 3:
            self.side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.side):
                loss = self.step([self.inputs], self.scored)
            torch.cuda.current_stream().wait_stream(self.side)
            return loss
        if self.graph is None:
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.loss = self.step([self.inputs], self.scored)
        self.graph.replay()
        return self.loss.clone()


def stepper(model, args, variant):
    """One optimizer step; its loss stays on the device."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=job.RATE, weight_decay=0.01, fused=True, capturable=variant.graph)
    forward = compiled(model, args, variant) if variant.compiled else model

    def step(parts, scored):
        losses, scored = [], on_device(scored)
        for inputs in parts:
            inputs = {name: on_device(value) for name, value in inputs.items()}
            loss = forward(**inputs, num_items_in_batch=scored, use_cache=False).loss
            loss.backward()
            losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return torch.stack(losses).sum()

    return Graph(step) if variant.graph else step


def measure(args, variant, steps, at_once):
    import torch

    begun = time.perf_counter()
    if variant.graph and args.warmup < 5:
        raise ValueError("a graph is recorded in the fourth step; expected --warmup of at least 5")
    torch.manual_seed(0)
    model, told = open_model(args, variant)
    step = stepper(model, args, variant)
    prepared = batches_of(steps, variant, at_once, told)
    opened = time.perf_counter() - begun
    say(f"{variant.name}: opened in {opened:.1f} s; {len(steps[0])} samples a step, {at_once} at a time")
    losses, events = [], []
    for number, (parts, scored) in enumerate(prepared):
        if number >= args.warmup:
            if not events:
                torch.cuda.synchronize()
                start = time.perf_counter()
                events.append(torch.cuda.Event(enable_timing=True))
                events[-1].record()
            losses.append(step(parts, scored))
            events.append(torch.cuda.Event(enable_timing=True))
            events[-1].record()
        else:
            before = time.perf_counter()
            losses.append(step(parts, scored))
            say(f"  step {number + 1}: loss {losses[-1].item():.5f}, {time.perf_counter() - before:.2f} s")
    torch.cuda.synchronize()
    whole = time.perf_counter() - start
    losses = [loss.item() for loss in losses]
    timed = steps[args.warmup:]
    seconds = [one.elapsed_time(other) / 1e3 for one, other in zip(events, events[1:])]
    rate = lambda count: statistics.median(count(rows) / time for rows, time in zip(timed, seconds))
    return {
        "tokens_per_s": rate(job.tokens_of), "answer_tokens_per_s": rate(job.scored_of),
        "overall_tokens_per_s": sum(map(job.tokens_of, timed)) / whole, "ms_per_step": 1e3 * statistics.median(seconds),
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9, "held_gb": torch.cuda.max_memory_reserved() / 1e9,
        "losses": losses, "at_once": at_once, "seconds": time.perf_counter() - begun,
    }


def release():
    import torch

    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def run(args, variant, steps):
    """Measures with as many samples at a time as there is memory for."""
    import torch

    at_once = len(steps[0]) if variant.packed else min(args.batch, len(steps[0]))
    while True:
        release()
        try:
            return measure(args, variant, steps, at_once)
        except torch.OutOfMemoryError:
            if at_once == 1 or variant.graph:
                raise
        # What was there is let go of only outside of the except.
        at_once = -(-at_once // 2)
        say(f"{variant.name}: out of memory; again with {at_once} samples at a time")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("model"), option("tokens", help="ids and labels, JSON lines")
    option("--variant", default="eager", metavar="NAME,…")
    option("--steps", type=int, default=20, metavar="N"), option("--warmup", type=int, default=5, metavar="N")
    option("--batch", type=int, default=2, metavar="N"), option("--accumulate", type=int, default=2, metavar="N")
    option("--tokens-per-step", type=int, metavar="N", help="instead of --batch times --accumulate samples")
    option("--adapter", metavar="FOLDER", help="a PEFT adapter to start from, as other programs do")
    option("--whole", action="store_true", help="compile the whole model, which takes minutes")
    option("--limit", type=float, default=120, metavar="SECONDS", help="of one variant [120]")
    option("--losses", "--results", dest="results", metavar="PATH", help="append losses and figures, a JSON object for each")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error("expected --steps of at least 1")
    samples = job.read_lines(args.tokens)
    per_step = args.batch * args.accumulate
    if args.tokens_per_step:
        per_step = job.samples_per_step(samples, args.tokens_per_step)
    steps = job.steps_of(samples, per_step, args.warmup + args.steps)
    begun = time.perf_counter()
    import torch

    # Such products are those of the adapter, whose f32 is PEFT's choice.
    torch.set_float32_matmul_precision("high")
    gpu = torch.cuda.get_device_name()
    say(f"{gpu}, torch {torch.__version__}, imported in {time.perf_counter() - begun:.1f} s")
    for name in args.variant.split(","):
        record = {"variant": name, "gpu": gpu}
        try:
            variant = Variant(name)
            with job.time_limit(args.limit):
                record |= run(args, variant, steps)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            record["failed"] = job.in_a_line(error)
        tell(record)
        job.append(args.results, record)


def tell(record):
    if "failed" in record:
        say(f"{record['variant']:20} failed: {record['failed']}")
        return
    say("losses " + " ".join(f"{loss:.5f}" for loss in record["losses"]))
    say(f"{record['variant']:20} {record['tokens_per_s']:9.0f} tokens/s (overall {record['overall_tokens_per_s']:.0f})  "
        f"{record['answer_tokens_per_s']:8.0f} answer tokens/s  {record['ms_per_step']:.1f} ms a step  "
        f"{record['peak_gb']:.2f} GB allocated, {record['held_gb']:.2f} GB reserved  {record['gpu']}")


main()
