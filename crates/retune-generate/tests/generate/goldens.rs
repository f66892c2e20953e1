//! Choices of tokens against Hugging Face's, made by
//! `scripts/golden/make_generation_goldens.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use retune_compute::ops::Packing;
use retune_compute::{DType, Device};
use retune_data::Tokenizer;
use retune_generate::{
    Assistant, AssistantOptions, BeamSearch, Generator, History, Request, Sampling, Source,
};
use retune_model::{Adapter, Decoder, OpenOptions, Tuning};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

#[derive(Deserialize)]
struct Goldens {
    processed: Vec<Processed>,
    kept: Vec<Kept>,
    beams: Vec<Beams>,
}

#[derive(Deserialize)]
struct Processed {
    settings: Map<String, Json>,
    logits: Vec<f32>,
    ids: Vec<u32>,
    prompt: usize,
    stop_ids: Vec<u32>,
    /// None for what is banned.
    scores: Vec<Option<f32>>,
}

#[derive(Deserialize)]
struct Kept {
    settings: Map<String, Json>,
    logits: Vec<f32>,
    kept: BTreeMap<u32, f64>,
}

#[derive(Deserialize)]
struct Beams {
    model: String,
    prompt: Vec<u32>,
    #[serde(flatten)]
    search: BeamSearch,
    stop_ids: Vec<u32>,
    repetition_penalty: f64,
    answers: Vec<BeamAnswer>,
}

#[derive(Deserialize)]
struct BeamAnswer {
    ids: Vec<u32>,
    score: f64,
}

fn goldens() -> Goldens {
    let text = include_str!("../goldens/generation.json");
    serde_json::from_str(text).expect("goldens")
}

pub(crate) fn tiny(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-model/tests/goldens");
    models.join(name)
}

pub(crate) fn open(name: &str, dtype: DType) -> Decoder {
    let options = OpenOptions {
        dtype,
        packing: Packing::Forward,
        tuning: Tuning::Frozen,
        seed: 0,
    };
    Decoder::open(&tiny(name).join("model"), &Device::cpu(), &options).expect("a model")
}

pub(crate) fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-data/tests/models/bytes");
    Tokenizer::open(&folder).expect("a tokenizer")
}

#[test]
fn penalties_and_bans_are_hugging_faces() {
    for case in goldens().processed {
        let sampling = Sampling::default().with(&case.settings).expect("settings");
        let mut logits = case.logits.clone();
        let history = History {
            all: &case.ids,
            prompt: case.prompt,
            stop_ids: &case.stop_ids,
        };
        sampling.process(&mut logits, history);
        for (token, (found, expected)) in logits.iter().zip(&case.scores).enumerate() {
            let expected = expected.unwrap_or(f32::NEG_INFINITY);
            // Its numbers have six places.
            assert!(
                *found == expected || (found - expected).abs() < 2e-6,
                "{:?} {token}: {found} {expected}",
                case.settings
            );
        }
    }
}

#[test]
fn what_is_drawn_from_is_hugging_faces() {
    for case in goldens().kept {
        let sampling = Sampling::default().with(&case.settings).expect("settings");
        let found = sampling.candidates(&case.logits);
        let all: f64 = found.iter().map(|(_, weight)| weight).sum();
        let tokens: Vec<u32> = found.iter().map(|(token, _)| *token).collect();
        let expected: Vec<u32> = case.kept.keys().copied().collect();
        assert_eq!(tokens, expected, "{:?}", case.settings);
        for (token, weight) in found {
            let (found, expected) = (weight / all, case.kept[&token]);
            assert!(
                (found - expected).abs() < 2e-6,
                "{:?} {token}: {found} {expected}",
                case.settings
            );
        }
    }
}

