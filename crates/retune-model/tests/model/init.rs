//! New models: their shape checked, their weights drawn.

use std::path::Path;

use half::bf16;
use retune_compute::ops::{Packing, Segments};
use retune_compute::{CpuOptions, DType, Device};
use retune_model::{
    Activations, Batch, Decoder, Error, MODEL_TYPES, NewModel, OpenOptions, ShapeOptions, Tuning,
    Weights,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn small(model_type: &str) -> ShapeOptions {
    ShapeOptions {
        model_type: Some(model_type.to_owned()),
        vocab_size: Some(300),
        hidden_size: Some(32),
        num_attention_heads: Some(4),
        num_hidden_layers: Some(2),
        ..ShapeOptions::default()
    }
}

fn made(options: &ShapeOptions, seed: u64, dtype: DType, threads: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    let model = NewModel::new(options.fields().unwrap(), 300).unwrap();
    let device = Device::cpu_with(&CpuOptions {
        threads: Some(threads),
        ..CpuOptions::default()
    });
    model
        .write(folder.path(), &device.unwrap(), seed, dtype)
        .unwrap();
    folder
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

fn values(weights: &Weights, name: &str) -> Vec<f32> {
    let tensor = weights.tensor(&Device::cpu(), name, DType::F32);
    tensor.unwrap().to_f32_vec()
}

#[track_caller]
fn problems(fields: Map<String, Value>) -> Vec<String> {
    match NewModel::new(fields, 300) {
        Err(Error::Shape { problems }) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_architecture_is_made_opened_and_trained() {
    for model_type in MODEL_TYPES {
        for tied in [true, false] {
            let options = ShapeOptions {
                tie_word_embeddings: Some(tied),
                ..small(model_type)
            };
            let folder = made(&options, 1, DType::F32, 1);
            let options = OpenOptions {
                dtype: DType::F32,
                packing: Packing::Rows,
                tuning: Tuning::FULL,
                seed: 0,
            };
            let mut model = Decoder::open(folder.path(), &Device::cpu(), &options).unwrap();
            assert_eq!(model.config().model_type, model_type);
            let weights = Weights::open(folder.path()).unwrap();
            assert_eq!(weights.shape("lm_head.weight").is_some(), !tied);
            let ids: Vec<u32> = (0..24).map(|index| index * 7 % 300).collect();
            let batch = Batch {
                segments: Segments::single(ids.len()),
                rows: (0..23).collect(),
                targets: ids[1..].to_vec(),
                row_keys: vec![
                    retune_compute::ops::RowKey {
                        sample: 0,
                        position: 0
                    };
                    24
                ],
                input_ids: ids,
            };
            let loss = model
                .loss_and_backward(&batch, 1.0 / 23.0, 0, Activations::Keep)
                .unwrap();
            let mean = retune_compute::ops::sum(&loss.losses) / 23.0;
            // All tokens are as likely, but for the small weights of the head.
            assert!((mean - 300f64.ln()).abs() < 0.1, "{model_type} {mean}");
        }
    }
}

#[test]
fn weights_are_drawn_as_hugging_face_draws_them() {
    let options = ShapeOptions {
        initializer_range: Some(0.05),
        ..small("qwen2")
    };
    let folder = made(&options, 3, DType::F32, 1);
    let weights = Weights::open(folder.path()).unwrap();
    let mut drawn: Vec<f32> = Vec::new();
    let mut count = 0;
    for name in weights.names() {
        let values = values(&weights, name);
        count += values.len() as u64;
        if name.ends_with("norm.weight") {
            assert!(values.iter().all(|value| *value == 1.0), "{name}");
        } else if name.ends_with(".bias") {
            assert!(values.iter().all(|value| *value == 0.0), "{name}");
        } else {
            // No tensor begins as another one does.
            assert!(!drawn.windows(4).any(|four| four == &values[..4]), "{name}");
            drawn.extend(values);
        }
    }
    let model = NewModel::new(options.fields().unwrap(), 300).unwrap();
    assert_eq!(model.config().num_parameters(), count);
    // Shares of a normal distribution within one, two and three deviations, each
    // within five deviations of a binomial's.
    for (within, share) in [(1.0, 0.682_689), (2.0, 0.954_500), (3.0, 0.997_300)] {
        let inside = drawn.iter().filter(|value| value.abs() < 0.05 * within);
        let found = inside.count() as f64 / drawn.len() as f64;
        let spread = (share * (1.0 - share) / drawn.len() as f64).sqrt();
        assert!((found - share).abs() < 5.0 * spread, "{within}: {found}");
    }
    let mean = drawn.iter().map(|value| f64::from(*value)).sum::<f64>() / drawn.len() as f64;
    assert!(
        mean.abs() < 5.0 * 0.05 / (drawn.len() as f64).sqrt(),
        "{mean}"
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let options = small("qwen3");
    let folder = made(&options, 5, DType::F32, 1);
    for name in ["model.safetensors", "config.json", "generation_config.json"] {
        let again = made(&options, 5, DType::F32, 3);
        assert!(
            read(folder.path(), name) == read(again.path(), name),
            "{name}"
        );
    }
    let other = made(&options, 6, DType::F32, 1);
    let name = "model.safetensors";
    assert!(read(folder.path(), name) != read(other.path(), name));

    let half = made(&options, 5, DType::BF16, 1);
    let exact = Weights::open(folder.path()).unwrap();
    let rounded = Weights::open(half.path()).unwrap();
    for name in exact.names() {
        let expected: Vec<f32> = values(&exact, name)
            .into_iter()
            .map(|value| bf16::from_f32(value).to_f32())
            .collect();
        assert_eq!(values(&rounded, name), expected, "{name}");
    }
    // But for the header, which is the same.
    let sizes = [half.path(), folder.path()].map(|folder| read(folder, name).len());
    assert!(sizes[0] * 2 < sizes[1] + 8192, "{sizes:?}");
}

#[test]
fn the_config_says_what_was_asked_for() {
    let mut fields = small("mistral").fields().unwrap();
    fields.insert("eos_token_id".into(), json!([7, 9]));
    fields.insert("pad_token_id".into(), json!(null));
    fields.insert("dtype".into(), json!("float32"));
    let folder = TempDir::new().unwrap();
    let model = NewModel::new(fields, 300).unwrap();
    model
        .write(folder.path(), &Device::cpu(), 0, DType::BF16)
        .unwrap();
    let parse =
        |name: &str| -> Value { serde_json::from_slice(&read(folder.path(), name)).unwrap() };
    let config = parse("config.json");
    assert_eq!(config["architectures"], json!(["MistralForCausalLM"]));
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert_eq!(config.get("dtype"), None);
    // Where the field is missing, `transformers` take 4096.
    assert_eq!(config.get("sliding_window"), Some(&Value::Null));
    assert_eq!(
        (&config["head_dim"], &config["num_key_value_heads"]),
        (&json!(8), &json!(2))
    );
    let generation = parse("generation_config.json");
    let expected = json!({"_from_model_config": true, "eos_token_id": [7, 9]});
    assert_eq!(generation, expected);
}

#[test]
fn the_default_is_a_small_model() {
    let options = ShapeOptions {
        vocab_size: Some(8192),
        ..ShapeOptions::default()
    };
    let model = NewModel::new(options.fields().unwrap(), 8192).unwrap();
    let parameters = model.config().num_parameters();
    assert!(
        (5_000_000..10_000_000).contains(&parameters),
        "{parameters}"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let options = ShapeOptions {
        vocab_size: Some(299),
        hidden_size: Some(0),
        num_attention_heads: Some(6),
        num_key_value_heads: Some(4),
        head_dim: Some(15),
        num_hidden_layers: Some(20_000),
        rope_theta: Some(0.0),
        initializer_range: Some(1.5),
        ..ShapeOptions::default()
    };
    let mut fields = options.fields().unwrap();
    options.replace_in(&mut fields);
    fields.insert("intermediate_size".into(), json!(-1));
    fields.insert("max_position_embeddings".into(), json!("many"));
    fields.insert("layer_types".into(), json!(["full_attention"]));
    fields.insert("rms_norm_eps".into(), json!("tiny"));
    let found = problems(fields);
    let expected = [
        "hidden_size: expected a whole number from 1 to 1048576, found 0",
        "intermediate_size: expected a whole number from 1 to 4194304, found -1",
        "num_hidden_layers: expected a whole number from 1 to 10000, found 20000",
        "max_position_embeddings: expected a whole number from 1 to 2147483648, found \"many\"",
        "vocab_size: expected at least the 300 of the tokenizer, found 299",
        "num_key_value_heads: expected a divisor of the 6 of num_attention_heads, found 4",
        "head_dim: expected an even number, found 15",
        "layer_types: expected one for each of the 20000 layers, found 1",
        "rope_theta: expected a number above 0, found 0.0",
        "rms_norm_eps: expected a number above 0 and at most 1, found \"tiny\"",
        "initializer_range: expected a number above 0 and at most 1, found 1.5",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_shape_without_sense_is_refused() {
    // The largest sizes that are allowed do not overflow.
    let huge = ShapeOptions {
        vocab_size: Some(1 << 24),
        hidden_size: Some(1 << 20),
        intermediate_size: Some(1 << 22),
        num_hidden_layers: Some(10_000),
        num_attention_heads: Some(1 << 14),
        num_key_value_heads: Some(1 << 14),
        head_dim: Some(256),
        ..ShapeOptions::default()
    };
    let found = problems(huge.fields().unwrap());
    assert!(
        found[0].starts_with("expected at most 1099511627776 parameters"),
        "{found:?}"
    );

    let mut fields = small("llama").fields().unwrap();
    fields.remove("head_dim");
    fields.insert("num_attention_heads".into(), json!(5));
    fields.insert("num_key_value_heads".into(), json!(5));
    assert!(problems(fields)[0].starts_with("hidden_size: expected a multiple of twice the 5"));

    let mut fields = small("llama").fields().unwrap();
    fields.insert("hidden_act".into(), json!("relu"));
    assert_eq!(problems(fields), ["expected hidden_act silu, found relu"]);
    assert!(small("gpt2").fields().is_err());

    // What a newer file has is replaced where it stands.
    let mut fields = small("llama").fields().unwrap();
    fields.remove("rope_theta");
    fields.insert(
        "rope_parameters".into(),
        json!({"rope_theta": 1e6, "rope_type": "default"}),
    );
    let options = ShapeOptions {
        rope_theta: Some(500.0),
        ..ShapeOptions::default()
    };
    options.replace_in(&mut fields);
    assert_eq!(
        NewModel::new(fields, 300).unwrap().config().rope.rope_theta,
        500.0
    );
}
