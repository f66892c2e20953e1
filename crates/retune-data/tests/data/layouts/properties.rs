//! What a layout writes, it reads.

use proptest::prelude::*;
use retune_data::layout::Layout;
use retune_data::{Content, Conversation, Message, Preference, Role};
use serde_json::{Map, Value as Json, json};

use super::understand;

fn message(role: Role) -> impl Strategy<Value = Message> {
    (".{1,8}", any::<bool>()).prop_map(move |(content, learn)| Message {
        learn,
        ..Message::new(role, content)
    })
}

/// Turns of any kind, calls and reasoning included.
fn any_message() -> impl Strategy<Value = Message> {
    let calls = proptest::collection::vec(("[a-z]{1,4}", "[a-z]{1,3}", ".{0,4}"), 1..3).prop_map(|calls| {
        let call = |(name, key, value): &(String, String, String)| {
            json!({"type": "function", "function": {"name": name, "arguments": {key: value}}})
        };
        Message { tool_calls: calls.iter().map(call).collect(), ..Message::new(Role::Assistant, "") }
    });
    prop_oneof![
        message(Role::System),
        message(Role::User),
        message(Role::Assistant),
        message(Role::Tool),
        calls
    ]
}

fn any_conversation() -> impl Strategy<Value = Conversation> {
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"a": [1, null]}}});
    let tools = proptest::sample::subsequence(vec![tool.clone(), tool], 0..=2);
    let messages = proptest::collection::vec(any_message(), 1..6);
    (messages, tools).prop_map(|(messages, tools)| Conversation { messages, tools })
}

fn reread(layout: Layout, content: &Content) -> Result<Content, String> {
    understand(&Json::Object(layout.write(content)?), Some(layout), &[]).map(|(_, content)| content)
}

proptest! {
    #[test]
    fn conversations_survive(conversation in any_conversation()) {
        let content = Content::Conversation(conversation);
        for layout in [Layout::Messages, Layout::ShareGpt] {
            prop_assert_eq!(reread(layout, &content), Ok(content.clone()));
        }
    }

    #[test]
    fn pairs_of_question_and_answer_survive(
        system in proptest::option::of(".{1,5}"),
        pairs in proptest::collection::vec((".{0,5}", ".{0,5}"), 1..4),
    ) {
        let system = system.map(|text| Message::new(Role::System, text));
        let pair = |(question, answer): &(String, String)| Conversation::of_turn(question, answer).messages;
        let messages = system.into_iter().chain(pairs.iter().flat_map(pair)).collect();
        let content = Content::Conversation(Conversation { messages, tools: Vec::new() });
        let alpaca = reread(Layout::Alpaca, &content);
        prop_assert_eq!(alpaca.as_ref(), Ok(&content));
        match reread(Layout::PromptCompletion, &content) {
            Ok(read) => prop_assert_eq!(read, content),
            Err(_) => prop_assert!(pairs.len() > 1),
        }
    }

    #[test]
    fn other_contents_survive(
        text in ".*",
        label in ".*",
        prompt in any_conversation(),
        chosen in message(Role::Assistant),
        rejected in message(Role::Assistant),
    ) {
        let preference = Content::Preference(Box::new(Preference { prompt, chosen, rejected }));
        let class = Content::Classification { text: text.clone(), label };
        for (layout, content) in [(Layout::Text, Content::Text(text)), (Layout::Classification, class), (Layout::Preference, preference)] {
            prop_assert_eq!(reread(layout, &content), Ok(content));
        }
    }

    #[test]
    fn no_row_is_too_strange(keys in proptest::collection::vec(0..28usize, 1..4), values in proptest::collection::vec(any_value(), 4)) {
        let names = ["instruction", "input", "output", "system", "history", "conversations", "messages", "tools", "prompt",
            "completion", "chosen", "rejected", "text", "label", "content", "response", "answer", "question"];
        let row: Map<String, Json> = keys.iter().zip(values).map(|(key, value)| (names[key % names.len()].to_owned(), value)).collect();
        for layout in Layout::NAMES.map(|(_, layout)| Some(layout)).into_iter().chain([None]) {
            if let Err(error) = understand(&Json::Object(row.clone()), layout, &[]) {
                prop_assert!(!error.is_empty());
            }
        }
    }
}

fn any_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,4}".prop_map(Json::from),
        Just(json!("assistant")),
        Just(json!("[{\"name\": 1}]")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let keys = proptest::sample::select(vec![
            "role",
            "content",
            "from",
            "value",
            "tool_calls",
            "function",
            "name",
            "arguments",
            "weight",
            "type",
            "text",
        ]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            proptest::collection::vec((keys, inner), 0..4).prop_map(|parts| Json::Object(
                parts
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            )),
        ]
    })
}
