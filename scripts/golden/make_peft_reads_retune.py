"""What PEFT computes with an adapter that retune trained, frozen as a golden.

    pip install torch transformers peft
    cargo build --release -p retune
    python scripts/golden/make_peft_reads_retune.py

Makes a small model with `retune init`, trains it for 20 steps with `retune train`, loads both with PEFT, and writes the
logits of fixed ids beside them, into crates/retune-model/tests/goldens/trained-here.
"""
import json, pathlib, shutil, subprocess, tempfile

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/retune"
TOKENIZER = ROOT / "crates/retune-data/tests/models/bytes"
TARGET = ROOT / "crates/retune-model/tests/goldens/trained-here"
IDS = [[5, 17, 80, 81, 82, 200, 3, 9, 44, 101, 7, 7, 250, 12]]

with tempfile.TemporaryDirectory() as name:
    work = pathlib.Path(name)
    rows = [{"instruction": f"count {n}", "input": "", "output": f"{n}, {n + 1}, {n + 2}"} for n in range(80)]
    (work / "data.json").write_text(json.dumps(rows))
    run = lambda *arguments: subprocess.run([PROGRAM, *arguments], cwd=work, check=True, stdout=subprocess.DEVNULL)
    run("init", "model", "--tokenizer", TOKENIZER, "--model-type", "qwen2", "--hidden-size", "64",
        "--num-hidden-layers", "2", "--num-attention-heads", "4", "--num-key-value-heads", "2")
    run("train", "--model", "model", "--data", "data.json", "--max_steps", "20", "--learning_rate", "1e-2",
        "--use_rslora", "true", "--precision", "f32", "--validation_split", "0", "--cache-dir", "cache")
    shutil.rmtree(TARGET, ignore_errors=True)
    (TARGET / "model").mkdir(parents=True), (TARGET / "adapter").mkdir()
    for file in ["config.json", "model.safetensors"]:
        shutil.copy(work / "model" / file, TARGET / "model")
    for file in ["adapter_config.json", "adapter_model.safetensors"]:
        shutil.copy(work / "output/checkpoint-20" / file, TARGET / "adapter")
base = AutoModelForCausalLM.from_pretrained(TARGET / "model", dtype=torch.float32).eval()
with torch.no_grad():
    plain = base(torch.tensor(IDS)).logits[0].contiguous()
    tuned = PeftModel.from_pretrained(base, TARGET / "adapter").eval()(torch.tensor(IDS)).logits[0].contiguous()
save_file({"ids": torch.tensor(IDS[0]).float(), "logits": plain, "logits_lora": tuned}, TARGET / "logits.safetensors")
print("the adapter moves logits by up to", (tuned - plain).abs().max().item())
