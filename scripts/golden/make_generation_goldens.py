"""Hugging Face's choices of tokens, for retune-generate.

Writes crates/retune-generate/tests/goldens/generation.json:

- `processed`: logits behind a history, and what transformers' processors make of them;
- `kept`: logits, settings of drawing, and which tokens are left with what probability;
- `beams`: answers of beam search by the tiny models of retune-model's goldens.

    pip install torch transformers
    python scripts/golden/make_generation_goldens.py
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation import logits_process as lp

CRATES = Path(__file__).resolve().parents[2] / "crates"
MODELS = CRATES / "retune-model/tests/goldens"
# The tokens that end an answer with the tokenizer of the tests, and others.
STOP_IDS = [257]
VOCABULARY = 40


def rounded(values):
    return [None if v == float("-inf") else round(float(v), 6) for v in values]


def histories():
    torch.manual_seed(1)
    for case in range(12):
        logits = (torch.randn(VOCABULARY) * 3).mul(1000).round().div(1000)
        ids = torch.randint(0, 8, (5 + 3 * case,)).tolist()
        yield case, logits, ids


def processed():
    for case, logits, ids in histories():
        prompt = len(ids) // 2
        settings = {}
        processors = []
        if case % 2:
            settings["repetition_penalty"] = 1.0 + case / 10
            processors.append(lp.RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
        if case % 3 == 0:
            settings["no_repeat_ngram_size"] = 1 + case % 4
            processors.append(lp.NoRepeatNGramLogitsProcessor(settings["no_repeat_ngram_size"]))
        if case % 4 >= 2:
            settings["min_new_tokens"] = 10
            processors.append(lp.MinNewTokensLengthLogitsProcessor(prompt, 10, [3, 5]))
        scores = logits.clone()[None]
        for processor in processors:
            scores = processor(torch.tensor([ids]), scores)
        yield {
            "settings": settings, "logits": rounded(logits), "ids": ids, "prompt": prompt,
            "stop_ids": [3, 5], "scores": rounded(scores[0]),
        }


def kept():
    for case, logits, ids in histories():
        settings = {"do_sample": True, "top_k": 0}
        warpers = []
        if case % 3:
            settings["temperature"] = [0.3, 0.7, 1.5][case % 3]
            warpers.append(lp.TemperatureLogitsWarper(settings["temperature"]))
        if case % 2:
            settings["top_k"] = 3 + 2 * case
            warpers.append(lp.TopKLogitsWarper(settings["top_k"]))
        if case % 4 < 2:
            settings["top_p"] = 0.5 + case / 30
            warpers.append(lp.TopPLogitsWarper(settings["top_p"]))
        if case % 5 < 3:
            settings["min_p"] = 0.02 + case / 40
            warpers.append(lp.MinPLogitsWarper(settings["min_p"]))
        scores = logits.clone()[None]
        for warper in warpers:
            scores = warper(torch.tensor([ids]), scores)
        probabilities = scores[0].softmax(-1)
        left = {i: round(float(p), 6) for i, p in enumerate(probabilities) if p > 0}
        yield {"settings": settings, "logits": rounded(logits), "kept": left}


def beams():
    for name in ["llama-tiny", "llama3-rope-tiny", "qwen2-tiny", "qwen3-tiny"]:
        model = AutoModelForCausalLM.from_pretrained(MODELS / name / "model", dtype=torch.float32)
        prompt = json.loads((MODELS / name / "generate.json").read_text())["prompt"]
        # Tokens that the model likes to say, so that answers end here and there.
        logits = model(torch.tensor([prompt])).logits[0, -1]
        liked = logits.topk(12)[1].tolist()
        for case, (count, penalty, early) in enumerate(
            [(2, 1.0, False), (3, 1.0, False), (4, 0.0, "never"), (4, 2.0, "never"), (3, 0.5, True)]
        ):
            stop_ids = sorted({*STOP_IDS, liked[5 + case], liked[11]})
            penalty_of_repetition = 1.0 if case % 2 else 1.2
            out = model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                num_beams=count, num_return_sequences=count, length_penalty=penalty,
                early_stopping=early, max_new_tokens=16, do_sample=False, pad_token_id=0,
                eos_token_id=stop_ids, repetition_penalty=penalty_of_repetition,
                return_dict_in_generate=True, output_scores=True,
            )
            answers = []
            for row in range(count):
                ids = out.sequences[row, len(prompt):].tolist()
                ended = next((at for at, token in enumerate(ids) if token in stop_ids), None)
                score = float(out.sequences_scores[row])
                answers.append({"ids": ids[:ended], "score": round(score, 6)})
            yield {
                "model": name, "prompt": prompt, "num_beams": count, "length_penalty": penalty,
                "early_stopping": {True: "yes", False: "no"}.get(early, early),
                "stop_ids": stop_ids, "repetition_penalty": penalty_of_repetition,
                "answers": answers,
            }


def main():
    goldens = {
        "transformers": transformers.__version__,
        "processed": list(processed()), "kept": list(kept()), "beams": list(beams()),
    }
    path = CRATES / "retune-generate/tests/goldens/generation.json"
    path.parent.mkdir(exist_ok=True)
    lines = [f'"transformers": {json.dumps(goldens.pop("transformers"))}']
    for name, cases in goldens.items():
        rows = ",\n".join(json.dumps(case) for case in cases)
        lines.append(f'"{name}": [\n{rows}\n]')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
