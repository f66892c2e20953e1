//! Conversations to tokens and labels.

use std::path::Path;

use proptest::prelude::*;
use retune_data::{
    Content, Conversation, DataOptions, Error, LabelOptions, Labelled, Message, Role, Samples,
    Tokenizer, label as label_content,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shared;

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\
                      {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const START: u32 = 256;
const END: u32 = 257;

/// The model of `tests/models/bytes` with another template, whose tokens are bytes
/// and ChatML's two markers. The limit that somebody saved with it has no effect.
fn folder(template: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let change = |name: &str, key: &str, value: Value| {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/bytes");
        let text = std::fs::read_to_string(model.join(name)).unwrap();
        let mut file: Value = serde_json::from_str(&text).unwrap();
        file[key] = value;
        std::fs::write(folder.path().join(name), file.to_string()).unwrap();
    };
    let limit =
        json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    change("tokenizer.json", "truncation", limit);
    change("tokenizer_config.json", "chat_template", template.into());
    folder
}

fn conversation(messages: &Value) -> Content {
    let turn = |message: &Value| {
        let role = match message["role"].as_str().unwrap() {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        Message::new(role, message["content"].as_str().unwrap())
    };
    Content::Conversation(Conversation {
        messages: messages.as_array().unwrap().iter().map(turn).collect(),
        tools: Vec::new(),
    })
}

fn label(template: &str, messages: &Value) -> Result<Labelled, Error> {
    let folder = folder(template);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    label_content(
        &tokenizer,
        &conversation(messages),
        &LabelOptions::default(),
    )
}

/// The text of byte tokens, markers shown as `[` and `]`.
fn text(ids: impl Iterator<Item = u32>) -> String {
    let bytes = ids.map(|id| match id {
        START => b'[',
        END => b']',
        byte => u8::try_from(byte).unwrap(),
    });
    String::from_utf8(bytes.collect()).unwrap()
}

#[test]
fn what_the_assistant_says_is_scored_with_its_end() {
    let messages = json!([
        {"role": "system", "content": "甄嬛"},
        {"role": "user", "content": "你是谁?"},
        {"role": "assistant", "content": "臣妾。"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": " b "},
        {"role": "user", "content": "never answered"},
    ]);
    let sample = label(CHATML, &messages).unwrap();
    assert_eq!(
        text(sample.input_ids.iter().copied()),
        "[system\n甄嬛]\n[user\n你是谁?]\n[assistant\n臣妾。]\n[user\na]\n[assistant\n b ]"
    );
    let scored = sample.labels().filter(|label| *label >= 0);
    assert_eq!(text(scored.map(|id| id as u32)), "臣妾。] b ]");
    let masked = sample.labels().filter(|label| *label == -100).count();
    assert_eq!(
        masked,
        sample.scored.iter().filter(|scored| !**scored).count()
    );
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let turns = json!([
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
    ]);
    let forgetful = "{% for m in messages %}{% if loop.last or m.role == 'user' %}<|im_start|>{{ m.content }}\
                     <|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}";
    let error = label(forgetful, &turns).unwrap_err();
    assert!(
        matches!(error, Error::NotAPrefix { message: 3, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("hint:"), "{error}");
    let endless = CHATML.replace("<|im_end|>", "</s>");
    let error = label(&endless, &turns).unwrap_err();
    assert_eq!(error, Error::NoTerminator { message: 1 });
    let error = label(CHATML, &json!([{"role": "user", "content": "a"}])).unwrap_err();
    assert_eq!(error, Error::NothingScored);
}

#[test]
fn a_folder_that_is_no_model_is_named() {
    let message = |folder: &Path| Tokenizer::open(folder).unwrap_err().to_string();
    let folder = folder(CHATML);
    let path = folder.path();
    std::fs::write(path.join("chat_template.jinja"), "{% if %}").unwrap();
    assert!(
        message(path).contains("chat template, line 1"),
        "{}",
        message(path)
    );
    std::fs::remove_file(path.join("chat_template.jinja")).unwrap();
    std::fs::write(path.join("tokenizer_config.json"), "{}").unwrap();
    let model = Tokenizer::open(path).unwrap();
    let turns = conversation(
        &json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
    );
    let error = label_content(&model, &turns, &LabelOptions::default()).unwrap_err();
    assert_eq!(error, Error::NoTemplate);
    std::fs::write(path.join("tokenizer.json"), "{\"a\": 1}").unwrap();
    assert!(
        message(path).contains("tokenizer.json is no tokenizer"),
        "{}",
        message(path)
    );
    std::fs::remove_file(path.join("tokenizer.json")).unwrap();
    assert!(
        message(path).contains("holds no tokenizer.json\nhint: name a model"),
        "{}",
        message(path)
    );
}

/// Templates write a tool's arguments as they are, keys included.
#[test]
fn a_key_never_becomes_a_control_token() {
    let template = CHATML.replace("m.content", "m.content + (m.tool_calls | tojson)");
    let folder = folder(&template);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let mut answer = Message::new(Role::Assistant, "b");
    answer.tool_calls = vec![json!({"function": {"arguments": {"<|im_end|>": "<|im_start|>"}}})];
    let content = Content::Conversation(Conversation {
        messages: vec![answer],
        tools: Vec::new(),
    });
    let sample = label_content(&tokenizer, &content, &LabelOptions::default()).unwrap();
    let count = |id| {
        sample
            .input_ids
            .iter()
            .filter(|found| **found == id)
            .count()
    };
    assert_eq!((count(START), count(END)), (1, 1));
}

/// With the mark that keeps special tokens apart, a text could break those of the
/// template.
#[test]
fn a_text_cannot_bring_the_mark_of_special_tokens() {
    let turns =
        json!([{"role": "user", "content": "\u{fdd0}a"}, {"role": "assistant", "content": "b"}]);
    let error = label(CHATML, &turns).unwrap_err();
    assert!(matches!(error, Error::Encoding { .. }), "{error}");
    assert!(error.to_string().contains("U+FDD0"), "{error}");
}

proptest! {
    #[test]
    fn text_of_a_user_never_becomes_a_control_token(
        user in "(<\\|im_end\\|>|<\\|im_start\\|>|<\\|im_|end\\|>|[a甄\n ]){0,12}",
        answer in "(<\\|im_end\\|>|<\\|im_start\\|>assistant|[b嬛]){0,6}",
    ) {
        let messages = json!([{"role": "user", "content": user}, {"role": "assistant", "content": answer}]);
        let sample = label(CHATML, &messages).unwrap();
        let count = |id| sample.input_ids.iter().filter(|found| **found == id).count();
        prop_assert_eq!((count(START), count(END)), (2, 2));
        let plain = |id: u32| if id == START { "[start]".into() } else if id == END { "[end]".into() } else {
            vec![id as u8]
        };
        let bytes: Vec<u8> = sample.input_ids.iter().flat_map(|id| plain(*id)).collect();
        let expected = format!("[start]user\n{user}[end]\n[start]assistant\n{answer}[end]");
        prop_assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}

/// The tutorial's rows against the `tokenizers` of Python, whose ids are in
/// `tokens.jsonl`, one `{"input_ids": …, "labels": …}` a row in any order.
#[test]
fn rows_of_the_tutorial_have_the_ids_and_labels_of_python() {
    let (Some(data), Some(model), Some(expected)) = (
        shared::file("data/huanhuan.json"),
        shared::file("tokenizers/qwen2.5"),
        shared::file("tokens.jsonl"),
    ) else {
        return;
    };
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let tokenizer = Tokenizer::open(&model).unwrap();
    let options = LabelOptions {
        system: Some("现在你要扮演皇帝身边的女人--甄嬛".to_owned()),
        ..LabelOptions::default()
    };
    let found = Samples::open(&[data], DataOptions::default())
        .unwrap()
        .map(|sample| {
            let sample = label_content(&tokenizer, &sample.unwrap().content, &options).unwrap();
            let labels: Vec<i64> = sample.labels().collect();
            json!({"input_ids": sample.input_ids, "labels": labels}).to_string()
        });
    let mut found: Vec<String> = found.collect();
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap().to_string();
    let mut expected: Vec<String> = read(&expected).lines().map(row).collect();
    found.sort_unstable();
    expected.sort_unstable();
    let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
    assert_eq!((differ, found.len()), (0, expected.len()));
}

#[test]
fn added_tokens_are_the_assistant_s_alone() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/bytes");
    let folder = TempDir::new().unwrap();
    let read = |name: &str| std::fs::read_to_string(model.join(name)).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&read("tokenizer.json")).unwrap();
    let token = json!({"id": 258, "content": "<think>", "special": false, "single_word": false,
                       "lstrip": false, "rstrip": false, "normalized": false});
    tokenizer["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(token);
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        read("tokenizer_config.json"),
    )
    .unwrap();
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let count = |user: &str, assistant: &str| {
        let content = Content::Conversation(Conversation::of_turn(user, assistant));
        let sample = label_content(&tokenizer, &content, &LabelOptions::default()).unwrap();
        sample.input_ids.iter().filter(|id| **id == 258).count()
    };
    assert_eq!(count("a <think> b", "plain"), 0);
    assert_eq!(count("a", "<think>b"), 1);
}
