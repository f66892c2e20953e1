//! Models and adapters written, against the files that they were read from.

use std::collections::BTreeMap;
use std::path::Path;

use half::bf16;
use retune_compute::{DType, Device, Tensor};
use retune_model::{
    Decoder, Durability, Error, LoraConfig, TargetModules, Tuning, Weights, write_tensors,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::goldens::{CASES, folder, lora, open};

const SYNCED: Durability = Durability::Synced;

const ADAPTER: &str = "adapter_model.safetensors";
const MODEL: &str = "model.safetensors";

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lora_config(case: &str) -> LoraConfig {
    LoraConfig::open(&folder(case).join("adapter")).unwrap()
}

fn source(case: &str) -> Weights {
    Weights::open(&folder(case).join("model")).unwrap()
}

#[track_caller]
fn problems(result: Result<(), Error>) -> Vec<String> {
    match result {
        Err(Error::Tensors { problems, .. }) => problems,
        other => panic!("{other:?}"),
    }
}

/// What a folder holds, debris too.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_adapter_is_the_file_that_peft_wrote() {
    for case in CASES {
        let out = TempDir::new().unwrap();
        // Products in bf16 leave the f32 values as they are.
        let mut model = open(case, &Device::cpu(), DType::BF16, lora(case));
        let config = lora_config(case);
        model
            .save_adapter(out.path(), "base", &config, SYNCED)
            .unwrap();
        let peft = folder(case).join("adapter");
        let equal = bytes(&out.path().join(ADAPTER)) == bytes(&peft.join(ADAPTER));
        assert!(equal, "{case}");
        assert_eq!(files(out.path()), ["adapter_config.json", ADAPTER]);
        assert_eq!(
            LoraConfig::open(out.path()).unwrap().scale(),
            config.scale()
        );

        let parse = |path: &Path| -> Value { serde_json::from_slice(&bytes(path)).unwrap() };
        let mut written = parse(&out.path().join("adapter_config.json"));
        let mut expected = parse(&peft.join("adapter_config.json"));
        assert_eq!(written["base_model_name_or_path"].take(), "base");
        // PEFT writes a set of names in any order.
        let expected_names = expected["target_modules"].as_array_mut().unwrap();
        expected_names.sort_by_key(Value::to_string);
        for (field, value) in written.as_object().unwrap() {
            assert_eq!(*value, expected[field], "{case} {field}");
        }
    }
}

#[test]
fn the_config_of_an_adapter_names_its_layers_and_numbers_as_they_were_given() {
    let case = "qwen3-tiny";
    let all = LoraConfig {
        r: 4,
        lora_alpha: 12.5,
        lora_dropout: 0.05,
        use_rslora: true,
        target_modules: TargetModules::Name("all-linear".into()),
    };
    let out = TempDir::new().unwrap();
    let mut model = open_lora(case, &all);
    model.save_adapter(out.path(), "a/b", &all, SYNCED).unwrap();
    let text = String::from_utf8(bytes(&out.path().join("adapter_config.json"))).unwrap();
    assert!(text.contains("\"lora_dropout\": 0.05,"), "{text}");
    assert!(text.contains("\"lora_alpha\": 12.5,"), "{text}");
    let read = LoraConfig::open(out.path()).unwrap();
    let names = [
        "down_proj",
        "gate_proj",
        "k_proj",
        "o_proj",
        "q_proj",
        "up_proj",
        "v_proj",
    ];
    let listed = TargetModules::Names(names.map(str::to_owned).to_vec());
    assert_eq!(
        read,
        LoraConfig {
            target_modules: listed,
            ..all
        }
    );
}

fn open_lora(case: &str, config: &LoraConfig) -> Decoder {
    let options = retune_model::OpenOptions {
        dtype: DType::F32,
        packing: retune_compute::ops::Packing::Rows,
        tuning: Tuning::Lora(config.clone()),
        seed: 7,
    };
    Decoder::open(&folder(case).join("model"), &Device::cpu(), &options).unwrap()
}

#[test]
fn a_trained_model_is_the_file_that_transformers_wrote() {
    for case in CASES {
        // Trained, and frozen so that all comes from the source.
        for tuning in [Tuning::FULL, Tuning::Frozen] {
            let out = TempDir::new().unwrap();
            let mut model = open(case, &Device::cpu(), DType::BF16, tuning.clone());
            model
                .save_model(out.path(), DType::F32, &source(case), SYNCED)
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            let expected = bytes(&folder(case).join("model").join(MODEL));
            let equal = bytes(&out.path().join(MODEL)) == expected;
            assert!(equal, "{case} {tuning:?}");
            assert_eq!(files(out.path()), [MODEL]);
        }
    }
}

