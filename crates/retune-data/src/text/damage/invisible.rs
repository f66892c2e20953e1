//! Characters that no one sees.

use super::{Damage, DamageKind, extend};

/// Replacement characters, controls, zero-width and private-use characters.
pub(super) fn find_invisible(text: &str, found: &mut Vec<Damage>) {
    let mut before = '\n';
    let mut chars = text.char_indices().peekable();
    let mut right_to_left = None;
    while let Some((at, c)) = chars.next() {
        let behind = chars.peek().map_or('\n', |(_, c)| *c);
        let kind = kind_of(c).filter(|kind| match kind {
            DamageKind::ZeroWidth => !has_work(c, before, behind),
            DamageKind::DirectionControl => {
                !*right_to_left.get_or_insert_with(|| text.chars().any(is_right_to_left))
            }
            _ => true,
        });
        if let Some(kind) = kind {
            extend(found, kind, at..at + c.len_utf8());
        }
        // The tags of a flag all stand behind its flag.
        if kind.is_some() || !is_tag(c) {
            before = c;
        }
    }
}

fn kind_of(c: char) -> Option<DamageKind> {
    // Nearly all characters leave here.
    if matches!(c, ' '..='~' | '\n' | '\u{2100}'..='\u{d7ff}' | '\u{ff00}'..='\u{fff0}') {
        return None;
    }
    Some(match c {
        '\t' | '\r' => return None,
        '\u{fffd}' => DamageKind::ReplacementCharacter,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => DamageKind::ControlCharacter,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            DamageKind::DirectionControl
        }
        '\u{ad}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2064}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => DamageKind::ZeroWidth,
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10fffd}' => DamageKind::PrivateUse,
        _ => return None,
    })
}

/// Whether a zero-width character does what it is for: joiners hold emoji
/// together and shape the letters of Persian and Indic scripts, tags make the
/// flags of regions.
fn has_work(c: char, before: char, behind: char) -> bool {
    let is_emoji =
        |c| matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{2bff}' | '\u{fe0f}');
    let is_shaped =
        |c| matches!(c, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{1000}'..='\u{109f}');
    match c {
        '\u{200d}' => is_emoji(before) && is_emoji(behind) || is_shaped(before),
        '\u{200c}' => is_shaped(before),
        _ if is_tag(c) => before == '\u{1f3f4}',
        _ => false,
    }
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007f}')
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}
