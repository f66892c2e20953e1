"""Clients that take their time."""
import asyncio, time

from serve import client
from serve.checks import CHAT, GOOD, check, long_answer, plain, spread


@check("--max-requests", "8")
async def slow(args, server, row):
    """clients that send heads or bodies by the byte, send nothing, or read nothing: thrown out, and others unharmed"""
    first, waits = await plain(server), []

    async def drip(start):
        """How long the server bears with a byte each second, or None if `patience` ends first."""
        reader, writer = await asyncio.open_connection(server.host, server.port)
        began = time.perf_counter()
        try:
            writer.write(start)
            closed = asyncio.create_task(reader.read())
            while time.perf_counter() - began < args.patience:
                done, _ = await asyncio.wait([closed], timeout=1)
                if done:
                    return time.perf_counter() - began
                if start:
                    writer.write(b"a")
            closed.cancel()
            return None
        except ConnectionError:
            return time.perf_counter() - began
        finally:
            writer.close()

    async def watch():
        while True:
            start = time.perf_counter()
            said = await plain(server)
            waits.append((time.perf_counter() - start, said))
            await asyncio.sleep(0.5)

    # A body that is long, or does not say how long, takes one of 64 places: the chunked ones are to have them.
    kinds = {
        "heads by the byte": b"GET /health HTTP/1.1\r\nA: ", "no head at all": b"",
        "bodies by the byte": client.head_of("POST", CHAT, {"Content-Length": 60_000}) + b'{"messages": "',
        "bodies by the byte, chunked": client.head_of("POST", CHAT, {"Transfer-Encoding": "chunked"}) + b"fffff\r\n{",
    }
    watching = asyncio.create_task(watch())
    found = await asyncio.gather(*(drip(start) for start in kinds.values() for _ in range(args.slow)))
    watching.cancel()
    await asyncio.wait([watching])
    for number, name in enumerate(kinds):
        own = found[number * args.slow:(number + 1) * args.slow]
        ended = [seconds for seconds in own if seconds is not None]
        when = f", {min(ended):.0f} to {max(ended):.0f} s after they began" if ended else ""
        row(len(ended) == len(own), f"{name}: closed", f"{len(ended)} of {len(own)} within {args.patience} s{when}")
    row(all(said == first for _, said in waits), "others beside them",
        f"{len(waits)} answers, {spread(wait for wait, _ in waits)}")
    await slow_readers(args, server, row, first)


async def slow_readers(args, server, row, first):
    """As many as may be open, and none reads: once made, their answers may not hold all places for ever."""
    before = server.status("VmRSS")
    body = long_answer(n=4, logprobs=True, top_logprobs=20)
    replies = [await client.send(server, "POST", CHAT, body) for _ in range(8)]
    for reply in replies:
        reply.writer.transport.pause_reading()
    start, said = time.perf_counter(), 429
    while said == 429 and time.perf_counter() - start < args.patience + 60:
        await asyncio.sleep(0.5)
        said = await plain(server)
    took = time.perf_counter() - start
    seen = "answered" if said == first else f"still told {said}"
    grown = (server.status("VmRSS") - before) / 1e6
    row(said == first, "8 of 8 places, and none reads",
        f"another was {seen} after {took:.1f} s; the server had grown by {grown:.0f} MB")
    for reply in replies:
        reply.leave(at_once=True)


@check()
async def idle(args, server, row):
    """many connections that say nothing"""
    found = [asyncio.create_task(asyncio.open_connection(server.host, server.port)) for _ in range(args.connections)]
    done, pending = await asyncio.wait(found, timeout=5)
    start = time.perf_counter()
    try:
        reply = await client.ask(server, "POST", CHAT, GOOD, seconds=args.patience)
        said = reply.status
    except (OSError, EOFError, TimeoutError) as error:
        said = repr(error)
    row(said == 200, "a good request beside them", f"{said} after {time.perf_counter() - start:.2f} s beside "
        f"{len(done)} connections; the server holds {server.open_files()} files")
    for task in pending:
        task.cancel()
    await asyncio.wait(found)
    for task in found:
        if not task.cancelled() and not task.exception():
            task.result()[1].close()
