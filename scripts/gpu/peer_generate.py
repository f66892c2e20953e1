#!/usr/bin/env python3
"""Measures generation of transformers on one GPU, in bf16: tokens/s behind the first one, and of prompts.

    pip install torch transformers
    scripts/gpu/peer_generate.py MODEL PROMPTS.jsonl [--batch 1,64] [--cache dynamic,static] [--tokens 128] [--repeat 3]

PROMPTS.jsonl has `input_ids` of one length on each line, as `scripts/bench-gpu prepare` writes them. Answers are the most
likely tokens, none of which may end one. `static` is a cache of fixed size, with which `generate` compiles the model and
replays it as a CUDA graph; where that takes longer than --limit it says so, and the rest goes on. Times are those between
CUDA events at each token, the median of the repeats, one run before them left out.
"""
import argparse, gc, statistics, sys, time

# Beside this file; other packages are compiled once.
sys.dont_write_bytecode = True
import job
sys.dont_write_bytecode = False


def say(text):
    print(text, flush=True)


def stamps():
    """Marks the time at which each token of a batch is there; never stops anything."""
    import torch
    from transformers import StoppingCriteria

    class Stamps(StoppingCriteria):
        def __init__(self):
            self.events = []

        def mark(self):
            self.events.append(torch.cuda.Event(enable_timing=True))
            self.events[-1].record()

        def __call__(self, input_ids, scores, **_):
            self.mark()
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return Stamps()


def measure(args, model, ids, cache):
    import torch
    from transformers import StoppingCriteriaList

    settings = dict(do_sample=False, temperature=None, top_p=None, top_k=None, repetition_penalty=1.0, pad_token_id=0,
                    min_new_tokens=args.tokens, max_new_tokens=args.tokens, attention_mask=torch.ones_like(ids))
    if cache == "static":
        settings["cache_implementation"] = "static"
    # What is compiled may keep no tensors of inference mode.
    context = torch.no_grad if cache == "static" else torch.inference_mode
    torch.cuda.reset_peak_memory_stats()
    prompts, answers = [], []
    for number in range(1 + args.repeat):
        begun, times = time.perf_counter(), stamps()
        times.mark()
        with context():
            model.generate(ids, stopping_criteria=StoppingCriteriaList([times]), **settings)
        torch.cuda.synchronize()
        if len(times.events) != args.tokens + 1:
            raise RuntimeError(f"expected {args.tokens} tokens, found {len(times.events) - 1}")
        start, first, last = times.events[0], times.events[1], times.events[-1]
        prompt = ids.numel() / start.elapsed_time(first) * 1e3
        answer = ids.shape[0] * (args.tokens - 1) / first.elapsed_time(last) * 1e3
        say(f"  batch {ids.shape[0]}, {cache}: {time.perf_counter() - begun:.1f} s, answer {answer:.1f} tokens/s"
            + (", left out" if number == 0 else ""))
        if number:
            prompts.append(prompt), answers.append(answer)
    return {"prompt_tokens_per_s": statistics.median(prompts), "tokens_per_s": statistics.median(answers),
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("model"), option("prompts", help="ids, JSON lines")
    option("--batch", default="1,64", metavar="N,…"), option("--cache", default="dynamic,static", metavar="KIND,…")
    option("--tokens", type=int, default=128, metavar="N", help="of an answer [128]")
    option("--repeat", type=int, default=3, metavar="N")
    option("--limit", type=float, default=90, metavar="SECONDS", help="of one batch size with one cache [90]")
    option("--results", metavar="PATH", help="append figures, a JSON object for each")
    args = parser.parse_args()
    if args.tokens < 2 or args.repeat < 1:
        parser.error("expected --tokens of at least 2 and --repeat of at least 1")
    prompts = [row["input_ids"] for row in job.read_lines(args.prompts)]
    begun = time.perf_counter()
    import torch
    from transformers import AutoModelForCausalLM

    gpu = torch.cuda.get_device_name()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to("cuda").eval()
    say(f"{gpu}, torch {torch.__version__}, opened in {time.perf_counter() - begun:.1f} s")
    for cache in args.cache.split(","):
        for batch in map(int, args.batch.split(",")):
            record = {"cache": cache, "batch": batch, "gpu": gpu}
            try:
                if len(prompts) < batch:
                    raise ValueError(f"there are {len(prompts)} prompts")
                with job.time_limit(args.limit):
                    record |= measure(args, model, torch.tensor(prompts[:batch], device="cuda"), cache)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                record["failed"] = job.in_a_line(error)
            tell(record)
            job.append(args.results, record)
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()


def tell(record):
    name = f"batch {record['batch']}, {record['cache']}"
    if "failed" in record:
        say(f"{name:20} failed: {record['failed']}")
        return
    say(f"{name:20} {record['tokens_per_s']:9.1f} tokens/s of answers, {record['prompt_tokens_per_s']:.0f} of prompts, "
        f"{record['peak_gb']:.2f} GB allocated  {record['gpu']}")


main()
