//! A model on rows: its likelihood against a plain one, and what is drawn.

use std::path::{Path, PathBuf};

use retune_compute::ops::Segments;
use retune_compute::{DType, Device};
use retune_data::{BadRows, Content, DataOptions, LabelOptions, label};
use retune_eval::{HeldOut, likelihood};
use retune_generate::{Assistant, AssistantOptions, Source};
use retune_model::NewModel;

/// A small model with a tokenizer of bytes, whose weights are random.
fn assistant(folder: &Path) -> Assistant {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-data/tests/models/bytes");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tokenizer.join(name), folder.join(name)).expect("a copy");
    }
    let config = serde_json::json!({
        "model_type": "qwen2", "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 128, "initializer_range": 0.3,
    });
    let fields = config.as_object().expect("an object").clone();
    let model = NewModel::new(fields, 258).expect("a shape");
    model
        .write(folder, &Device::cpu(), 5, DType::F32)
        .expect("a model");
    let source = Source::find(folder, None).expect("a model");
    let options = AssistantOptions {
        dtype: Some(DType::F32),
        ..AssistantOptions::default()
    };
    Assistant::open(source, &Device::cpu(), &options).expect("it opens")
}

fn rows(folder: &Path, text: &str, name: &str, most: Option<usize>) -> HeldOut {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    HeldOut::open(&[path], DataOptions::default(), BadRows::Stop, most, 7).expect("rows")
}

/// Loss, tokens and correct ones by a softmax in f64 over the logits of one sequence.
fn plainly(assistant: &Assistant, content: &Content) -> (f64, u64, u64) {
    let options = LabelOptions::default();
    let labelled = label(&assistant.tokenizer, content, &options).expect("tokens");
    let ids = &labelled.input_ids;
    let logits = assistant.model.logits(ids, &Segments::single(ids.len()));
    let logits = logits.expect("memory").to_f32_vec();
    let (mut loss, mut tokens, mut correct) = (0.0, 0, 0);
    for at in (1..ids.len()).filter(|at| labelled.scored[*at]) {
        let row = &logits[(at - 1) * 258..at * 258];
        let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        let target = ids[at] as usize;
        loss += sum.ln() - f64::from(row[target]);
        tokens += 1;
        correct += u64::from(row.iter().all(|logit| *logit <= row[target]));
    }
    (loss, tokens, correct)
}

#[test]
fn the_likelihood_of_rows_is_theirs_whatever_they_are_packed_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    // More rows than share batches, of many lengths, one too long for the model.
    let mut text: String = (0..90)
        .map(|number| {
            let (ask, answer) = ("why ".repeat(number % 7), "so ".repeat(1 + number % 5));
            format!("{{\"instruction\": \"Q{number} {ask}\", \"output\": \"{answer}\"}}\n")
        })
        .collect();
    let long = "x".repeat(200);
    text.push_str(&format!(
        "{{\"instruction\": \"{long}\", \"output\": \"y\"}}\n"
    ));
    let held_out = rows(folder.path(), &text, "rows.jsonl", None);
    let mut told = Vec::new();
    let found = likelihood(&assistant, &held_out.rows, &mut |rows| told.push(rows));
    let found = found.expect("a likelihood");
    assert_eq!(told, [64, 91]);
    assert_eq!(found.len(), 91);
    assert_eq!(found[90], None, "more tokens than the model takes");
    for (row, found) in held_out.rows.iter().zip(&found).take(90) {
        let found = found.expect("a likelihood");
        let (loss, tokens, correct) = plainly(&assistant, &row.content);
        assert_eq!((found.tokens, found.correct), (tokens, correct), "{row:?}");
        assert!((found.loss / loss - 1.0).abs() < 1e-5, "{found:?} {loss}");
        // The text that is scored, without the token that ends it.
        assert_eq!(found.bytes as usize, row.reference.len(), "{row:?}");
        let bits = loss / std::f64::consts::LN_2 / row.reference.len() as f64;
        let told = found.bits_per_byte().expect("there is text");
        assert!((told / bits - 1.0).abs() < 1e-5, "{told} {bits}");
    }
}

#[test]
fn a_long_text_is_scored_in_pieces() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    let text = "A line that goes on and on. ".repeat(20);
    let held_out = rows(folder.path(), &text, "text.txt", None);
    assert!(!held_out.has_prompts());
    let found = likelihood(&assistant, &held_out.rows, &mut |_| ()).expect("a likelihood");
    let options = LabelOptions::default();
    let whole = label(&assistant.tokenizer, &held_out.rows[0].content, &options).expect("tokens");
    let tokens = whole.input_ids.len() as u64;
    assert!(tokens > 500);
    // Each piece of 128 tokens predicts all but its first.
    let found = found[0].expect("a likelihood").tokens;
    assert_eq!(found, tokens - tokens.div_ceil(128));
}

#[test]
fn rows_that_are_drawn_depend_on_the_seed_alone_and_keep_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let text: String = (0..50)
        .map(|number| format!("{{\"instruction\": \"{number}\", \"output\": \"a{number}\"}}\n"))
        .collect();
    let drawn = rows(folder.path(), &text, "rows.jsonl", Some(20));
    assert_eq!((drawn.rows.len(), drawn.total), (20, 50));
    let numbers: Vec<u64> = drawn.rows.iter().map(|row| row.place.row).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    let again = rows(folder.path(), &text, "rows.jsonl", Some(20));
    let other: Vec<u64> = again.rows.iter().map(|row| row.place.row).collect();
    assert_eq!(numbers, other);
    let path = [folder.path().join("rows.jsonl")];
    let other =
        HeldOut::open(&path, DataOptions::default(), BadRows::Stop, Some(20), 8).expect("rows");
    let other: Vec<u64> = other.rows.iter().map(|row| row.place.row).collect();
    assert_ne!(numbers, other);
}

#[test]
fn few_short_answers_are_labels() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = |answers: &[&str]| {
        let text: String = (0..30)
            .map(|number| {
                let answer = answers[number % answers.len()];
                format!("{{\"instruction\": \"{number}\", \"output\": \"{answer}\"}}\n")
            })
            .collect();
        rows(folder.path(), &text, "rows.jsonl", None)
    };
    assert_eq!(rows(&["good", "bad"]).labels(), Some(vec!["bad", "good"]));
    assert_eq!(rows(&["good"]).labels(), None);
    assert_eq!(rows(&["a", "b", "c", "d", "e", "f", "g"]).labels(), None);
    assert_eq!(rows(&["good", &"long ".repeat(9)]).labels(), None);
}
