"""What openai-python makes of the answers."""
import asyncio, base64, json, math, struct

import openai

from serve.asked import ASKED, Lady, Skipped, Weather, check, same

# What answers are made the same with, however often they are asked for.
GREEDY = {"temperature": 0, "max_tokens": 12, "extra_body": {"min_tokens": 12}}
PROMPT = "The river was quiet"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "京城"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": name, "description": "Tells it", "parameters": PARAMETERS}}
         for name in ("weather", "almanac")]


def client(target, kind=openai.OpenAI, **changed):
    # An answer that is not of the client's types is an error instead of a guess.
    return kind(**{"base_url": target.base_url, "api_key": target.key, "max_retries": 0,
                   "_strict_response_validation": True, **changed})


def lenient(target):
    """For what OpenAI answers too, against the client's own types: no `finish_reason` yet in a stream of text, no
    probability of the first token of an echo, and base64."""
    return client(target, _strict_response_validation=False)


def chat(target, **changed):
    return client(target).chat.completions.create(**{"model": target.model, "messages": ASKED, **GREEDY, **changed})


def text(target, **changed):
    asking = lenient(target) if changed.get("stream") or changed.get("echo") else client(target)
    return asking.completions.create(**{"model": target.model, "prompt": PROMPT, **GREEDY, **changed})


@check("openai", "models: list, retrieve")
def models(target):
    listed = client(target).models.list().data
    same("retrieve", client(target).models.retrieve(listed[0].id), listed[0])
    return ", ".join(model.id for model in listed)


@check("openai", "chat")
def chat_whole(target):
    answer = chat(target)
    choice, usage = answer.choices[0], answer.usage
    same("object", answer.object, "chat.completion")
    same("finish_reason", choice.finish_reason, "length")
    same("completion_tokens", usage.completion_tokens, 12)
    same("total_tokens", usage.total_tokens, usage.prompt_tokens + 12)
    assert choice.message.content, "no text"
    old = chat(target, max_tokens=openai.omit, max_completion_tokens=12).choices[0].message.content
    same("max_completion_tokens", old, choice.message.content)
    parts = [{"type": "text", "text": "Hi"}]
    messages = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}]
    assert chat(target, messages=messages).choices[0].message.content
    return f"{choice.message.content!r}, {usage.prompt_tokens} + {usage.completion_tokens} tokens"


@check("openai", "chat, the same seed")
def chat_seed(target):
    drawn = [chat(target, temperature=1, seed=seed).choices[0].message.content for seed in (5, 5, 6)]
    same("the same seed", drawn[0], drawn[1])
    assert drawn[0] != drawn[2], "another seed, the same answer"
    return "the same answer, and another with another seed"