#[test]
fn what_was_changed_is_what_is_saved() {
    let case = "llama-tiny";
    let device = Device::cpu();
    let mut model = open(case, &device, DType::F32, Tuning::FULL);
    let name = "model.layers.1.mlp.up_proj.weight";
    for parameter in model.parameters() {
        if parameter.name == name {
            let values = difficult(parameter.value.len());
            parameter.value.copy_from_slice(&values).unwrap();
        }
    }
    let before = source(case);
    for dtype in [DType::F32, DType::BF16] {
        let out = TempDir::new().unwrap();
        model
            .save_model(out.path(), dtype, &before, SYNCED)
            .unwrap();
        let saved = Weights::open(out.path()).unwrap();
        for other in before.names() {
            let found = saved.tensor(&device, other, dtype).unwrap();
            let original = before.tensor(&device, other, DType::F32).unwrap();
            let values = match other == name {
                true => difficult(original.len()),
                false => original.to_f32_vec(),
            };
            let expected: Vec<u8> = match dtype {
                DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                DType::BF16 => values
                    .iter()
                    .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                    .collect(),
            };
            assert!(found.to_bytes() == expected, "{other} {dtype}");
        }
        let tensors: usize = before
            .names()
            .map(|name| before.shape(name).unwrap().iter().product::<usize>())
            .sum();
        let size = bytes(&out.path().join(MODEL)).len();
        assert!(size > tensors * dtype.size() && size < tensors * dtype.size() + 8192);
    }
}

/// Numbers that a detour through decimals or other roundings would change: ties
/// of bf16 either way, denormals, infinities, both zeros.
fn difficult(count: usize) -> Vec<f32> {
    let bits = [
        0x3f80_8000,
        0x3f81_8000,
        0x3f80_8001,
        0x3f80_7fff,
        0x0000_0001,
        0x8000_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7f7f_ffff,
        0x3dcc_cccd,
    ];
    let bits = bits.into_iter().cycle().take(count);
    bits.map(f32::from_bits).collect()
}

#[test]
fn what_a_file_has_no_place_for_is_refused() {
    let case = "qwen2-tiny";
    let out = TempDir::new().unwrap();
    let mut model = open(case, &Device::cpu(), DType::F32, lora(case));
    let found = problems(model.save_model(out.path(), DType::F32, &source(case), SYNCED));
    let expected = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight has no place in a model's file";
    assert_eq!(found[0], expected);
    assert_eq!(found.len(), model.parameters().len());

    let other = LoraConfig {
        r: 2,
        ..lora_config(case)
    };
    let found = problems(model.save_adapter(out.path(), "base", &other, SYNCED));
    assert_eq!(found.len(), model.parameters().len());
    assert!(
        found[0].ends_with(".lora_A.weight: expected the rank 2, found 8"),
        "{found:?}"
    );

    let mut frozen = open(case, &Device::cpu(), DType::F32, Tuning::Frozen);
    let found = problems(frozen.save_adapter(out.path(), "base", &other, SYNCED));
    assert_eq!(found, ["the model has no LoRA to save"]);
    // The weights of another model do not hold what is frozen.
    let found = problems(frozen.save_model(out.path(), DType::F32, &source("llama-tiny"), SYNCED));
    assert!(found.iter().any(|problem| problem.contains("is missing")));
    assert!(files(out.path()).is_empty());
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let out = TempDir::new().unwrap();
    let path = out.path().join(MODEL);
    let shapes = BTreeMap::from([("a".to_owned(), vec![2]), ("b".to_owned(), vec![2])]);
    let value = Tensor::from_slice(&Device::cpu(), &[2], &[1.0f32, 2.0]).unwrap();
    let whole = || write_tensors(&path, DType::F32, &shapes, SYNCED, |_| Ok(value.to_bytes()));
    whole().unwrap();
    let before = bytes(&path);
    // A fault in the middle leaves the file as it was.
    let fault = Error::File {
        path: "elsewhere".into(),
        problem: "cannot be read".into(),
    };
    let broken = write_tensors(&path, DType::F32, &shapes, SYNCED, |name| match name {
        "a" => Ok(vec![0; 8]),
        _ => Err(fault.clone()),
    });
    assert_eq!(broken, Err(fault));
    assert_eq!(bytes(&path), before);
    assert_eq!(files(out.path()), [MODEL]);

    // What stands in the way is named, and nothing is left beside it.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = whole().unwrap_err().to_string();
    assert!(
        error.contains("model.safetensors cannot be written: "),
        "{error}"
    );
    assert_eq!(files(out.path()), [MODEL]);
    let nowhere = out.path().join("missing").join(MODEL);
    let lost = write_tensors(&nowhere, DType::F32, &shapes, SYNCED, |_| Ok(vec![0; 8]));
    let error = lost.unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
}

#[cfg(unix)]
#[test]
fn others_may_read_what_is_saved() {
    use std::os::unix::fs::PermissionsExt as _;
    let out = TempDir::new().unwrap();
    let plain = out.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let path = out.path().join(MODEL);
    let shapes = BTreeMap::from([("a".to_owned(), vec![1])]);
    write_tensors(&path, DType::F32, &shapes, SYNCED, |_| Ok(vec![0; 4])).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}
