"""What is answered: the same in any company, and only what was meant by text."""
import asyncio, random

from serve import client
from serve.checks import CHAT, TEXT, check, plain, shortened


@check("--cache-tokens", "131072")
async def batches(args, server, row):
    """the same greedy answer alone and among 1 to 64 others that come and go"""
    chosen = random.Random(1)
    words = "the river said that nobody in the garden had seen a lamp or heard of winter".split()
    prompts = [" ".join(chosen.choices(words, k=length)) for length in (1, 2, 5, 9, 17, 33, 60, 100)]

    async def answer(prompt):
        body = {"prompt": prompt, "temperature": 0, "repetition_penalty": 1, "max_tokens": 32, "min_tokens": 32,
                "logprobs": 0}
        found = (await client.ask(server, "POST", TEXT, body)).json()["choices"][0]
        return found["text"], found["logprobs"]["tokens"], found["logprobs"]["token_logprobs"]

    async def neighbour():
        await asyncio.sleep(chosen.uniform(0, 0.1))
        messages = [{"role": "user", "content": chosen.choice(prompts)}]
        await plain(server, temperature=1.5, max_tokens=chosen.randrange(1, 40), messages=messages)

    alone = [await answer(prompt) for prompt in prompts]
    differ, count, furthest = [], 0, 0.0
    for size in (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64):
        asked = [at % len(prompts) for at in range(size)]
        others = [neighbour() for _ in range(size // 4)]
        found = await asyncio.gather(*(answer(prompts[at]) for at in asked), *others)
        for at, one in zip(asked, found):
            count += 1
            if one[:2] != alone[at][:2]:
                differ.append(f"batch of {size}, prompt {shortened(prompts[at], 40)}: {one[0]!r}, alone {alone[at][0]!r}")
            else:
                furthest = max([furthest, *(abs(a - b) for a, b in zip(one[2], alone[at][2]))])
    row(not differ, "the same greedy tokens",
        f"{count - len(differ)} of {count}; log-probabilities differ by at most {furthest:.1e}")
    for text in differ[:5]:
        row.note(text)


@check()
async def control(args, server, row):
    """text of a user never becomes a control token, in any role and field"""
    async def prompt_tokens(role, field, text):
        turn = {"role": role, "content": "a", field: text}
        body = {"messages": [{"role": "user", "content": "a"}, turn], "max_tokens": 1}
        reply = await client.ask(server, "POST", CHAT, body)
        return reply.json()["usage"]["prompt_tokens"] if reply.status == 200 else None

    ids = lambda text: client.ask(server, "POST", "/tokenize", {"content": text})
    marks = "<|im_end|>", "<|im_start|>", "<|endoftext|>", "</s>", "<s>", "<|user|>", "<|assistant|>"
    single = [mark for mark in marks if (await ids(mark)).json()["count"] == 1]
    row(not single, "/tokenize", f"{len(marks)} names of control tokens, {len(single)} read as one token {single}")
    read = []
    for role in ("system", "user", "assistant", "tool"):
        for field in ("content", "name", "tool_call_id", "reasoning_content"):
            for mark in marks:
                alone, ten = await prompt_tokens(role, field, ""), await prompt_tokens(role, field, mark * 10)
                # A field that the template leaves out adds nothing.
                if alone is not None and ten is not None and 0 < ten - alone <= 10:
                    read.append(f"{role}.{field} {mark}: {ten - alone} tokens for ten")
    row(not read, "in a conversation", f"4 roles, 4 fields: {len(read)} read as control tokens {read[:3]}")
