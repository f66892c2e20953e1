//! What a token costs beside what memory gives, with an adapter and with several.
//!
//! ```text
//! cargo bench -p retune-generate -- MODEL [ADAPTER]
//! ```
//!
//! A step of each kind and a measurement of memory take turns, tens of milliseconds
//! each, so that a machine whose speed changes by the minute changes it for all. Told is
//! the median of shares, each of the memory measured before and after it.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use retune_compute::Device;
use retune_compute::ceiling::MemoryReader;
use retune_generate::{Assistant, AssistantOptions, Generator, Request, Sampling, Source};
use retune_model::{Adapter, Weights};

/// Tokens of a prompt, and rounds of a token for each kind.
const PROMPT: u32 = 128;
const ROUNDS: usize = 150;
const READING: Duration = Duration::from_millis(15);

fn main() {
    let folders: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let Some(folder) = folders.first() else {
        println!("skipped: no model's folder is named");
        return;
    };
    let source = Source::find(Path::new(folder), None).expect("a model");
    let weights = Weights::open(&source.model).expect("weights");
    let files = weights.files().into_iter().map(|file| file.metadata());
    let bytes: u64 = files.map(|file| file.expect("a file").len()).sum();
    let assistant = Assistant::open(source, &Device::cpu(), &AssistantOptions::default());
    let assistant = assistant.expect("it opens");
    let open = |folder: &String| {
        Arc::new(Adapter::open(Path::new(folder), &assistant.model).expect("an adapter"))
    };
    let adapter = folders.get(1).map(open);
    let mut kinds = vec![("one sequence", vec![None])];
    if let (Some(one), Some(folder)) = (&adapter, folders.get(1)) {
        let other = open(folder);
        let [one, other] = [one, &other].map(|adapter| Some(Arc::clone(adapter)));
        kinds.push(("with an adapter", vec![one.clone()]));
        kinds.push(("four sequences", vec![None; 4]));
        kinds.push(("four with one adapter", vec![one.clone(); 4]));
        kinds.push((
            "four with two and none",
            vec![one, other.clone(), None, other],
        ));
    } else {
        kinds.push(("four sequences", vec![None; 4]));
    }
    let mut generators: Vec<Generator<'_>> = kinds
        .iter()
        .map(|(_, adapters)| generator(&assistant, adapters))
        .collect();
    let reader = MemoryReader::new(None).expect("memory");
    let mut found = vec![Vec::new(); kinds.len()];
    let mut before = reader.gb_per_s(READING);
    for _ in 0..ROUNDS {
        for (generator, found) in generators.iter_mut().zip(&mut found) {
            let start = Instant::now();
            generator.step().expect("a step");
            let time = start.elapsed().as_secs_f64();
            let after = reader.gb_per_s(READING);
            let share = bytes as f64 / time / 1e9 / ((before + after) / 2.0);
            found.push((share, time));
            before = after;
        }
    }
    println!("{} MB of weights", bytes / 1_000_000);
    for ((name, _), found) in kinds.iter().zip(&found) {
        let share = median(found.iter().map(|(share, _)| *share));
        let time = median(found.iter().map(|(_, time)| *time));
        println!(
            "{name:24} {:6.1} ms  {:3.0} % of reading the weights once",
            1e3 * time,
            100.0 * share
        );
    }
    // Each with adapters beside that without.
    for (own, base) in [(1, 0), (3, 2), (4, 2)]
        .into_iter()
        .filter(|(own, _)| *own < found.len())
    {
        if adapter.is_none() {
            break;
        }
        let pairs = found[own].iter().zip(&found[base]);
        let ratio = median(pairs.map(|((_, own), (_, base))| own / base));
        println!(
            "{:24} {:+.1} % of time beside {}",
            kinds[own].0,
            100.0 * (ratio - 1.0),
            kinds[base].0
        );
    }
}

/// A generator whose prompts are through.
fn generator<'m>(assistant: &'m Assistant, adapters: &[Option<Arc<Adapter>>]) -> Generator<'m> {
    let tokens = PROMPT as usize + ROUNDS + 8;
    let room = tokens.next_multiple_of(64) * adapters.len();
    let generator = Generator::new(&assistant.model, &assistant.tokenizer, room);
    let mut generator = generator.expect("memory");
    for (index, adapter) in adapters.iter().enumerate() {
        let request = Request {
            prompt: (0..PROMPT)
                .map(|at| (at * 37 + index as u32 * 11) % 1000)
                .collect(),
            adapter: adapter.clone(),
            sampling: Sampling {
                min_new_tokens: ROUNDS + 8,
                max_new_tokens: ROUNDS + 8,
                ..Sampling::default()
            },
            grammar: None,
            prompt_logprobs: None,
        };
        generator.add(request).expect("a request");
    }
    generator.step().expect("the prompts");
    generator
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
