#!/usr/bin/env python3
"""Measures what a GPU gives at most: a large product in bf16, copying, reading.

    pip install torch
    scripts/gpu/ceiling.py [--size 8192] [--gib 4] [--repeat 20]

On random data, as zeros are faster. Medians of CUDA-event timings; a copy counts the bytes that are read and those that are
written, and reading is the faster of two sums over memory.
"""
import argparse, statistics, sys

# Beside this file; other packages are compiled once.
sys.dont_write_bytecode = True
import job
sys.dont_write_bytecode = False


def median_seconds(call, repeat):
    import torch

    times = []
    for number in range(5 + repeat):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        if number >= 5:
            times.append((start, end))
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in times) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--size", type=int, default=8192, metavar="N", help="of the product, N x N x N [8192]")
    option("--gib", type=float, default=4, metavar="N", help="of memory that is copied and read [4]")
    option("--repeat", type=int, default=20, metavar="N")
    option("--results", metavar="PATH", help="append the figures, a JSON object")
    args = parser.parse_args()
    import torch

    a, b, out = (torch.randn(args.size, args.size, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    product = median_seconds(lambda: torch.mm(a, b, out=out), args.repeat)
    source = torch.randn(int(args.gib * 2 ** 28), device="cuda")
    target, size = torch.empty_like(source), source.numel() * 4
    copy = median_seconds(lambda: target.copy_(source), args.repeat)
    read = min(median_seconds(call, args.repeat) for call in (source.sum, source.amax))
    properties = torch.cuda.get_device_properties(0)
    record = {"gpu": properties.name, "bf16_flops": 2 * args.size ** 3 / product, "copy_bytes_per_s": 2 * size / copy,
              "read_bytes_per_s": size / read}
    print(f"{properties.name}, {properties.multi_processor_count} multiprocessors, {properties.total_memory / 1e9:.1f} GB; "
          f"torch {torch.__version__}, CUDA {torch.version.cuda}")
    print(f"bf16 {record['bf16_flops'] / 1e12:.1f} TFLOP/s ({args.size}^3), "
          f"copy {record['copy_bytes_per_s'] / 1e12:.2f} TB/s read and written, "
          f"read {record['read_bytes_per_s'] / 1e12:.2f} TB/s", flush=True)
    job.append(args.results, record)


main()
