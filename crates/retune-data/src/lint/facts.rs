//! What one sample says: found on any thread, before anything is compared.

use xxhash_rust::xxh3::xxh3_64;

use super::LintOptions;
use crate::encode::Fate;
use crate::error::Error;
use crate::sample::{Content, Conversation, Role, Sample};
use crate::source::Place;
use crate::text::damage::{DamageKind, find_damage};
use crate::text::language::language_of;
use crate::text::markers::find_markers;
use crate::text::minhash::Signature;
use crate::text::ngrams::{longest_repeat, rep_n, units};
use crate::text::normal::key;
use crate::text::personal::{find_personal, mask};

/// Answers of so few characters are short.
const SHORT: usize = 4;
/// Units of an answer that make its opening.
const OPENING: usize = 3;
/// An answer of at least so many units loops if this share of its stretches of
/// `LOOP_N` units are repeats.
const LOOP_UNITS: usize = 12;
const LOOP_N: usize = 4;
const LOOP_SHARE: f64 = 0.4;
/// A language is taken for true from this confidence on: whatlang is often
/// wrong below it, in short texts above all.
const SURE: f64 = 0.95;
/// Characters around a finding that are shown.
const AROUND: usize = 24;

/// A rule that a sample breaks by itself.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub(super) rule: &'static str,
    /// What is shown of it.
    pub(super) example: String,
}

/// What one sample says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) place: Place,
    pub(super) hits: Vec<Hit>,
    /// Hashes of the whole, of what is asked, and of what is answered.
    pub(super) whole: u64,
    pub(super) prompt: u64,
    /// A hash of what is asked but for its looks, as `split` groups rows.
    pub(super) asked: u64,
    pub(super) answer: u64,
    pub(super) answer_text: String,
    pub(super) answer_chars: usize,
    /// Tokens that stay, and how many of them are scored.
    pub(super) tokens: Option<(usize, usize)>,
    /// Tokens before anything is cut or dropped.
    pub(super) length: usize,
    pub(super) signature: Option<Signature>,
    pub(super) prompt_signature: Option<Signature>,
    pub(super) language: Option<&'static str>,
    pub(super) opening: String,
    pub(super) label: Option<String>,
}

impl Facts {
    pub(super) fn of(sample: &Sample, options: &LintOptions<'_>) -> Self {
        let content = &sample.content;
        let (prompt, answer) = (content.prompt(), content.answer());
        let whole = whole(content);
        let opening = content.opening();
        let asked = system_and(content, &prompt);
        let answer_units = units(&answer);
        let is_conversation = matches!(content, Content::Conversation(_));
        let mut facts = Self {
            place: sample.place.clone(),
            hits: Vec::new(),
            whole: xxh3_64(whole.as_bytes()),
            // A row that asks nothing is the same as its copies only.
            prompt: xxh3_64(match prompt.trim().is_empty() {
                true => whole.as_bytes(),
                false => asked.as_bytes(),
            }),
            answer: xxh3_64(answer.as_bytes()),
            answer_chars: answer.chars().count(),
            tokens: None,
            length: 0,
            signature: options.near_duplicates.map(|_| Signature::of(&whole)),
            prompt_signature: options.near_prompts().map(|_| Signature::of(&opening)),
            asked: key(&opening) as u64,
            language: language_of(&answer)
                .filter(|language| language.confidence >= SURE)
                .map(|language| language.code),
            opening: stretch(&answer, answer_units.iter().take(OPENING)).to_owned(),
            label: match content {
                Content::Classification { label, .. } => Some(label.clone()),
                _ => None,
            },
            answer_text: String::new(),
        };
        facts.turns(content, &prompt, answer_units.len());
        facts.repetition(&answer, &answer_units);
        for (_, text) in content.texts() {
            facts.damage(text);
            facts.personal(text);
            facts.markers(text, options);
        }
        if let Some(encoder) = options.encoder {
            facts.encode(sample, encoder);
        }
        if is_conversation || matches!(content, Content::Text(_) | Content::Preference(_)) {
            facts.answer_text = answer;
        }
        facts
    }

