//! The training loop against PyTorch: ten steps of its schedule, clip and AdamW.

use std::fs;
use std::path::Path;

use retune_compute::{CudaOptions, DType, Device};
use retune_data::Labelled;
use retune_model::{Tuning, Weights};
use retune_train::config::{Precision, SchedulerType, Switch};
use retune_train::{
    Event, Numbered, Observer, Prepared, Result, Schedule, TrainConfig, Trainer, checkpoints,
};
use serde_json::{Value, json};

use crate::steps::goldens;

fn read(case: &str, name: &str) -> Value {
    let text = fs::read_to_string(goldens(case).join(name)).expect("a golden");
    serde_json::from_str(&text).expect("JSON")
}

/// The golden's samples, as the program would have got them from data.
fn samples(case: &str) -> Vec<Numbered> {
    let batch = read(case, "batch.json");
    let rows = |name: &str| -> Vec<Vec<i64>> {
        serde_json::from_value(batch[name].clone()).expect("rows of numbers")
    };
    let (ids, mask, labels) = (rows("input_ids"), rows("attention_mask"), rows("labels"));
    let sample = |row: usize| {
        let length = mask[row].iter().sum::<i64>() as usize;
        Numbered {
            number: row as u32,
            tokens: Labelled {
                input_ids: ids[row][..length].iter().map(|id| *id as u32).collect(),
                scored: (0..length)
                    .map(|position| position > 0 && labels[row][position] >= 0)
                    .collect(),
            },
        }
    };
    (0..ids.len()).map(sample).collect()
}

/// The golden's model with a tokenizer of two words, and data that nobody reads.
fn folder(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(goldens(case).join("model").join(name), model.join(name)).expect("a copy");
    }
    let tokenizer = json!({
        "version": "1.0",
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"},
    });
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).expect("written");
    let config = json!({"eos_token": "b", "unk_token": "a"});
    fs::write(model.join("tokenizer_config.json"), config.to_string()).expect("written");
    let rows = "{\"text\": \"a b a b\"}\n".repeat(4);
    fs::write(folder.path().join("data.jsonl"), rows).expect("written");
    folder
}

/// The run that made the golden, before its first step.
fn trainer(
    case: &str,
    folder: &Path,
    device: &Device,
    precision: Precision,
    recompute: Switch,
) -> Trainer {
    let curve = read(case, "curve.json");
    let number = |value: &Value| value.as_f64().expect("a number");
    let schedule = &curve["schedule"];
    assert_eq!(schedule["kind"], "linear");
    let config = TrainConfig {
        model: folder.join("model"),
        adapter: Some(goldens(case).join("adapter")),
        data: vec![folder.join("data.jsonl")],
        output_dir: folder.join("run"),
        validation_split: 0.0,
        lora_dropout: 0.0,
        precision,
        gradient_checkpointing: recompute,
        lr_scheduler_type: SchedulerType::Linear,
        learning_rate: number(&schedule["peak"]),
        min_lr: number(&schedule["min_lr"]),
        warmup_steps: schedule["warmup_steps"].as_u64(),
        max_steps: schedule["total_steps"].as_u64(),
        weight_decay: number(&curve["weight_decay"]),
        max_grad_norm: number(&curve["clip_grad_norm"]),
        adam_epsilon: number(&curve["eps"]),
        ..TrainConfig::default()
    };
    let cache = folder.join("cache");
    let prepared = Prepared::open(config, None, &cache, &mut |_| {}).expect("it goes together");
    let plan = prepared.plan(device, 1 << 30).expect("it fits");
    prepared.start(device, &plan).expect("it opens")
}

struct Unobserved;

impl Observer for Unobserved {
    fn event(&mut self, _: &mut Trainer, _: Event<'_>) -> Result<()> {
        Ok(())
    }
}

