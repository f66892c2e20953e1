//! Several adapters in one batch, several answers to one prompt.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use retune_compute::{DType, Device, RandomKey, random_uniform};
use retune_data::Tokenizer;
use retune_generate::{Finish, Generator, Piece, Request, Sampling};
use retune_model::{Adapter, Decoder, Durability, write_tensors};

use crate::goldens::{open, tokenizer};

/// A made adapter of rank `r` for the last parts `targets` of names.
fn adapter(model: &Decoder, folder: &Path, r: usize, alpha: f32, targets: &[&str]) -> Arc<Adapter> {
    let path = folder.join(format!("{r}-{}", targets.len()));
    std::fs::create_dir_all(&path).expect("a folder");
    let config = model.config();
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let q = config.num_attention_heads * config.head_dim;
    let kv = config.num_key_value_heads * config.head_dim;
    let mut tensors = Vec::new();
    for layer in 0..config.num_hidden_layers {
        for target in targets {
            let (room, out, input) = match *target {
                "q_proj" => ("self_attn", q, hidden),
                "k_proj" | "v_proj" => ("self_attn", kv, hidden),
                "down_proj" => ("mlp", hidden, inner),
                _ => ("mlp", inner, hidden),
            };
            for (part, shape) in [("lora_A", [r, input]), ("lora_B", [out, r])] {
                let name =
                    format!("base_model.model.model.layers.{layer}.{room}.{target}.{part}.weight");
                let key = RandomKey::new(r as u64, tensors.len() as u64);
                let value = random_uniform::<f32>(&Device::cpu(), &shape, key, -0.5, 0.5);
                tensors.push((name, value.expect("memory")));
            }
        }
    }
    let shapes = tensors
        .iter()
        .map(|(name, value)| (name.clone(), value.shape().to_vec()));
    let values: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_bytes()))
        .collect();
    let file = path.join("adapter_model.safetensors");
    let shapes = shapes.collect();
    write_tensors(&file, DType::F32, &shapes, Durability::Deferred, |name| {
        Ok(values[name].clone())
    })
    .expect("a file");
    let config = serde_json::json!({
        "peft_type": "LORA", "r": r, "lora_alpha": alpha, "target_modules": targets,
    });
    std::fs::write(path.join("adapter_config.json"), config.to_string()).expect("a file");
    Arc::new(Adapter::open(&path, model).expect("an adapter"))
}

/// All pieces of all answers.
fn run(model: &Decoder, tokenizer: &Tokenizer, requests: Vec<Request>) -> Vec<Vec<u32>> {
    let mut generator = Generator::new(model, tokenizer, 4096).expect("memory");
    let numbers: Vec<u64> = requests
        .into_iter()
        .map(|request| generator.add(request).expect("a request"))
        .collect();
    let pieces = finish(&mut generator);
    numbers
        .iter()
        .map(|number| tokens(&pieces, *number))
        .collect()
}

fn finish(generator: &mut Generator<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while !generator.is_idle() {
        pieces.extend(generator.step().expect("a step"));
    }
    pieces
}

fn tokens(pieces: &[Piece], number: u64) -> Vec<u32> {
    let own = pieces.iter().filter(|piece| piece.request == number);
    own.filter_map(|piece| piece.token).collect()
}

#[test]
fn each_answers_through_its_own_adapter_as_if_it_were_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokenizer = tokenizer();
    for dtype in [DType::F32, DType::BF16] {
        let model = open("qwen2-tiny", dtype);
        let new =
            |r, alpha, targets: &[&str]| Some(adapter(&model, folder.path(), r, alpha, targets));
        let all = [
            "q_proj",
            "k_proj",
            "v_proj",
            "down_proj",
            "up_proj",
            "gate_proj",
        ];
        // Odd ranks, factors that are no powers of two, and layers that one has and
        // another has not.
        let adapters = [
            None,
            new(3, 2.0, &all),
            new(8, 16.0, &all[..1]),
            new(5, 3.5, &all[2..4]),
            new(3, 2.0, &all),
        ];
        let requests: Vec<Request> = (0..10)
            .map(|number| Request {
                prompt: (0..5 + 7 * number)
                    .map(|at| (at * 31 + number) % 500)
                    .collect(),
                adapter: adapters[number as usize % adapters.len()].clone(),
                sampling: Sampling {
                    max_new_tokens: 12 + number as usize,
                    min_new_tokens: 12,
                    ..Sampling::default()
                },
                grammar: None,
                prompt_logprobs: None,
            })
            .collect();
        let alone: Vec<Vec<u32>> = requests
            .iter()
            .map(|request| run(&model, &tokenizer, vec![request.clone()]).remove(0))
            .collect();
        assert_eq!(run(&model, &tokenizer, requests.clone()), alone);
        // They make a difference.
        let bare = requests.into_iter().map(|request| Request {
            adapter: None,
            ..request
        });
        let bare = run(&model, &tokenizer, bare.collect());
        for (index, (bare, alone)) in bare.iter().zip(&alone).enumerate() {
            assert_eq!(bare == alone, index % adapters.len() == 0, "{index}");
        }
    }
}

