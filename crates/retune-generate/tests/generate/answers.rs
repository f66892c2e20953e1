//! What is answered, alone and in company.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use retune_compute::{DType, Device};
use retune_data::{Conversation, Message, Role};
use retune_generate::{
    Assistant, AssistantOptions, Error, Finish, Generator, Request, Sampling, Source,
};
use retune_model::NewModel;

/// A small model with a tokenizer of bytes, whose weights are random.
pub(crate) fn model(folder: &Path) -> PathBuf {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-data/tests/models/bytes");
    let path = folder.join("model");
    std::fs::create_dir_all(&path).expect("a folder");
    for entry in std::fs::read_dir(tokenizer).expect("a tokenizer") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), path.join(entry.file_name())).expect("a copy");
    }
    let config = serde_json::json!({
        "model_type": "qwen2", "vocab_size": 258, "hidden_size": 48, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        // Larger than usual, so that answers differ.
        "initializer_range": 0.4,
    });
    let fields = config.as_object().expect("an object").clone();
    let model = NewModel::new(fields, 258).expect("a shape");
    model
        .write(&path, &Device::cpu(), 3, DType::F32)
        .expect("a model");
    path
}

fn assistant(folder: &Path) -> Assistant {
    let source = Source::find(&model(folder), None).expect("a model");
    let options = AssistantOptions {
        dtype: Some(DType::F32),
        ..AssistantOptions::default()
    };
    Assistant::open(source, &Device::cpu(), &options).expect("it opens")
}

fn asked(assistant: &Assistant, text: &str, sampling: &Sampling) -> Request {
    let conversation = Conversation {
        messages: vec![Message::new(Role::User, text)],
        tools: Vec::new(),
    };
    assistant
        .request(conversation, sampling.clone())
        .expect("a request")
}

fn answer(assistant: &Assistant, request: Request) -> (String, Vec<u32>, Finish) {
    let mut generator =
        Generator::new(&assistant.model, &assistant.tokenizer, 1024).expect("memory");
    let mut text = String::new();
    let (ids, finish) = generator
        .answer(request, &mut |piece| text.push_str(piece))
        .expect("an answer");
    (text, ids, finish)
}

#[test]
fn a_prompt_has_the_same_answer_alone_and_in_any_company() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    for do_sample in [false, true] {
        let requests: Vec<Request> = (0..9)
            .map(|number| {
                let sampling = Sampling {
                    do_sample,
                    seed: number,
                    max_new_tokens: 10 + 3 * number as usize,
                    ..Sampling::default()
                };
                asked(&assistant, &"what? ".repeat(1 + number as usize), &sampling)
            })
            .collect();
        let alone: Vec<_> = requests
            .iter()
            .map(|request| answer(&assistant, request.clone()))
            .collect();
        // Room for a few at a time, so that others have to wait.
        let mut generator =
            Generator::new(&assistant.model, &assistant.tokenizer, 500).expect("memory");
        let numbers: Vec<u64> = requests
            .into_iter()
            .map(|request| generator.add(request).expect("a request"))
            .collect();
        let mut texts = vec![String::new(); numbers.len()];
        let mut ids = vec![Vec::new(); numbers.len()];
        while !generator.is_idle() {
            for piece in generator.step().expect("a step") {
                let index = numbers
                    .iter()
                    .position(|number| *number == piece.request)
                    .expect("one of them");
                texts[index].push_str(&piece.text);
                ids[index].extend(piece.token);
            }
        }
        for (index, (text, tokens, _)) in alone.iter().enumerate() {
            assert_eq!(
                (&texts[index], &ids[index]),
                (text, tokens),
                "{do_sample} {index}"
            );
        }
    }
}

#[test]
fn a_cache_that_is_handed_on_spares_what_it_holds_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    let sampling = Sampling {
        max_new_tokens: 70,
        min_new_tokens: 70,
        ..Sampling::default()
    };
    let mut request = asked(&assistant, &"How many are they? ".repeat(8), &sampling);
    let (mut cache, mut spared) = (None, Vec::new());
    for _ in 0..3 {
        let (_, alone, _) = answer(&assistant, request.clone());
        let mut generator = assistant.generator_in(cache, &request).expect("memory");
        generator.add(request.clone()).expect("a request");
        let (mut ids, mut cached) = (Vec::new(), 0);
        while !generator.is_idle() {
            for piece in generator.step().expect("a token") {
                cached += piece.cached;
                ids.extend(piece.token);
            }
        }
        assert_eq!(ids, alone);
        spared.push(cached);
        cache = Some(generator.into_cache());
        // The conversation goes on with the answer.
        request.prompt.extend(ids);
    }
    assert_eq!(spared[0], 0);
    assert!(spared[1] >= 128 && spared[2] > spared[1], "{spared:?}");
    // One that is broken off leaves a cache that is whole.
    let mut generator = assistant.generator_in(cache, &request).expect("memory");
    generator.add(request.clone()).expect("a request");
    generator.step().expect("a token");
    let cache = generator.into_cache();
    assert_eq!(cache.free_tokens(), 2048);
}

