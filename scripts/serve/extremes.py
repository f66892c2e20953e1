"""Requests with fields at their limits and beyond, and such as are none."""
import asyncio, collections, json, time

from serve import client
from serve.access import ROUTES
from serve.checks import CHAT, GOOD, TEXT, check, is_typed, plain, shortened, spread

FIELDS = """model messages prompt n stream stream_options temperature top_p top_k min_p repetition_penalty frequency_penalty
presence_penalty seed stop logit_bias max_tokens max_completion_tokens min_tokens logprobs top_logprobs echo suffix
response_format tools tool_choice user messages[0] messages[0].role messages[0].content messages[0].name
messages[0].tool_calls messages[0].tool_call_id messages[0].reasoning_content stream_options.include_usage""".split()
VALUES = [
    None, True, False, 0, 1, -1, 2, 21, 129, 0.5, -0.0, 1e-320, 1e-40, 1e38, 1e39, 1e308, -1e308, float("nan"), float("inf"),
    2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -2**63, 10**400, "", " ", "0", "\0", "\ud800", "\ufeff", "😀",
    "<|im_end|>", "<|im_start|>system\n", "</s>", "../../etc/passwd", "%2e%2e", "a" * 100_000, [], [[]], [None], [0], [-1],
    [2**32], ["a"], [""], ["\0"], ["a"] * 5000, {}, {"": None}, {"type": "json_object"}, {"0": 1e308}, {"0": -1e308},
    {"0": 100, "1": -100}, {"-1": 1}, {"x": 1}, {str(2**40): 1}, {str(token): -100 for token in range(4000)},
]


def with_field(body, path, value):
    """`body` with `value` at `path`, such as messages[0].content."""
    body = json.loads(json.dumps(body))
    *way, last = path.replace("[", ".").replace("]", "").split(".")
    place = body
    for key in way:
        place = place[int(key)] if key.isdecimal() else place.setdefault(key, {})
    place[int(last) if last.isdecimal() else last] = value
    return body


def strange_bodies():
    """Bodies with one field at its limits or beyond, and some that are wrong as a whole."""
    text = {"prompt": "Hello", "temperature": 0, "max_tokens": 8}
    for path, base in ((CHAT, GOOD), (TEXT, text)):
        for field in FIELDS:
            for value in VALUES:
                if not (field.startswith("messages[") and path == TEXT):
                    yield path, with_field(base, field, value)
    turn = GOOD["messages"][0]
    several = [
        {"messages": [turn] * 3000}, {"messages": [{**turn, "role": role} for role in ("assistant", "tool", "system")]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 2000}]},
        {"messages": [{"role": "assistant"}]}, {"n": 128, "max_tokens": 2}, {"temperature": 1e-40}, {"temperature": 1e30, "top_p": 1e-30},
        {"max_tokens": 4, "min_tokens": 9}, {"stop": ["a" * 10_000] * 500}, {"repetition_penalty": 1e-38},
        {"model": "x" * 100_000},
        {"logprobs": True, "top_logprobs": 20, "logit_bias": {str(token): -1e30 for token in range(200)}},
    ]
    yield from ((CHAT, {**GOOD, **changed}) for changed in several)
    prompts = [["Hello"] * 257, [[1, 2]] * 256, [0] * 100_000, [2**31], "a" * 1_000_000, "\n" * 100_000, [["a"]], [1, "a"]]
    yield from ((TEXT, {**text, "max_tokens": 2, "prompt": prompt}) for prompt in prompts)
    yield TEXT, {**text, "prompt": ["Hello"] * 256, "n": 128, "max_tokens": 1}
    raw = [b"", b"{", b"null", b"[]", b'"a"', b"1e999", b"[" * 100_000, b'{"messages":' * 10_000, b"\xff\xfe{}",
           b"\0" * 1000, b'{"messages": "\xff"}', b'{"prompt": "\\ud800"}', b'{"n": 1e999}', b'{"n": 1, "n": 2}', b" " * (9 << 20)]
    yield from ((path, body) for path in (CHAT, TEXT, "/tokenize", "/detokenize") for body in raw)
    for value in VALUES:
        yield "/tokenize", {"content": value}
        yield "/detokenize", {"tokens": value}


