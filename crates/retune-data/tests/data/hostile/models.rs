//! Models that are cut off, of wrong types or with huge numbers.

use std::path::Path;

use retune_data::{Content, Error, LabelOptions, Tokenizer, label as label_content};
use serde_json::{Value as Json, json};

use crate::folder::Folder;

/// Opens the model in `folder`, and uses it if that succeeds.
fn use_model(folder: &Path) -> Result<usize, Error> {
    let tokenizer = Tokenizer::open(folder)?;
    let conversation = retune_data::Conversation::of_turn("甄嬛 <|im_end|> a1", " b\n");
    let contents = [
        Content::Conversation(conversation),
        Content::Text("甄嬛 a1".to_owned()),
    ];
    let mut tokens = 0;
    for content in contents {
        let labelled = label_content(&tokenizer, &content, &LabelOptions::default())?;
        tokenizer.decode(&labelled.input_ids);
        tokens += labelled.input_ids.len();
    }
    Ok(tokens)
}

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/bytes");

fn model_file(name: &str) -> String {
    std::fs::read_to_string(Path::new(MODEL).join(name)).unwrap()
}

/// Every value inside `value`, by its path.
fn paths(value: &Json, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Json::Object(parts) => {
            for (key, part) in parts.iter().take(12) {
                paths(part, &format!("{path}/{}", escape(key)), found);
            }
        }
        Json::Array(parts) => {
            for (index, part) in parts.iter().enumerate().take(3) {
                paths(part, &format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn hostile_models_are_errors() {
    assert!(use_model(Path::new(MODEL)).unwrap() > 10);
    let folder = Folder::new();
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(4_294_967_295u32),
        json!(1e300),
        json!(""),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"content": [1]}),
        json!({"type": "Sequence"}),
    ];
    let files = ["tokenizer.json", "tokenizer_config.json"];
    let mut refused = 0;
    for name in files {
        for other in files {
            folder.write(other, model_file(other));
        }
        let text = model_file(name);
        for length in 0..text.trim_end().len() {
            if text.is_char_boundary(length) && (length % 7 == 0 || length > text.len() - 20) {
                folder.write(name, &text[..length]);
                let error = use_model(folder.path()).unwrap_err().to_string();
                assert!(error.contains(name), "{length}: {error}");
            }
        }
        let value: Json = serde_json::from_str(&text).unwrap();
        let mut found = Vec::new();
        paths(&value, "", &mut found);
        assert!(found.len() > 3);
        for path in found {
            for wrong in &values {
                let mut changed = value.clone();
                *changed.pointer_mut(&path).unwrap() = wrong.clone();
                folder.write(name, changed.to_string());
                refused += usize::from(use_model(folder.path()).is_err());
            }
        }
        for text in [
            "",
            "[]",
            "null",
            "\u{feff}{}",
            &"[".repeat(10_000),
            &"{\"a\":".repeat(10_000),
        ] {
            folder.write(name, text);
            let error = use_model(folder.path()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn a_normalizer_that_asks_for_gigabytes_is_refused() {
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/bytes");
    let folder = tempfile::TempDir::new().unwrap();
    let read = |name: &str| std::fs::read_to_string(model.join(name)).unwrap();
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        read("tokenizer_config.json"),
    )
    .unwrap();
    let refusal = |normalizer: serde_json::Value| {
        let mut tokenizer: serde_json::Value =
            serde_json::from_str(&read("tokenizer.json")).unwrap();
        tokenizer["normalizer"] = normalizer;
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        retune_data::Tokenizer::open(folder.path()).map_err(|error| error.to_string())
    };
    let replace = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaaaaaaaa"});
    let many = vec![replace.clone(); 9];
    let error = refusal(serde_json::json!({"type": "Sequence", "normalizers": many})).unwrap_err();
    assert!(
        error.contains("times as long; at most 1000 is allowed"),
        "{error}"
    );
    let map = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="});
    let error = refusal(map).unwrap_err();
    assert!(
        error.contains("precompiled_charsmap is cut off or damaged"),
        "{error}"
    );
    assert!(refusal(replace).is_ok());
}
