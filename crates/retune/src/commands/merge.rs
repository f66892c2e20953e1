//! `retune merge`: an adapter into its base model.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_compute::ops::Segments;
use retune_compute::{DType, Device};
use retune_data::TOKENIZER_FILES;
use retune_data::{Conversation, Message, Role, Tokenizer};
use retune_generate::{Assistant, AssistantOptions, Sampling, Source, TokenLogprobs, answer_all};
use retune_model::{CONFIG_FILES, copy_files};
use serde_json::{Value as Json, json};

use super::sampling::Type;
use crate::builtin;
use crate::outcome::{Stopped, input_fault};
use crate::output::{check_new_folder, counted, plain, say};
use crate::signals::Signals;

/// Merge an adapter into its base model.
///
///   retune merge output merged
///
/// A model that was trained as a whole is written without what only training needs, in
/// the type that --dtype names.
///
/// What comes out is a Hugging Face folder with tokenizer, template and generation
/// config. Then merged and unmerged models are asked the same, and what differs is said.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An adapter's folder, a model's, or a run's (its best checkpoint, or else its last)
    folder: PathBuf,
    /// The new model's folder
    output: PathBuf,
    /// The base model, if it is not where the adapter says
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// The type of the weights [default: that of the base's]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Type>,
    /// What both are asked; may be given several times
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
}

/// What is asked where the user names nothing.
const PROMPTS: [&str; 3] = ["Who are you?", "你好！", "What did you do yesterday?"];
/// Tokens of an answer that are compared.
const TOKENS: usize = 24;
/// Of the most likely tokens at each place, so many are compared.
const LIKELIEST: usize = 8;
/// How far logits may be apart, as a share of the largest.
const TOLERANCE: f64 = 2e-2;
const INSTEAD: &str = "hint: --dtype f32 rounds least; or use the adapter unmerged";

pub(crate) fn run(args: &Args) -> Result<()> {
    let source = builtin::find(&args.folder, args.model.as_deref())?;
    check_new_folder(&args.output)?;
    if let Some(adapter) = &source.adapter {
        retune_train::check_adapter_base(adapter, &source.model)?;
    }
    let device = Device::cpu();
    // Asked first: what cannot be opened or asked leaves nothing behind.
    let expected = asked(args, source.clone(), &device)?;
    // From here on, what is half done is taken away.
    let signals = Signals::catch()?;
    let go_on = || -> Result<()> {
        match signals.caught() {
            Some(signal) => Err(Stopped { signal }.into()),
            None => Ok(()),
        }
    };
    let unproved = unproved(&args.output)?;
    let changed = merge(args, &source, unproved.path(), &device)?;
    go_on()?;
    let found = asked(args, Source::find(unproved.path(), None)?, &device)?;
    let proof = prove(&expected, &found)?;
    go_on()?;
    let kept = unproved.keep();
    // An empty folder of that name may be there.
    let _ = fs::remove_dir(&args.output);
    fs::rename(&kept, &args.output).map_err(|error| unwritable(&args.output, &error))?;
    if let Some(changed) = changed {
        say(format!("{changed} weights changed"))?;
    }
    say(proof)?;
    say(format!(
        "written to {}",
        plain(&args.output.display().to_string())
    ))
}

/// A folder beside `output`, which goes if the merged model does not prove itself.
fn unproved(output: &Path) -> Result<tempfile::TempDir> {
    let whole = std::path::absolute(output).unwrap_or_else(|_| output.to_path_buf());
    let beside = whole.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(beside).map_err(|error| unwritable(beside, &error))?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // Temporary folders are for their owner alone; models are not.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    let made = builder.prefix("merging-").tempdir_in(beside);
    made.map_err(|error| unwritable(beside, &error))
}

