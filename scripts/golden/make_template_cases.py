"""Renders chat templates over a few conversations with Python's jinja2, set up as transformers does.

    pip install jinja2
    python scripts/golden/make_template_cases.py FOLDER_OF_JINJA_FILES OUT/chat-templates/hf-jinja-e2e.json
    RETUNE_TEST_FILES=OUT cargo test -p retune-data public

Templates belong to their authors, so the cases are made where they are wanted and are not kept here.
What Python refuses is left out.
"""

import datetime
import json
import pathlib
import re
import sys

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

# The same time as in the test.
NOW = datetime.datetime(2025, 7, 10, 9, 30)

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather — 天气",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "it's \"x\""},
                "days": {"type": "integer", "default": 3},
                "share": {"type": "number", "default": 0.5},
            },
            "required": ["city"],
        },
        "return": {"type": "object", "description": "figures"},
    },
}
CALL = {
    "id": "abcdefghi",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "北京", "days": 1, "share": 1e-7, "none": None, "l": []}},
}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


CONVERSATIONS = {
    "one question": {"messages": [turn("user", "你好 & <hi>\n")]},
    "system and answer": {
        "messages": [turn("system", " 甄嬛 "), turn("user", "a\\n'b'"), turn("assistant", "  c\n\nd "), turn("user", "e")]
    },
    "thoughts": {
        "messages": [
            turn("user", "a"),
            turn("assistant", "<think>\nx\n</think>\n\ny"),
            turn("user", "b"),
            turn("assistant", "c"),
        ]
    },
    "a call": {
        "tools": [TOOL],
        "messages": [
            turn("system", "s"),
            turn("user", "weather?"),
            turn("assistant", "", tool_calls=[CALL]),
            turn("tool", '{"t": 3}', name="get_weather", tool_call_id="abcdefghi"),
            turn("assistant", "cold"),
            turn("user", "thanks"),
        ],
    },
    "tools": {"tools": [TOOL], "messages": [turn("user", "weather?")]},
}


def environment():
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def without_generation_marks(source):
    source = re.sub(r"\{%([-+]?)\s*generation\s*([-+]?)%\}", r"{%\1 if true \2%}", source)
    return re.sub(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", r"{%\1 endif \2%}", source)


def main():
    folder, out = map(pathlib.Path, sys.argv[1:3])
    env, cases, refused = environment(), {}, 0
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_text()
        template = env.from_string(without_generation_marks(source))
        for name, conversation in CONVERSATIONS.items():
            for prompt in (False, True):
                data = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": prompt}
                data |= {"tools": None, "documents": None} | conversation
                try:
                    target = template.render(**data)
                except Exception:
                    refused += 1
                    continue
                case = {"chat_template": source, "data": data, "target": target}
                cases[f"{path.name} / {name} / {prompt}"] = case
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"python": cases}, ensure_ascii=False))
    print(f"{len(cases)} cases, {refused} refused by Python")


if __name__ == "__main__":
    main()
