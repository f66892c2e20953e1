//! Rows of every layout to samples, and back.

mod properties;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use retune_data::layout::{Layout, detect};
use retune_data::source::{Place, Row};
use retune_data::{Content, Conversation, Message, Preference, Role, Sample};
use serde_json::{Map, Value as Json, json};

fn object(value: &Json) -> Map<String, Json> {
    value.as_object().unwrap().clone()
}

/// What `row` means, and in which layout.
fn understand(
    row: &Json,
    layout: Option<Layout>,
    columns: &[(&str, &str)],
) -> Result<(Layout, Content), String> {
    let named = |(name, column): &(&str, &str)| ((*name).to_owned(), (*column).to_owned());
    let columns: BTreeMap<String, String> = columns.iter().map(named).collect();
    let fields = object(row);
    let mapping = detect(&fields, layout, &columns)?;
    let place = Place {
        file: Arc::from(Path::new("f")),
        row: 3,
        line: None,
    };
    let read = mapping.read(Row { place, fields });
    let content = |sample: Sample| (mapping.layout, sample.content);
    read.map(content).map_err(|error| error.to_string())
}

fn content(row: &Json) -> (Layout, Content) {
    understand(row, None, &[]).unwrap()
}

fn fault(row: &Json) -> String {
    understand(row, None, &[]).unwrap_err()
}

/// Turns as `role: content`.
fn turns(row: &Json) -> (Layout, Vec<String>) {
    let (layout, content) = content(row);
    let Content::Conversation(conversation) = content else {
        panic!("{content:?}")
    };
    let turn = |message: &Message| format!("{}: {}", message.role.name(), message.content);
    (layout, conversation.messages.iter().map(turn).collect())
}

#[test]
fn every_layout_is_found_by_its_columns() {
    let asked = |layout: Layout| {
        (
            layout,
            vec!["user: q".to_owned(), "assistant: a".to_owned()],
        )
    };
    for (row, layout) in [
        (json!({"instruction": "q", "output": "a"}), Layout::Alpaca),
        (
            json!({"instruction": "q", "input": "", "response": "a"}),
            Layout::Alpaca,
        ),
        (
            json!({"instruction": "", "input": "q", "output": "a"}),
            Layout::Alpaca,
        ),
        (
            json!({"instruction": "q", "context": null, "output": "a"}),
            Layout::Alpaca,
        ),
        (
            json!({"prompt": "q", "completion": "a"}),
            Layout::PromptCompletion,
        ),
        (
            json!({"question": "q", "answer": "a"}),
            Layout::PromptCompletion,
        ),
        (
            json!({"query": "q", "response": "a"}),
            Layout::PromptCompletion,
        ),
        (
            json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}),
            Layout::PromptCompletion,
        ),
        (
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
            Layout::Messages,
        ),
        (
            json!({"conversations": [{"role": "human", "content": "q"}, {"role": "model", "content": "a"}]}),
            Layout::Messages,
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": "a"}]}),
            Layout::Messages,
        ),
        (
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
            Layout::ShareGpt,
        ),
        (
            json!({"conversation": [{"from": "user", "value": "q"}, {"from": "bing", "value": "a"}]}),
            Layout::ShareGpt,
        ),
        (
            json!({"messages": [{"from": "human", "value": "q"}, {"from": "chatgpt", "value": "a"}]}),
            Layout::ShareGpt,
        ),
    ] {
        assert_eq!(turns(&row), asked(layout), "{row}");
    }
    for row in [
        json!({"text": "t", "label": 1}),
        json!({"sentence": "t", "category": "1"}),
        json!({"review": "t", "class": "1"}),
    ] {
        let expected = Content::Classification {
            text: "t".into(),
            label: "1".into(),
        };
        assert_eq!(content(&row), (Layout::Classification, expected));
    }
    let flag = Content::Classification {
        text: "t".into(),
        label: "true".into(),
    };
    assert_eq!(content(&json!({"text": "t", "label": true})).1, flag);
    for row in [json!({"text": "t"}), json!({"content": "t", "url": "u"})] {
        assert_eq!(content(&row), (Layout::Text, Content::Text("t".into())));
    }
    let empty = |column: &str| understand(&json!({column: []}), None, &[]).unwrap().0;
    assert_eq!(
        (empty("messages"), empty("conversations")),
        (Layout::Messages, Layout::ShareGpt)
    );
}

