"""What the checks of load-serve share: the table, requests, and what a server is held to.

A new check is a function with `@check` in a file of this folder that load-serve imports.
"""
import asyncio, json, statistics, time

from serve import client

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
GOOD = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 16}
KEY = "a-key-of-this-trial"
CHECKS = {}


def check(*options):
    """Makes a function a check, whose server is started with `options`."""
    def register(function):
        CHECKS[function.__name__] = function, options
        return function
    return register


class Table:
    """What was seen, a row as soon as it is known."""

    def __init__(self):
        self.check, self.failed = "", 0

    def __call__(self, good, what, saw):
        self.failed += not good
        print(f"{self.check:11} {'ok' if good else 'FAILED':7} {what:34} {saw}", flush=True)

    def note(self, text):
        print(f"{'':11} {'':7} {text}", flush=True)


async def plain(server, **changed):
    """The text of a plain answer, or the status instead."""
    reply = await client.ask(server, "POST", CHAT, {**GOOD, **changed})
    return reply.json()["choices"][0]["message"]["content"] if reply.status == 200 else reply.status


async def until_free(server, seconds=10):
    """Waits until nothing is open or held; how long that took, and what `/health` says at last."""
    start = time.perf_counter()
    while True:
        health = (await client.ask(server, "GET", "/health")).json()
        free = (health["open"], health["running"], health["waiting"]) == (0, 0, 0)
        free &= health["free_tokens"] == health["cache_tokens"]
        passed = time.perf_counter() - start
        if free or passed > seconds:
            return free, passed, {name: health[name] for name in ("open", "running", "waiting", "free_tokens")}
        await asyncio.sleep(0.005)


def long_answer(tokens=800, **more):
    """A request that is answered for a while."""
    return {"messages": GOOD["messages"], "max_tokens": tokens, "min_tokens": tokens, "stream": True, **more}


def spread(seconds):
    seconds = sorted(seconds) or [0]
    found = statistics.median(seconds), client.percentile(seconds, 0.99), seconds[-1]
    return "median {:.0f} ms, p99 {:.0f} ms, longest {:.0f} ms".format(*(value * 1e3 for value in found))


def is_typed(reply):
    """Whether an error is one as OpenAI's clients read them."""
    try:
        error = reply.json()["error"]
        return isinstance(error["message"], str) and isinstance(error["type"], str) and {"param", "code"} <= set(error)
    except (ValueError, KeyError, TypeError):
        return False


def shortened(value, most=160):
    text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict) else repr(value)
    return text if len(text) <= most else f"{text[:most // 2]} … {text[-most // 2:]} ({len(text)} characters)"