    fn hit(&mut self, rule: &'static str, example: impl Into<String>) {
        let example = example.into();
        // One row breaks a rule once, however often.
        if self.hits.iter().all(|hit| hit.rule != rule) {
            self.hits.push(Hit { rule, example });
        }
    }

    fn turns(&mut self, content: &Content, prompt: &str, answer_units: usize) {
        let answers_are_texts =
            matches!(content, Content::Conversation(_) | Content::Preference(_));
        if matches!(content, Content::Text(_)) {
            if self.answer_chars == 0 {
                self.hit("empty-answer", "the text is empty");
            }
            return;
        }
        if prompt.trim().is_empty() {
            self.hit("empty-prompt", excerpt(&content.answer(), 0));
        }
        if let Content::Conversation(conversation) = content {
            if let Some(problem) = role_order(conversation) {
                self.hit("role-order", problem);
            }
            let learned = conversation.answers().filter(|answer| answer.learn);
            for answer in learned {
                if answer.content.trim().is_empty() && answer.tool_calls.is_empty() {
                    self.hit("empty-answer", format!("asked: {}", excerpt(prompt, 0)));
                }
            }
        }
        let is_short = (1..=SHORT).contains(&self.answer_chars) || answer_units == 1;
        if answers_are_texts && is_short {
            let answer = content.answer();
            let shown = format!("{} → {}", excerpt(prompt, 0), excerpt(&answer, 0));
            self.hit("short-answer", shown);
        }
    }

    /// A model learns to loop from answers that do.
    fn repetition(&mut self, answer: &str, units: &[&str]) {
        if units.len() < LOOP_UNITS || rep_n(units, LOOP_N).is_none_or(|share| share < LOOP_SHARE) {
            return;
        }
        let repeat = longest_repeat(units).map(|repeat| stretch(answer, &units[repeat.first]));
        let shown = excerpt(repeat.unwrap_or_default(), 0);
        self.hit("repetitive-answer", format!("“{shown}” again"));
    }

    fn damage(&mut self, text: &str) {
        for damage in find_damage(text) {
            let rule = match damage.kind {
                DamageKind::ControlCharacter
                | DamageKind::ZeroWidth
                | DamageKind::DirectionControl
                | DamageKind::PrivateUse => "control-character",
                DamageKind::HtmlTag | DamageKind::HtmlEntity => "html",
                DamageKind::Placeholder => "placeholder",
                _ => "mojibake",
            };
            let shown = excerpt(text, damage.range.start);
            self.hit(rule, format!("{}: {shown}", damage.kind.name()));
        }
    }

    fn personal(&mut self, text: &str) {
        for personal in find_personal(text) {
            let masked = mask(text, personal.range);
            self.hit(
                "personal-data",
                format!("{}: {masked}", personal.kind.name()),
            );
        }
    }

    /// A marker is this model's own, or another's.
    fn markers(&mut self, text: &str, options: &LintOptions<'_>) {
        for marker in find_markers(text) {
            let own = options
                .encoder
                .is_some_and(|encoder| encoder.tokenizer.is_added(marker.text));
            let whose = match (marker.meant, marker.family) {
                (Some(meant), _) => format!("{} is no token; {meant} may be meant", marker.text),
                (None, Some(family)) => format!("{} ({family})", marker.text),
                (None, None) => marker.text.to_owned(),
            };
            self.hit(if own { "own-marker" } else { "foreign-marker" }, whose);
        }
    }

    fn encode(&mut self, sample: &Sample, encoder: &crate::Encoder) {
        match encoder.encode(sample) {
            Ok(encoded) => {
                let long = match encoded.fate {
                    Fate::Kept => None,
                    Fate::Cut { tokens } | Fate::Dropped { tokens } => Some(tokens),
                };
                // A text is cut into pieces, and loses nothing.
                if let (Some(tokens), false) = (long, matches!(sample.content, Content::Text(_))) {
                    self.hit("over-long", format!("{tokens} tokens"));
                }
                let all: usize = encoded.samples.iter().map(|s| s.input_ids.len()).sum();
                let scored = encoded
                    .samples
                    .iter()
                    .map(crate::Labelled::scored_tokens)
                    .sum();
                self.tokens = Some((all, scored));
                self.length = long.unwrap_or(all);
            }
            Err(Error::Sample { problem, .. }) => {
                let rule = match *problem {
                    Error::NothingScored => "zero-label",
                    Error::NotAPrefix { .. } => "template-prefix",
                    Error::NoTerminator { .. } => "template-terminator",
                    Error::OverLong { tokens, .. } => {
                        self.length = tokens;
                        "over-long"
                    }
                    _ => "template-refuses",
                };
                let message = problem.to_string();
                self.hit(rule, message.lines().next().unwrap_or_default());
            }
            Err(error) => self.hit("template-refuses", error.to_string()),
        }
    }
}

