"""Reads event files with TensorBoard itself. Needs `pip install tensorboard`.

Usage: check-tensorboard.py [FILE]: prints what FILE holds; without FILE, holds the golden file of the tests to its values.
"""

import math
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.util import tensor_util

GOLDEN = (
    Path(__file__).parent.parent
    / "crates/retune-train/tests/train/golden/events.out.tfevents.1700000000.golden.1.0"
)


def tensors(path):
    """Each value as today's TensorBoard sees it: time, step, tag, plugin, tensor."""
    for event in event_file_loader.EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            tensor = tensor_util.make_ndarray(value.tensor)
            yield event.wall_time, event.step, value.tag, plugin, tensor


def legacy(path):
    """The same values before TensorBoard turns them into tensors."""
    keep_all = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 0)
    accumulator = event_accumulator.EventAccumulator(str(path), size_guidance=keep_all)
    accumulator.Reload()
    return accumulator


def show(path):
    accumulator = legacy(path)
    print("file version", accumulator.file_version, "tags", accumulator.Tags())
    for time, step, tag, plugin, tensor in tensors(path):
        print(f"{time} step {step} {plugin} {tag!r}: {tensor.tolist()}")


def check_golden():
    show(GOLDEN)
    accumulator = legacy(GOLDEN)
    assert accumulator.file_version == 2.0
    points = [(point.wall_time, point.step, point.value) for point in accumulator.Scalars("train/loss")]
    assert points[0] == (1.7e9 + 1, 1, 2.5) and len(points) == 3
    found = list(tensors(GOLDEN))
    scalars = [(time, step, tag) for time, step, tag, plugin, _ in found if plugin == "scalars"]
    steps = [1, 1_000_000, 1_000_001]
    assert scalars == [(1.7e9 + 1 + 0.5 * i, step, "train/loss") for i, step in enumerate(steps)]
    values = [tensor.item() for _, _, _, plugin, tensor in found if plugin == "scalars"]
    assert values[:2] == [2.5, float(np.float32(0.1))] and math.isnan(values[2])

    [(time, step, tag, _, text)] = [row for row in found if row[3] == "text"]
    assert (time, step, tag) == (1.7e9 + 2.5, 7, "samples/0")
    assert text.shape == () and text.item().decode() == "你好 <b>&amp;</b>\n\n    fn main() {}"

    [(time, step, tag, _, buckets)] = [row for row in found if row[3] == "histograms"]
    assert (time, step, tag) == (1.7e9 + 3, 7, "gradients/lora_A")
    assert (buckets[1:, 0] == buckets[:-1, 1]).all(), "buckets lie side by side"
    full = [tuple(bucket) for bucket in buckets.tolist() if bucket[2] > 0]
    tiniest = float(np.uint32(1 << 20).view(np.float32))
    assert full == [
        (-3, -3, 1),
        (-0.28125, -0.25, 1),
        (0, tiniest, 2),
        (1, 1.125, 2),
        (1.125, 1.25, 1),
        (96, 100, 1),
    ]
    print("as expected")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        show(sys.argv[1])
    else:
        check_golden()
