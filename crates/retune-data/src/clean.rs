//! Data files with chosen faults taken out, and nothing else changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value as Json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::dataset::{DataOptions, Samples};
use crate::encode::Encoder;
use crate::error::{Error, Result};
use crate::lint::{LintOptions, RULES, lint, rule};
use crate::sample::{Content, Sample};
use crate::source::Place;
use crate::text::damage::{DamageKind, find_damage};
use crate::text::ngrams::units;
use crate::text::personal::find_personal;

/// Rules that find rows by other rows.
const OF_GROUPS: [&str; 2] = ["exact-duplicate", "near-duplicate"];
/// Rules that find nothing without a tokenizer.
const NEED_MODEL: [&str; 6] = [
    "over-long",
    "zero-label",
    "own-marker",
    "template-refuses",
    "template-prefix",
    "template-terminator",
];
/// Fields whose text is no one's speech, and is left as it is.
const KEPT_FIELDS: [&str; 6] = ["role", "from", "tools", "id", "tool_call_id", "label"];

/// Fields that hold what a program is given; names in them are its own.
const HOLD_DATA: [&str; 1] = ["arguments"];

/// A change of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edit {
    /// Control, zero-width, direction and private-use characters go.
    ControlCharacters,
    /// HTML tags go, entities become their characters.
    Html,
    /// White space at both ends goes.
    Whitespace,
    /// What looks like personal data becomes a word in brackets, such as
    /// `[mobile number]`.
    PersonalData,
}

impl Edit {
    /// All of them with the names that `--strip` takes.
    pub const NAMES: [(&'static str, Edit); 4] = [
        ("control-character", Edit::ControlCharacters),
        ("html", Edit::Html),
        ("whitespace", Edit::Whitespace),
        ("personal-data", Edit::PersonalData),
    ];

    fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, edit)| *edit == self);
        named.map_or("edit", |(name, _)| name)
    }

    fn apply(self, text: &str) -> String {
        match self {
            Edit::Whitespace => text.trim().to_owned(),
            Edit::ControlCharacters | Edit::Html => {
                let spans = find_damage(text).into_iter();
                let mine = spans.filter(|span| self.removes(span.kind));
                replaced(
                    text,
                    mine.map(|span| {
                        let with = match span.kind {
                            DamageKind::HtmlEntity => character(&text[span.range.clone()]),
                            _ => String::new(),
                        };
                        (span.range, with)
                    }),
                )
            }
            Edit::PersonalData => {
                let spans = find_personal(text).into_iter();
                replaced(
                    text,
                    spans.map(|span| (span.range, format!("[{}]", span.kind.name()))),
                )
            }
        }
    }

    fn removes(self, kind: DamageKind) -> bool {
        let is_html = matches!(kind, DamageKind::HtmlTag | DamageKind::HtmlEntity);
        let is_control = matches!(
            kind,
            DamageKind::ControlCharacter
                | DamageKind::ZeroWidth
                | DamageKind::DirectionControl
                | DamageKind::PrivateUse
        );
        match self {
            Edit::Html => is_html,
            _ => is_control,
        }
    }
}

/// `text` with spans, in order, written differently.
fn replaced(text: &str, spans: impl Iterator<Item = (std::ops::Range<usize>, String)>) -> String {
    let mut new = String::with_capacity(text.len());
    let mut at = 0;
    for (range, with) in spans {
        new.push_str(&text[at..range.start]);
        new.push_str(&with);
        at = range.end;
    }
    new + &text[at..]
}

/// The character of an HTML entity; one that is not known stays.
fn character(entity: &str) -> String {
    let name = entity.trim_start_matches('&').trim_end_matches(';');
    let number = match name.strip_prefix('#') {
        Some(hex) if hex.starts_with(['x', 'X']) => u32::from_str_radix(&hex[1..], 16).ok(),
        Some(decimal) => decimal.parse().ok(),
        None => None,
    };
    let named = match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" | "ldquo" | "rdquo" => "\"",
        "apos" | "lsquo" | "rsquo" => "'",
        "nbsp" | "ensp" | "emsp" | "thinsp" => " ",
        "hellip" => "…",
        "mdash" => "—",
        "ndash" => "–",
        "middot" => "·",
        "copy" => "©",
        "times" => "×",
        _ => {
            let Some(number) = number else {
                return entity.to_owned();
            };
            return windows_1252(number).map_or_else(String::new, String::from);
        }
    };
    named.to_owned()
}

/// The character of a number. Pages mean Windows-1252 by 128 to 159; control
/// characters are none.
fn windows_1252(number: u32) -> Option<char> {
    let character = match u8::try_from(number) {
        Ok(byte @ 128..=159) => {
            let bytes = [byte];
            let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes);
            text.chars().next()
        }
        _ => char::from_u32(number),
    };
    character.filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
}

/// What rows are told apart by when a group of them is capped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalanceBy {
    /// The prompt.
    Prompt,
    /// The last answer.
    Answer,
    /// The answer's first three units (characters, or words).
    Opening,
    /// The class.
    Label,
    /// All answers with this phrase are one group, all others none.
    Phrase(String),
}

