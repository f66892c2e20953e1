//! UTF-8 that was read in another encoding.
//!
//! Both finders turn characters back into the bytes from which they were
//! read, and look whether these bytes are UTF-8. That ordinary text comes out
//! as UTF-8 by chance is rare, and what still does is told apart by what it
//! would have to mean.

use std::sync::LazyLock;

use encoding_rs::GBK;

use super::{Damage, DamageKind};
use crate::text::any_byte;
use crate::text::language::is_common_han;

/// Characters among letters that must be UTF-8 when turned back into GBK,
/// counted in the garbled text.
const GBK_RUN: usize = 5;

/// Characters of a run that decide whether it is garbled.
const GBK_SAMPLE: usize = 16;

/// The bytes that Windows-1252 reads as curly quotes, ellipsis, guillemets,
/// dashes and no-break space. They stand behind letters in good texts.
const PUNCTUATION: &[u8] = &[
    0x85, 0x8b, 0x91, 0x92, 0x93, 0x94, 0x96, 0x97, 0x9b, 0xa0, 0xab, 0xb7, 0xbb,
];

/// Finds UTF-8 that was read as Latin-1 or Windows-1252.
pub(super) fn find_latin1(text: &str, found: &mut Vec<Damage>) {
    // What leads read as is U+00C2 to U+00F4, which have C3 as their first
    // byte in UTF-8.
    if !any_byte(text, |byte| byte == 0xc3) {
        return;
    }
    let mut at = 0;
    let mut before = ' ';
    while let Some(c) = text[at..].chars().next() {
        let run = if (0xc2..=0xf4).contains(&u32::from(c)) {
            Run::at(&text[at..])
        } else {
            Run::default()
        };
        if run.is_garbled(before) {
            found.push(Damage {
                kind: DamageKind::ReadAsLatin1,
                range: at..at + run.len,
            });
        }
        let end = at + run.len.max(c.len_utf8());
        before = text[at..end].chars().next_back().unwrap_or(c);
        at = end;
    }
}

/// Sequences of UTF-8, one behind the other, as they look in Windows-1252.
#[derive(Default)]
struct Run {
    /// Bytes in the garbled text.
    len: usize,
    sequences: Vec<Vec<u8>>,
}

impl Run {
    fn at(text: &str) -> Self {
        let mut run = Self::default();
        while let Some((sequence, len)) = sequence(&text[run.len..]) {
            run.len += len;
            run.sequences.push(sequence);
        }
        run
    }

    /// Whether the run is garbled text rather than letters and punctuation of a
    /// European language.
    fn is_garbled(&self, before: char) -> bool {
        let punctuation = |s: &Vec<u8>| s[1..].iter().all(|b| PUNCTUATION.contains(b));
        match self.sequences.as_slice() {
            [] => false,
            // `É»` ends a French quotation, `Â°` is a degree sign.
            [one] if one.len() == 2 => {
                one[0] <= 0xc3
                    && !before.is_uppercase()
                    && (!punctuation(one) || !before.is_alphabetic())
            }
            all => !all.iter().all(punctuation),
        }
    }
}

/// One sequence of two to four bytes at the beginning of `text`, and how many
/// bytes of `text` it takes. A no-break space often has become a space; inside a
/// sequence of three it is taken for one.
fn sequence(text: &str) -> Option<(Vec<u8>, usize)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    let lead = windows_1252(first)?;
    let needed = match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let mut bytes = vec![lead];
    let mut len = first.len_utf8();
    for c in chars.take(needed - 1) {
        bytes.push(match c {
            ' ' if needed == 3 => 0xa0,
            _ => windows_1252(c)?,
        });
        len += c.len_utf8();
    }
    std::str::from_utf8(&bytes).ok()?;
    (bytes.len() == needed).then_some((bytes, len))
}

/// The byte that Windows-1252, or Latin-1 where it has none, reads as `c`.
fn windows_1252(c: char) -> Option<u8> {
    const UPPER: &str = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ";
    const BYTES: &[u8] = b"\x80\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8e\
                           \x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9e\x9f";
    match u32::from(c) {
        code @ 0x80..=0xff => u8::try_from(code).ok(),
        _ => {
            let place = UPPER.chars().position(|upper| upper == c)?;
            BYTES.get(place).copied()
        }
    }
}

/// The two bytes of each character of the basic plane in GBK, 0 where it has
/// none. `encoding_rs` searches its tables for each character, which is too
/// slow for whole files.
static GBK_BYTES: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut table = vec![0; 0x1_0000];
    for lead in 0x81..=0xfeu8 {
        for trail in (0x40..=0xfe).filter(|trail| *trail != 0x7f) {
            let bytes = [lead, trail];
            let (text, _) = GBK.decode_without_bom_handling(&bytes);
            let mut chars = text.chars();
            if let (Some(c @ '\u{80}'..='\u{fffc}'), None) = (chars.next(), chars.next()) {
                table[c as usize] = u16::from_be_bytes(bytes);
            }
        }
    }
    table
});

