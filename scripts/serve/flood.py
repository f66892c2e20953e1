"""Many at once, those who leave, and the end amid work."""
import asyncio, collections, json, random, signal, time

from serve import client
from serve.checks import CHAT, GOOD, check, is_typed, long_answer, shortened, spread, until_free


@check()
async def flood(args, server, row):
    """many requests at a time: those beyond the limit are told 429 at once, come again, and are answered"""
    gate, refused, tries, strange = asyncio.Semaphore(args.at_once), [], [], []

    async def one(number):
        async with gate:
            for attempt in range(1, 600):
                start = time.perf_counter()
                try:
                    reply = await client.ask(server, "POST", CHAT, {**GOOD, "stream": number % 2 == 0})
                except (OSError, EOFError, TimeoutError) as error:
                    return strange.append(f"request {number}: {error!r}")
                if reply.status == 200:
                    return tries.append(attempt)
                if reply.status != 429 or not reply.headers.get("retry-after", "").isdecimal() or not is_typed(reply):
                    return strange.append(f"request {number}: {reply.status} {reply.headers} {reply.body[:200]}")
                refused.append(time.perf_counter() - start)
                await asyncio.sleep(int(reply.headers["retry-after"]) * random.uniform(1, 1.5))

    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(args.requests)))
    took = time.perf_counter() - start
    row(not strange, "answers or 429 with Retry-After", f"{args.requests} requests, {args.at_once} at a time, {took:.1f} s: "
        f"{len(refused)} times 429, {len(strange)} others")
    for text in strange[:5]:
        row.note(text)
    row(len(tries) == args.requests, "all answered in the end", f"{len(tries)}, {tries.count(1)} at the first try, "
        f"at most {max(tries, default=0)} tries")
    if refused:
        row(client.percentile(refused, 0.99) < args.at_once_ms / 1e3, "429 comes at once", spread(refused))


@check("--max-requests", "1024")
async def disconnects(args, server, row):
    """clients that leave before, in and behind the head of an answer, by a close or a reset: their places are free"""
    gate, stages = asyncio.Semaphore(64), collections.Counter()

    async def half_a_body():
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(client.head_of("POST", CHAT, {"Content-Length": 5000}) + b'{"messages": [')
        await writer.drain()
        writer.close()

    async def before_an_answer(body):
        asking = asyncio.create_task(client.send(server, "POST", CHAT, body))
        await asyncio.sleep(random.uniform(0, 0.3))
        asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled() and not asking.exception():
            asking.result().leave()

    async def in_a_stream(body, at_once):
        reply = await client.send(server, "POST", CHAT, body)
        left = random.randrange(12)
        async for _ in reply.events():
            if left == 0:
                break
            left -= 1
        reply.leave(at_once)

    async def one(number):
        kinds = {
            "half a body": lambda: half_a_body(),
            "before a whole answer": lambda: before_an_answer(long_answer(stream=False)),
            "before or in a stream": lambda: before_an_answer(long_answer()),
            "in a stream, closed": lambda: in_a_stream(long_answer(), False),
            "in a stream, reset": lambda: in_a_stream(long_answer(), True),
            "in a stream of 4 answers": lambda: in_a_stream(long_answer(n=4), True),
        }
        name = list(kinds)[number % len(kinds)]
        async with gate:
            await kinds[name]()
        stages[name] += 1

    await asyncio.gather(*(one(number) for number in range(args.leave)))
    free, passed, health = await until_free(server)
    row(free and passed < 2, "all places free again",
        f"{passed * 1e3:.0f} ms after the last of {sum(stages.values())} left; {health}")
    row.note(", ".join(f"{count} {name}" for name, count in stages.items()))


@check()
async def drain(args, server, row):
    """SIGTERM amid streams: they end whole, new requests are told 503, the exit code is 0"""
    replies = [await client.send(server, "POST", CHAT, long_answer(tokens=400, n=2)) for _ in range(8)]
    idle = await asyncio.open_connection(server.host, server.port)
    server.signal(signal.SIGTERM)
    start = time.perf_counter()
    await asyncio.sleep(0.05)
    new = await client.ask(server, "POST", CHAT, GOOD)
    row(new.status == 503 and is_typed(new), "a new request is told 503", f"{new.status} {shortened(new.body.decode(), 90)}")

    async def whole(reply):
        events = [event async for event in reply.events()]
        ends = [choice["finish_reason"] for event in events[:-1] for choice in json.loads(event)["choices"]]
        return events[-1] == "[DONE]" and ends.count("length") == 2

    found = await asyncio.gather(*(whole(reply) for reply in replies))
    took = time.perf_counter() - start
    row(all(found), "open streams end whole", f"{sum(found)} of {len(found)}, for {took:.1f} s behind the signal")
    code = await server.ended(10)
    later = time.perf_counter() - start - took
    row(code == 0, "then it ends", f"exit code {code}, {later:.2f} s later, an idle connection open")
    idle[1].close()


@check("--drain", "1")
async def deadline(args, server, row):
    """SIGTERM amid answers that take longer than it may: it ends by the deadline"""
    replies = [await client.send(server, "POST", CHAT, long_answer(n=64)) for _ in range(2)]
    server.signal(signal.SIGTERM)
    start = time.perf_counter()
    code = await server.ended(20)
    took = time.perf_counter() - start
    row(code is not None and took < 3, "it ends by the deadline of 1 s", f"exit code {code} after {took:.2f} s")
    for reply in replies:
        reply.leave()
