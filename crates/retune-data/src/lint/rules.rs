//! The rules, each with a name that stays.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Likely to harm the model.
    Warning,
    /// Training with it is in vain or wrong.
    Error,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A rule that data can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The name by which it is chosen and ignored.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it finds, in a sentence.
    pub finds: &'static str,
    /// What can be done.
    pub fix: &'static str,
    /// Whether `clean` can leave out the rows that it finds.
    pub droppable: bool,
}

const fn error(id: &'static str, finds: &'static str, fix: &'static str, droppable: bool) -> Rule {
    Rule {
        id,
        severity: Severity::Error,
        finds,
        fix,
        droppable,
    }
}

const fn warning(
    id: &'static str,
    finds: &'static str,
    fix: &'static str,
    droppable: bool,
) -> Rule {
    Rule {
        id,
        severity: Severity::Warning,
        finds,
        fix,
        droppable,
    }
}

const fn info(id: &'static str, finds: &'static str, fix: &'static str, droppable: bool) -> Rule {
    Rule {
        id,
        severity: Severity::Info,
        finds,
        fix,
        droppable,
    }
}

/// All rules, the worst first.
pub const RULES: [Rule; 33] = [
    error(
        "unreadable-file",
        "a file cannot be read, to its end or at all",
        "repair the file",
        false,
    ),
    error(
        "unreadable-row",
        "a row cannot be read: broken JSON or bytes, a missing field, a wrong type",
        "repair the row, or leave it out",
        true,
    ),
    error(
        "template-refuses",
        "the chat template refuses the conversation",
        "bring the roles in an order that it takes",
        true,
    ),
    error(
        "template-marker",
        "the chat template writes markers that are no tokens of this tokenizer",
        "use the model's own template",
        false,
    ),
    error(
        "template-terminator",
        "the chat template does not end a turn with a special token",
        "use the model's own template",
        false,
    ),
    error(
        "template-prefix",
        "what is trained does not begin with what chat and serve ask",
        "use another template, or learn from last answers only",
        true,
    ),
    warning(
        "template-stop",
        "turns end in a token at which generation does not stop",
        "add its id to eos_token_id",
        false,
    ),
    warning(
        "template-date",
        "the chat template writes the date of the day",
        "use a copy with a fixed date",
        false,
    ),
    error(
        "zero-label",
        "a row has nothing to learn from",
        "give it an answer, or leave it out",
        true,
    ),
    error(
        "empty-answer",
        "an answer is empty",
        "give it an answer, or leave it out",
        true,
    ),
    error(
        "foreign-marker",
        "a text holds control tokens of another model, or misspelt ones",
        "take them out: to this model they are plain text to learn",
        true,
    ),
    error(
        "leakage",
        "a validation row asks what a training row asks",
        "split anew with retune data split",
        false,
    ),
    warning(
        "own-marker",
        "a text holds control tokens of this model",
        "take them out; they are read as plain text, never as control",
        true,
    ),
    warning(
        "role-order",
        "turns do not alternate between user and assistant, or end without an answer",
        "merge or remove turns",
        true,
    ),
    warning(
        "over-long",
        "a row has more tokens than max_length",
        "raise --max-length, or choose --over-long",
        true,
    ),
    warning(
        "exact-duplicate",
        "a row is there twice",
        "leave out the copies, unless they are meant",
        true,
    ),
    warning(
        "near-duplicate",
        "a row differs from another by little",
        "keep one of them",
        true,
    ),
    warning(
        "conflicting-answers",
        "one prompt has several answers",
        "keep one answer, or say more in the prompt",
        false,
    ),
    warning(
        "empty-prompt",
        "a prompt is empty",
        "give it a prompt, or leave it out",
        true,
    ),
    warning(
        "short-answer",
        "an answer has 4 characters or fewer, or is one word",
        "check that such short answers are wanted",
        true,
    ),
    warning(
        "repetitive-answer",
        "an answer repeats itself",
        "shorten it: the model will learn to loop",
        true,
    ),
    warning(
        "mojibake",
        "characters were garbled by a wrong encoding",
        "read the source anew in its encoding",
        true,
    ),
    warning(
        "control-character",
        "a text holds control or invisible characters",
        "clean --strip control-character",
        true,
    ),
    warning(
        "html",
        "a text holds HTML tags or entities",
        "clean --strip html",
        true,
    ),
    warning(
        "placeholder",
        "a placeholder was not filled in",
        "fill it in",
        true,
    ),
    warning(
        "wrong-language",
        "an answer is in another language than most",
        "leave it out, unless it is meant",
        true,
    ),
    warning(
        "personal-data",
        "a text holds what looks like a phone or identity number, an email address, a key",
        "mask it: a model can repeat it to anyone",
        true,
    ),
    warning(
        "repeated-phrase",
        "a phrase stands in many answers",
        "clean --balance phrase, or write more varied answers",
        false,
    ),
    warning(
        "opening-skew",
        "many answers begin alike",
        "clean --balance opening, or write more varied answers",
        false,
    ),
    info(
        "repeated-prompt",
        "a prompt stands in ten rows or more",
        "clean --balance prompt, unless it is meant",
        false,
    ),
    info(
        "length-skew",
        "a few answers are far longer than most",
        "check the longest ones",
        false,
    ),
    info(
        "class-imbalance",
        "a class has ten times as many rows as another",
        "clean --balance label",
        false,
    ),
    info(
        "unused-column",
        "a column is not read",
        "map it with --column if it is needed",
        false,
    ),
];

/// The rule `id`.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}