fn gbk_bytes(c: char) -> u16 {
    GBK_BYTES.get(c as usize).copied().unwrap_or(0)
}

/// Finds UTF-8 that was read as GBK, and what else GBK makes of memory.
pub(super) fn find_gbk(text: &str, found: &mut Vec<Damage>) {
    // Han characters have a first byte of E3 or more.
    if !any_byte(text, |byte| byte >= 0xe3) {
        return;
    }
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let start = text.len() - rest.len();
        let (kind, len) = if c.is_ascii() {
            (DamageKind::ReadAsGbk, 0)
        } else if matches!(c, '烫' | '屯') {
            (DamageKind::UnwrittenMemory, repeated(rest, c))
        } else if rest.starts_with("锟斤拷") {
            (DamageKind::ReadAsGbk, "锟斤拷".len())
        } else {
            (DamageKind::ReadAsGbk, garbled_gbk(rest, before))
        };
        if len > 0 {
            super::extend(found, kind, start..start + len);
        }
        // What follows a garbled run is judged as if it stood alone.
        before = if len > 0 { ' ' } else { c };
        rest = &rest[len.max(c.len_utf8())..];
    }
}

/// The bytes of a run of three `c` or more, else 0.
fn repeated(text: &str, c: char) -> usize {
    let count = text.chars().take_while(|other| *other == c).count();
    if count >= 3 { count * c.len_utf8() } else { 0 }
}

/// The bytes at the beginning of `text` that are UTF-8 when turned back to
/// GBK, if they are garbled, else 0. `before` is the character in front.
///
/// A run is garbled if one character in four is outside of GB 2312 (where
/// continuation bytes of UTF-8 below A1 lead, which is half of them), and if it
/// means common characters. Between two characters that are no letters three
/// are enough, else [`GBK_RUN`] are needed. The first [`GBK_SAMPLE`] decide, so
/// that none is looked at again and again.
fn garbled_gbk(text: &str, before: char) -> usize {
    let mut needed = 0;
    let (mut chars, mut rare) = (0, 0);
    let mut len = 0;
    let mut sample = Vec::new();
    let mut behind = ' ';
    for c in text.chars() {
        let bytes = gbk_bytes(c).to_be_bytes();
        if !bytes.iter().all(|byte| continues(&mut needed, *byte)) {
            behind = c;
            break;
        }
        if chars < GBK_SAMPLE {
            sample.extend(bytes);
            rare += usize::from(bytes[0] < 0xa1 || bytes[1] < 0xa1);
        }
        chars += 1;
        len += c.len_utf8();
        if chars == GBK_SAMPLE && (rare * 4 < chars || !means_common(&sample)) {
            return 0;
        }
    }
    let apart = !before.is_alphabetic() && !behind.is_alphabetic();
    let needed = if apart { 3 } else { GBK_RUN };
    let garbled = chars >= needed && rare * 4 >= chars.min(GBK_SAMPLE) && means_common(&sample);
    if garbled { len } else { 0 }
}

/// Whether the characters that `bytes` are in UTF-8 are common Han, kana or
/// punctuation. The last one may have been cut off.
fn means_common(bytes: &[u8]) -> bool {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    };
    let common =
        |c| matches!(c, '\u{2000}'..='\u{30ff}' | '\u{ff00}'..='\u{ffef}') || is_common_han(c);
    whole.chars().all(common) && whole.len() + 3 > bytes.len()
}

/// Whether `byte` goes on with UTF-8 of three-byte sequences, as Chinese text
/// and its punctuation have them; `needed` continuation bytes are to come.
fn continues(needed: &mut u8, byte: u8) -> bool {
    match (*needed, byte) {
        (0, 0xe2..=0xe9 | 0xef) => *needed = 2,
        (1 | 2, 0x80..=0xbf) => *needed -= 1,
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_go_back_to_the_bytes_of_windows_1252() {
        for byte in 0x80..=0xffu8 {
            let bytes = [byte];
            let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes);
            assert_eq!(windows_1252(text.chars().next().unwrap()), Some(byte));
        }
        assert_eq!(windows_1252('中'), None);
    }

    #[test]
    fn characters_go_back_to_the_bytes_of_gbk() {
        for (c, bytes) in [
            ('你', 0xc4e3),
            ('好', 0xbac3),
            ('犲', 0xa0e5),
            ('a', 0),
            ('😀', 0),
        ] {
            assert_eq!(gbk_bytes(c), bytes, "{c}");
        }
    }
}
