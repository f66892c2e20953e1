"""What scripts/bench-gpu found, as tables."""
import pathlib, re, statistics

import job
from programs import say

# Losses of so many first steps are compared.
COMPARED = 10


def show_ceiling(found):
    say(f"{found['gpu']}: bf16 {found['bf16_flops'] / 1e12:.0f} TFLOP/s, copy {found['copy_bytes_per_s'] / 1e12:.2f} TB/s, "
        f"read {found['read_bytes_per_s'] / 1e12:.2f} TB/s")


def show_training(name, model, given, runs, ceiling):
    """`runs` has the records of each variant, those of retune among them."""
    timed = given["steps"][given["warmup"]:]
    mean = lambda count: sum(map(count, timed)) / len(timed)
    flops = mean(lambda rows: job.needed_flops(model, rows)) / mean(job.tokens_of)
    say(f"\n{name}: {len(given['steps'][0])} samples, {mean(job.tokens_of):.0f} tokens a step, {mean(job.scored_of):.0f} "
        f"scored; {len(timed)} steps behind {given['warmup']}; {flops / 1e6:.0f} MFLOP needed for each token")
    say(f"{'':22} {'tokens/s':>9} {'answers':>8} {'to eager':>9} {'to best':>8} {'needed':>7} {'peak GB':>8} "
        f"{'to eager':>9} {'held GB':>8} {'loss differs':>13}")
    good = {variant: [run for run in found if "missing" not in run] for variant, found in runs.items()}

    def middle(variant, field):
        return statistics.median(run[field] for run in good[variant]) if good.get(variant) else None

    def most(variant, field):
        return max((run[field] for run in good.get(variant, []) if run.get(field)), default=None)

    rates = {variant: middle(variant, "tokens_per_s") for variant in good}
    best = max((rate for variant, rate in rates.items() if variant != "retune" and rate), default=None)
    for variant, found in runs.items():
        if not good[variant]:
            say(f"{variant:22} {found[-1]['missing']}  {found[-1].get('failed', '')}")
            continue
        rate, peak = rates[variant], most(variant, "peak_gb")
        differs = difference(good, variant, "eager") if variant != "eager" else None
        say(f"{variant:22} {rate:9.0f} {middle(variant, 'answer_tokens_per_s'):8.0f} "
            f"{cell(ratio(rate, rates.get('eager')), '9.2f')} {cell(ratio(rate, best), '8.2f')} "
            f"{cell(ratio(rate * flops, ceiling.get('bf16_flops')), '7.1%')} {cell(peak, '8.2f')} "
            f"{cell(ratio(peak, most('eager', 'peak_gb')), '9.2f')} {cell(most(variant, 'held_gb'), '8.2f')} "
            f"{cell(differs, '13.1e')}")
    say(f"losses differ from eager's by at most so much in the first {COMPARED} steps; held is what the peer's allocator "
        "keeps, and of retune all that it takes on the device")
    others = {variant: difference(good, "retune", variant) for variant in good if variant != "retune"}
    near = min((variant for variant, differs in others.items() if differs is not None), key=others.get, default=None)
    if near:
        say(f"retune's losses are nearest to those of {near}: {others[near]:.1e}")


def show_decode(model, decoded, ceiling, prompt, answer):
    weights = sum(path.stat().st_size for path in pathlib.Path(model).glob("*.safetensors"))
    memory = ceiling.get("read_bytes_per_s")
    say(f"\ndecode: prompts of {prompt} tokens, answers of {answer}; tokens/s of answers behind their first token")
    say(f"{'':22} {'at once':>8} {'tokens/s':>10} {'retune to it':>13} {'weights, of memory':>19} {'prompt tok/s':>13}")
    for (batch, program), found in sorted(decoded.items(), key=lambda entry: entry[0][0]):
        if "missing" in found:
            say(f"{program:22} {batch:8} {found['missing']}  {found.get('failed', '')}")
            continue
        rate, ours = found["tokens_per_s"], decoded.get((batch, "retune"), {}).get("tokens_per_s")
        say(f"{program:22} {batch:8} {rate:10.1f} {cell(ratio(ours, rate), '13.2f')} "
            f"{cell(ratio(rate / batch * weights, memory), '19.1%')} {cell(found.get('prompt_tokens_per_s'), '13.0f')}")


def ratio(one, other):
    return one / other if one and other else None


def cell(value, form):
    return f"{'-':>{re.match('[0-9]+', form)[0]}}" if value is None else f"{value:{form}}"


def difference(good, one, other):
    """Of the losses of two programs' first runs."""
    if not good.get(one) or not good.get(other):
        return None
    pairs = list(zip(good[one][0]["losses"], good[other][0]["losses"]))[:COMPARED]
    return max(abs(a - b) for a, b in pairs)
