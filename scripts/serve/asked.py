"""What the checks of check-clients share: the server that is asked, schemas, and the template of a model with tools.

A new check is a function with `@check` in a file that check-clients imports. It returns what was seen, and throws if that
is wrong.
"""
import functools, json, typing, urllib.request

import pydantic

KEY = "a-key-of-this-trial"
ASKED = [{"role": "user", "content": "Hello!"}]
CHECKS = {}

# A template that tells of tools as Qwen's does.
TOOL_TEMPLATE = """{% if tools %}<|im_start|>system
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
Call with <tool_call>
{"name": …, "arguments": …}
</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}
<tool_call>
{{ {"name": call.function.name, "arguments": call.function.arguments} | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


class Skipped(Exception):
    """A check that does not fit this server."""


def check(client, what):
    """Makes a function a check of `client`."""
    def register(function):
        CHECKS[f"{client} {function.__name__}"] = function, what
        return function
    return register


class Target:
    """A server. `places` is how many requests it takes at once, if it is ours."""

    def __init__(self, url, key, places=None):
        self.url, self.key, self.places = url, key, places
        self.base_url = f"{url}/v1"

    def ask(self, path, body=None):
        """What it answers to plain HTTP."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers)) as reply:
            return json.load(reply)

    @functools.cached_property
    def model(self):
        return self.ask("/v1/models")["data"][0]["id"]

    def tokens(self, text):
        return self.ask("/tokenize", {"content": text})["tokens"]

    def only_ours(self):
        if self.places is None:
            raise Skipped("only with a server that is started here")

    @functools.cached_property
    def has_tools(self):
        tool = {"type": "function", "function": {"name": "a"}}
        try:
            self.ask("/v1/chat/completions", {"messages": ASKED, "tools": [tool], "max_tokens": 1})
            return True
        except urllib.error.HTTPError as error:
            if json.load(error)["error"]["param"] == "tools":
                return False
            raise

    def only_with_tools(self):
        if not self.has_tools:
            raise Skipped("the model's chat template has no tools")


class Weather(pydantic.BaseModel):
    """The weather of some days."""
    city: typing.Literal["Paris", "Hangzhou", "京城"]
    days: int = pydantic.Field(ge=1, le=9)


class Lady(pydantic.BaseModel):
    """A person with a rank."""
    name: str = pydantic.Field(max_length=12)
    age: int = pydantic.Field(ge=0, le=120)
    rank: typing.Literal["妃", "嫔", "贵人"]
    likes: list[typing.Literal["tea", "snow", "plum blossom"]] = pydantic.Field(max_length=3)


def same(what, found, expected):
    """Throws if they are not."""
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"
