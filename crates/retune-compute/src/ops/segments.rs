//! Packed sequences: which rows of a step belong together.

use std::ops::Range;

use crate::error::{Error, Result};

/// The boundaries of sequences that are packed end to end, without padding.
///
/// Segment `i` owns the rows `offsets[i]..offsets[i + 1]`; a segment may be
/// empty. With a shared prefix, segment 0 is the common beginning of all the
/// others: its rows are computed once, and every other segment continues it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    offsets: Vec<usize>,
    shared_prefix: bool,
}

/// Positions are `u32`.
const MAX_TOKENS: usize = u32::MAX as usize;

/// Consecutive rows of keys and values, and the position of the first one in
/// its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeySpan {
    pub(crate) row: usize,
    pub(crate) len: usize,
    pub(crate) position: usize,
}

/// The query rows of one sequence and the keys that they may attend to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) queries: Range<usize>,
    /// The position of the first query.
    pub(crate) position: usize,
    /// In the order of their positions.
    pub(crate) keys: Vec<KeySpan>,
}

impl Segments {
    /// Independent sequences.
    ///
    /// # Errors
    /// `InvalidOffsets` unless `offsets` begins with 0, never decreases and
    /// ends below 2³²; `InvalidArgument` unless it has at least two entries.
    pub fn new(offsets: &[usize]) -> Result<Self> {
        Self::checked("Segments::new", offsets, false)
    }

    /// Sequences that all begin with segment 0, whose rows stand only once.
    ///
    /// # Errors
    /// As for [`Segments::new`].
    pub fn with_shared_prefix(offsets: &[usize]) -> Result<Self> {
        Self::checked("Segments::with_shared_prefix", offsets, true)
    }

    /// One sequence of `tokens` rows.
    ///
    /// # Panics
    /// If `tokens` is not below 2³², more than any position can be.
    pub fn single(tokens: usize) -> Self {
        assert!(tokens <= MAX_TOKENS, "positions are numbers below 2³²");
        Self {
            offsets: vec![0, tokens],
            shared_prefix: false,
        }
    }

    fn checked(op: &'static str, offsets: &[usize], shared_prefix: bool) -> Result<Self> {
        let fault = |position: usize, expected: String| Error::InvalidOffsets {
            op,
            argument: "offsets",
            position,
            expected,
            found: offsets[position],
        };
        if offsets.len() < 2 {
            return Err(Error::InvalidArgument {
                op,
                argument: "offsets",
                expected: "at least two, the first 0 and the last T".into(),
                found: format!("{} of them", offsets.len()),
            });
        }
        if offsets[0] != 0 {
            return Err(fault(0, "0".into()));
        }
        if let Some(before) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
            let least = offsets[before];
            return Err(fault(
                before + 1,
                format!("at least {least}, the offset before it"),
            ));
        }
        let last = offsets.len() - 1;
        if offsets[last] > MAX_TOKENS {
            return Err(fault(last, format!("at most {MAX_TOKENS}")));
        }
        Ok(Self {
            offsets: offsets.to_vec(),
            shared_prefix,
        })
    }

    /// The number of rows, of all segments together.
    pub fn tokens(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The rows of each segment.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Whether segment 0 is the common beginning of all others.
    pub fn has_shared_prefix(&self) -> bool {
        self.shared_prefix
    }

    /// Each row's position in its sequence, a shared prefix counted.
    pub fn positions(&self) -> Vec<u32> {
        self.sequences()
            .into_iter()
            .flat_map(|s| (s.position..s.position + s.queries.len()).map(|p| p as u32))
            .collect()
    }

    pub(crate) fn sequences(&self) -> Vec<Sequence> {
        let prefix = if self.shared_prefix {
            self.offsets[1]
        } else {
            0
        };
        self.ranges()
            .enumerate()
            .map(|(index, queries)| {
                let position = if index == 0 { 0 } else { prefix };
                let own = KeySpan {
                    row: queries.start,
                    len: queries.len(),
                    position,
                };
                let shared = KeySpan {
                    row: 0,
                    len: position,
                    position: 0,
                };
                let keys = [shared, own]
                    .into_iter()
                    .filter(|span| span.len > 0)
                    .collect();
                Sequence {
                    queries,
                    position,
                    keys,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_continue_a_shared_prefix() {
        let plain = Segments::new(&[0, 3, 3, 5]).unwrap();
        assert_eq!(plain.positions(), [0, 1, 2, 0, 1]);
        let shared = Segments::with_shared_prefix(&[0, 3, 3, 5]).unwrap();
        assert_eq!(shared.positions(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn offsets_that_go_backwards_are_named() {
        let error = Segments::new(&[0, 4, 2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Segments::new: `offsets[2]` is 2, expected at least 4, the offset before it"
        );
        assert!(Segments::new(&[1, 4]).is_err());
        assert!(Segments::new(&[0]).is_err());
        assert!(Segments::new(&[]).is_err());
    }
}
