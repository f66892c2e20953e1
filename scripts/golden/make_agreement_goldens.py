"""Writes reference figures of annotator agreement, by scikit-learn, statsmodels and krippendorff, over made ratings.

    pip install scikit-learn statsmodels krippendorff xxhash
    python scripts/golden/make_agreement_goldens.py          # --out FILE writes elsewhere

The ratings are drawn from a seed, with missing ones and rare labels. Bootstrap intervals are drawn as retune
draws them (a hash of seed, replicate and draw), and computed by the public packages and numpy.
"""

import argparse
import itertools
import json
import pathlib
import warnings

import krippendorff
import numpy as np
import xxhash
from sklearn.metrics import cohen_kappa_score, f1_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

OUT = pathlib.Path(__file__).parents[2] / "crates/retune-data/tests/goldens/agreement.json"
WEIGHTS = {"none": None, "linear": "linear", "quadratic": "quadratic"}
LEVELS = ["nominal", "ordinal", "interval"]
REPLICATES = 200
CONFIDENCE = 0.9


def draw_ratings(seed, items, annotators, values, shares, noise, missing):
    """A table items × annotators of values: the truth, sometimes replaced, sometimes missing (None)."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(values), size=items, p=shares)
    table = []
    for item in range(items):
        row = []
        for annotator in range(annotators):
            value = truth[item]
            if rng.random() < noise * (1 + annotator) / annotators:
                value = rng.choice(len(values), p=shares)
            row.append(None if rng.random() < missing else values[value])
        table.append(row)
    return table


def draws(seed, replicate, items):
    """The items of one replicate."""
    def item(draw):
        key = b"".join(part.to_bytes(8, "little") for part in (seed, replicate, draw))
        return (xxhash.xxh3_64_intdigest(key) * items) >> 64

    return [item(draw) for draw in range(items)]


def interval(seed, items, figure):
    """The percentile interval, and how many replicates do not define the figure."""
    figures = [figure(draws(seed, replicate, items)) for replicate in range(REPLICATES)]
    defined = [value for value in figures if value is not None and np.isfinite(value)]
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(defined, [tail, 100 - tail])
    return {"low": low, "high": high, "undefined_replicates": len(figures) - len(defined)}


def kappa(pairs, labels, weights):
    first, second = zip(*pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = cohen_kappa_score(first, second, labels=labels, weights=weights)
    return float(value) if np.isfinite(value) else None


def alpha(table, values, level):
    """`table` is items × annotators. Labels are positions, and for the interval level numbers."""
    position = {value: i for i, value in enumerate(values)}
    code = (lambda value: float(value)) if level == "interval" else (lambda value: float(position[value]))
    data = [[np.nan if value is None else code(value) for value in row] for row in table]
    rated = {value for row in data for value in row if sum(not np.isnan(v) for v in row) > 1 and not np.isnan(value)}
    if len(rated) < 2:
        return None
    return float(krippendorff.alpha(np.array(data).T, level_of_measurement=level))


def fleiss(table):
    """Over the items with the most common number of ratings."""
    counts = [sum(value is not None for value in row) for row in table]
    usual = max(set(counts), key=lambda count: (counts.count(count) if count > 1 else 0, count))
    rows = [[value for value in row if value is not None] for row, count in zip(table, counts) if count == usual]
    aggregated, _ = aggregate_raters(np.array(rows))
    return {"value": float(fleiss_kappa(aggregated)), "items": len(rows), "ratings_per_item": usual}


def case(name, seed, values, shares, levels, **how):
    table = draw_ratings(seed, values=values, shares=shares, **how)
    pairs = []
    for first, second in itertools.combinations(range(how["annotators"]), 2):
        shared = [(row[first], row[second]) for row in table if row[first] is not None and row[second] is not None]
        pairs.append({
            "first": first,
            "second": second,
            "shared": len(shared),
            "kappa": {key: kappa(shared, values, weights) for key, weights in WEIGHTS.items()},
            "interval": interval(7, len(shared), lambda drawn: kappa([shared[i] for i in drawn], values, None)),
        })
    overlap = [row for row in table if sum(value is not None for value in row) > 1]
    return {
        "name": name,
        "values": values,
        "table": table,
        "pairs": pairs,
        "fleiss": fleiss(table),
        "alpha": {level: alpha(table, values, level) for level in levels},
        "alpha_interval": {
            level: interval(7, len(overlap), lambda drawn: alpha([overlap[i] for i in drawn], values, level))
            for level in levels
        },
    }


def spans_case(seed, texts, annotators, length):
    """Spans that never overlap; kappa and alpha over characters, F1 over spans."""
    rng = np.random.default_rng(seed)
    labels = ["LOC", "ORG", "PER"]
    marked = []
    for _ in range(texts):
        truth = [(start, start + int(rng.integers(2, 7)), labels[rng.integers(3)]) for start in range(2, length - 8, 10)]
        by_annotator = []
        for annotator in range(annotators):
            spans = []
            for start, end, label in truth:
                luck = rng.random()
                if luck < 0.15 * annotator:
                    continue
                if luck > 0.85:
                    label = labels[rng.integers(3)]
                spans.append([start, end + int(rng.random() < 0.2), label])
            by_annotator.append(spans)
        marked.append(by_annotator)
    values = ["O", *labels]

    def tags(spans):
        row = ["O"] * length
        for start, end, label in spans:
            row[start:end] = [label] * (end - start)
        return row

    pairs = []
    for first, second in itertools.combinations(range(annotators), 2):
        characters = [pair for text in marked for pair in zip(tags(text[first]), tags(text[second]))]
        # F1 of being marked, over all spans that either has.
        either = [(set(map(tuple, text[first])), set(map(tuple, text[second]))) for text in marked]
        truth = [span in a for a, b in either for span in sorted(a | b)]
        found = [span in b for a, b in either for span in sorted(a | b)]
        pairs.append({"first": first, "second": second, "kappa": kappa(characters, values, None),
                      "f1": float(f1_score(truth, found))})
    table = [list(row) for text in marked for row in zip(*map(tags, text))]
    return {"length": length, "marked": marked, "pairs": pairs, "alpha": alpha(table, values, "nominal")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    out = parser.parse_args().out
    cases = [
        case("two annotators, all rated", 1, ["no", "yes"], [0.7, 0.3], ["nominal"],
             items=40, annotators=2, noise=0.3, missing=0.0),
        case("a rare label", 2, ["bad", "good", "unsure"], [0.12, 0.85, 0.03], ["nominal"],
             items=60, annotators=3, noise=0.3, missing=0.25),
        case("stars", 3, ["1", "2", "3", "4", "5"], [0.1, 0.2, 0.3, 0.25, 0.15], LEVELS,
             items=50, annotators=4, noise=0.6, missing=0.2),
        case("numbers with gaps", 4, ["-2.5", "0", "0.5", "10", "1000"], [0.3, 0.3, 0.2, 0.15, 0.05], LEVELS,
             items=30, annotators=3, noise=0.5, missing=0.1),
        case("next to no agreement", 5, ["a", "b", "c"], [0.4, 0.3, 0.3], ["nominal"],
             items=40, annotators=5, noise=4.0, missing=0.4),
    ]
    goldens = {"replicates": REPLICATES, "confidence": CONFIDENCE, "seed": 7, "cases": cases,
               "spans": spans_case(6, texts=12, annotators=3, length=64)}
    text = json.dumps(goldens, ensure_ascii=False, separators=(",", ":"))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text.replace('{"name"', '\n{"name"').replace('"spans":{', '\n"spans":{') + "\n")


main()