/// Writes the model; returned is how many weights an adapter changed.
fn merge(args: &Args, source: &Source, output: &Path, device: &Device) -> Result<Option<usize>> {
    let dtype = args.dtype.map(DType::from);
    let adapter = source.adapter.as_deref();
    let merged = retune_export::merge(&source.model, adapter, output, dtype, device)?;
    let names = CONFIG_FILES.into_iter().chain(TOKENIZER_FILES);
    copy_files(&source.model, output, names)?;
    describe(source, output, merged.dtype)?;
    if let Some(first) = merged.unchanged.first() {
        anstream::eprintln!(
            "warning: the adapter's term is zero, or lost in rounding, in {} weights, such as {first}",
            merged.unchanged.len()
        );
    }
    Ok(adapter.is_some().then_some(merged.changed.len()))
}

/// Writes what the folder's other files have to say about the merged weights.
fn describe(source: &Source, output: &Path, dtype: DType) -> Result<()> {
    let path = output.join("config.json");
    let text = fs::read(&path).map_err(|error| unwritable(&path, &error))?;
    let mut config: Json = serde_json::from_slice(&text)?;
    let name = match dtype {
        DType::F32 => "float32",
        DType::BF16 => "bfloat16",
    };
    for field in ["torch_dtype", "dtype"] {
        if config.get(field).is_some() {
            config[field] = name.into();
        }
    }
    write(&path, &serde_json::to_string_pretty(&config)?)?;
    let own = Tokenizer::open(&source.model)?;
    if let Some(template) = &source.chat_template
        && own.template_source() != Some(template.as_str())
    {
        write(&output.join("chat_template.jinja"), template)?;
    }
    let base = match source.adapter {
        Some(_) => Some(&source.model),
        None => source.trained_from.as_ref(),
    };
    let about = json!({
        "base_model": base,
        "adapter": source.adapter,
        "system": source.system,
        "chat_template": source.chat_template,
    });
    write(
        &output.join("retune.json"),
        &serde_json::to_string_pretty(&about)?,
    )
}

/// What a model says to a prompt.
struct Said {
    prompt: String,
    /// The logits behind it.
    logits: Vec<f32>,
    /// The beginning of the greedy answer, with the most likely tokens at each place.
    answer: Vec<TokenLogprobs>,
}

/// What `source` says to each prompt.
fn asked(args: &Args, source: Source, device: &Device) -> Result<Vec<Said>> {
    let assistant = Assistant::open(source, device, &AssistantOptions::default())?;
    let prompts = match args.prompt.is_empty() {
        true => PROMPTS.map(str::to_owned).to_vec(),
        false => args.prompt.clone(),
    };
    prompts
        .into_iter()
        .map(|prompt| ask(&assistant, prompt))
        .collect()
}

/// Says what differs between the model as it was and the merged one. Answers may part where
/// each model has both tokens nearly equal.
fn prove(expected: &[Said], found: &[Said]) -> Result<String> {
    let (mut furthest, mut equal) = (0.0_f64, 0_u64);
    let mut parted = Vec::new();
    for (expected, found) in expected.iter().zip(found) {
        furthest = furthest.max(distance(&found.logits, &expected.logits));
        let mut tokens = expected.answer.iter().zip(&found.answer);
        let Some(place) = tokens.position(|(expected, found)| expected.token != found.token) else {
            equal += 1;
            continue;
        };
        let (before, after) = (&expected.answer[place], &found.answer[place]);
        let margin = behind(before, after.token).max(behind(after, before.token));
        let parts = format!(
            "those to {:?} part at token {}, where the two tokens are {margin:.3} apart",
            expected.prompt,
            place + 1,
        );
        // Both logits may be off.
        if margin > 2.0 * TOLERANCE * largest(&expected.logits) {
            return Err(input_fault(format!(
                "the merged model answers otherwise: {parts}\n{INSTEAD}"
            )));
        }
        parted.push(format!("\n{parts}"));
    }
    if furthest > TOLERANCE {
        return Err(input_fault(format!(
            "the merged model says something else: its logits differ by {furthest:.1e} of the largest, and may by {TOLERANCE}\n{INSTEAD}"
        )));
    }
    let of = match parted.is_empty() {
        true => String::new(),
        false => format!("{equal} of "),
    };
    Ok(format!(
        "{}: logits differ by at most {furthest:.1e} of the largest, {of}{} equal{}",
        counted(expected.len() as u64, "prompt"),
        counted(expected.len() as u64, "greedy answer"),
        parted.concat(),
    ))
}

