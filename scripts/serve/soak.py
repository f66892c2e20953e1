"""Everything mixed, for a long time."""
import asyncio, collections, random, statistics, time

from serve import client
from serve.checks import CHAT, GOOD, TEXT, check, long_answer, plain, until_free


@check()
async def soak(args, server, row):
    """mixed load for --minutes: memory and open files of the server stay flat"""
    first = await plain(server)
    seen, wrong, chosen = collections.Counter(), [], random.Random(2)
    give_up = time.monotonic() + args.minutes * 60

    async def expect(name, status, path, body=None):
        reply = await client.ask(server, "POST" if body is not None else "GET", path, body)
        seen["429" if reply.status == 429 else name] += 1
        if reply.status not in (status, 429):
            wrong.append(f"{name}: {reply.status} {reply.body[:200]}")
        return reply

    async def greedy():
        reply = await expect("greedy", 200, CHAT, GOOD)
        if reply.status == 200 and reply.json()["choices"][0]["message"]["content"] != first:
            wrong.append(f"another greedy answer: {reply.body[:300]}")

    async def leaves():
        reply = await client.send(server, "POST", CHAT, long_answer(n=2))
        async for _ in reply.events():
            if chosen.random() < 0.05:
                break
        reply.leave(chosen.random() < 0.5)
        seen["left"] += 1

    text = lambda: " ".join(chosen.choices("one two three four five six seven".split(), k=chosen.randrange(1, 150)))
    kinds = [
        greedy, leaves,
        lambda: expect("stream", 200, CHAT, {**GOOD, "stream": True, "temperature": 1, "max_tokens": 60}),
        lambda: expect("4 answers", 200, TEXT, {"prompt": text(), "n": 4, "max_tokens": 30, "logprobs": 5}),
        lambda: expect("8 prompts", 200, TEXT, {"prompt": [text() for _ in range(8)], "max_tokens": 10}),
        lambda: expect("bad", 400, CHAT, {**GOOD, "temperature": -1}),
        lambda: expect("too long", 400, TEXT, {"prompt": "word " * 20_000}),
        lambda: expect("tokens", 200, "/tokenize", {"content": text()}),
        lambda: expect("models", 200, "/v1/models"), lambda: expect("page", 200, "/"),
    ]

    async def worker():
        while time.monotonic() < give_up:
            try:
                await chosen.choice(kinds)()
            except (OSError, EOFError, TimeoutError) as error:
                wrong.append(repr(error))

    samples, start = [], time.monotonic()

    async def sample():
        while (now := time.monotonic()) < give_up:
            samples.append((now - start, server.status("VmRSS") / 1e6, server.open_files()))
            await asyncio.sleep(min(10, args.minutes * 3))

    idle_files = server.open_files()
    await asyncio.gather(sample(), *(worker() for _ in range(args.workers)))
    for seconds, memory, files in samples[::max(1, len(samples) // 12)]:
        row.note(f"{seconds:6.0f} s  {memory:8.1f} MB  {files:4} files")
    counts = ", ".join(f"{count} {name}" for name, count in seen.items())
    row(not wrong, "what was answered", f"{counts}; {len(wrong)} wrong")
    for text in wrong[:5]:
        row.note(text)
    # The first quarter is for buffers and pools to find their size.
    settled = samples[len(samples) // 4:]
    times, memory, files = zip(*settled)
    lasted = times[-1] - times[0]
    slope, more_files = (statistics.linear_regression(times, column).slope for column in (memory, files))
    row(slope * lasted < max(8, 0.03 * memory[0]), "memory is flat", f"{slope * 60:+.2f} MB a minute on a line through "
        f"{len(settled)} samples; {memory[0]:.0f} MB to {memory[-1]:.0f} MB")
    await until_free(server)
    await asyncio.sleep(1)
    after = server.open_files()
    row(after <= idle_files + 2 and more_files * lasted < 10, "open files are flat",
        f"{idle_files} before, {min(files)} to {max(files)} under load, {after} after")