#[test]
fn an_answer_ends_where_it_should() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    // Letters, of which the tokens are bytes; each follows on itself at most once.
    let sampling = Sampling {
        max_new_tokens: 24,
        no_repeat_ngram_size: 2,
        logit_bias: (u32::from(b'a')..=u32::from(b'z'))
            .map(|letter| (letter, 1e3))
            .collect(),
        ..Sampling::default()
    };
    let (text, ids, finish) = answer(&assistant, asked(&assistant, "Hello", &sampling));
    assert_eq!((ids.len(), finish), (24, Finish::Length));
    // What it says at some place is made the place where it stops.
    let (at, stop) = text.char_indices().nth(7).expect("a text");
    let stopping = Sampling {
        stop: vec![stop.to_string()],
        ..sampling.clone()
    };
    let (cut, _, finish) = answer(&assistant, asked(&assistant, "Hello", &stopping));
    assert_eq!(finish, Finish::Stop);
    assert_eq!(cut, text[..text.find(stop).unwrap_or(at)]);
    // A token that ends answers, made certain.
    let stop_id = assistant.tokenizer.stop_ids()[0];
    let ending = Sampling {
        logit_bias: [(stop_id, 1e6)].into(),
        ..Sampling::default()
    };
    let (text, ids, finish) = answer(&assistant, asked(&assistant, "Hello", &ending));
    assert_eq!((text.as_str(), ids.len(), finish), ("", 0, Finish::Stop));
    let unending = Sampling {
        min_new_tokens: 5,
        ..ending
    };
    let (_, ids, _) = answer(&assistant, asked(&assistant, "Hello", &unending));
    assert_eq!(ids.len(), 5);
}

#[test]
fn what_cannot_be_answered_is_said_with_its_figures() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    let mut generator = Generator::new(&assistant.model, &assistant.tokenizer, 64).expect("memory");
    let sampling = Sampling::default();
    let request = |prompt: Vec<u32>| Request {
        prompt,
        adapter: None,
        sampling: sampling.clone(),
        grammar: None,
        prompt_logprobs: None,
    };
    assert!(matches!(
        generator.add(request(Vec::new())),
        Err(Error::EmptyPrompt)
    ));
    let said = generator
        .add(request(vec![1; 64]))
        .expect_err("too long")
        .to_string();
    assert!(
        said.contains("64 tokens, and with the answer there is room for 64"),
        "{said}"
    );
    // An answer gets the room that is left.
    generator.add(request(vec![1; 60])).expect("there is room");
    let mut pieces = Vec::new();
    while !generator.is_idle() {
        pieces.extend(generator.step().expect("a step"));
    }
    assert!(pieces.len() <= 4 && pieces.last().expect("a piece").finish.is_some());
    // One that is cancelled makes room.
    let number = generator.add(request(vec![1; 60])).expect("there is room");
    generator.step().expect("a step");
    generator.cancel(&HashSet::from([number]));
    assert!(generator.is_idle());
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    let tokens = 2048;
    let mut generator =
        Generator::new(&assistant.model, &assistant.tokenizer, tokens).expect("memory");
    let request = |prompt: Vec<u32>| Request {
        prompt,
        adapter: None,
        sampling: Sampling {
            max_new_tokens: 2,
            ..Sampling::default()
        },
        grammar: None,
        // A pass is short then.
        prompt_logprobs: Some(0),
    };
    let long: Vec<u64> = (0..3)
        .map(|_| generator.add(request(vec![7; 400])).expect("there is room"))
        .collect();
    let short = generator.add(request(vec![9; 20])).expect("there is room");
    let (mut steps, mut begun) = (0, Vec::new());
    while !generator.is_idle() {
        steps += 1;
        for piece in generator.step().expect("a step") {
            if piece.token.is_some() && !begun.contains(&piece.request) {
                begun.push(piece.request);
                assert!(piece.request != short || steps == 1, "it had to wait");
            }
        }
    }
    assert_eq!(begun, [&[short], &long[..]].concat());
}

#[test]
fn who_asks_for_much_holds_up_nobody_who_asks_for_little() {
    let folder = tempfile::tempdir().expect("a folder");
    let assistant = assistant(folder.path());
    // Room for one answer.
    let mut generator =
        Generator::new(&assistant.model, &assistant.tokenizer, 128).expect("memory");
    let request = || Request {
        prompt: vec![7; 70],
        adapter: None,
        sampling: Sampling {
            max_new_tokens: 20,
            ..Sampling::default()
        },
        grammar: None,
        prompt_logprobs: None,
    };
    let add = |generator: &mut Generator<'_>, samples, owner| {
        let added = generator.add_samples(request(), samples, owner);
        added.expect("there is room")
    };
    let much = add(&mut generator, 4, 1);
    let more = add(&mut generator, 1, 1);
    let mut others = Vec::new();
    let mut begun = Vec::new();
    while !generator.is_idle() {
        for piece in generator.step().expect("a step") {
            if !begun.contains(&piece.request) {
                begun.push(piece.request);
            }
        }
        // They come when the room is taken.
        if others.is_empty() {
            others.push(add(&mut generator, 2, 2));
            others.push(add(&mut generator, 1, 3));
            others.push(add(&mut generator, 1, 3));
        }
    }
    let [two, three, four] = &others[..] else {
        panic!("{others:?}");
    };
    let expected = [
        much[0], much[1], two[0], three[0], much[2], two[1], four[0], much[3], more[0],
    ];
    assert_eq!(begun, expected);
    assert_eq!(generator.free_tokens(), 128);
}
