//! Simplified and traditional Chinese.

use std::sync::LazyLock;

use encoding_rs::{BIG5, Encoding, GBK};

use super::LOOKED_AT;

/// How a Chinese text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chinese {
    /// With characters that only simplified Chinese has.
    Simplified,
    /// With characters that only traditional Chinese has.
    Traditional,
    /// With both, neither nine times as often as the other.
    Both,
    /// With characters that are the same in either.
    Either,
}

impl Chinese {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Simplified => "zh-Hans",
            Self::Traditional => "zh-Hant",
            Self::Both | Self::Either => "zh",
        }
    }
}

/// How the Chinese characters of `text` are written, of which the first few
/// thousand are looked at.
///
/// A character is simplified if GB 2312 (mainland, 1980) has it and Big5
/// (Taiwan, 1984) has not, or has it only among its rare ones while it is
/// frequent in GB 2312; it is traditional if it is frequent in Big5 and not in
/// GB 2312. Both are lists of what was in use, and hold thousands of pairs.
#[must_use]
pub fn chinese_of(text: &str) -> Chinese {
    let (mut simplified, mut traditional) = (0usize, 0usize);
    for c in text.chars().take(LOOKED_AT) {
        if let Some(place) = (c as usize).checked_sub(FIRST_HAN)
            && let Some(sets) = HAN_SETS.get(place)
        {
            simplified += usize::from(SIMPLIFIED.contains(sets));
            traditional += usize::from(*sets == BIG5_FREQUENT);
        }
    }
    match (simplified, traditional) {
        (0, 0) => Chinese::Either,
        (s, t) if s >= 9 * t => Chinese::Simplified,
        (s, t) if t >= 9 * s => Chinese::Traditional,
        _ => Chinese::Both,
    }
}

const FIRST_HAN: usize = 0x4e00;
const LAST_HAN: usize = 0x9fff;

/// The first and the second level of GB 2312 and of Big5: frequent and less
/// frequent characters. The second level of Big5 has characters as rare as those
/// that a mainland text may have beyond GB 2312, in names.
const GB_FREQUENT: u8 = 1;
const GB_RARE: u8 = 2;
const BIG5_FREQUENT: u8 = 4;
const BIG5_RARE: u8 = 8;

/// What makes a character simplified.
const SIMPLIFIED: [u8; 3] = [GB_FREQUENT, GB_RARE, GB_FREQUENT | BIG5_RARE];

/// Whether `c` is a Han character that was in use enough to be in GB 2312 or in
/// the first level of Big5: about 8,800 of the 20,900 that Unicode began with.
pub(in crate::text) fn is_common_han(c: char) -> bool {
    let place = (c as usize).checked_sub(FIRST_HAN);
    let sets = place.and_then(|place| HAN_SETS.get(place));
    sets.is_some_and(|sets| sets & (GB_FREQUENT | GB_RARE | BIG5_FREQUENT) != 0)
}

/// The sets that each character from [`FIRST_HAN`] on belongs to.
static HAN_SETS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut sets = vec![0; LAST_HAN - FIRST_HAN + 1];
    let mut mark = |encoding: &'static Encoding, bytes: [u8; 2], set: u8| {
        let (text, _) = encoding.decode_without_bom_handling(&bytes);
        let mut chars = text.chars();
        if let (Some(c), None) = (chars.next(), chars.next())
            && (FIRST_HAN..=LAST_HAN).contains(&(c as usize))
        {
            sets[c as usize - FIRST_HAN] |= set;
        }
    };
    for lead in 0xb0..=0xf7 {
        for trail in 0xa1..=0xfe {
            mark(
                GBK,
                [lead, trail],
                if lead <= 0xd7 { GB_FREQUENT } else { GB_RARE },
            );
        }
    }
    for lead in 0xa4..=0xf9u8 {
        for trail in (0x40..=0x7e).chain(0xa1..=0xfe) {
            // Beyond the two levels `encoding_rs` has Hong Kong's additions.
            match u16::from_be_bytes([lead, trail]) {
                0xa440..=0xc67e => mark(BIG5, [lead, trail], BIG5_FREQUENT),
                0xc940..=0xf9d5 => mark(BIG5, [lead, trail], BIG5_RARE),
                _ => {}
            }
        }
    }
    sets
});