/// The stretch of `text` that `units` fill, which follow each other in it.
fn stretch<'t>(text: &'t str, units: impl IntoIterator<Item = &'t &'t str>) -> &'t str {
    let (mut start, mut end) = (None, 0);
    for unit in units {
        let Some(at) = text[end..].find(unit) else {
            break;
        };
        start = start.or(Some(end + at));
        end += at + unit.len();
    }
    &text[start.unwrap_or(end)..end]
}

/// All that is in a sample, as one text.
fn whole(content: &Content) -> String {
    let mut whole = String::new();
    for (role, text) in content.texts() {
        whole.push_str(role.map_or("", Role::name));
        whole.push('\u{1}');
        whole.push_str(text);
        whole.push('\u{2}');
    }
    match content {
        Content::Conversation(conversation) => {
            for message in &conversation.messages {
                whole.extend(message.tool_calls.iter().map(ToString::to_string));
                let extra = message.extra.iter();
                whole.extend(extra.map(|(name, value)| format!("{name}{value}")));
                whole.push(if message.learn { '\u{3}' } else { '\u{4}' });
            }
            whole.extend(conversation.tools.iter().map(ToString::to_string));
        }
        Content::Classification { label, .. } => whole.push_str(label),
        _ => {}
    }
    whole
}

/// Under another system prompt, the same question is another one.
fn system_and(content: &Content, prompt: &str) -> String {
    let system = match content {
        Content::Conversation(conversation) => conversation.system(),
        _ => None,
    };
    [system.unwrap_or_default(), "\u{1}", prompt].concat()
}

/// What is wrong with the order of turns, if anything is.
fn role_order(conversation: &Conversation) -> Option<String> {
    let roles: Vec<Role> = conversation
        .messages
        .iter()
        .map(|message| message.role)
        .collect();
    let turns = match roles.first() {
        Some(Role::System) => &roles[1..],
        _ => &roles[..],
    };
    match turns.first() {
        None => return Some("there are no turns".to_owned()),
        Some(Role::User) => {}
        Some(other) => return Some(format!("the first turn is the {}'s", other.name())),
    }
    for (index, pair) in turns.windows(2).enumerate() {
        let fits = matches!(
            (pair[0], pair[1]),
            (Role::User | Role::Tool, Role::Assistant)
                | (Role::Assistant, Role::User | Role::Tool)
                | (Role::Tool, Role::Tool)
        );
        if !fits {
            let [before, behind] = [pair[0].name(), pair[1].name()];
            return Some(format!(
                "turn {} is {before}'s and the next {behind}'s",
                index + 1
            ));
        }
    }
    match turns.last() {
        Some(Role::Assistant) => None,
        _ => Some("the last turn is not the assistant's".to_owned()),
    }
}

/// A stretch of `text` around the byte `at`, on one line.
pub(super) fn excerpt(text: &str, at: usize) -> String {
    let before: Vec<char> = text[..at].chars().rev().take(AROUND / 2).collect();
    let behind: Vec<char> = text[at..].chars().take(AROUND + 1).collect();
    let mut shown = String::new();
    if at > before.iter().map(|c| c.len_utf8()).sum() {
        shown.push('…');
    }
    let more = behind.len() > AROUND;
    let chars = before
        .into_iter()
        .rev()
        .chain(behind.into_iter().take(AROUND));
    shown.extend(chars.map(|c| {
        if c.is_whitespace() {
            ' '
        } else if c.is_control() {
            '␦'
        } else {
            c
        }
    }));
    if more {
        shown.push('…');
    }
    shown
}