/// How far a token is behind the one that a model chose, in logarithms of probabilities;
/// infinitely far if others are before it.
fn behind(chosen: &TokenLogprobs, token: u32) -> f64 {
    let there = chosen.top.iter().find(|(other, _)| *other == token);
    there.map_or(f64::INFINITY, |(_, logprob)| {
        f64::from(chosen.logprob - logprob)
    })
}

/// What a model says to a prompt.
fn ask(assistant: &Assistant, prompt: String) -> Result<Said> {
    let conversation = Conversation {
        messages: vec![Message::new(Role::User, &prompt)],
        tools: Vec::new(),
    };
    let sampling = Sampling {
        max_new_tokens: TOKENS,
        logprobs: Some(LIKELIEST),
        ..Sampling::default()
    };
    let request = assistant.request(conversation, sampling)?;
    let segments = Segments::single(request.prompt.len());
    let adapter = assistant.adapter.as_ref();
    let (model, tokenizer) = (&assistant.model, &assistant.tokenizer);
    let logits = model.last_logits(&request.prompt, &segments, adapter)?;
    let mut answer = Vec::new();
    answer_all(model, tokenizer, vec![request], (1, 1), |_, said| {
        answer = said.logprobs;
        anyhow::Ok(())
    })?;
    Ok(Said {
        prompt,
        logits: logits.to_f32_vec(),
        answer,
    })
}

fn largest(logits: &[f32]) -> f64 {
    let sizes = logits.iter().map(|value| value.abs());
    f64::from(sizes.fold(f32::MIN_POSITIVE, f32::max))
}

fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected);
    let error = pairs.fold(0.0_f32, |error, (a, b)| {
        // A number that is none is as far as can be.
        let apart = (a - b).abs();
        error.max(if apart.is_nan() { f32::INFINITY } else { apart })
    });
    let share = f64::from(error) / largest(expected);
    if share.is_nan() { f64::INFINITY } else { share }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    input_fault(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At each place the chosen token, the one behind it, and how far.
    fn said(logits: &[f32], tokens: &[(u32, u32, f32)]) -> Vec<Said> {
        let answer = tokens.iter().map(|&(token, next, margin)| TokenLogprobs {
            token,
            logprob: -0.5,
            top: vec![(token, -0.5), (next, -0.5 - margin)],
        });
        vec![Said {
            prompt: "Who?".to_owned(),
            logits: logits.to_vec(),
            answer: answer.collect(),
        }]
    }

    #[test]
    fn answers_part_only_where_two_tokens_are_nearly_equal() {
        let expected = said(&[4.0, -8.0], &[(1, 9, 2.0), (2, 3, 0.01)]);
        let to = |tokens: &[_]| prove(&expected, &said(&[4.0, -8.001], tokens));
        let same = to(&[(1, 9, 2.0), (2, 3, 0.01)]).expect("it is the same");
        assert!(same.ends_with("largest, 1 greedy answer equal"), "{same}");
        let near = to(&[(1, 9, 2.0), (3, 2, 0.02)]).expect("it is nearly the same");
        let parts = "0 of 1 greedy answer equal\nthose to \"Who?\" part at token 2, where the two tokens are 0.020 apart";
        assert!(near.ends_with(parts), "{near}");
        for other in [(1, 9, 2.0), (3, 2, 2.0), (3, 9, 0.01)] {
            let refused = to(&[(1, 9, 2.0), other]).expect_err("it is another");
            assert!(refused.to_string().contains("part at token 2"), "{refused}");
        }
    }

    #[test]
    fn logits_that_are_no_numbers_or_far_away_prove_nothing() {
        let expected = said(&[4.0, -8.0], &[]);
        for logits in [[f32::NAN, -8.0], [4.0, f32::INFINITY], [4.0, -7.8]] {
            prove(&expected, &said(&logits, &[])).expect_err("they differ");
            prove(&said(&logits, &[]), &expected).expect_err("they differ");
        }
    }
}
