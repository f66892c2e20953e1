//! When two texts are the same but for their looks.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use xxhash_rust::xxh3::xxh3_128;

/// Marks at the end of a text that do not make it another text. NFKC has
/// turned the full-width ones into ASCII, and `…` into three dots.
const TRAILING: &[char] = &['.', '。', '!', '?', ',', '、', ';', ':', '~', '〜'];

/// `text` in NFKC, in lower case, without zero-width characters, with every
/// run of whitespace as one space, and without whitespace at the ends and
/// punctuation at the end. A text that is all punctuation keeps it.
///
/// # Reference
/// NFKC: Unicode Standard Annex 15
#[must_use]
pub fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for c in folded(text).chars() {
        if !c.is_whitespace() {
            normal.push(c);
        } else if !normal.is_empty() && !normal.ends_with(' ') {
            normal.push(' ');
        }
    }
    let whole = normal.trim_end().len();
    let stripped = normal
        .trim_end_matches(|c: char| c == ' ' || TRAILING.contains(&c))
        .len();
    normal.truncate(if stripped > 0 { stripped } else { whole });
    normal
}

/// The letters and digits of `text` in NFKC and lower case; whitespace,
/// punctuation, symbols and accents that NFKC cannot compose are left out. What
/// near-duplicates are compared by.
#[must_use]
pub fn letters(text: &str) -> String {
    let mut letters = folded(text);
    letters.retain(char::is_alphanumeric);
    letters
}

/// A hash that is equal for texts with equal [`normal`] forms, and for all
/// that matters different for others: of a billion texts, two share a key by
/// chance with a probability of 10⁻²¹.
#[must_use]
pub fn key(text: &str) -> u128 {
    xxh3_128(normal(text).as_bytes())
}

/// The same for texts that are equal byte by byte.
#[must_use]
pub fn exact_key(text: &str) -> u128 {
    xxh3_128(text.as_bytes())
}

/// `text` without zero-width characters, in NFKC and in lower case.
fn folded(text: &str) -> String {
    let visible = || text.chars().filter(|c| !is_zero_width(*c));
    let mut lower = String::with_capacity(text.len());
    if is_compatible(visible()) {
        visible().for_each(|c| push_lower(&mut lower, c));
    } else {
        visible().nfkc().for_each(|c| push_lower(&mut lower, c));
    }
    // Some letters are composed in upper case alone.
    if is_compatible(lower.chars()) {
        lower
    } else {
        lower.nfkc().collect()
    }
}

/// Whether NFKC leaves `chars` alone, so far as it is quickly seen.
fn is_compatible(chars: impl Iterator<Item = char> + Clone) -> bool {
    let plain = |c| c < '\u{80}' || is_caseless(c) && !matches!(c, '\u{3099}'..='\u{33ff}');
    chars.clone().all(plain) || is_nfkc_quick(chars) == IsNormalized::Yes
}

fn push_lower(text: &mut String, c: char) {
    if c.is_ascii() {
        text.push(c.to_ascii_lowercase());
    } else if is_caseless(c) {
        text.push(c);
    } else {
        text.extend(c.to_lowercase());
    }
}

/// The blocks from kana to the Han characters of the basic plane, without case.
fn is_caseless(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{9fff}')
}

/// Characters without width that change neither meaning nor shape where they
/// get into a text by accident.
fn is_zero_width(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'
    )
}
