//! Four tiny models against PyTorch: logits, gradients, ten steps of training.

use std::path::PathBuf;

use retune_compute::ops::{AdamW, Packing, RowKey, Segments, adamw_steps, norm, scale, sum};
use retune_compute::{CudaOptions, DType, Device};
use retune_model::{Activations, Batch, Decoder, LoraConfig, OpenOptions, Tuning, Weights};
use serde_json::Value;

pub(crate) const CASES: [&str; 4] = ["qwen2-tiny", "qwen3-tiny", "llama-tiny", "llama3-rope-tiny"];

/// What may differ from PyTorch's f32, as a share of the largest number (logits)
/// or of the norm (gradients).
struct Tolerance {
    dtype: DType,
    logits: f64,
    gradient: f64,
    loss: f64,
}

/// Ceilings: of logits, absolutely; of gradients and losses, relatively.
const TOLERANCES: [Tolerance; 2] = [
    Tolerance {
        dtype: DType::F32,
        logits: 1e-5,
        gradient: 1e-4,
        loss: 1e-5,
    },
    Tolerance {
        dtype: DType::BF16,
        logits: 2e-2,
        gradient: 3e-2,
        loss: 1e-2,
    },
];

pub(crate) fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(case)
}

fn json(case: &str, name: &str) -> Value {
    let text = std::fs::read_to_string(folder(case).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn open(case: &str, device: &Device, dtype: DType, tuning: Tuning) -> Decoder {
    let options = OpenOptions {
        dtype,
        packing: Packing::Both,
        tuning: tuning.clone(),
        seed: 0,
    };
    let mut model = Decoder::open(&folder(case).join("model"), device, &options).unwrap();
    if matches!(tuning, Tuning::Lora(_)) {
        let adapter = folder(case).join("adapter/adapter_model.safetensors");
        model
            .load_adapter(&Weights::open_file(&adapter).unwrap())
            .unwrap();
    }
    model
}

pub(crate) fn lora(case: &str) -> Tuning {
    Tuning::Lora(LoraConfig::open(&folder(case).join("adapter")).unwrap())
}

/// The rows of a padded batch, without their padding.
struct Sample {
    ids: Vec<u32>,
    scored: Vec<bool>,
}

fn samples(case: &str) -> Vec<Sample> {
    let batch = json(case, "batch.json");
    let rows =
        |name: &str| -> Vec<Vec<i64>> { serde_json::from_value(batch[name].clone()).unwrap() };
    let (ids, mask, labels) = (rows("input_ids"), rows("attention_mask"), rows("labels"));
    (0..ids.len())
        .map(|row| {
            let length = mask[row].iter().sum::<i64>() as usize;
            Sample {
                ids: ids[row][..length].iter().map(|id| *id as u32).collect(),
                scored: labels[row][..length]
                    .iter()
                    .map(|label| *label >= 0)
                    .collect(),
            }
        })
        .collect()
}

/// All samples end to end, the last token of each left in.
fn packed(samples: &[Sample]) -> Batch {
    let mut batch = Batch {
        input_ids: Vec::new(),
        segments: Segments::single(0),
        rows: Vec::new(),
        targets: Vec::new(),
        row_keys: Vec::new(),
    };
    let mut offsets = vec![0];
    for (number, sample) in samples.iter().enumerate() {
        let first = batch.input_ids.len() as u32;
        for (position, id) in sample.ids.iter().enumerate() {
            if position > 0 && sample.scored[position] {
                batch.rows.push(first + position as u32 - 1);
                batch.targets.push(*id);
            }
            batch.row_keys.push(RowKey {
                sample: number as u32,
                position: position as u32,
            });
        }
        batch.input_ids.extend(&sample.ids);
        offsets.push(batch.input_ids.len());
    }
    batch.segments = Segments::new(&offsets).unwrap();
    batch
}

/// The CPU, and a GPU where there is one.
fn devices() -> Vec<Device> {
    let gpu = Device::cuda(&CudaOptions {
        cache: Some(std::env::temp_dir().join("retune-kernels")),
        ..CudaOptions::default()
    });
    let wanted = std::env::var_os("RETUNE_REQUIRE_GPU").is_some();
    assert!(gpu.is_ok() || !wanted, "{gpu:?}");
    std::iter::once(Device::cpu()).chain(gpu.ok()).collect()
}

/// The numbers of a golden tensor.
fn golden(case: &str, file: &str, name: &str) -> Vec<f32> {
    let weights = Weights::open_file(&folder(case).join(file)).unwrap();
    weights
        .tensor(&Device::cpu(), name, DType::F32)
        .unwrap()
        .to_f32_vec()
}

/// How much two directions are one.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

fn relative_norm(found: &[f32], expected: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    let difference = square(&mut pairs.map(|(a, b)| f64::from(a - b)));
    difference / square(&mut expected.iter().map(|b| f64::from(*b))).max(1e-30)
}

#[test]
fn logits_are_those_of_pytorch() {
    for device in devices() {
        for case in CASES {
            let samples = samples(case);
            let batch = packed(&samples);
            for tolerance in &TOLERANCES {
                for (tensor, tuning) in [("logits", Tuning::Frozen), ("logits_lora", lora(case))] {
                    let model = open(case, &device, tolerance.dtype, tuning);
                    let logits = model
                        .logits(&batch.input_ids, &batch.segments)
                        .unwrap()
                        .to_f32_vec();
                    let expected = golden(case, "forward.safetensors", tensor);
                    let vocabulary = model.config().vocab_size;
                    let longest = expected.len() / samples.len() / vocabulary;
                    let largest = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
                    let (mut first, mut worst) = (0, 0f32);
                    for (row, sample) in samples.iter().enumerate() {
                        let count = sample.ids.len() * vocabulary;
                        let start = row * longest * vocabulary;
                        let pairs = logits[first..first + count]
                            .iter()
                            .zip(&expected[start..start + count]);
                        worst = pairs.fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
                        first += count;
                    }
                    let error = f64::from(worst / largest);
                    assert!(
                        error <= tolerance.logits,
                        "{case} {:?} {tensor}: {error}",
                        tolerance.dtype
                    );
                    eprintln!("{case} {:?} {tensor}: {error:.1e}", tolerance.dtype);
                }
            }
        }
    }
}

/// Gradients of one pass over all samples, by name.
fn gradients(
    model: &mut Decoder,
    batches: &[Batch],
    activations: Activations,
) -> (f64, Vec<(String, Vec<f32>)>) {
    let scored: usize = batches.iter().map(|batch| batch.rows.len()).sum();
    let share = 1.0 / scored as f32;
    let mut loss = 0.0;
    for batch in batches {
        let found = model
            .loss_and_backward(batch, share, 0, activations)
            .unwrap();
        loss += sum(&found.losses) / scored as f64;
    }
    let named = model.parameters().into_iter();
    (
        loss,
        named
            .map(|p| (p.name.clone(), p.grad.to_f32_vec()))
            .collect(),
    )
}

/// PEFT has the adapter's name in parameters, and not in files.
fn in_memory(name: &str) -> String {
    match name.strip_suffix(".weight") {
        Some(stem) if name.contains(".lora_") => format!("{stem}.default.weight"),
        _ => name.to_owned(),
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    for device in devices() {
        for case in CASES {
            let samples = samples(case);
            let losses = json(case, "generate.json");
            for tolerance in &TOLERANCES {
                for (file, loss, tuning) in [
                    ("grads_full.safetensors", "loss", Tuning::FULL),
                    ("grads_lora.safetensors", "loss_lora", lora(case)),
                ] {
                    let together = vec![packed(&samples)];
                    let alone: Vec<Batch> = samples.chunks(1).map(packed).collect();
                    for (batches, activations) in [
                        (&together, Activations::Keep),
                        (&together, Activations::Recompute),
                        (&alone, Activations::Keep),
                        (&alone, Activations::Recompute),
                    ] {
                        let mut model = open(case, &device, tolerance.dtype, tuning.clone());
                        let (found, gradients) = gradients(&mut model, batches, activations);
                        let expected = losses[loss].as_f64().unwrap();
                        assert!(
                            (found - expected).abs() <= tolerance.loss * expected,
                            "{case}: {found} {expected}"
                        );
                        let stored = Weights::open_file(&folder(case).join(file)).unwrap();
                        assert_eq!(stored.names().count(), gradients.len(), "{case} {file}");
                        for (name, gradient) in gradients {
                            let expected = golden(case, file, &in_memory(&name));
                            let error = relative_norm(&gradient, &expected);
                            assert!(
                                error <= tolerance.gradient,
                                "{case} {:?} {name}: {error}",
                                tolerance.dtype
                            );
                            let along = cosine(&gradient, &expected);
                            assert!(along > 0.999, "{case} {name}: {along}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn ten_steps_follow_pytorch() {
    for device in devices() {
        for case in CASES {
            let batches = [packed(&samples(case))];
            let curve = json(case, "curve.json");
            for tolerance in &TOLERANCES {
                let mut model = open(case, &device, tolerance.dtype, lora(case));
                let moments = |model: &mut Decoder| -> Vec<retune_compute::Tensor> {
                    let parameters = model.parameters().into_iter();
                    let zeros =
                        |shape: &[usize]| retune_compute::Tensor::zeros(&device, shape, DType::F32);
                    parameters
                        .map(|p| zeros(p.value.shape()).unwrap())
                        .collect()
                };
                let (mut exp_avg, mut exp_avg_sq) = (moments(&mut model), moments(&mut model));
                for (number, step) in curve["steps"].as_array().unwrap().iter().enumerate() {
                    let (loss, _) = gradients(&mut model, &batches, Activations::Keep);
                    let expected = step["loss"].as_f64().unwrap();
                    assert!(
                        (loss - expected).abs() <= tolerance.loss * expected,
                        "{case} {:?} step {number}: {loss} {expected}",
                        tolerance.dtype
                    );
                    let mut parameters = model.parameters();
                    let total = norm(parameters.iter().map(|p| &p.grad));
                    let expected = step["grad_norm"].as_f64().unwrap();
                    assert!(
                        (total - expected).abs() <= tolerance.gradient * expected,
                        "{case}: {total} {expected}"
                    );
                    let factor = (1.0 / (total + 1e-6)).min(1.0) as f32;
                    let adamw = AdamW {
                        weight_decay: 0.01,
                        ..AdamW::new(step["lr"].as_f64().unwrap(), number as u32 + 1)
                    };
                    let moments = exp_avg.iter_mut().zip(&mut exp_avg_sq);
                    let updates = parameters.iter_mut().zip(moments);
                    let updates = updates.map(|(parameter, (exp_avg, exp_avg_sq))| {
                        scale(&mut parameter.grad, factor);
                        parameter.update(exp_avg, exp_avg_sq, adamw)
                    });
                    adamw_steps(updates.collect()).unwrap();
                }
                for parameter in model.parameters() {
                    let expected = golden(
                        case,
                        "curve_adapter.safetensors",
                        &in_memory(&parameter.name),
                    );
                    let error = relative_norm(&parameter.value.to_f32_vec(), &expected);
                    assert!(
                        error <= tolerance.gradient,
                        "{case} {:?} {}: {error}",
                        tolerance.dtype,
                        parameter.name
                    );
                }
            }
        }
    }
}

#[test]
fn greedy_text_is_that_of_pytorch() {
    for device in devices() {
        for case in CASES {
            let text = json(case, "generate.json");
            for (name, tuning) in [("greedy", Tuning::Frozen), ("greedy_lora", lora(case))] {
                let model = open(case, &device, DType::F32, tuning);
                let expected: Vec<u32> = serde_json::from_value(text[name].clone()).unwrap();
                let mut ids: Vec<u32> = serde_json::from_value(text["prompt"].clone()).unwrap();
                let vocabulary = model.config().vocab_size;
                while ids.len() < expected.len() {
                    let logits = model
                        .logits(&ids, &Segments::single(ids.len()))
                        .unwrap()
                        .to_f32_vec();
                    let last = &logits[logits.len() - vocabulary..];
                    let best = (0..vocabulary)
                        .max_by(|a, b| last[*a].total_cmp(&last[*b]))
                        .unwrap();
                    ids.push(best as u32);
                }
                assert_eq!(ids, expected, "{case} {name}");
            }
        }
    }
}

/// In bf16, each token is PyTorch's where the second most likely one is farther away than
/// the ceiling of errors.
#[test]
fn greedy_text_in_bf16_is_that_of_pytorch_where_it_is_decided() {
    for device in devices() {
        let ceiling = TOLERANCES[1].logits as f32;
        let mut decided = 0;
        for case in CASES {
            let text = json(case, "generate.json");
            let prompt = text["prompt"].as_array().unwrap().len();
            for (name, tuning) in [("greedy", Tuning::Frozen), ("greedy_lora", lora(case))] {
                let ids: Vec<u32> = serde_json::from_value(text[name].clone()).unwrap();
                let logits = |dtype| {
                    let model = open(case, &device, dtype, tuning.clone());
                    let logits = model.logits(&ids, &Segments::single(ids.len())).unwrap();
                    (logits.to_f32_vec(), model.config().vocab_size)
                };
                let ((exact, vocabulary), (found, _)) = (logits(DType::F32), logits(DType::BF16));
                let largest = exact.iter().fold(0f32, |most, v| most.max(v.abs()));
                let rows = exact.chunks(vocabulary).zip(found.chunks(vocabulary));
                for ((exact, found), next) in rows.zip(&ids[1..]).skip(prompt - 1) {
                    let next = *next as usize;
                    let others = (0..vocabulary).filter(|id| *id != next);
                    let second = others.clone().map(|id| exact[id]).fold(f32::MIN, f32::max);
                    if exact[next] - second > ceiling * largest {
                        decided += 1;
                        let beaten = others.map(|id| found[id]).all(|value| value < found[next]);
                        assert!(beaten, "{case} {name}: another token than {next}");
                    }
                }
            }
        }
        assert!(decided > 100, "{decided}");
    }
}

#[test]
fn peft_computes_the_same_with_an_adapter_trained_here() {
    for device in devices() {
        let case = "trained-here";
        let ids: Vec<u32> = golden(case, "logits.safetensors", "ids")
            .into_iter()
            .map(|id| id as u32)
            .collect();
        for (tensor, tuning) in [("logits", Tuning::Frozen), ("logits_lora", lora(case))] {
            let model = open(case, &device, DType::F32, tuning);
            let segments = Segments::single(ids.len());
            let logits = model.logits(&ids, &segments).unwrap().to_f32_vec();
            let expected = golden(case, "logits.safetensors", tensor);
            assert_eq!(logits.len(), expected.len());
            let error = relative_norm(&logits, &expected);
            assert!(error <= 1e-5, "{tensor}: {error}");
        }
    }
}