def strange_heads():
    """Requests that are wrong before their body."""
    end = b"Host: a\r\nConnection: close\r\n\r\n"
    lines = [b"POST /v1/completions", b"GET /health HTTP/9.9", b"GET  /health HTTP/1.1", b"get /health HTTP/1.1",
             b"\0\0\0\0", b"GET /" + b"a" * 200_000 + b" HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET http://other/health HTTP/1.1",
             b"OPTIONS * HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"TRACE / HTTP/1.1", b"GET /\xff HTTP/1.1",
             b"\x16\x03\x01\x02\0\x01\0"]
    yield from (line + b"\r\n" + end for line in lines)
    names = ["/%00", "/..%2f..%2fetc%2fpasswd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//", "/./health",
             "/v1/models/%00", "/v1/models/..%2f..", "/v1/models/" + "a" * 30_000, "/v1/", "/v1/models/", "/index.html/..",
             "/%ff", "/health?" + "a" * 30_000]
    yield from (f"GET {name} HTTP/1.1\r\n".encode() + end for name in names)
    post = b"POST /v1/completions HTTP/1.1\r\n"
    headers = [b"Content-Length: -1", b"Content-Length: a", b"Content-Length: 2\r\nContent-Length: 3",
               b"A: " + b"b" * 1_000_000, b"A: b\r\n" * 1000 + b"C: d", b"A b", b"A: \0", b"Transfer-Encoding: gzip",
               b": b", b"Content-Length: 99999999999999999999"]
    yield from (post + header + b"\r\n" + end for header in headers)
    chunked = post + b"Transfer-Encoding: chunked\r\n" + end
    yield from (chunked + body for body in (b"zz\r\n", b"ffffffffffffffffff\r\n", b"0\r\n\r\n", b"-1\r\n", b"1\r\naXX"))
    yield post + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" + end + b"0\r\n\r\n"
    methods = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "BREW")
    yield from (f"{method} {path} HTTP/1.1\r\n".encode() + end for method in methods for _, path, _ in ROUTES)


@check("--max-requests", "1024")
async def extremes(args, server, row):
    """extreme values in every field, and bodies and heads that are none: an answer or a typed 4xx, and others unharmed"""
    first, gate, seen, strange, beside = await plain(server), asyncio.Semaphore(8), collections.Counter(), [], []

    async def one(path, body, stream):
        async with gate:
            if stream and isinstance(body, dict) and path in (CHAT, TEXT):
                body = {"stream": True, **body}
            try:
                reply = await client.ask(server, "POST", path, body, seconds=120)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                return strange.append(f"{error!r}: POST {path} {shortened(body)}")
            seen[reply.status] += 1
            in_stream = reply.body.startswith(b"data: ") and b'data: {"error"' in reply.body
            if reply.status >= 500 or reply.status >= 400 and not is_typed(reply) or in_stream:
                said = shortened(reply.body.decode(errors="replace"))
                strange.append(f"{reply.status} {said}: POST {path} {shortened(body)}")

    async def head(data):
        async with gate:
            try:
                said = await raw(server, data, 20)
            except TimeoutError:
                return strange.append(f"no answer and open after 20 s: {shortened(data)}")
            status = int(said[9:12]) if said.startswith(b"HTTP/1.") else 0
            seen[status or "closed"] += 1
            if status >= 500:
                strange.append(f"{said[:200]}: {shortened(data)}")

    async def good():
        while True:
            beside.append(await plain(server))
            await asyncio.sleep(0.05)

    good_ones = asyncio.create_task(good())
    bodies = [one(path, body, number % 3 == 0) for number, (path, body) in enumerate(strange_bodies())]
    await asyncio.gather(*bodies, *map(head, strange_heads()))
    good_ones.cancel()
    await asyncio.wait([good_ones])
    row(not strange, "an answer or a typed 4xx", f"{sum(seen.values())} requests: "
        + ", ".join(f"{count} {status}" for status, count in sorted(seen.items(), key=str)) + f"; {len(strange)} wrong")
    for text in strange[:args.most]:
        row.note(text)
    # A failed task has its reason to tell, a cancelled one has not.
    broken = None if good_ones.cancelled() else good_ones.exception()
    row(not broken and set(beside) == {first}, "a good request beside them", f"{len(beside)} times, "
        f"{sum(text == first for text in beside)} the same answer{f'; {broken!r}' if broken else ''}")


@check()
async def long_texts(args, server, row):
    """texts of several MB: others are answered meanwhile, and memory comes back"""
    before, waits, said = server.status("VmRSS"), [], collections.Counter()

    async def watch():
        while True:
            start = time.perf_counter()
            await client.ask(server, "GET", "/health")
            waits.append(time.perf_counter() - start)
            await asyncio.sleep(0.05)

    async def one(path, name, text):
        # As UTF-8, of which a body may have 8 MiB.
        body = json.dumps({name: text, "max_tokens": 1}, ensure_ascii=False).encode()
        said[(await client.ask(server, "POST", path, body)).status] += 1

    texts = [unit * (args.text_bytes // len(unit.encode())) for unit in ("word ", "a", "1", " ", "你好", "aB1!")]
    watching = asyncio.create_task(watch())
    start = time.perf_counter()
    for text in texts:
        await asyncio.gather(one("/tokenize", "content", text), one(TEXT, "prompt", text), one(TEXT, "prompt", text))
    took = time.perf_counter() - start
    watching.cancel()
    await asyncio.wait([watching])
    row(max(said) < 500, "an answer or a 4xx", f"{dict(said)} in {took:.1f} s, each text three times at once")
    row(max(waits, default=took) < 2, "/health beside them", spread(waits))
    peak, after = server.status("VmHWM"), server.status("VmRSS")
    row(peak - before < 1e9, "less than 1 GB for them", f"{before / 1e6:.0f} MB before, {peak / 1e6:.0f} at most, "
        f"{after / 1e6:.0f} after")


async def raw(server, data, seconds):
    """What comes back for bytes as they are, until the server closes."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            writer.write(data)
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()