/// A cap on groups of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// What makes a group.
    pub by: BalanceBy,
    /// How many rows of a group stay: which, is a matter of the seed.
    pub cap: usize,
}

impl Balance {
    fn name(&self) -> String {
        match &self.by {
            BalanceBy::Prompt => "balance-prompt".to_owned(),
            BalanceBy::Answer => "balance-answer".to_owned(),
            BalanceBy::Opening => "balance-opening".to_owned(),
            BalanceBy::Label => "balance-label".to_owned(),
            BalanceBy::Phrase(phrase) => format!("balance-phrase {phrase}"),
        }
    }

    /// The group of a row, if it is in one.
    fn group(&self, sample: &Sample) -> Option<u64> {
        let text = match &self.by {
            BalanceBy::Prompt => sample.content.prompt(),
            BalanceBy::Answer | BalanceBy::Label => sample.content.answer(),
            BalanceBy::Opening => units(&sample.content.answer())
                .iter()
                .take(3)
                .copied()
                .collect(),
            BalanceBy::Phrase(phrase) => {
                return sample.content.answer().contains(phrase).then_some(0);
            }
        };
        Some(xxh3_64_with_seed(text.as_bytes(), 0))
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub struct CleanOptions {
    /// Lint rules whose rows are left out.
    pub drop: Vec<String>,
    /// Changes of texts, in this order.
    pub edits: Vec<Edit>,
    /// Caps, in this order.
    pub balance: Vec<Balance>,
    /// Which rows of a capped group stay.
    pub seed: u64,
    /// The similarity from which rows are near-duplicates.
    pub threshold: f64,
}

/// What becomes of a row.
#[derive(Debug)]
pub enum Cleaned<'a> {
    /// It stays, as it is or changed.
    Kept(&'a Sample),
    /// It is left out.
    Rejected {
        /// Where it stands.
        place: &'a Place,
        /// What it holds, if it could be read.
        fields: Option<&'a Map<String, Json>>,
        /// The rule or cap, and more words where there are.
        reason: &'a str,
    },
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CleanReport {
    /// Rows read.
    pub rows: u64,
    /// Rows that stay.
    pub kept: u64,
    /// Rows that are left out, by the first rule or cap that says so.
    pub rejected: BTreeMap<String, u64>,
    /// Rows that were changed, by the change.
    pub edited: BTreeMap<&'static str, u64>,
}

/// Cleans `paths`; `emit` gets every row, in order.
///
/// # Errors
/// `Argument` if a rule is unknown or finds nothing that could be left out;
/// `Row` if a row cannot be read and `unreadable-row` is not to be dropped;
/// what `emit` returns.
pub fn clean(
    paths: &[PathBuf],
    data: &DataOptions,
    encoder: Option<&Encoder>,
    options: &CleanOptions,
    emit: &mut dyn FnMut(Cleaned<'_>) -> Result<()>,
) -> Result<CleanReport> {
    let dropped = dropped_rows(paths, data, encoder, options)?;
    let capped = capped_rows(paths, data, options, &dropped)?;
    let mut report = CleanReport::default();
    let mut samples = Samples::open(paths, data.clone())?;
    let skip_unreadable = options.drop.iter().any(|name| name == "unreadable-row");
    while let Some(sample) = samples.next() {
        let file = samples.file_number();
        report.rows += 1;
        let mut sample = match sample {
            Ok(sample) => sample,
            Err(Error::Row(error)) if skip_unreadable => {
                *report
                    .rejected
                    .entry("unreadable-row".to_owned())
                    .or_default() += 1;
                let reason = format!("unreadable-row: {}", error.problem);
                emit(Cleaned::Rejected {
                    place: &error.place,
                    fields: None,
                    reason: &reason,
                })?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let at = (file, sample.place.row);
        if let Some(reason) = dropped
            .get(&at)
            .map(String::as_str)
            .or_else(|| capped.get(&at).map(String::as_str))
        {
            *report.rejected.entry(reason.to_owned()).or_default() += 1;
            emit(Cleaned::Rejected {
                place: &sample.place,
                fields: Some(&sample.fields),
                reason,
            })?;
            continue;
        }
        for edit in &options.edits {
            let mut changed = false;
            for (name, value) in &mut sample.fields {
                edit_value(*edit, name, value, &mut changed);
            }
            if changed {
                *report.edited.entry(edit.name()).or_default() += 1;
            }
        }
        report.kept += 1;
        emit(Cleaned::Kept(&sample))?;
    }
    Ok(report)
}

/// A file's number and a row in it.
type At = (u32, u64);

fn dropped_rows(
    paths: &[PathBuf],
    data: &DataOptions,
    encoder: Option<&Encoder>,
    options: &CleanOptions,
) -> Result<HashMap<At, String>> {
    for name in &options.drop {
        if rule(name).is_none_or(|rule| !rule.droppable) {
            let known = RULES
                .iter()
                .filter(|rule| rule.droppable)
                .map(|rule| rule.id);
            let known: Vec<&str> = known.collect();
            return Err(Error::Argument {
                problem: format!(
                    "rows cannot be dropped by {name:?}; they can by {}",
                    known.join(", ")
                ),
            });
        }
    }
    let needs_model = |name: &&String| NEED_MODEL.contains(&name.as_str());
    if let (Some(name), None) = (options.drop.iter().find(needs_model), encoder) {
        return Err(Error::Argument {
            problem: format!(
                "rows are found by {name} with a tokenizer only\nhint: name the model's folder with --model"
            ),
        });
    }
    // A row is a copy of another one only if that one stays.
    let (of_groups, of_rows): (Vec<String>, Vec<String>) = options
        .drop
        .iter()
        .cloned()
        .partition(|name| OF_GROUPS.contains(&name.as_str()));
    let mut dropped: HashMap<At, String> = HashMap::new();
    for rules in [of_rows, of_groups] {
        if rules.is_empty() {
            continue;
        }
        let near = rules.iter().any(|name| name == "near-duplicate");
        // Tokens take nine tenths of the time; which markers are foreign is a
        // matter of the tokenizer too.
        let needs_model = |name: &String| name == "foreign-marker" || needs_model(&name);
        let lint_options = LintOptions {
            encoder: encoder.filter(|_| rules.iter().any(needs_model)),
            near_duplicates: near.then_some(options.threshold),
            without: dropped.keys().copied().collect(),
            rules,
            ..LintOptions::default()
        };
        let report = lint(paths, data, &lint_options, &mut |_| {})?;
        for finding in report.findings {
            for row in finding.rows {
                dropped
                    .entry((row.file, row.row))
                    .or_insert_with(|| finding.rule.to_owned());
            }
        }
    }
    Ok(dropped)
}

fn capped_rows(
    paths: &[PathBuf],
    data: &DataOptions,
    options: &CleanOptions,
    dropped: &HashMap<At, String>,
) -> Result<HashMap<At, String>> {
    let mut capped: HashMap<At, String> = HashMap::new();
    for balance in &options.balance {
        // Of each group, rows by a hash of the seed and their place.
        let mut groups: HashMap<u64, BTreeSet<(u64, At)>> = HashMap::new();
        let mut samples = Samples::open(paths, data.clone())?;
        while let Some(sample) = samples.next() {
            let Ok(sample) = sample else { continue };
            let at = (samples.file_number(), sample.place.row);
            if dropped.contains_key(&at) || capped.contains_key(&at) {
                continue;
            }
            let has_class = matches!(sample.content, Content::Classification { .. });
            if balance.by == BalanceBy::Label && !has_class {
                let problem = "has no class to balance";
                return Err(crate::RowError::new(sample.place, problem).into());
            }
            let Some(group) = balance.group(&sample) else {
                continue;
            };
            let place = [u64::from(at.0).to_le_bytes(), at.1.to_le_bytes()].concat();
            let members = groups.entry(group).or_default();
            members.insert((xxh3_64_with_seed(&place, options.seed), at));
            if members.len() > balance.cap
                && let Some((_, last)) = members.pop_last()
            {
                capped.insert(last, balance.name());
            }
        }
    }
    Ok(capped)
}

/// Whether a text is an object or a list of JSON.
fn holds_json(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(['{', '[']) && serde_json::from_str::<Json>(text).is_ok()
}

/// Edits a field of a row or of a turn.
fn edit_value(edit: Edit, name: &str, value: &mut Json, changed: &mut bool) {
    if KEPT_FIELDS.contains(&name) {
        return;
    }
    match value {
        Json::Object(fields) if !HOLD_DATA.contains(&name) => {
            for (name, value) in fields {
                edit_value(edit, name, value, changed);
            }
        }
        Json::Array(items) if !HOLD_DATA.contains(&name) => {
            for item in items {
                edit_value(edit, "", item, changed);
            }
        }
        Json::Number(_) => {}
        other => edit_data(edit, other, changed),
    }
}

/// Edits a text, or all that stands in what a call is given, where a name has no meaning.
fn edit_data(edit: Edit, value: &mut Json, changed: &mut bool) {
    match value {
        Json::String(text) => {
            let mut new = edit.apply(text);
            // What was JSON stays JSON: where a change of the text as a whole spoils it, its
            // values are changed one by one.
            if new != *text
                && holds_json(text)
                && !holds_json(&new)
                && let Ok(mut inner) = serde_json::from_str::<Json>(text)
            {
                edit_data(edit, &mut inner, &mut false);
                new = inner.to_string();
            }
            if new != *text {
                *changed = true;
                *text = new;
            }
        }
        // A number may be one that calls somebody.
        Json::Number(number) => {
            let text = number.to_string();
            let new = edit.apply(&text);
            if new != text {
                *changed = true;
                *value = Json::String(new);
            }
        }
        Json::Array(items) => {
            for item in items {
                edit_data(edit, item, changed);
            }
        }
        Json::Object(fields) => {
            for value in fields.values_mut() {
                edit_data(edit, value, changed);
            }
        }
        Json::Null | Json::Bool(_) => {}
    }
}
