//! What models answer to a few prompts, one below the other.

use std::io::Write as _;

use anyhow::Result;
use retune_data::{Conversation, Message, Role};
use retune_generate::{Assistant, Sampling};
use retune_train::TrainConfig;

use super::Args;
use super::subjects::{Named, each};
use crate::commands::train::show::line;
use crate::output::plain;

/// Shows what each of `subjects` answers to the prompts of `config`, sampled as the model's
/// makers would have it.
pub(super) fn show(args: &Args, subjects: &[Named], config: &TrainConfig) -> Result<()> {
    let mut all: Vec<Vec<String>> = Vec::with_capacity(subjects.len());
    each(args, subjects, &mut |assistant, _| {
        let prompts = config.sample_prompts.iter();
        let answers = prompts.map(|prompt| answer(assistant, prompt, config));
        all.push(answers.collect::<Result<_>>()?);
        Ok(())
    })?;
    let mut out = anstream::stdout().lock();
    for (index, prompt) in config.sample_prompts.iter().enumerate() {
        line(&mut out, "asked", plain(prompt))?;
        for (subject, answers) in subjects.iter().zip(&all) {
            line(&mut out, &subject.name, plain(&answers[index]))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn answer(assistant: &Assistant, prompt: &str, config: &TrainConfig) -> Result<String> {
    let conversation = Conversation {
        messages: vec![Message::new(Role::User, prompt)],
        tools: Vec::new(),
    };
    let sampling = Sampling {
        max_new_tokens: config.sample_max_new_tokens,
        seed: config.seed,
        ..assistant.sampling.clone()
    };
    let request = assistant.request(conversation, sampling)?;
    let mut generator = assistant.generator_for(&request)?;
    let mut text = String::new();
    generator.answer(request, &mut |piece| text.push_str(piece))?;
    Ok(text)
}