fn near(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs();
    assert!(error <= tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn ten_steps_follow_pytorch() {
    // The CPU, and a GPU where there is one.
    let gpu = Device::cuda(&CudaOptions {
        cache: Some(std::env::temp_dir().join("retune-kernels")),
        ..CudaOptions::default()
    });
    let wanted = std::env::var_os("RETUNE_REQUIRE_GPU").is_some();
    assert!(gpu.is_ok() || !wanted, "{gpu:?}");
    for device in std::iter::once(Device::cpu()).chain(gpu.ok()) {
        ten_steps_on(&device);
    }
}

fn ten_steps_on(device: &Device) {
    for case in ["qwen2-tiny", "qwen3-tiny", "llama-tiny", "llama3-rope-tiny"] {
        let folder = folder(case);
        let samples = samples(case);
        let curve = read(case, "curve.json");
        // Ceilings of losses and of norms and parameters.
        for (precision, [loss, gradient]) in [
            (Precision::F32, [1e-5, 1e-4]),
            (Precision::Bf16, [1e-2, 3e-2]),
        ] {
            for recompute in [Switch::Off, Switch::On] {
                let mut trainer = trainer(case, folder.path(), device, precision, recompute);
                for step in curve["steps"].as_array().expect("steps") {
                    let found = trainer.update(&samples, &mut Unobserved).expect("a step");
                    let what = format!(
                        "{case} {precision:?} {recompute:?} step {} on {device:?}",
                        found.step
                    );
                    let expected = |name: &str| step[name].as_f64().expect("a number");
                    near(&what, found.learning_rate, expected("lr"), 1e-12);
                    near(&what, found.loss, expected("loss"), loss);
                    near(&what, found.grad_norm, expected("grad_norm"), gradient);
                }
                assert!(matches!(trainer.tuning, Tuning::Lora(_)));
                let weights = Weights::open_file(&goldens(case).join("curve_adapter.safetensors"));
                let weights = weights.expect("a golden");
                for parameter in trainer.model.parameters() {
                    // As PEFT has it in memory.
                    let name = parameter.name.replace(".weight", ".default.weight");
                    let expected = weights.tensor(&Device::cpu(), &name, DType::F32);
                    let expected = expected.expect("a tensor").to_f32_vec();
                    let found = parameter.value.to_f32_vec();
                    let square = |sum: f64, value: f32| sum + f64::from(value).powi(2);
                    let pairs = found.iter().zip(&expected);
                    let error = pairs.map(|(a, b)| a - b).fold(0.0, square).sqrt();
                    let size = expected.iter().copied().fold(0.0, square).sqrt();
                    assert!(error <= gradient * size, "{case} {name}: {error} of {size}");
                }
            }
        }
        assert!(checkpoints(folder.path()).expect("a folder").is_empty());
    }
}

/// As `transformers` has them, with a floor: the highest rate right behind the warm-up, and
/// a fall that would reach the floor in the step behind the last.
#[test]
fn rates_rise_and_fall_to_the_floor() {
    let schedule = |kind, warmup_steps| Schedule {
        kind,
        learning_rate: 1.0,
        min_lr: 0.2,
        warmup_steps,
        total_steps: 12,
    };
    let rates = |kind, warmup| -> Vec<f64> {
        (0..12)
            .map(|step| schedule(kind, warmup).rate(step))
            .collect()
    };
    let near = |found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    };
    let linear = [0.25, 0.5, 0.75, 1.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3];
    near(&rates(SchedulerType::Linear, 4), &linear);
    let constant = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    near(&rates(SchedulerType::Constant, 2), &constant);
    // Half of a cosine over eight steps: cos 0, π/8, π/4, … .
    let cosine = rates(SchedulerType::Cosine, 4);
    near(&cosine[4..5], &[1.0]);
    near(&cosine[6..7], &[0.2 + 0.8 * 0.5 * (1.0 + 0.5_f64.sqrt())]);
    near(&cosine[8..9], &[0.6]);
    near(&cosine[10..11], &[0.2 + 0.8 * 0.5 * (1.0 - 0.5_f64.sqrt())]);
    // Beyond the end nothing falls any lower.
    assert_eq!(schedule(SchedulerType::Linear, 4).rate(1000), 0.2);
}
