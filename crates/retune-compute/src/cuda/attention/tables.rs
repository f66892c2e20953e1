//! The tables that the kernels read, which say who works on what.

use super::Problem;
use crate::cuda::Cuda;
use crate::ops::{KeySpan, Sequence};

/// Packed rows of a sequence. Where keys are split, also one chunk of them and
/// the place of the partial results; for merging, how many chunks there are
/// and the place of the first.
#[derive(Clone, Copy)]
pub(super) struct RowTile {
    pub(super) sequence: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) chunk: usize,
    pub(super) partial: usize,
}

impl RowTile {
    pub(super) fn words(&self) -> [u32; 4] {
        [self.sequence, self.first, self.chunk, self.partial].map(|number| number as u32)
    }
}

/// Keys, which of the readers read them, and where the sums go if they are a
/// part of those keys' sums.
pub(super) struct ReadTile {
    pub(super) keys: KeySpan,
    pub(super) reader: usize,
    pub(super) end: usize,
    pub(super) partial: Option<usize>,
}

impl ReadTile {
    pub(super) fn words(&self) -> [u32; 6] {
        let KeySpan { row, len, position } = self.keys;
        let [row, len, position, reader, end] =
            [row, len, position, self.reader, self.end].map(|number| number as u32);
        let partial = self.partial.map_or(u32::MAX, |partial| partial as u32);
        [row, len, position, reader, end, partial]
    }
}

/// Keys whose sums are in parts.
pub(super) struct PartTile {
    pub(super) keys: KeySpan,
    pub(super) first: usize,
    pub(super) parts: usize,
}

impl PartTile {
    pub(super) fn words(&self) -> [u32; 4] {
        let KeySpan { row, len, .. } = self.keys;
        [row, len, self.first, self.parts].map(|number| number as u32)
    }
}

/// The tiles of keys, and who reads them.
pub(super) struct KeyTiles {
    pub(super) readers: Vec<u32>,
    pub(super) tiles: Vec<ReadTile>,
    pub(super) parts: Vec<PartTile>,
    /// Rows of parts of sums.
    pub(super) partial_rows: usize,
}

impl KeyTiles {
    /// Those of `spans` with their readers, of which a tile has some with about
    /// `most` packed rows: all sequences may read one beginning.
    pub(super) fn new(
        problem: &Problem<'_>,
        spans: &[(KeySpan, Vec<u32>)],
        sequences: &[Sequence],
        most: usize,
    ) -> Self {
        let mut all = Self {
            readers: Vec::new(),
            tiles: Vec::new(),
            parts: Vec::new(),
            partial_rows: 0,
        };
        for (span, own) in spans {
            let mut ends = Vec::new();
            let (first, mut rows) = (all.readers.len(), 0);
            for &reader in own {
                all.readers.push(reader);
                rows += sequences[reader as usize].queries.len() * problem.group;
                if rows >= most {
                    ends.push(all.readers.len());
                    rows = 0;
                }
            }
            if rows > 0 {
                ends.push(all.readers.len());
            }
            for start in (0..span.len).step_by(problem.held()) {
                let keys = KeySpan {
                    row: span.row + start,
                    len: problem.held().min(span.len - start),
                    position: span.position + start,
                };
                let mut reader = first;
                let first_part = all.partial_rows;
                for &end in &ends {
                    let in_parts = ends.len() > 1;
                    all.tiles.push(ReadTile {
                        keys,
                        reader,
                        end,
                        partial: in_parts.then_some(all.partial_rows),
                    });
                    reader = end;
                    all.partial_rows += if in_parts { keys.len } else { 0 };
                }
                if ends.len() > 1 {
                    all.parts.push(PartTile {
                        keys,
                        first: first_part,
                        parts: ends.len(),
                    });
                }
            }
        }
        all
    }

    /// Bytes of the parts, of keys and of values.
    pub(super) fn bytes(&self, problem: &Problem<'_>) -> usize {
        2 * self.partial_rows * problem.kv_heads * problem.dim * size_of::<f32>()
    }
}

/// The tables that a call's kernels read: sequences, spans of keys, and what
/// is added.
pub(super) struct Plan {
    pub(super) words: Vec<u32>,
    pub(super) spans: usize,
}

impl Plan {
    pub(super) fn new(sequences: &[Sequence]) -> Self {
        let mut words = Vec::new();
        let mut spans = 0;
        for Sequence {
            queries,
            position,
            keys,
        } in sequences
        {
            let sequence = [queries.start, queries.len(), *position, spans, keys.len()];
            words.extend(sequence.map(|number| number as u32));
            spans += keys.len();
        }
        let first_span = words.len();
        for &KeySpan { row, len, position } in sequences.iter().flat_map(|s| &s.keys) {
            words.extend([row, len, position].map(|number| number as u32));
        }
        Self {
            words,
            spans: first_span,
        }
    }

    /// Appends a table and says where it starts.
    pub(super) fn add(&mut self, table: impl IntoIterator<Item = u32>) -> usize {
        let start = self.words.len();
        self.words.extend(table);
        start
    }

    pub(super) fn upload(&self, cuda: &Cuda) -> Uploaded {
        Uploaded {
            start: cuda.upload(&self.words),
            spans: self.spans,
        }
    }
}

/// A plan on the device.
pub(super) struct Uploaded {
    pub(super) start: u64,
    pub(super) spans: usize,
}

impl Uploaded {
    pub(super) fn sequences(&self) -> u64 {
        self.start
    }

    pub(super) fn spans(&self) -> u64 {
        self.words(self.spans)
    }

    pub(super) fn words(&self, first: usize) -> u64 {
        self.start + (first * size_of::<u32>()) as u64
    }
}
