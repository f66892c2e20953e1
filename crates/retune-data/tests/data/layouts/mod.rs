//! Rows of every layout to samples, and back.

mod faults;
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
        ("loss_weight", json!(1.0), true),
        ("loss_weight", json!(false), false),
        ("loss", json!(false), false),
        ("training", json!(false), false),
        ("train", json!(true), true),
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
fn a_part_of_a_weight_is_refused() {
    let message = json!({"role": "assistant", "content": "a", "weight": 0.5});
    let found = fault(&json!({"messages": [message]}));
    assert!(
        found.contains("messages[0].weight") && found.contains("expected 0 or 1"),
        "{found}"
    );
}

#[test]
fn thoughts_and_calls_have_several_names() {
    let message = |row: &Json| match content(row).1 {
        Content::Conversation(conversation) => conversation.messages[0].clone(),
        other => panic!("{other:?}"),
    };
    for name in ["reasoning_content", "reasoning", "thinking"] {
        let turn = json!({"role": "assistant", "content": "a", name: "so"});
        let read = message(&json!({"messages": [turn]}));
        assert_eq!(
            read.extra.get("reasoning_content"),
            Some(&json!("so")),
            "{name}"
        );
    }
    let turn =
        json!({"role": "assistant", "content": "a", "thinking": true, "reasoning_content": ""});
    let read = message(&json!({"messages": [turn]}));
    assert_eq!(read.extra.get("reasoning_content"), Some(&json!("")));
    let call = json!({"name": "f", "arguments": "{\"x\": 1}"});
    let old =
        json!({"role": "assistant", "content": null, "function_call": call, "tool_calls": []});
    let new = json!({"role": "assistant", "content": null, "tool_calls": [{"function": call}]});
    let [old, new] = [old, new].map(|turn| message(&json!({"messages": [turn]})));
    assert_eq!(old.tool_calls, new.tool_calls);
    assert_eq!(old.tool_calls.len(), 1);
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
