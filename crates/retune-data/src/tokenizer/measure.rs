//! What a vocabulary makes of texts.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use super::Tokenizer;
use super::train::texts_of;
use crate::dataset::{DataOptions, Samples};
use crate::error::Result;

/// What texts have become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TokenCounts {
    /// Characters of all texts.
    pub characters: u64,
    /// Bytes of all texts, in UTF-8.
    pub bytes: u64,
    /// Their tokens.
    pub tokens: u64,
}

impl Tokenizer {
    /// Counts the tokens of all texts of `paths`. Rows that cannot be used are
    /// left out. `progress` is told how many rows were read.
    ///
    /// # Errors
    /// `File` if a path does not exist; `Encoding`.
    pub fn count_files(
        &self,
        paths: &[PathBuf],
        data: &DataOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<TokenCounts> {
        let mut samples = Samples::open(paths, data.clone())?;
        let (mut counts, mut rows) = (TokenCounts::default(), 0);
        loop {
            let batch = samples.batch();
            if batch.is_empty() {
                return Ok(counts);
            }
            rows += batch.len() as u64;
            let usable = batch.into_par_iter().filter_map(|(_, sample)| sample.ok());
            let counted: Vec<TokenCounts> = usable
                .map(|sample| {
                    let mut counts = TokenCounts::default();
                    for text in texts_of(&sample) {
                        counts.characters += text.chars().count() as u64;
                        counts.bytes += text.len() as u64;
                        counts.tokens += self.count(text)? as u64;
                    }
                    Ok(counts)
                })
                .collect::<Result<_>>()?;
            for part in counted {
                counts.characters += part.characters;
                counts.bytes += part.bytes;
                counts.tokens += part.tokens;
            }
            progress(rows);
        }
    }

    /// The texts of the tokens with the most characters, special ones apart, the
    /// longest first; among those of one length, in the order of their ids.
    pub fn longest_tokens(&self, count: usize) -> Vec<String> {
        let texts = (0..self.vocab_size() as u32).map(|id| self.decode(&[id]));
        // Pieces of characters are no texts.
        let whole = texts.filter(|text| {
            !text.contains('\u{fffd}') && !self.added.iter().any(|token| token == text)
        });
        let mut texts: Vec<(usize, String)> =
            whole.map(|text| (text.chars().count(), text)).collect();
        texts.sort_by_key(|(characters, _)| std::cmp::Reverse(*characters));
        texts
            .into_iter()
            .take(count)
            .map(|(_, text)| text)
            .collect()
    }
}
