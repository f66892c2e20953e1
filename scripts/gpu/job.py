"""What the programs of scripts/bench-gpu are given: token ids, steps, an adapter, prompts; and what is counted."""
import contextlib, json, math, pathlib, random, signal

RATE, RANK, ALPHA = 1e-4, 8, 32
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def shuffled(data):
    """The rows of a data file in the order in which they are trained on."""
    rows = json.loads(pathlib.Path(data).read_text(encoding="utf-8"))
    random.Random(0).shuffle(rows)
    return rows


def tokenise(folder, rows, system, path):
    """Ids and labels as `retune train` makes them: -100 up to the answer, which ends in <|im_end|>."""
    from jinja2 import Environment
    from tokenizers import Tokenizer

    folder = pathlib.Path(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            messages = [{"role": "system", "content": system},
                        {"role": "user", "content": row["instruction"] + row.get("input", "")}]
            prompt = encode(template.render(messages=messages, add_generation_prompt=True))
            answer = encode(row["output"] + "<|im_end|>")
            out.write(json.dumps({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}) + "\n")


def write_prompts(folder, rows, tokens, count, path):
    """Texts of exactly so many tokens, pieces of the rows' texts end to end."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    ids, found = encode("\n".join(row["instruction"] + "\n" + row["output"] for row in rows)), []
    for start in range(0, len(ids) - tokens, tokens):
        text = tokenizer.decode(ids[start:start + tokens])
        # A piece may begin or end within a character, and then is not what was cut.
        if text == text.strip() and encode(text) == ids[start:start + tokens]:
            found.append({"prompt": text, "input_ids": ids[start:start + tokens]})
        if len(found) == count:
            break
    if len(found) < count:
        raise SystemExit(f"expected {count} prompts of {tokens} tokens, found {len(found)} in the data")
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in found)


def read_lines(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def samples_per_step(samples, tokens):
    """How many samples have about so many tokens, at their mean length."""
    return max(1, round(tokens * len(samples) / tokens_of(samples)))


def steps_of(samples, per_step, count):
    """The samples of each step, in order, from the beginning again where they run out."""
    at = lambda place: samples[place % len(samples)]
    return [[at(step * per_step + number) for number in range(per_step)] for step in range(count)]


def tokens_of(samples):
    return sum(len(sample["input_ids"]) for sample in samples)


def scored_of(samples):
    return sum(label != -100 for sample in samples for label in sample["labels"][1:])


def shape(model):
    config = json.loads((pathlib.Path(model) / "config.json").read_text(encoding="utf-8"))
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    queries, keys = heads * size, config.get("num_key_value_heads", heads) * size
    sizes = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden),
             (hidden, wide), (hidden, wide), (wide, hidden)]
    names = [f"{'self_attn' if at < 4 else 'mlp'}.{name}" for at, name in enumerate(PROJECTIONS)]
    return {"layers": config["num_hidden_layers"], "queries": queries, "head": config["vocab_size"] * hidden,
            "linears": dict(zip(names, sizes))}


def needed_flops(model, samples):
    """Of one step: products with frozen weights forward and to their inputs, LoRA's, attention over the keys that are
    seen, the head where scored. What all samples begin with counts once, the last token of each, which predicts
    nothing, not at all."""
    model = shape(model)
    ids = [sample["input_ids"][:-1] for sample in samples]
    first_scored = [next(at for at, label in enumerate(sample["labels"]) if label != -100) for sample in samples]
    most = min(min(map(len, ids)), min(first_scored) - 1) if len(samples) > 1 else 0
    common = next((at for at in range(most) if len({row[at] for row in ids}) > 1), most)
    rows = common + sum(len(row) - common for row in ids)
    seen = lambda length: length * (length + 1) // 2
    pairs = seen(common) + sum(seen(len(row)) - seen(common) for row in ids)
    frozen = model["layers"] * sum(read * written for read, written in model["linears"].values())
    added = model["layers"] * sum(RANK * (read + written) for read, written in model["linears"].values())
    attention = 12 * model["queries"] * model["layers"] * pairs
    return (4 * frozen + 6 * added) * rows + attention + 4 * model["head"] * scored_of(samples)


def make_adapter(model, folder):
    """PEFT's folder of a new LoRA adapter: A uniform within one over the root of its inputs, as PEFT draws it, B zero."""
    import numpy
    from safetensors.numpy import save_file

    draw, sizes, tensors = numpy.random.default_rng(0), shape(model), {}
    for layer in range(sizes["layers"]):
        for name, (read, written) in sizes["linears"].items():
            begins, most = f"base_model.model.model.layers.{layer}.{name}", 1 / math.sqrt(read)
            tensors[f"{begins}.lora_A.weight"] = draw.uniform(-most, most, (RANK, read)).astype(numpy.float32)
            tensors[f"{begins}.lora_B.weight"] = numpy.zeros((written, RANK), numpy.float32)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0, "bias": "none",
        "target_modules": PROJECTIONS, "base_model_name_or_path": str(model), "inference_mode": True}, indent=2))


class OutOfTime(BaseException):
    """Nothing that catches errors may catch it."""


@contextlib.contextmanager
def time_limit(seconds):
    """Raises OutOfTime in the main thread, or as soon as it is back in Python from where it waits."""
    def late(*_):
        raise OutOfTime(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    # Again and again, as Python drops what is raised within a destructor.
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_a_line(error):
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:240]


def append(path, record):
    if path:
        with open(path, "a", encoding="utf-8") as out:
            out.write(json.dumps(record) + "\n")