#[test]
fn beams_are_hugging_faces() {
    let tokenizer = tokenizer();
    let mut ended = 0;
    for case in goldens().beams {
        let model = open(&case.model, DType::F32);
        let request = Request {
            prompt: case.prompt,
            adapter: None,
            sampling: Sampling {
                max_new_tokens: 16,
                repetition_penalty: case.repetition_penalty,
                stop_token_ids: case.stop_ids[..]
                    .iter()
                    .copied()
                    .filter(|id| !tokenizer.stop_ids().contains(id))
                    .collect(),
                ..Sampling::default()
            },
            grammar: None,
            prompt_logprobs: None,
        };
        let found = case
            .search
            .search(&model, &tokenizer, &request, &mut |_| ());
        let found = found.expect("answers");
        let told = format!("{} {:?} {:?}", case.model, case.search, case.stop_ids);
        assert_eq!(found.len(), case.answers.len(), "{told}");
        for (found, expected) in found.iter().zip(&case.answers) {
            assert_eq!(found.ids, expected.ids, "{told}");
            ended += usize::from(found.ended);
            let error = (found.score - expected.score).abs();
            assert!(error < 2e-5, "{told}: {} {}", found.score, expected.score);
        }
    }
    assert!(ended > 5, "only {ended} answers ended by themselves");
}

#[test]
fn greedy_text_is_that_of_pytorch_with_and_without_an_adapter() {
    let tokenizer = tokenizer();
    for name in ["qwen2-tiny", "qwen3-tiny", "llama-tiny", "llama3-rope-tiny"] {
        let model = open(name, DType::F32);
        let text = std::fs::read_to_string(tiny(name).join("generate.json")).expect("a golden");
        let text: Json = serde_json::from_str(&text).expect("a golden");
        let ids = |field: &str| -> Vec<u32> {
            serde_json::from_value(text[field].clone()).expect("tokens")
        };
        let adapter = Adapter::open(&tiny(name).join("adapter"), &model).expect("an adapter");
        for (field, adapter) in [("greedy", None), ("greedy_lora", Some(Arc::new(adapter)))] {
            let (prompt, expected) = (ids("prompt"), ids(field));
            let request = Request {
                adapter,
                sampling: Sampling {
                    max_new_tokens: expected.len() - prompt.len(),
                    // The golden goes on behind tokens that would end an answer here.
                    min_new_tokens: expected.len() - prompt.len(),
                    ..Sampling::default()
                },
                prompt,
                grammar: None,
                prompt_logprobs: None,
            };
            let begun = request.prompt.len();
            let mut generator = Generator::new(&model, &tokenizer, 256).expect("memory");
            let (found, _) = generator.answer(request, &mut |_| ()).expect("an answer");
            assert_eq!(found, expected[begun..], "{name} {field}");
        }
    }
}

/// A trained model, whose greedy text llama2.c's own test names.
#[test]
fn a_story_is_told_as_llama2_c_tells_it() {
    let Some(files) = std::env::var_os("RETUNE_TEST_FILES") else {
        eprintln!("skipped: RETUNE_TEST_FILES names no folder with models/stories260k");
        return;
    };
    let folder = PathBuf::from(files).join("models/stories260k");
    let source = Source::find(&folder, None).expect("a model");
    let options = AssistantOptions {
        dtype: Some(DType::F32),
        ..AssistantOptions::default()
    };
    let assistant = Assistant::open(source, &Device::cpu(), &options).expect("it opens");
    let request = Request {
        prompt: assistant
            .tokenizer
            .text_ids("Once upon a time")
            .expect("tokens"),
        adapter: None,
        sampling: Sampling {
            max_new_tokens: 200,
            ..Sampling::default()
        },
        grammar: None,
        prompt_logprobs: None,
    };
    let mut generator =
        Generator::new(&assistant.model, &assistant.tokenizer, 256).expect("memory");
    let mut text = String::new();
    generator
        .answer(request, &mut |piece| text.push_str(piece))
        .expect("an answer");
    assert!(
        text.starts_with(", there was a little girl named Lily. She loved"),
        "{text}"
    );
    assert!(
        text.contains("Lily didn't want to help her mom, so she"),
        "{text}"
    );
}
