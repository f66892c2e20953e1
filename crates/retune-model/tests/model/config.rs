//! What is read from a `config.json`, and what is refused.

use retune_compute::ops::RopeScaling;
use retune_model::{Error, ModelConfig};
use serde_json::{Value, json};

/// Opens a small model's `config.json` with other fields; those without a value are left out.
fn open(changes: &[(&str, Option<Value>)]) -> Result<ModelConfig, Error> {
    let mut fields = json!({
        "model_type": "qwen2", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 30, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 128,
    });
    let fields = fields.as_object_mut().unwrap();
    for (name, value) in changes {
        match value {
            Some(value) => fields.insert((*name).to_owned(), value.clone()),
            None => fields.remove(*name),
        };
    }
    let folder = tempfile::tempdir().unwrap();
    let text = serde_json::to_string(fields).unwrap();
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    ModelConfig::open(folder.path())
}

#[track_caller]
fn assert_refused(changes: &[(&str, Option<Value>)], problem: &str) {
    let message = open(changes).unwrap_err().to_string();
    assert!(message.contains(problem), "{message}");
}

/// `transformers` keeps the old name beside the new one.
#[test]
fn scaling_is_named_by_either_name_or_both() {
    let expected = RopeScaling::Linear { factor: 2.0 };
    for names in [&["type"][..], &["rope_type"], &["type", "rope_type"]] {
        let mut scaling = json!({"factor": 2.0});
        for name in names {
            scaling[*name] = "linear".into();
        }
        let config = open(&[("rope_scaling", Some(scaling))]).unwrap();
        assert_eq!(config.rope.scaling, expected, "{names:?}");
    }
}

/// A field that is missing has the value that `transformers` give it; `null` is none.
#[test]
fn windows_that_are_not_named_are_those_of_the_architecture() {
    let windows = |changes: &[(&str, Option<Value>)]| open(changes).unwrap().sliding_window;
    let mistral = ("model_type", Some(json!("mistral")));
    assert_eq!(windows(std::slice::from_ref(&mistral)), [Some(4096); 30]);
    let null = ("sliding_window", Some(Value::Null));
    assert_eq!(windows(&[mistral.clone(), null]), [None; 30]);
    let seven = ("sliding_window", Some(json!(7)));
    assert_eq!(windows(&[mistral, seven.clone()]), [Some(7); 30]);
    assert_eq!(windows(std::slice::from_ref(&seven)), [None; 30]);
    let on = ("use_sliding_window", Some(json!(true)));
    let found = windows(&[on.clone(), seven.clone()]);
    assert_eq!(
        (&found[..28], &found[28..]),
        (&[None; 28][..], &[Some(7); 2][..])
    );
    let from = ("max_window_layers", Some(json!(1)));
    let found = windows(&[on, from]);
    assert_eq!((found[0], found[1]), (None, Some(4096)));
    assert_refused(
        &[("sliding_window", Some(json!(0)))],
        "expected a sliding_window of at least 1, or null, found 0",
    );
}

/// Sizes that no model has are refused before anything is made of them.
#[test]
fn sizes_beyond_reason_are_named_all_at_once() {
    assert_refused(
        &[
            ("num_hidden_layers", Some(json!(10_000_000_000_u64))),
            ("vocab_size", Some(json!(-1))),
            ("hidden_size", None),
        ],
        "vocab_size: expected a whole number from 1 to 16777216, found -1; \
         hidden_size: expected a whole number from 1 to 1048576, found nothing; \
         num_hidden_layers: expected a whole number from 1 to 10000, found 10000000000",
    );
    assert_refused(
        &[("model_type", Some(json!("gpt2"))), ("hidden_size", None)],
        "model_type gpt2 is not known; there are qwen2, qwen3, llama, mistral",
    );
    assert_refused(
        &[("model_type", None)],
        "expected a model_type, one of qwen2, qwen3, llama, mistral; found none",
    );
}
