//! A merged model against the base with its adapter.

use std::fs;
use std::path::{Path, PathBuf};

use retune_compute::ops::{Packing, Segments};
use retune_compute::{DType, Device};
use retune_export::merge;
use retune_model::{Decoder, LoraConfig, OpenOptions, Tuning, Weights};

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../retune-model/tests/goldens")
        .join(case)
}

fn logits(model: &Path, adapter: Option<&Path>) -> Vec<f32> {
    let tuning = match adapter {
        Some(adapter) => Tuning::Lora(LoraConfig::open(adapter).expect("a configuration")),
        None => Tuning::Frozen,
    };
    let options = OpenOptions {
        dtype: DType::F32,
        packing: Packing::Forward,
        tuning,
        seed: 0,
    };
    let mut opened = Decoder::open(model, &Device::cpu(), &options).expect("a model");
    if let Some(adapter) = adapter {
        opened
            .load_adapter(&Weights::open_adapter(adapter).expect("an adapter"))
            .expect("an adapter");
    }
    let ids: Vec<u32> = (0..40).map(|at| at * 13 % 200).collect();
    opened
        .logits(&ids, &Segments::single(ids.len()))
        .expect("logits")
        .to_f32_vec()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let largest = b
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let error = a
        .iter()
        .zip(b)
        .fold(0.0_f32, |error, (a, b)| error.max((a - b).abs()));
    f64::from(error / largest)
}

#[test]
fn a_merged_model_answers_as_the_base_with_its_adapter() {
    for case in ["qwen2-tiny", "qwen3-tiny", "llama-tiny", "llama3-rope-tiny"] {
        let (base, adapter) = (golden(case).join("model"), golden(case).join("adapter"));
        let out = tempfile::tempdir().expect("a folder");
        let merged = merge(
            &base,
            Some(&adapter),
            out.path(),
            Some(DType::F32),
            &Device::cpu(),
        )
        .expect("merged");
        assert!(
            !merged.changed.is_empty() && merged.unchanged.is_empty(),
            "{case}: {merged:?}"
        );
        fs::copy(base.join("config.json"), out.path().join("config.json")).expect("a copy");
        let expected = logits(&base, Some(&adapter));
        let found = logits(out.path(), None);
        let error = distance(&found, &expected);
        assert!(error < 1e-5, "{case}: {error}");
        // The adapter does something.
        assert!(distance(&logits(&base, None), &expected) > 1e-3, "{case}");
    }
}

#[test]
fn a_model_without_an_adapter_is_written_in_the_type_that_is_asked_for() {
    let base = golden("qwen2-tiny").join("model");
    let out = tempfile::tempdir().expect("a folder");
    fs::copy(base.join("config.json"), out.path().join("config.json")).expect("a copy");
    let written = |dtype| {
        let merged = merge(&base, None, out.path(), dtype, &Device::cpu()).expect("written");
        assert!(merged.changed.is_empty() && merged.unchanged.is_empty());
        (merged.dtype, logits(out.path(), None))
    };
    let expected = logits(&base, None);
    assert_eq!(written(None), (DType::F32, expected.clone()));
    let (dtype, rounded) = written(Some(DType::BF16));
    assert_eq!(dtype, DType::BF16);
    let error = distance(&rounded, &expected);
    assert!(error > 0.0 && error < 2e-2, "{error}");
}

#[test]
fn an_adapter_of_another_model_is_refused_with_all_that_does_not_fit() {
    let out = tempfile::tempdir().expect("a folder");
    let (base, adapter) = (
        golden("llama-tiny").join("model"),
        tempfile::tempdir().expect("a folder"),
    );
    let other = golden("qwen2-tiny").join("adapter");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(other.join(file), adapter.path().join(file)).expect("a copy");
    }
    let whole = fs::read(adapter.path().join("adapter_model.safetensors")).expect("bytes");
    let changed = replace(&whole, b"q_proj", b"x_proj");
    assert_ne!(whole, changed);
    fs::write(adapter.path().join("adapter_model.safetensors"), changed).expect("a file");
    let error = merge(
        &base,
        Some(adapter.path()),
        out.path(),
        None,
        &Device::cpu(),
    )
    .expect_err("refused")
    .to_string();
    assert!(
        error.contains("the model has no model.layers.0.self_attn.x_proj.weight"),
        "{error}"
    );
    assert!(!out.path().join("model.safetensors").exists());
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            changed[at..at + to.len()].copy_from_slice(to);
        }
    }
    changed
}
