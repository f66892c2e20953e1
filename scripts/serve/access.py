"""Who gets in, and where."""
import subprocess

from serve import client
from serve.checks import CHAT, GOOD, KEY, TEXT, check, is_typed, plain, shortened

# Every route: method, path, body. The last three are open to everyone, and tell nothing that is asked for with a key.
ROUTES = [
    ("GET", "/v1/models", None), ("GET", "/v1/models/x", None), ("POST", CHAT, GOOD),
    ("POST", TEXT, {"prompt": "a", "max_tokens": 1}), ("POST", "/tokenize", {"content": "a"}),
    ("POST", "/detokenize", {"tokens": [1]}), ("POST", "/v1/embeddings", {"input": "a"}), ("GET", "/metrics", None),
    ("GET", "/runs", None), ("GET", "/runs/x/metrics", None),
    ("GET", "/health", None), ("GET", "/", None), ("GET", "/main.js", None),
]
GUARDED = ROUTES[:-3]


@check("--api-key", KEY)
async def keys(args, server, row):
    """every route without a key and with wrong ones; no other page may read what it answers"""
    wrong = [None, "", "Bearer", "Bearer ", f"Bearer {KEY[:-1]}", f"Bearer {KEY}a", f"Bearer {KEY.upper()}",
             f"Basic {KEY}", KEY, f"Bearer {KEY} {KEY}", "Bearer " + "a" * 10_000, f"Bearer \t{KEY}x"]
    let_in, untyped, count = [], [], 0
    for method, path, body in GUARDED:
        for key in wrong:
            for sent in (body, b"{" if body else None, b" " * (9 << 20) if body and key is None else None):
                reply = await client.ask(server, method, path, sent, {} if key is None else {"Authorization": key})
                count += 1
                if reply.status != 401:
                    let_in.append(f"{reply.status}: {method} {path} with {shortened(str(key), 60)}")
                elif not is_typed(reply) or "www-authenticate" not in reply.headers:
                    untyped.append(f"{method} {path}: {reply.headers} {reply.body[:100]}")
    row(not let_in, "401 without the key", f"{count - len(let_in)} of {count} requests to {len(GUARDED)} routes")
    row(not untyped, "of OpenAI's form", f"with WWW-Authenticate; {len(untyped)} otherwise")
    for text in [*let_in, *untyped][:5]:
        row.note(text)
    own = {"Authorization": f"Bearer {KEY}"}
    found = [(await client.ask(server, method, path, body, own)).status for method, path, body in ROUTES]
    row(all(status in (200, 404) for status in found), "the key opens them", f"{found}")
    known = [(await client.ask(server, method, path, body)).status for method, path, body in ROUTES[-3:]]
    row(known == [200] * 3, "health and the page need none", f"{known}")
    origin = {"Origin": "http://other.example", "Access-Control-Request-Method": "POST",
              "Access-Control-Request-Headers": "authorization"}
    cors = []
    for method in ("OPTIONS", "GET", "POST"):
        for _, path, _ in ROUTES:
            reply = await client.ask(server, method, path, b"", origin)
            cors += [path for name in reply.headers if name.startswith("access-control")]
    row(not cors, "no CORS unless asked", f"{3 * len(ROUTES)} requests of another origin, {len(cors)} let read")
    command = [args.retune, "serve", args.model, "--host", "0.0.0.0", "--port", "0"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, env={})
    refused = said.returncode == 1 and "hint:" in said.stderr
    row(refused, "0.0.0.0 without a key is refused", shortened(said.stderr.strip(), 120))


@check()
async def port(args, server, row):
    """a second server at the port of the first takes the next that is free, and says so"""
    second = client.Server("second", [args.retune, "serve", args.model, "--port", server.port])
    try:
        await second.ready()
        both = await plain(server), await plain(second)
        row(second.port != server.port and both[0] == both[1], "the next free port",
            f"{server.port}, then {second.port}; both answer")
    finally:
        second.stop()
