//! Rows that do not fit their layout.

use retune_data::layout::Layout;
use serde_json::{Value as Json, json};

use super::{fault, understand};

#[test]
fn wrong_values_are_named_by_their_path() {
    let say = |turn: Json| json!({"messages": [{"role": "user", "content": "q"}, turn]});
    let from = |turn: Json| json!({"conversations": [{"from": "human", "value": "q"}, turn]});
    let call = |arguments: Json| {
        say(
            json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}),
        )
    };
    let cases = [
        (
            json!({"instruction": null, "output": "a"}),
            "field `instruction`: expected text, found null",
        ),
        (
            json!({"instruction": ["q"], "output": "a"}),
            "field `instruction`: expected text, found a list",
        ),
        (
            json!({"instruction": "q", "output": {"a": 1}}),
            "field `output`: expected text, found an object",
        ),
        (
            json!({"instruction": "q", "input": 1, "output": "a"}),
            "field `input`: expected text, found a number",
        ),
        (
            json!({"instruction": "q", "output": "a", "history": "h"}),
            "field `history`: expected a list of pairs",
        ),
        (
            json!({"instruction": "q", "output": "a", "history": [["a", "b"], ["a", 1, "b"]]}),
            "field `history[1]`: expected two texts",
        ),
        (
            json!({"prompt": "q", "completion": true}),
            "field `completion`: expected text, found true or false",
        ),
        (
            json!({"prompt": [1], "completion": "a"}),
            "field `prompt[0]`: expected {role, content}, found a number",
        ),
        (
            json!({"text": 1}),
            "field `text`: expected text, found a number",
        ),
        (
            json!({"text": "t", "label": null}),
            "field `label`: expected text, found null",
        ),
        (
            json!({"text": "t", "label": ["l"]}),
            "field `label`: expected text, found a list",
        ),
        (
            say(json!("a")),
            "field `messages[1]`: expected {role, content}, found text",
        ),
        (
            say(json!({"content": "a"})),
            "field `messages[1].role`: expected a role, found null",
        ),
        (
            say(json!({"role": "bot", "content": "a"})),
            "field `messages[1].role`: expected system, user, assistant or tool, found \"bot\"",
        ),
        (
            say(json!({"role": "assistant", "content": 1})),
            "field `messages[1].content`: expected text, found a number",
        ),
        (
            say(json!({"role": "assistant", "content": null})),
            "field `messages[1].content`: expected text, found null",
        ),
        (
            say(json!({"role": "user"})),
            "field `messages[1].content`: expected text, found null",
        ),
        (
            say(json!({"role": "user", "content": [{"type": "image", "image": "x"}]})),
            "field `messages[1].content[0]`: expected a part of text, found one of type \"image\"",
        ),
        (
            say(json!({"role": "user", "content": [1]})),
            "field `messages[1].content[0]`: expected {type, text}, found a number",
        ),
        (
            say(json!({"role": "assistant", "content": "a", "weight": "0"})),
            "field `messages[1].weight`: expected 0 or 1",
        ),
        (
            say(json!({"role": "assistant", "tool_calls": {}})),
            "field `messages[1].tool_calls`: expected a list of calls",
        ),
        (
            say(json!({"role": "assistant", "tool_calls": [{"id": "x"}]})),
            "field `messages[1].tool_calls[0]`: expected a call with a name",
        ),
        (
            call(json!("{")),
            "field `messages[1].tool_calls[0].arguments`: expected JSON, found text that is none",
        ),
        (
            from(json!({"from": "gpt"})),
            "field `conversations[1].value`: expected text, found null",
        ),
        (
            from(json!({"from": "gpt", "value": null})),
            "field `conversations[1].value`: expected text, found null",
        ),
        (
            from(json!({"from": "elf", "value": "a"})),
            "field `conversations[1].from`: expected human, gpt",
        ),
        (
            from(json!({"from": "function_call", "value": "f()"})),
            "field `conversations[1].value`: expected a call as JSON",
        ),
        (
            from(json!({"from": "function_call", "value": "[1]"})),
            "field `conversations[1].value`: expected a call with a name",
        ),
        (
            json!({"messages": [], "tools": "x"}),
            "field `tools`: expected a list of tools, found text that is no JSON",
        ),
        (
            json!({"messages": [], "tools": {}}),
            "field `tools`: expected a list of tools, found an object",
        ),
        (
            json!({"prompt": "q", "chosen": "a", "rejected": null}),
            "field `rejected`: expected text, found null",
        ),
        (
            json!({"prompt": "q", "chosen": [], "rejected": "b"}),
            "field `chosen`: expected an answer, found an empty list",
        ),
    ];
    for (row, expected) in cases {
        let error = fault(&row);
        assert!(
            error.starts_with(&format!("f, row 3, {expected}")),
            "{row}\n{error}"
        );
    }
    let missing = understand(&json!({"output": "a"}), Some(Layout::PromptCompletion), &[]);
    assert!(missing.unwrap_err().contains("found output\nhint: "));
}

#[test]
fn what_is_not_supported_is_refused() {
    for row in [
        json!({"prompt": "q", "completion": "a", "label": true}),
        json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}], "label": false}),
        json!({"instruction": "q", "output": "a", "label": false}),
        json!({"messages": [{"role": "user", "content": "q"}], "label": true}),
        json!({"conversations": [{"from": "human", "value": "q"}], "label": true}),
    ] {
        assert!(
            fault(&row).contains("as for KTO, which is not supported yet\nhint: "),
            "{row}"
        );
    }
    for column in ["images", "videos", "audios"] {
        let error = fault(&json!({"messages": [], column: ["x.png"]}));
        assert_eq!(
            error,
            "rows with images, videos or audio are not supported yet\nhint: leave these rows out"
        );
    }
}
