"""Adapters that come and go."""
import asyncio, json, pathlib, subprocess, tempfile

from serve import client
from serve.checks import CHAT, GOOD, check, plain, until_free

ADMIN = {"Authorization": "Bearer the-admin-key-of-this-trial"}
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def trained(args, folder, name, answer):
    rows = [{"instruction": f"Hello {number}", "input": "", "output": answer} for number in range(16)]
    data = folder / f"{name}.json"
    data.write_text(json.dumps(rows))
    command = [args.retune, "train", "--model", args.model, "--data", data, "--output_dir", folder / name,
               "--finetuning_type", "lora", "--learning_rate", "1e-2", "--max_steps", "12", "--validation_split", "0"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@check()
async def adapters(args, server, row):
    """--loads loads, replacements and unloads under traffic; answers of the base and of both adapters stay theirs"""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        trained(args, folder, "one", "one one one one"), trained(args, folder, "two", "two two two two")
        own = client.retune("adapters", args.model, "--adapter-folder", folder, "--admin-key",
                            ADMIN["Authorization"].removeprefix("Bearer "), program=args.retune)
        try:
            await own.ready()
            await traffic(args, own, row)
        finally:
            own.stop()


async def traffic(args, server, row):
    change = lambda path, **body: client.ask(server, "POST", path, body, ADMIN)
    base = await plain(server)
    texts = []
    for path in ("one", "two"):
        assert (await change(LOAD, lora_name="lady", lora_path=path)).status == 200
        texts.append(await plain(server, model="lady"))
    row(len({base, *texts}) == 3, "three answers", f"{base!r}, {texts[0]!r}, {texts[1]!r}")
    done, answers, wrong = False, 0, []

    async def ask(model, expected):
        nonlocal answers
        while not done:
            found = await plain(server, **({"model": model} if model else {}))
            answers += 1
            if found not in expected:
                wrong.append(f"{model or 'base'}: {found!r}")

    # One that is there at times is answered by itself or by nobody.
    asked = [asyncio.create_task(ask(*pair)) for pair in
             [(None, {base}), (None, {base}), ("lady", set(texts)), ("lady", set(texts)), ("guest", {texts[0], 404})]]
    memory, refused = [], 0
    for number in range(args.loads):
        path = ("one", "two")[number % 2]
        found = await change(LOAD, lora_name="lady", lora_path=path)
        guest = await change(LOAD, lora_name="guest", lora_path="one")
        gone = await change(UNLOAD, lora_name="guest")
        refused += sum(reply.status != 200 for reply in (found, guest, gone))
        if number % max(1, args.loads // 20) == 0:
            memory.append(server.status("VmRSS") / 1e6)
    done = True
    await asyncio.gather(*asked)
    row(not refused, "loaded, replaced, unloaded", f"{args.loads} times each, {refused} refused")
    row(not wrong, "answers under that", f"{answers}, {len(wrong)} of another model")
    for text in wrong[:5]:
        row.note(text)
    settled = memory[len(memory) // 4:]
    row(settled[-1] < settled[0] * 1.05 + 8, "memory", f"{memory[0]:.0f} MB at first, {settled[0]:.0f} MB at a quarter, "
        f"{settled[-1]:.0f} MB at last")
    free, passed, health = await until_free(server)
    row(free, "afterwards", f"all free after {passed * 1e3:.0f} ms" if free else f"{health}")
