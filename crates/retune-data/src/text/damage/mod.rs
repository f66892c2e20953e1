//! What does not belong into a text: characters that were garbled on the way,
//! invisible ones, and what a web page or a template has left behind.

mod invisible;
mod markup;
mod mojibake;

use std::ops::Range;

use super::without_overlaps;

/// A span that does not belong into a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What it is.
    pub kind: DamageKind,
    /// Where it stands, in bytes.
    pub range: Range<usize>,
}

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DamageKind {
    /// U+FFFD, which stands for bytes that could not be read.
    ReplacementCharacter,
    /// UTF-8 that was read as Latin-1 or Windows-1252: `Ã©`.
    ReadAsLatin1,
    /// UTF-8 that was read as GBK: `浣犲ソ`, and `锟斤拷` for U+FFFD.
    ReadAsGbk,
    /// `烫烫烫` or `屯屯屯`: memory that a debug build had not written, read as
    /// GBK.
    UnwrittenMemory,
    /// A control character other than tab, line feed and carriage return.
    ControlCharacter,
    /// A character without width where it has no work to do.
    ZeroWidth,
    /// A control of the writing direction in a text without such directions.
    DirectionControl,
    /// A character of a private use area.
    PrivateUse,
    /// An HTML tag, comment or declaration outside of code.
    HtmlTag,
    /// An HTML entity outside of code.
    HtmlEntity,
    /// A placeholder that was not filled in: `{{name}}`, `[Your Name]`,
    /// `<YOUR_NAME>`.
    Placeholder,
}

impl DamageKind {
    /// What it is called in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplacementCharacter => "replacement character",
            Self::ReadAsLatin1 => "UTF-8 read as Latin-1",
            Self::ReadAsGbk => "UTF-8 read as GBK",
            Self::UnwrittenMemory => "unwritten memory read as text",
            Self::ControlCharacter => "control character",
            Self::ZeroWidth => "zero-width character",
            Self::DirectionControl => "direction control",
            Self::PrivateUse => "private-use character",
            Self::HtmlTag => "HTML tag",
            Self::HtmlEntity => "HTML entity",
            Self::Placeholder => "unfilled placeholder",
        }
    }
}

/// All damage in `text`, in order and without overlaps.
#[must_use]
pub fn find_damage(text: &str) -> Vec<Damage> {
    let mut found = Vec::new();
    mojibake::find_latin1(text, &mut found);
    mojibake::find_gbk(text, &mut found);
    invisible::find_invisible(text, &mut found);
    markup::find_markup(text, &mut found);
    without_overlaps(&mut found, |damage| damage.range.clone());
    found
}

/// Adds a span, or makes the last one longer if it is of the same kind and ends
/// where this one begins.
fn extend(found: &mut Vec<Damage>, kind: DamageKind, range: Range<usize>) {
    match found.last_mut() {
        Some(last) if last.kind == kind && last.range.end == range.start => {
            last.range.end = range.end;
        }
        _ => found.push(Damage { kind, range }),
    }
}
