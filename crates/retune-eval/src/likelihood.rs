//! How likely a model finds what the data says.

use retune_data::{LabelOptions, Labelled, label, pack};
use retune_generate::Assistant;
use retune_model::Batch;

use crate::error::{Error, Result};
use crate::held_out::HeldOutRow;
use crate::metrics::statistics::Statistics;

/// Tokens that go through the model at a time.
const BATCH_TOKENS: usize = 1024;
/// Rows that share batches, and with that what they begin with.
const ROWS: usize = 64;
/// Tokens of a piece of a text without turns, if the model takes as many.
const PIECE: usize = 1024;

/// What a model makes of the scored tokens of rows.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Likelihood {
    /// The sum of their cross-entropies, in nats.
    pub loss: f64,
    /// How many they are.
    pub tokens: u64,
    /// How many of them had the largest logit.
    pub correct: u64,
    /// Bytes of the text that they stand for, which no tokenizer changes.
    pub bytes: u64,
}

impl Statistics for Likelihood {
    fn add(&mut self, row: &Self, times: u32) {
        self.loss += row.loss * f64::from(times);
        self.tokens += row.tokens * u64::from(times);
        self.correct += row.correct * u64::from(times);
        self.bytes += row.bytes * u64::from(times);
    }
}

impl Likelihood {
    /// `exp` of the mean cross-entropy; none without tokens.
    pub fn perplexity(&self) -> Option<f64> {
        (self.tokens > 0).then(|| (self.loss / self.tokens as f64).exp())
    }

    /// The mean cross-entropy of a byte of text, in bits: what can be compared between
    /// tokenizers. None without text.
    pub fn bits_per_byte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.loss / std::f64::consts::LN_2 / self.bytes as f64)
    }

    /// The share of tokens that had the largest logit; none without tokens.
    pub fn token_accuracy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.correct as f64 / self.tokens as f64)
    }
}

/// That of each of `rows` under `assistant`, asked as it was trained to be: the answers'
/// tokens are scored, of a text without turns all. None for a conversation of more
/// tokens than the model takes; a longer text is cut into pieces. `on_rows` is told how
/// many rows are done.
///
/// # Errors
/// `Row` for a row that cannot be encoded; `NotFinite`, `Model`.
pub fn likelihood(
    assistant: &Assistant,
    rows: &[HeldOutRow],
    on_rows: &mut dyn FnMut(usize),
) -> Result<Vec<Option<Likelihood>>> {
    let options = LabelOptions {
        system: assistant.source.system.clone(),
        ..LabelOptions::default()
    };
    let context = assistant.model.config().max_position_embeddings;
    let mut all = Vec::with_capacity(rows.len());
    for rows in rows.chunks(ROWS) {
        let mut pieces = Vec::new();
        let mut fits = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let whole = label(&assistant.tokenizer, &row.content, &options);
            let whole = whole.map_err(|problem| row.error(problem))?;
            let is_text = row.prompt.is_none();
            fits.push(is_text || whole.input_ids.len() <= context);
            if is_text {
                let cut = cut(&whole, PIECE.min(context));
                pieces.extend(cut.map(|piece| (index, piece)));
            } else if fits[index] {
                pieces.push((index, whole));
            }
        }
        let mut found = vec![Likelihood::default(); rows.len()];
        for (index, piece) in &pieces {
            let scored = piece.input_ids.iter().zip(&piece.scored);
            let scored = scored.filter_map(|(id, scored)| scored.then_some(*id));
            let text = assistant
                .tokenizer
                .decode_text(&scored.collect::<Vec<u32>>());
            found[*index].bytes += text.len() as u64;
        }
        score(assistant, &pieces, &mut found)?;
        let found = found.into_iter().zip(fits);
        all.extend(found.map(|(found, fits)| fits.then_some(found)));
        on_rows(all.len());
    }
    Ok(all)
}

/// Pieces of at most `tokens` tokens, of which the first predicts but is not predicted.
fn cut(whole: &Labelled, tokens: usize) -> impl Iterator<Item = Labelled> {
    let ids = whole.input_ids.chunks(tokens.max(2));
    ids.zip(whole.scored.chunks(tokens.max(2)))
        .map(|(ids, scored)| {
            let mut scored = scored.to_vec();
            scored[0] = false;
            Labelled {
                input_ids: ids.to_vec(),
                scored,
            }
        })
}

/// Adds what each piece gives to the row that it belongs to.
fn score(
    assistant: &Assistant,
    pieces: &[(usize, Labelled)],
    rows: &mut [Likelihood],
) -> Result<()> {
    let samples: Vec<Labelled> = pieces.iter().map(|(_, piece)| piece.clone()).collect();
    for packed in pack(&samples, BATCH_TOKENS) {
        // Which row of the data each scored row of the batch belongs to.
        let owner = |row: u32| {
            let behind = packed
                .offsets
                .partition_point(|start| *start <= row as usize);
            let segment = behind - 1 - usize::from(packed.shared_prefix);
            pieces[packed.samples[segment]].0
        };
        let owners: Vec<usize> = packed.rows.iter().map(|row| owner(*row)).collect();
        let segments = (&packed.offsets[..], packed.shared_prefix);
        let scored = (packed.rows, packed.targets);
        let batch = Batch::scoring(packed.input_ids, segments, scored)?;
        let found = assistant.model.loss(&batch, assistant.adapter.as_ref())?;
        let losses = found.losses.to_f32_vec();
        if losses.iter().any(|loss| !loss.is_finite()) {
            return Err(Error::NotFinite);
        }
        let outcome = losses.into_iter();
        let outcome = outcome.zip(found.correct.to_f32_vec());
        for ((loss, correct), owner) in outcome.zip(owners) {
            rows[owner].add(
                &Likelihood {
                    loss: f64::from(loss),
                    tokens: 1,
                    correct: u64::from(correct > 0.5),
                    bytes: 0,
                },
                1,
            );
        }
    }
    Ok(())
}
