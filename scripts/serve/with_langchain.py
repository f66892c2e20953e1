"""What langchain-openai makes of the answers."""
import asyncio

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from serve.asked import Lady, Weather, check, same

QUESTION = "Hello!"


def chat(target, **changed):
    return ChatOpenAI(**{"base_url": target.base_url, "api_key": target.key, "model": target.model, "max_retries": 0,
                         "temperature": 0, "max_tokens": 12, **changed})


@check("langchain", "ChatOpenAI.invoke")
def invoke(target):
    answer = chat(target).invoke(QUESTION)
    assert answer.content, answer
    used = answer.usage_metadata
    same("total_tokens", used["total_tokens"], used["input_tokens"] + used["output_tokens"])
    assert answer.response_metadata["finish_reason"] in ("stop", "length"), answer
    return f"{answer.content!r}, {used['input_tokens']} + {used['output_tokens']} tokens"


@check("langchain", "ChatOpenAI.stream")
def stream(target):
    whole = chat(target).invoke(QUESTION)
    chunks = list(chat(target, stream_usage=True).stream(QUESTION))
    summed = sum(chunks[1:], chunks[0])
    same("text", summed.content, whole.content)
    same("usage", summed.usage_metadata["output_tokens"], whole.usage_metadata["output_tokens"])
    return f"{len(chunks)} chunks, the text and the usage of the whole answer"


@check("langchain", "ChatOpenAI.batch, ainvoke, astream")
def batch(target):
    questions = [QUESTION, "Who are you?", "Goodbye."]
    answers = [answer.content for answer in chat(target).batch(questions, {"max_concurrency": 3})]
    same("each alone", answers, [chat(target).invoke(question).content for question in questions])

    async def later():
        asking = chat(target)
        found = [await asking.ainvoke(question) for question in questions[:1]]
        return found[0].content, "".join([chunk.content async for chunk in asking.astream(QUESTION)])

    same("ainvoke, astream", asyncio.run(later()), (answers[0], answers[0]))
    return f"{len(answers)} answers, the same as alone"


@check("langchain", "with_structured_output")
def structured(target):
    asking = chat(target, temperature=1, seed=3, max_tokens=300)
    lady = asking.with_structured_output(Lady, method="json_schema").invoke(QUESTION)
    assert isinstance(lady, Lady), lady
    if not target.has_tools:
        return f"json_schema: {lady!r}; function_calling needs a template with tools"
    weather = asking.with_structured_output(Weather, method="function_calling").invoke(QUESTION)
    assert isinstance(weather, Weather), weather
    return f"json_schema: {lady!r}; function_calling: {weather!r}"


@check("langchain", "bind_tools, and a result")
def tools(target):
    target.only_with_tools()

    @tool(args_schema=Weather)
    def weather(city, days):
        """Tells the weather of some days."""
        return f"{days} days of rain in {city}"

    asking = chat(target, temperature=1, seed=3, max_tokens=300)
    called = asking.bind_tools([weather], tool_choice="any").invoke(QUESTION)
    assert called.tool_calls, called
    results = [weather.invoke(call) for call in called.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results), results
    answer = chat(target).bind_tools([weather]).invoke([HumanMessage(QUESTION), called, *results])
    assert answer.content or answer.tool_calls, answer
    parts = list(asking.bind_tools([weather], tool_choice="weather").stream(QUESTION))
    streamed = sum(parts[1:], parts[0]).tool_calls
    Weather.model_validate(streamed[0]["args"])
    return f"{called.tool_calls[0]['args']}, and {results[0].content!r} is read"


@check("langchain", "OpenAI (completions)")
def completions(target):
    asking = OpenAI(base_url=target.base_url, api_key=target.key, model=target.model, temperature=0, max_tokens=8)
    whole = asking.invoke("Once upon a time")
    same("stream", "".join(asking.stream("Once upon a time")), whole)
    return repr(whole)


@check("langchain", "OpenAIEmbeddings")
def embeddings(target):
    # With the check the client sends numbers of OpenAI's own tokens, which mean something else to this model.
    asking = OpenAIEmbeddings(base_url=target.base_url, api_key=target.key, model=target.model,
                              check_embedding_ctx_length=False)
    documents = asking.embed_documents(["A quiet river", "A loud town"])
    query = asking.embed_query("A quiet river")
    furthest = max(abs(a - b) for a, b in zip(documents[0], query, strict=True))
    assert furthest < 1e-5, furthest
    return f"{len(query)} floats, check_embedding_ctx_length=False"
