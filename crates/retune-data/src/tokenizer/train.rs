//! A byte-level BPE tokenizer learned from data files, laid out as Qwen2.5's.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, NormalizedString, Normalizer as _, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior, Trainer as _,
};

use super::layout::{TEMPLATE_TOKENS, write_folder};
use crate::contained::contained;
use crate::dataset::{DataOptions, Samples};
use crate::error::{Error, Result};
use crate::prepare::BadRows;
use crate::sample::{Content, Sample};

/// Where Qwen2.5 parts words, numbers, signs and white space: no token spans two
/// of them.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Every byte is a token, so that every text has tokens.
const BYTES: usize = 256;
/// The trainer counts pairs in 31 bits.
const MAX_BYTES: usize = i32::MAX as usize;
/// Texts that are read ahead of those that are counted.
const AHEAD: usize = 1024;

/// How a tokenizer is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// Tokens in all, special ones too.
    pub vocab_size: usize,
    /// How often two neighbours have to occur to become a token.
    pub min_frequency: u64,
    /// The most bytes that a token may have.
    pub max_token_length: Option<usize>,
    /// Special tokens beside those of the chat template.
    pub special_tokens: Vec<String>,
}

/// How far a tokenizer has been learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerProgress {
    /// Rows read so far.
    Reading(u64),
    /// All is read; tokens are made of their neighbours.
    Merging,
}

/// A tokenizer that was learned.
#[derive(Debug)]
pub struct NewTokenizer {
    tokenizer: tokenizers::Tokenizer,
    special: Vec<String>,
    /// Rows read.
    pub rows: u64,
    /// Rows that could not be used, and why.
    pub unusable: Vec<String>,
}

/// Learns a tokenizer from all texts of `paths`. The same texts give the same
/// tokenizer, in any order and on any number of threads.
///
/// # Errors
/// `Argument` with all settings that make no sense; those of reading, the first
/// one, unless bad rows are skipped; `TooMuch`; `NoText`.
pub fn train_tokenizer(
    paths: &[PathBuf],
    data: &DataOptions,
    bad_rows: BadRows,
    options: &TokenizerOptions,
    progress: &mut dyn FnMut(TokenizerProgress),
) -> Result<NewTokenizer> {
    let special = checked(options)?;
    let words = Words::new()?;
    let mut trainer = trainer(options, special.len());
    let samples = Samples::open(paths, data.clone())?;
    let (sender, receiver) = sync_channel(AHEAD);
    let (read, counted) = std::thread::scope(|scope| {
        // The reader is not for other threads, so the counting is on one.
        let counting = scope.spawn(|| count(&mut trainer, receiver, &words));
        let read = read(samples, sender, bad_rows, progress);
        (read, counting.join())
    });
    let counted = counted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // What went wrong with the counting ended the reading.
    counted?;
    let (rows, unusable) = read?;
    if trainer.get_word_count() == 0 {
        return Err(Error::NoText { rows });
    }
    progress(TokenizerProgress::Merging);
    let mut model = BPE::default();
    contained(|| trainer.train(&mut model))
        .unwrap_or_else(|panic| Err(panic.into()))
        .map_err(|error| untrainable(&error))?;
    Ok(NewTokenizer {
        tokenizer: assembled(model, words, &special).map_err(|error| untrainable(&error))?,
        special,
        rows,
        unusable,
    })
}

impl NewTokenizer {
    /// Tokens in all, special ones too.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, with a chat template,
    /// into `folder`, which is there. Each is there whole or not at all.
    ///
    /// # Errors
    /// `File` if they cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let json = self.tokenizer.to_string(true);
        let json = json.map_err(|error| untrainable(&error))?;
        let ids = self.special.iter();
        let ids = ids.filter_map(|token| Some((self.tokenizer.token_to_id(token)?, &**token)));
        write_folder(folder, &json, &ids.collect::<Vec<_>>())
    }
}

/// All special tokens, if the settings make sense.
fn checked(options: &TokenizerOptions) -> Result<Vec<String>> {
    let mut special: Vec<String> = TEMPLATE_TOKENS.map(str::to_owned).to_vec();
    let words = Words::new()?;
    let mut problems = Vec::new();
    for token in &options.special_tokens {
        if special.contains(token) {
            problems.push(format!("the special token {token:?} is named twice"));
            continue;
        }
        // One that is a single word could come out of the texts as well.
        if words.of(token).map_err(|error| untrainable(&error))?.len() < 2 {
            problems.push(format!(
                "the special token {token:?} could be a word of a text\nhint: write it with marks around it, such as <|name|>"
            ));
        }
        special.push(token.clone());
    }
    let least = BYTES + special.len();
    if options.vocab_size < least || options.vocab_size > MAX_BYTES {
        problems.push(format!(
            "expected a vocabulary of {least} tokens or more ({BYTES} bytes and {} special tokens), found {}",
            special.len(),
            options.vocab_size
        ));
    }
    if let Some(length @ 0..2) = options.max_token_length {
        problems.push(format!(
            "expected a longest token of 2 bytes or more, found {length}"
        ));
    }
    if problems.is_empty() {
        return Ok(special);
    }
    Err(Error::Argument {
        problem: problems.join("\n"),
    })
}