#[test]
fn several_answers_to_a_prompt_are_those_of_their_seeds() {
    let tokenizer = tokenizer();
    let model = open("llama-tiny", DType::F32);
    let request = |seed| Request {
        prompt: (0..150).map(|at| at * 2).collect(),
        adapter: None,
        sampling: Sampling {
            do_sample: true,
            temperature: 2.0,
            max_new_tokens: 20,
            seed,
            ..Sampling::default()
        },
        grammar: None,
        prompt_logprobs: None,
    };
    let alone = run(&model, &tokenizer, (5..11).map(request).collect());
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]));
    // Room for all; and for three, so that others have to wait.
    for room in [4096, 3 * 192] {
        let mut generator = Generator::new(&model, &tokenizer, room).expect("memory");
        let numbers = generator.add_samples(request(5), 6, 0).expect("a request");
        let pieces = finish(&mut generator);
        let found: Vec<Vec<u32>> = numbers
            .iter()
            .map(|number| tokens(&pieces, *number))
            .collect();
        assert_eq!(found, alone, "{room}");
    }
    // Without the first, wherever it stands.
    for steps in [0, 1, 3] {
        let mut generator = Generator::new(&model, &tokenizer, 4096).expect("memory");
        let numbers = generator.add_samples(request(5), 2, 0).expect("a request");
        let mut pieces = Vec::new();
        for _ in 0..steps {
            pieces.extend(generator.step().expect("a step"));
        }
        generator.cancel(&HashSet::from([numbers[0]]));
        pieces.extend(finish(&mut generator));
        assert_eq!(tokens(&pieces, numbers[1]), alone[1], "{steps}");
    }
}

#[test]
fn probabilities_are_those_of_the_model() {
    let tokenizer = tokenizer();
    let model = open("llama-tiny", DType::F32);
    let request = Request {
        prompt: vec![1, 2, 3],
        adapter: None,
        sampling: Sampling {
            max_new_tokens: 8,
            // What is chosen by force is not likely.
            logit_bias: [(77, 1e6)].into(),
            logprobs: Some(512),
            ..Sampling::default()
        },
        grammar: None,
        prompt_logprobs: None,
    };
    let mut generator = Generator::new(&model, &tokenizer, 64).expect("memory");
    generator.add(request).expect("a request");
    let pieces = finish(&mut generator);
    assert_eq!(pieces.len(), 8);
    for piece in pieces {
        let told = piece.logprobs.expect("probabilities");
        assert_eq!((piece.token, told.token), (Some(77), 77));
        assert!(told.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        assert!(told.top.contains(&(77, told.logprob)));
        let all: f64 = told
            .top
            .iter()
            .map(|(_, logprob)| f64::from(*logprob).exp())
            .sum();
        assert!((all - 1.0).abs() < 1e-5, "{all}");
    }
}

#[test]
fn an_answer_that_turns_in_a_circle_is_ended() {
    let tokenizer = tokenizer();
    let model = open("llama-tiny", DType::F32);
    let request = |max_phrase_repeats| Request {
        prompt: vec![1, 2, 3],
        adapter: None,
        sampling: Sampling {
            max_new_tokens: 64,
            logit_bias: [(65, 1e6)].into(),
            max_phrase_repeats,
            ..Sampling::default()
        },
        grammar: None,
        prompt_logprobs: None,
    };
    let mut generator = Generator::new(&model, &tokenizer, 128).expect("memory");
    let mut text = String::new();
    let (ids, finish) = generator
        .answer(request(4), &mut |piece| text.push_str(piece))
        .expect("an answer");
    // Twelve tokens are the least.
    assert_eq!((ids.len(), finish), (12, Finish::Repetition));
    assert_eq!(text, "A".repeat(12));
    let (ids, finish) = generator
        .answer(request(0), &mut |_| ())
        .expect("an answer");
    assert_eq!((ids.len(), finish), (64, Finish::Length));
}
