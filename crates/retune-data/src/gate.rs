//! The template gate: what has to hold before a model is trained with a
//! template.
//!
//! A conversation of our own is rendered, and what comes out is looked at: its
//! markers have to be tokens of this tokenizer, its turns have to end in one at
//! which generation stops, and what is trained has to begin with what is asked.

use serde::Serialize;

use crate::encode::Encoder;
use crate::error::{Error, Result, counted};
use crate::label::{LabelOptions, Learn, turns};
use crate::sample::{Conversation, Message, Role};
use crate::text::markers::find_markers;
use crate::tokenizer::Tokenizer;

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TemplateFault {
    /// The lint rule that it breaks.
    pub rule: &'static str,
    /// Whether training with it would be in vain; else it is worth knowing.
    pub refused: bool,
    /// What is wrong, in words.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

impl Encoder {
    /// Holds the chat template against what training needs. Returned is what is worth
    /// knowing and does not stand in the way.
    ///
    /// # Errors
    /// `TemplateUnfit` with all that does.
    pub fn check_template(&self) -> Result<Vec<TemplateFault>> {
        let faults = check_template(&self.tokenizer, &self.labels);
        let (refused, others): (Vec<_>, Vec<_>) =
            faults.into_iter().partition(|fault| fault.refused);
        match refused.is_empty() {
            true => Ok(others),
            false => Err(Error::TemplateUnfit { faults: refused }),
        }
    }
}

/// What is said in the conversation that is rendered. No marker, and nothing
/// that a template strips.
const SAID: [&str; 4] = [
    "first question",
    "first answer",
    "second question",
    "second answer",
];

/// Everything that is wrong with the template of `tokenizer`, or with the
/// system prompt, for a training with `options`. A model without a template has
/// none that is wrong.
pub fn check_template(tokenizer: &Tokenizer, options: &LabelOptions) -> Vec<TemplateFault> {
    if !tokenizer.has_template() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if let Some(system) = &options.system {
        faults.extend(wrong_markers(tokenizer, system, "the system prompt"));
    }
    let probe = Conversation {
        messages: SAID
            .iter()
            .enumerate()
            .map(|(index, said)| {
                let role = [Role::User, Role::Assistant][index % 2];
                Message::new(role, *said)
            })
            .collect(),
        tools: Vec::new(),
    };
    // The system prompt has been looked at, and some templates know none.
    let learn = |learn| LabelOptions {
        learn,
        system: None,
    };
    match tokenizer.render(&probe.messages, &[], true) {
        Ok(rendered) => faults.extend(wrong_markers(tokenizer, &rendered, "the chat template")),
        Err(error) => {
            faults.push(TemplateFault {
                rule: "template-refuses",
                refused: true,
                problem: format!("the chat template cannot render two turns: {error}"),
                hint: "use the model's own template".to_owned(),
            });
            return faults;
        }
    }
    if options.learn == Learn::WholeText {
        return faults;
    }
    match turns(tokenizer, &probe, &learn(options.learn)) {
        Ok(turns) => {
            let answer = turns
                .last()
                .map(crate::label::Turn::text)
                .unwrap_or_default();
            faults.extend(never_stops(tokenizer, &answer));
        }
        Err(error) => faults.push(unlearnable(tokenizer, &probe, &error, options.learn)),
    }
    if tokenizer.depends_on_date() {
        faults.push(TemplateFault {
            rule: "template-date",
            refused: false,
            problem: "the chat template writes the date of the day, so that what is trained today \
                      is asked differently tomorrow"
                .to_owned(),
            hint: "give --chat-template a copy with a fixed date".to_owned(),
        });
    }
    faults
}

/// Markers that this tokenizer does not know, each named once.
fn wrong_markers(tokenizer: &Tokenizer, text: &str, place: &str) -> Vec<TemplateFault> {
    let mut seen: Vec<&str> = Vec::new();
    let mut faults = Vec::new();
    for marker in find_markers(text) {
        if seen.contains(&marker.text) || tokenizer.token_id(marker.text).is_some() {
            continue;
        }
        seen.push(marker.text);
        let tokens = tokenizer.count(marker.text).unwrap_or_default();
        let whose = match (marker.meant, marker.family) {
            (Some(meant), Some(family)) => format!(", a misspelt {meant} of {family}"),
            (None, Some(family)) => format!(", a marker of {family}"),
            _ => String::new(),
        };
        faults.push(TemplateFault {
            rule: "template-marker",
            refused: true,
            problem: format!(
                "{place} writes {}{whose}; this model's tokenizer has no such token and reads it as {} of plain text",
                marker.text,
                counted(tokens, "token", "tokens")
            ),
            hint: own_markers(tokenizer),
        });
    }
    faults
}

/// The hint for markers that are not this model's.
fn own_markers(tokenizer: &Tokenizer) -> String {
    let mut own: Vec<(Option<u32>, &str)> = tokenizer
        .special_tokens()
        .iter()
        .map(|token| (tokenizer.token_id(token), token.as_str()))
        .collect();
    own.sort_unstable();
    let own: Vec<&str> = own.into_iter().take(4).map(|(_, token)| token).collect();
    format!(
        "use the model's own template (leave out --chat-template); its markers are {}, …",
        own.join(", ")
    )
}

fn never_stops(tokenizer: &Tokenizer, answer: &str) -> Option<TemplateFault> {
    let end = tokenizer.terminator(answer)?;
    let stops = tokenizer.stop_tokens();
    if stops.is_empty() || stops.iter().any(|stop| stop == end) {
        return None;
    }
    Some(TemplateFault {
        rule: "template-stop",
        refused: false,
        problem: format!(
            "a turn ends in {end}, but generation stops at {} only",
            stops.join(", ")
        ),
        hint: format!("add the id of {end} to eos_token_id in generation_config.json"),
    })
}

fn unlearnable(
    tokenizer: &Tokenizer,
    probe: &Conversation,
    error: &Error,
    learn: Learn,
) -> TemplateFault {
    let last = LabelOptions {
        learn: Learn::LastAnswer,
        system: None,
    };
    let works = learn == Learn::AllAnswers && turns(tokenizer, probe, &last).is_ok();
    let (rule, hint) = match error {
        Error::NoTerminator { .. } => (
            "template-terminator",
            "let the template end the assistant's turn with a special token, such as eos_token",
        ),
        Error::NotAPrefix { .. } if works => (
            "template-prefix",
            "learn from the last answer of each conversation only: --train-on last-answer",
        ),
        _ => ("template-prefix", "use the model's own template"),
    };
    // Conversations of one turn can be learned from all the same.
    let single = Conversation {
        messages: probe.messages[..2].to_vec(),
        tools: Vec::new(),
    };
    let single_works = turns(tokenizer, &single, &LabelOptions::default()).is_ok();
    TemplateFault {
        rule,
        refused: !single_works,
        problem: if single_works {
            format!("conversations of several turns cannot be learned from: {error}")
        } else {
            match error {
                Error::NoTerminator { .. } => {
                    "the chat template does not end the assistant's turn with a special token"
                        .to_owned()
                }
                other => other.to_string(),
            }
        },
        hint: hint.to_owned(),
    }
}