fn trainer(options: &TokenizerOptions, special: usize) -> BpeTrainer {
    let alphabet: HashSet<char> = ByteLevel::alphabet().into_iter().collect();
    BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocab_size - special)
        .min_frequency(options.min_frequency)
        // The trainer's limit is the first length that is too long.
        .max_token_length(
            options
                .max_token_length
                .map(|length| length.saturating_add(1)),
        )
        .initial_alphabet(alphabet)
        .build()
}

/// Sends the texts of all samples. Returned are the rows read, and those that
/// could not be.
fn read(
    samples: Samples,
    texts: SyncSender<String>,
    bad_rows: BadRows,
    progress: &mut dyn FnMut(TokenizerProgress),
) -> Result<(u64, Vec<String>)> {
    let (mut rows, mut bytes, mut unusable) = (0, 0, Vec::new());
    for sample in samples {
        rows += 1;
        match sample {
            Ok(sample) => {
                for text in texts_of(&sample) {
                    bytes += text.len();
                    if bytes > MAX_BYTES {
                        return Err(Error::TooMuch {
                            what: "bytes of text for a tokenizer, which a part would do for",
                            limit: MAX_BYTES,
                        });
                    }
                    if texts.send(text.to_owned()).is_err() {
                        // The counting has ended, and says why.
                        return Ok((rows, unusable));
                    }
                }
            }
            Err(error) if bad_rows == BadRows::Stop => return Err(error),
            Err(error) => unusable.push(error.to_string()),
        }
        if rows % 256 == 0 {
            progress(TokenizerProgress::Reading(rows));
        }
    }
    Ok((rows, unusable))
}

/// Every text that a model may be given or learn.
pub(super) fn texts_of(sample: &Sample) -> Vec<&str> {
    let texts = sample.content.texts().into_iter().map(|(_, text)| text);
    let label = match &sample.content {
        Content::Classification { label, .. } => Some(label.as_str()),
        _ => None,
    };
    texts.chain(label).filter(|text| !text.is_empty()).collect()
}

fn count(trainer: &mut BpeTrainer, texts: Receiver<String>, words: &Words) -> Result<()> {
    trainer
        .feed(texts.into_iter(), |text| {
            contained(|| words.of(text)).unwrap_or_else(|panic| Err(panic.into()))
        })
        .map_err(|error| untrainable(&error))
}

/// How a text falls into words.
struct Words(Sequence);

impl Words {
    fn new() -> Result<Self> {
        let pattern = SplitPattern::Regex(PATTERN.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        let split = split.map_err(|error| untrainable(&error))?;
        Ok(Self(Sequence::new(vec![
            PreTokenizerWrapper::Split(split),
            PreTokenizerWrapper::ByteLevel(bytes()),
        ])))
    }

    /// The words of a text, a character for each byte.
    fn of(&self, text: &str) -> tokenizers::Result<Vec<String>> {
        let mut normalized = NormalizedString::from(text);
        NFC.normalize(&mut normalized)?;
        let mut words = PreTokenizedString::from(normalized);
        self.0.pre_tokenize(&mut words)?;
        let splits = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(splits
            .into_iter()
            .map(|(word, ..)| word.to_owned())
            .collect())
    }
}

/// Bytes as characters, without any further splitting.
fn bytes() -> ByteLevel {
    ByteLevel::new(false, false, false)
}

fn assembled(
    model: BPE,
    words: Words,
    special: &[String],
) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(Some(NFC))?;
    tokenizer.with_pre_tokenizer(Some(words.0));
    tokenizer.with_post_processor(Some(bytes()));
    tokenizer.with_decoder(Some(bytes()));
    let tokens = special
        .iter()
        .map(|token| AddedToken::from(token.clone(), true));
    tokenizer.add_special_tokens(tokens.collect::<Vec<_>>())?;
    Ok(tokenizer)
}

fn untrainable(error: &tokenizers::Error) -> Error {
    Error::Argument {
        problem: format!("a tokenizer cannot be learned from these texts: {error}"),
    }
}
