//! The tokenisers of sacreBLEU, byte for byte.
//!
//! # Reference
//! Post 2018, A Call for Clarity in Reporting BLEU Scores, arXiv:1804.08771

use std::sync::LazyLock;

use regex::Regex;

use super::whitespace::{is_space, squeezed};

/// How a text is cut into the tokens that BLEU counts. The names are those of
/// sacreBLEU's `--tokenize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
pub enum Tokenizer {
    /// That of mteval-v13a, for languages that put spaces between words.
    #[default]
    #[serde(rename = "13a")]
    Thirteen,
    /// Each Chinese character a token, the rest as in `13a`.
    #[serde(rename = "zh")]
    Zh,
    /// Each character a token.
    #[serde(rename = "char")]
    Char,
    /// That of mteval-v14: Unicode's punctuation and symbols become tokens.
    #[serde(rename = "intl")]
    Intl,
    /// What stands between whitespace.
    #[serde(rename = "none")]
    None,
}

impl Tokenizer {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 5] = [Self::Thirteen, Self::Zh, Self::Char, Self::Intl, Self::None];

    /// The name that sacreBLEU gives it, in options and signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thirteen => "13a",
            Self::Zh => "zh",
            Self::Char => "char",
            Self::Intl => "intl",
            Self::None => "none",
        }
    }

    /// `text` with whitespace between its tokens, as sacreBLEU writes it.
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::Thirteen => thirteen(text),
            Self::Zh => western(&chinese_apart(text.trim_matches(is_space))),
            Self::Char => characters_apart(text),
            Self::Intl => international(text),
            Self::None => text.to_owned(),
        }
    }
}

impl std::fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A pattern, and what stands in its place.
struct Rule {
    pattern: Regex,
    replacement: &'static str,
}

impl Rule {
    fn new(pattern: &str, replacement: &'static str) -> Self {
        Self {
            pattern: Regex::new(pattern).expect("a pattern that compiles"),
            replacement,
        }
    }
}

/// Applies the rules one after another, and squeezes the whitespace.
fn rewritten(text: &str, rules: &[Rule]) -> String {
    let mut line = text.to_owned();
    for rule in rules {
        if let std::borrow::Cow::Owned(changed) = rule.pattern.replace_all(&line, rule.replacement)
        {
            line = changed;
        }
    }
    squeezed(&line)
}

/// mteval-v13a: four entities are undone, then the western rules apply. The
/// spaces around the line let the rules for full stops see its ends.
fn thirteen(text: &str) -> String {
    let line = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    western(&format!(" {line} "))
}

/// The part of mteval-v13a that knows western languages.
fn western(text: &str) -> String {
    static RULES: LazyLock<[Rule; 4]> = LazyLock::new(|| {
        [
            // ASCII's punctuation, but for apostrophe, comma, dash and full stop.
            Rule::new(r"([\{-\~\[-\` -\&\(-\+:-@/])", " $1 "),
            // Comma and full stop, unless a digit is before them.
            Rule::new(r"([^0-9])([\.,])", "$1 $2 "),
            // Comma and full stop, unless a digit is behind them.
            Rule::new(r"([\.,])([^0-9])", " $1 $2"),
            // A dash behind a digit.
            Rule::new(r"([0-9])(-)", "$1 $2 "),
        ]
    });
    rewritten(text, &*RULES)
}

/// mteval-v14, which undoes no entities.
fn international(text: &str) -> String {
    static RULES: LazyLock<[Rule; 3]> = LazyLock::new(|| {
        [
            // Punctuation, unless a number is before it.
            Rule::new(r"(\P{N})(\p{P})", "$1 $2 "),
            // Punctuation, unless a number is behind it.
            Rule::new(r"(\p{P})(\P{N})", " $1 $2"),
            Rule::new(r"(\p{S})", " $1 "),
        ]
    });
    rewritten(text, &*RULES)
}

/// Every character with a space before the next one.
fn characters_apart(text: &str) -> String {
    let mut apart = String::with_capacity(2 * text.len());
    for character in text.chars() {
        if !apart.is_empty() {
            apart.push(' ');
        }
        apart.push(character);
    }
    apart
}

/// Spaces around each character that sacreBLEU takes for Chinese.
fn chinese_apart(text: &str) -> String {
    let mut apart = String::with_capacity(2 * text.len());
    for character in text.chars() {
        if is_chinese(character) {
            apart.push(' ');
            apart.push(character);
            apart.push(' ');
        } else {
            apart.push(character);
        }
    }
    apart
}

/// What sacreBLEU takes for a Chinese character.
///
/// Its table means to hold two blocks beyond U+FFFF, but writes them with
/// escapes of four digits. So `U+2001..=U+2A6D` is in it by mistake, with dashes,
/// quotation marks, arrows and box drawings, and rare characters are not. All
/// published figures were counted like that, and ours must be like them.
fn is_chinese(character: char) -> bool {
    matches!(
        character,
        '\u{2001}'..='\u{2a6d}'
            | '\u{2e80}'..='\u{2eff}'
            | '\u{2f00}'..='\u{2fdf}'
            | '\u{2ff0}'..='\u{303f}'
            | '\u{3100}'..='\u{312f}'
            | '\u{31a0}'..='\u{31bf}'
            | '\u{31c0}'..='\u{31ef}'
            | '\u{3200}'..='\u{33ff}'
            | '\u{3400}'..='\u{4db5}'
            | '\u{4e00}'..='\u{9fbb}'
            | '\u{f900}'..='\u{fa2d}'
            | '\u{fa30}'..='\u{fa6a}'
            | '\u{fa70}'..='\u{fad9}'
            | '\u{fe10}'..='\u{fe1f}'
            | '\u{fe30}'..='\u{fe4f}'
            | '\u{ff00}'..='\u{ffef}'
    )
}
