"""How openai-python throws what is wrong."""
import openai

from serve.asked import ASKED, check, same
from serve.with_openai import GREEDY, chat, client


def told(kind, function, **expected):
    """The error that a request ends with, which has to be of this kind and say this."""
    try:
        function()
    except openai.APIError as error:
        same("class", type(error), kind)
        assert error.body["message"], error.body
        for name, value in expected.items():
            same(name, getattr(error, name), value)
        return error
    raise AssertionError(f"expected {kind.__name__}")


@check("openai", "BadRequestError")
def bad_request(target):
    def wrong(param, **asked):
        return told(openai.BadRequestError, lambda: chat(target, **asked), param=param, type="invalid_request_error")

    wrong("temperature", temperature=-1)
    wrong("temperature", temperature=-1, stream=True)
    wrong("messages[0].role", messages=[{"role": "poet", "content": "a"}])
    wrong("max_tokens", max_tokens=0, extra_body={})
    long = wrong("messages", messages=[{"role": "user", "content": "word " * 200_000}])
    same("code", long.code, "context_length_exceeded")
    return "with the field, its code where the text is too long; in a stream too"


@check("openai", "NotFoundError")
def not_found(target):
    told(openai.NotFoundError, lambda: chat(target, model="nobody"), code="model_not_found")
    told(openai.NotFoundError, lambda: client(target).models.retrieve("some/body"))
    told(openai.NotFoundError, lambda: client(target).responses.create(model=target.model, input="a"))
    return "a model, a route"


@check("openai", "AuthenticationError")
def authentication(target):
    target.only_ours()
    wrong = client(target, api_key="another")
    told(openai.AuthenticationError, lambda: wrong.models.list(), code="invalid_api_key")
    load = {"lora_name": target.model}
    told(openai.AuthenticationError, lambda: wrong.post("/load_lora_adapter", body=load, cast_to=object))
    return "with another key; so for adapters"


@check("openai", "RateLimitError, and a retry")
def rate_limit(target):
    target.only_ours()
    # Long ones, soon after one another by one client, so that none has ended before the last begins.
    asked = {**GREEDY, "stream": True, "max_tokens": 900, "extra_body": {"min_tokens": 900}}
    asking = client(target).chat.completions
    open_all = lambda: [asking.create(model=target.model, messages=ASKED, **asked) for _ in range(target.places)]
    streams = open_all()
    try:
        told(openai.RateLimitError, lambda: chat(target), type="rate_limit_error")
    finally:
        for stream in streams:
            stream.close()
    streams = open_all()
    patient = client(target, max_retries=5).chat.completions.with_raw_response
    try:
        # The client waits as Retry-After says; by its second try a place is free.
        answer = patient.create(model=target.model, messages=ASKED, **GREEDY)
    finally:
        for stream in streams:
            stream.close()
    return f"answered after {answer.retries_taken} more tries"
