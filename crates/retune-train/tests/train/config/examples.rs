//! The files of `examples/`, and the schema that editors read.

use std::path::{Path, PathBuf};

use retune_data::Learn;
use retune_train::TrainConfig;
use retune_train::config::{FinetuningType, Purpose, fields, json_schema};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn example(name: &str) -> TrainConfig {
    let path = root().join("examples").join(name);
    TrainConfig::load(Some(&path), &[], Purpose::Print).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_loads_and_names_model_and_data() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("examples")).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name");
        // Data sets stand beside the settings.
        if name.ends_with(".json") {
            continue;
        }
        let config = example(name);
        let is_named = config.model.starts_with("models") || config.model == Path::new("builtin");
        assert!(is_named && !config.data.is_empty(), "{name}");
        names.push(name.to_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["full.toml", "lora.yaml", "pretrain.yaml", "zhenhuan.yaml"]
    );
}

#[test]
fn the_tutorial_is_the_defaults() {
    let lora = example("lora.yaml");
    let expected = TrainConfig {
        model: lora.model.clone(),
        data: lora.data.clone(),
        output_dir: lora.output_dir.clone(),
        system: lora.system.clone(),
        sample_prompts: lora.sample_prompts.clone(),
        ..TrainConfig::default()
    };
    assert_eq!(
        lora, expected,
        "a default changed: change the example, or say why it differs"
    );
    assert_eq!(example("full.toml").finetuning_type, FinetuningType::Full);
    assert_eq!(example("pretrain.yaml").train_on, Learn::WholeText);
}

#[test]
fn the_schema_describes_every_field_and_knows_other_names() {
    let schema: Value = serde_json::from_str(&json_schema()).expect("JSON");
    assert_eq!(schema["additionalProperties"], false);
    for field in fields() {
        let property = &schema["properties"][&field.name];
        assert_eq!(
            property["description"], *field.description,
            "{}",
            field.name
        );
        assert_eq!(property["default"], field.default, "{}", field.name);
    }
    assert_eq!(schema["properties"]["lora_rank"]["deprecated"], true);
    assert_eq!(
        schema["properties"]["learning_rate"]["exclusiveMinimum"],
        0.0
    );
    assert_eq!(schema["properties"]["r"]["minimum"], 1);
}