#[test]
fn system_prompts_input_and_history_have_their_places() {
    let row = json!({"system_prompt": "s", "instruction": "q", "input": "i", "output": "a",
        "history": [["h1", "h2"]]});
    let expected = [
        "system: s",
        "user: h1",
        "assistant: h2",
        "user: q\ni",
        "assistant: a",
    ];
    assert_eq!(turns(&row).1, expected);
    let row = json!({"system": "s", "conversations": [{"from": "human", "value": "q"}]});
    assert_eq!(turns(&row).1, ["system: s", "user: q"]);
    let row = json!({"system": "", "messages": [{"role": "developer", "content": "s"}]});
    assert_eq!(turns(&row).1, ["system: s"]);
}

#[test]
fn columns_are_mapped() {
    let row = json!({"ask": "q", "say": "a", "output": "other"});
    let columns = [("prompt", "ask"), ("completion", "say")];
    let (layout, content) = understand(&row, None, &columns).unwrap();
    assert_eq!(
        (layout, content.answer()),
        (Layout::PromptCompletion, "a".to_owned())
    );
    let error = understand(&row, None, &[("prompt", "gone")]).unwrap_err();
    assert_eq!(
        error,
        "there is no column `gone` to be the prompt; found ask, say, output"
    );
    let error = understand(&row, Some(Layout::Alpaca), &[]).unwrap_err();
    assert!(
        error.starts_with("the layout alpaca needs instruction, output"),
        "{error}"
    );
    assert!(fault(&json!({"x": 1})).starts_with("the columns fit no known layout:\n  alpaca"));
    let row = json!({"text": "t", "label": "l"});
    assert_eq!(
        understand(&row, Some(Layout::Text), &[]).unwrap().1,
        Content::Text("t".into())
    );
    // The columns that the caller gave are those that a message names.
    for (row, columns, expected) in [
        (
            json!({"h": [["a"]], "instruction": "q", "output": "a"}),
            ("history", "h"),
            "field `h[0]`",
        ),
        (
            json!({"h": 1, "instruction": "q", "output": "a"}),
            ("history", "h"),
            "field `h`",
        ),
        (json!({"t": 1, "messages": []}), ("tools", "t"), "field `t`"),
        (
            json!({"c": [1], "chosen": "a", "rejected": "b"}),
            ("conversations", "c"),
            "field `c[0]`",
        ),
        (
            json!({"o": 1, "instruction": "q"}),
            ("output", "o"),
            "field `o`",
        ),
    ] {
        let error = understand(&row, None, &[columns]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

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
            "field `messages[1].weight`: expected a number, found text",
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
fn tools_are_read_in_any_form() {
    let schema = json!({"name": "f", "parameters": {}});
    let wrapped = json!({"type": "function", "function": schema});
    for tools in [
        json!([schema]),
        json!([wrapped]),
        json!(json!([schema]).to_string()),
    ] {
        for arguments in [json!({"x": 1}), json!("{\"x\": 1}")] {
            let call = json!({"name": "f", "arguments": arguments});
            let read =
                json!({"type": "function", "function": {"name": "f", "arguments": {"x": 1}}});
            let openai = json!({"tools": tools, "messages": [
                {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": call}]},
                {"role": "tool", "tool_call_id": "1", "name": "f", "content": "r"}]});
            let share = json!({"tools": tools, "conversations": [
                {"from": "function_call", "value": json!([call]).to_string()}, {"from": "observation", "value": "r"}]});
            for row in [openai, share] {
                let Content::Conversation(conversation) = content(&row).1 else {
                    panic!()
                };
                assert!(matches!(&conversation.tools[..], [tool] if *tool == wrapped));
                let found = &conversation.messages[0].tool_calls[0];
                assert_eq!(found["function"], read["function"]);
                assert_eq!(conversation.messages[1].role, Role::Tool);
            }
        }
    }
    assert!(
        matches!(content(&json!({"messages": [], "tools": " "})).1, Content::Conversation(c) if c.tools.is_empty())
    );
}

#[test]
fn a_weight_of_zero_is_not_learned_from() {
    for (key, weight, learn) in [
        ("weight", json!(0), false),
        ("weight", json!(1), true),
        ("weight", json!(0.0), false),
        ("weight", json!(null), true),
        ("loss_weight", json!(0), false),
        ("loss_weight", json!(0.5), true),
        ("loss_weight", json!(false), false),
    ] {
        let rows = [
            json!({"messages": [{"role": "assistant", "content": "a", key: weight}]}),
            json!({"conversations": [{"from": "gpt", "value": "a", key: weight}]}),
            json!({"conversations": [{"from": "function_call", "value": "{\"name\": \"f\"}", key: weight}]}),
        ];
        for row in rows {
            let Content::Conversation(conversation) = content(&row).1 else {
                panic!()
            };
            assert_eq!(conversation.messages[0].learn, learn, "{row}");
        }
    }
}

#[test]
fn preferences_have_many_forms() {
    let (user, a, b) = (
        json!({"role": "user", "content": "q"}),
        json!({"role": "assistant", "content": "a"}),
        json!({"role": "assistant", "content": "b"}),
    );
    let (human, gpt_a, gpt_b) = (
        json!({"from": "human", "value": "q"}),
        json!({"from": "gpt", "value": "a"}),
        json!({"from": "gpt", "value": "b"}),
    );
    let expected = Preference {
        prompt: Conversation {
            messages: vec![Message::new(Role::User, "q")],
            tools: Vec::new(),
        },
        chosen: Message::new(Role::Assistant, "a"),
        rejected: Message::new(Role::Assistant, "b"),
    };
    for row in [
        json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
        json!({"question": "q", "chosen": "a", "rejected": "b"}),
        json!({"instruction": "q", "input": "", "chosen": "a", "rejected": "b"}),
        json!({"prompt": [user], "chosen": [a], "rejected": [b]}),
        json!({"prompt": [user], "chosen": a, "rejected": b}),
        json!({"chosen": [user, a], "rejected": [user, b]}),
        // The answers' conversations repeat the prompt.
        json!({"prompt": "q", "chosen": [user, a], "rejected": [user, b]}),
        json!({"prompt": [user], "chosen": [user, a], "rejected": [b]}),
        json!({"conversations": [human], "chosen": gpt_a, "rejected": gpt_b}),
    ] {
        assert_eq!(
            content(&row),
            (
                Layout::Preference,
                Content::Preference(Box::new(expected.clone()))
            ),
            "{row}"
        );
    }
    let system = json!({"role": "system", "content": "s"});
    let row = json!({"prompt": "q", "chosen": [system, user, a], "rejected": [system, user, b]});
    let Content::Preference(pair) = content(&row).1 else {
        panic!()
    };
    assert_eq!(pair.prompt.messages.len(), 2);
    let other = json!({"role": "user", "content": "another"});
    let error = fault(&json!({"chosen": [user, a], "rejected": [other, b]}));
    assert!(
        error.contains("field `rejected`: the turns before the answer are others"),
        "{error}"
    );
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
            "rows with images, videos or audio are not supported yet"
        );
    }
}

#[test]
fn nothing_is_lost_in_silence_when_a_layout_lacks_a_place() {
    let mut answer = Message::new(Role::Assistant, "a");
    let refused = |layout: Layout, answer: &Message| {
        let messages = vec![Message::new(Role::User, "q"), answer.clone()];
        let content = Content::Conversation(Conversation {
            messages,
            tools: Vec::new(),
        });
        layout.write(&content).unwrap_err()
    };
    answer.learn = false;
    assert!(refused(Layout::Alpaca, &answer).contains("not learned from"));
    answer.learn = true;
    answer
        .extra
        .insert("reasoning_content".into(), "because".into());
    for layout in [Layout::Alpaca, Layout::PromptCompletion, Layout::ShareGpt] {
        let error = refused(layout, &answer);
        assert_eq!(
            error,
            format!(
                "{} has no place for a turn's `reasoning_content`",
                layout.name()
            )
        );
    }
    answer.extra.clear();
    answer
        .tool_calls
        .push(json!({"type": "function", "function": {"name": "f", "arguments": {}}}));
    assert!(refused(Layout::Alpaca, &answer).contains("no place for tools"));
    assert!(refused(Layout::ShareGpt, &answer).contains("text beside the calls"));
    assert!(refused(Layout::Text, &answer).contains("is no row of the layout text"));
}