@check("openai", "chat, stop")
def chat_stop(target):
    whole = chat(target, extra_body={}).choices[0].message.content
    stop = whole[len(whole) // 2:][:2]
    cut = chat(target, extra_body={}, stop=[stop]).choices[0]
    same("text", cut.message.content, whole[:whole.index(stop)])
    same("finish_reason", cut.finish_reason, "stop")
    return f"ended before {stop!r}"


@check("openai", "chat, stream with usage")
def chat_stream(target):
    chunks = list(chat(target, stream=True, stream_options={"include_usage": True}))
    whole = chat(target)
    same("choices of the last chunk", chunks[-1].choices, [])
    same("usage of the others", [chunk.usage for chunk in chunks[:-1]], [None] * (len(chunks) - 1))
    found = chunks[-1].usage
    same("usage", (found.prompt_tokens, found.completion_tokens), (whole.usage.prompt_tokens, 12))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    same("text", "".join(choice.delta.content or "" for choice in choices), whole.choices[0].message.content)
    same("roles", [choice.delta.role for choice in choices if choice.delta.role], ["assistant"])
    same("ends", [choice.finish_reason for choice in choices if choice.finish_reason], ["length"])
    same("ids", len({chunk.id for chunk in chunks}), 1)
    return f"{len(chunks)} chunks, the text of the whole answer"


@check("openai", "chat, the stream's events")
def chat_events(target):
    # An answer that is cut is an error to it.
    asked = {"temperature": 0, "max_tokens": 400}
    with client(target).chat.completions.stream(model=target.model, messages=ASKED, **asked) as events:
        text = "".join(event.delta for event in events if event.type == "content.delta")
        final = events.get_final_completion().choices[0]
    same("text", text, final.message.content)
    same("the whole answer's", text, chat(target, **asked, extra_body={}).choices[0].message.content)
    return "chat.completions.stream"


@check("openai", "chat, n answers")
def chat_n(target):
    asked = {"n": 3, "temperature": 1, "seed": 2}
    choices = chat(target, **asked).choices
    same("indices", [choice.index for choice in choices], [0, 1, 2])
    texts = [choice.message.content for choice in choices]
    same("different ones", len(set(texts)), 3)
    streamed = ["", "", ""]
    for chunk in chat(target, stream=True, **asked):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    same("streamed", streamed, texts)
    return "3, whole and as a stream"


@check("openai", "chat, logprobs")
def chat_logprobs(target):
    def told(tokens):
        for token in tokens:
            same("likely ones", len(token.top_logprobs), 5)
            same("the most likely", token.top_logprobs[0].logprob, token.logprob)
            assert sum(math.exp(top.logprob) for top in token.top_logprobs) < 1.001, token
        return bytes(byte for token in tokens for byte in token.bytes).decode(errors="replace")

    asked = {"logprobs": True, "top_logprobs": 5, "extra_body": {"repetition_penalty": 1}}
    choice = chat(target, **asked).choices[0]
    same("bytes of the tokens", told(choice.logprobs.content), choice.message.content)
    streamed = [choice.logprobs for chunk in chat(target, stream=True, **asked) for choice in chunk.choices]
    tokens = [token for entry in streamed if entry for token in entry.content]
    same("streamed", tokens, choice.logprobs.content)
    return f"of {len(tokens)} tokens, whole and as a stream; their bytes are the text"


@check("openai", "raw and streaming responses")
def responses(target):
    asked = {"model": target.model, "messages": ASKED, **GREEDY}
    raw = client(target).chat.completions.with_raw_response.create(**asked)
    same("status", (raw.status_code, raw.headers["content-type"]), (200, "application/json"))
    whole = raw.parse().choices[0].message.content
    with client(target).chat.completions.with_streaming_response.create(**asked, stream=True) as reply:
        kind = reply.headers["content-type"]
        lines = [line for line in reply.iter_lines() if line]
    same("content-type", kind.split(";")[0], "text/event-stream")
    same("last line", lines[-1], "data: [DONE]")
    with client(target).chat.completions.with_streaming_response.create(**asked) as reply:
        same("parsed", reply.parse().choices[0].message.content, whole)
    return "with_raw_response, with_streaming_response"


@check("openai", "async, 4 at once")
async def at_once(target):
    async with client(target, openai.AsyncOpenAI) as asking:
        create = lambda **more: asking.chat.completions.create(model=target.model, messages=ASKED, **GREEDY, **more)

        async def stream():
            return "".join([chunk.choices[0].delta.content or "" async for chunk in await create(stream=True)])

        async def whole():
            return (await create()).choices[0].message.content

        found = await asyncio.gather(stream(), whole(), stream(), whole())
    same("answers", len(set(found)), 1)
    return "2 streams and 2 whole answers, the same"


@check("openai", "a stream that is left")
def left(target):
    with chat(target, stream=True, max_tokens=400, extra_body={"min_tokens": 400}) as stream:
        next(iter(stream))
    target.only_ours()
    for _ in range(200):
        if (health := target.ask("/health"))["open"] == 0:
            return "its place is free"
    raise AssertionError(health)


@check("openai", "completions, text and tokens")
def completions(target):
    ids = target.tokens(PROMPT)
    whole = text(target).choices[0].text
    for what, prompt in (("[text]", [PROMPT]), ("tokens", ids), ("[tokens, tokens]", [ids, ids])):
        answer = text(target, prompt=prompt)
        same(what, {choice.text for choice in answer.choices}, {whole})
        same("indices", [choice.index for choice in answer.choices], list(range(len(answer.choices))))
    streamed = "".join(chunk.choices[0].text for chunk in text(target, stream=True))
    same("streamed", streamed, whole)
    two = text(target, prompt=[PROMPT, "Once"], n=2, temperature=1).choices
    same("2 prompts, n of 2", [choice.index for choice in two], [0, 1, 2, 3])
    return "text, tokens and lists of them give the same answer; as a stream too"


@check("openai", "completions, echo with logprobs")
def echo(target):
    alone = text(target, echo=True, logprobs=3, max_tokens=0, extra_body={})
    choice = alone.choices[0]
    same("text", choice.text, PROMPT)
    same("tokens", "".join(choice.logprobs.tokens), PROMPT)
    same("their number", len(choice.logprobs.tokens), alone.usage.prompt_tokens)
    same("the first token's", choice.logprobs.token_logprobs[0], None)
    assert all(value <= 0 for value in choice.logprobs.token_logprobs[1:])
    offsets = zip(choice.logprobs.tokens, choice.logprobs.text_offset)
    assert all(PROMPT[at:].startswith(token) for token, at in offsets), choice.logprobs.text_offset
    more = text(target, echo=True, logprobs=3)
    same("with an answer", more.choices[0].logprobs.tokens[:len(choice.logprobs.tokens)], choice.logprobs.tokens)
    same("text with an answer", more.choices[0].text, PROMPT + text(target).choices[0].text)
    both = zip(more.choices[0].logprobs.token_logprobs[1:], choice.logprobs.token_logprobs[1:])
    furthest = max(abs(first - second) for first, second in both)
    assert furthest < 1e-4, furthest
    return f"{alone.usage.prompt_tokens} tokens of the prompt, with an answer and without"


@check("openai", "completions, echo to the end")
def echo_to_the_end(target):
    whole = text(target, max_tokens=400, extra_body={}).choices[0]
    if whole.finish_reason != "stop":
        raise Skipped("the answer has no end")
    # What would follow is the end. lm-eval counts on one token behind the prompt's, and leaves it out.
    answer = text(target, prompt=PROMPT + whole.text, echo=True, logprobs=1, max_tokens=1, extra_body={})
    same("tokens", len(answer.choices[0].logprobs.tokens), answer.usage.prompt_tokens + 1)
    return f"{answer.usage.prompt_tokens} tokens of the prompt, and the one that ends it"


@check("openai", "embeddings, float and base64")
def embeddings(target):
    create = lambda given, **more: lenient(target).embeddings.create(model=target.model, input=given, **more).data
    asked = {"model": target.model, "input": [PROMPT, "Once"], "encoding_format": "float"}
    floats = client(target).embeddings.create(**asked).data
    same("indices", [entry.index for entry in floats], [0, 1])
    vector = floats[0].embedding
    assert abs(sum(value * value for value in vector) - 1) < 1e-3
    # Not asked for a format, the client asks for base64 and reads it.
    furthest = max(abs(a - b) for a, b in zip(create(PROMPT)[0].embedding, vector, strict=True))
    assert furthest < 1e-5, furthest
    raw = base64.b64decode(create(PROMPT, encoding_format="base64")[0].embedding)
    furthest = max(abs(a - b) for (a,), b in zip(struct.iter_unpack("<f", raw), vector, strict=True))
    assert furthest < 1e-5, furthest
    furthest = max(abs(a - b) for a, b in zip(create(target.tokens(PROMPT))[0].embedding, vector, strict=True))
    assert furthest < 1e-5, furthest
    return f"{len(vector)} floats, of text and of tokens"


@check("openai", "JSON of a schema")
def json_schema(target):
    format = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": PARAMETERS}}
    asked = {"temperature": 1, "seed": 1, "max_tokens": 300, "extra_body": {}}
    found = Weather.model_validate_json(chat(target, response_format=format, **asked).choices[0].message.content)
    parsed = client(target).chat.completions.parse(model=target.model, messages=ASKED, response_format=Lady, **asked)
    lady = parsed.choices[0].message.parsed
    assert isinstance(lady, Lady), parsed
    with client(target).chat.completions.stream(
        model=target.model, messages=ASKED, response_format=Lady, **asked
    ) as events:
        same("streamed", events.get_final_completion().choices[0].message.parsed, lady)
    anything = chat(target, response_format={"type": "json_object"}, **asked).choices[0]
    if anything.finish_reason == "stop":
        assert isinstance(json.loads(anything.message.content), dict), anything
    return f"{found!r}; parse: {lady!r}"


def call_of(target, **asked):
    """The one call of an answer, and the answer's choice."""
    more = {"temperature": 1, "seed": 3, "max_tokens": 300, "extra_body": {}, "parallel_tool_calls": False}
    choice = chat(target, tools=TOOLS, **more, **asked).choices[0]
    same("finish_reason", choice.finish_reason, "tool_calls")
    same("calls", len(choice.message.tool_calls), 1)
    call = choice.message.tool_calls[0]
    Weather.model_validate_json(call.function.arguments)
    return call, choice


@check("openai", "tools, required")
def tools_required(target):
    target.only_with_tools()
    call, choice = call_of(target, tool_choice="required")
    same("content", choice.message.content, None)
    assert call.function.name in ("weather", "almanac"), call
    asked = {"temperature": 1, "seed": 3, "max_tokens": 300, "extra_body": {}, "parallel_tool_calls": False}
    name, arguments = "", ""
    for chunk in chat(target, tools=TOOLS, tool_choice="required", stream=True, **asked):
        for part in chunk.choices[0].delta.tool_calls or []:
            name += part.function.name or ""
            arguments += part.function.arguments or ""
        finish = chunk.choices[0].finish_reason
    same("streamed", (name, arguments, finish), (call.function.name, call.function.arguments, "tool_calls"))
    return f"{call.function.name} {call.function.arguments}, whole and as a stream"


@check("openai", "tools, one by its name")
def tools_named(target):
    target.only_with_tools()
    call, _ = call_of(target, tool_choice={"type": "function", "function": {"name": "almanac"}})
    same("name", call.function.name, "almanac")
    asked = {"temperature": 1, "seed": 4, "max_tokens": 300}
    parsed = client(target).chat.completions.parse(model=target.model, messages=ASKED, tool_choice="required",
                                                   tools=[openai.pydantic_function_tool(Weather)], **asked)
    read = parsed.choices[0].message.tool_calls[0].function.parsed_arguments
    assert isinstance(read, Weather), parsed
    return f"{call.function.arguments}; pydantic_function_tool: {read!r}"


@check("openai", "tools, auto and none")
def tools_auto(target):
    target.only_with_tools()
    answer = chat(target, tools=TOOLS, tool_choice="auto").choices[0]
    assert answer.message.content or answer.message.tool_calls, answer
    same("none", chat(target, tools=TOOLS, tool_choice="none").choices[0].message.tool_calls, None)
    return f"auto: finish_reason {answer.finish_reason}"


@check("openai", "tools, a result goes back")
def tools_result(target):
    target.only_with_tools()
    call, choice = call_of(target, tool_choice="required")
    messages = [*ASKED, choice.message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "Heavy rain"}]
    before = chat(target, messages=messages[:1], tools=TOOLS).usage.prompt_tokens
    answer = chat(target, messages=messages, tools=TOOLS)
    assert answer.usage.prompt_tokens > before + len(target.tokens("Heavy rain")), "the result was not read"
    return f"{before} tokens of the prompt, then {answer.usage.prompt_tokens}"
