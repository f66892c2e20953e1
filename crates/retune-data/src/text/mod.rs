//! What can be told from a text alone: functions over strings, without files,
//! rows or rules.
//!
//! [`normal`] says when two texts are the same but for their looks, and
//! [`minhash`] when they are nearly the same. [`personal`], [`damage`] and
//! [`markers`] find spans that should not be learned from; each span is a byte
//! range on character boundaries. [`language`] tells script and language,
//! [`ngrams`] measures repetition.
//!
//! Every function takes time linear in the text (where it does not, it says
//! so) and panics on none.

pub mod damage;
pub mod language;
pub mod markers;
pub mod minhash;
pub mod ngrams;
pub mod normal;
pub mod personal;

use std::ops::Range;

/// Whether any byte of `text` is `wanted`. A block is looked at as a whole, so
/// that the compiler can do it in vectors.
fn any_byte(text: &str, wanted: impl Fn(u8) -> bool) -> bool {
    let mut blocks = text.as_bytes().chunks(64);
    blocks.any(|block| block.iter().fold(false, |any, &byte| any | wanted(byte)))
}

/// Sorts spans by where they begin, and leaves out those inside or across an
/// earlier one; of two that begin together the longer one stays.
fn without_overlaps<T>(spans: &mut Vec<T>, range: impl Fn(&T) -> Range<usize>) {
    spans.sort_by_key(|span| (range(span).start, std::cmp::Reverse(range(span).end)));
    let mut end = 0;
    spans.retain(|span| {
        let apart = range(span).start >= end;
        if apart {
            end = range(span).end;
        }
        apart
    });
}
