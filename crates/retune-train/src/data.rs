//! The samples of a run: those it learns from, those it validates on, and
//! general ones that are mixed in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use retune_data::{
    Encoder, Labelled, Preparation, Prepared, TemplateFault, TokenFile, Tokenizer, prepare,
    split_tokens,
};

use crate::batch::Numbered;
use crate::config::TrainConfig;
use crate::course::{Course, Replay};
use crate::error::{Error, Result};

/// Marks the numbers of general samples.
const REPLAY_BIT: u32 = 1 << 31;

/// A sample by its number, in words.
pub(crate) fn named(number: u32) -> String {
    match number & REPLAY_BIT {
        0 => format!("sample {number}"),
        _ => format!("sample {} of replay_data", number & !REPLAY_BIT),
    }
}

/// Tokens of all files of a run, and their order.
#[derive(Debug)]
pub struct TrainData {
    /// The model's tokenizer and chat template, and how they are used.
    pub encoder: Encoder,
    /// What is worth knowing about the template.
    pub template_faults: Vec<TemplateFault>,
    /// What became of the rows, and where the tokens are.
    pub prepared: Prepared,
    /// Which samples each step has.
    pub course: Course,
    validation: Option<HeldBack>,
    replay: Option<Prepared>,
}

/// Hashes of tokens: of the data, of files to validate on, of general data.
pub(crate) type Fingerprints = [Option<String>; 3];

/// Samples to validate on.
#[derive(Debug)]
struct HeldBack {
    /// None where they are a share of the data.
    prepared: Option<Prepared>,
    samples: Vec<u32>,
}

impl TrainData {
    /// Tokenises the files of `config`, or takes their tokens from `cache`.
    /// `progress` is told how many rows were read.
    ///
    /// # Errors
    /// `Tokens` for a row that cannot be used, or a chat template that cannot be
    /// trained with; `Data` if nothing is left to train or to validate on.
    pub fn open(config: &TrainConfig, cache: &Path, progress: &mut dyn FnMut(u64)) -> Result<Self> {
        let (encoder, template_faults) = encoder(config)?;
        let mut tokens = |paths: &[PathBuf]| -> Result<Prepared> {
            let options = config.data_options()?;
            let bad_rows = config.bad_rows();
            Ok(prepare(
                paths, &options, &encoder, bad_rows, cache, progress,
            )?)
        };
        let prepared = tokens(&config.data)?;
        let other = |paths: &[PathBuf], tokens: &mut dyn FnMut(&[PathBuf]) -> Result<Prepared>| {
            Ok::<_, Error>(match paths.is_empty() {
                true => None,
                false => Some(tokens(paths)?),
            })
        };
        let held_back = other(&config.validation_data, &mut tokens)?;
        let replay = other(&config.replay_data, &mut tokens)?;
        let (train, validation) = match held_back {
            Some(held_back) => {
                let samples = (0..held_back.tokens.len() as u32).collect();
                let all = (0..prepared.tokens.len() as u32).collect();
                (all, Some((Some(held_back), samples)))
            }
            None => split(&prepared.tokens, config)?,
        };
        let mixed = replay.as_ref().map(|replay| Replay {
            samples: replay.tokens.len() as u32,
            ratio: config.replay_ratio,
        });
        let per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps;
        Ok(Self {
            encoder,
            template_faults,
            prepared,
            course: match config.disable_shuffling {
                true => Course::new(config.seed, train, per_step, mixed).in_order(),
                false => Course::new(config.seed, train, per_step, mixed),
            },
            validation: validation.map(|(prepared, samples)| HeldBack { prepared, samples }),
            replay,
        })
    }

    /// Which tokens these are: of the data, of files to validate on, of general data.
    pub(crate) fn fingerprints(&self) -> Fingerprints {
        let held = self.validation.as_ref();
        let held = held.and_then(|held| held.prepared.as_ref());
        [Some(&self.prepared), held, self.replay.as_ref()]
            .map(|prepared| prepared.map(|prepared| prepared.fingerprint.clone()))
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.encoder.tokenizer
    }

    /// The samples of step `step`, the first being 0.
    ///
    /// # Errors
    /// `Tokens` if a file of tokens cannot be read.
    pub fn step(&mut self, step: u64) -> Result<Vec<Numbered>> {
        let samples = self.course.samples(step);
        let general = samples.replay.into_iter().map(|sample| sample | REPLAY_BIT);
        let numbers = samples.train.into_iter().chain(general);
        numbers.map(|number| self.sample(number)).collect()
    }

    /// How many samples there are to validate on.
    pub fn validation_samples(&self) -> usize {
        self.validation
            .as_ref()
            .map_or(0, |held| held.samples.len())
    }

    /// Sample `index` of those to validate on.
    ///
    /// # Errors
    /// `Tokens` if the file of tokens cannot be read.
    pub fn validation_sample(&self, index: usize) -> Result<Labelled> {
        let Some(held) = &self.validation else {
            return Ok(Labelled::default());
        };
        let tokens = held.prepared.as_ref().unwrap_or(&self.prepared);
        Ok(tokens.tokens.sample(held.samples[index] as usize)?)
    }

    /// The most tokens that a step may have, if its samples are the longest, and
    /// those of the longest sample.
    pub fn step_lengths(&self) -> [usize; 2] {
        let of = |prepared: &Prepared| -> Vec<usize> {
            let numbers = 0..prepared.tokens.len();
            numbers
                .map(|sample| prepared.tokens.tokens(sample))
                .collect()
        };
        let mut lengths = of(&self.prepared);
        lengths.extend(self.replay.iter().flat_map(of));
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let step = lengths.iter().take(self.course.most_samples()).sum();
        [step, lengths.first().copied().unwrap_or(0)]
    }

    /// The samples of a step that would have the longest ones of all, which takes
    /// most memory.
    ///
    /// # Errors
    /// `Tokens` if the file of tokens cannot be read.
    pub fn longest_step(&self) -> Result<Vec<Numbered>> {
        let own = self.course.train().iter();
        let own = own.map(|sample| (self.prepared.tokens.tokens(*sample as usize), *sample));
        let general = self.replay.iter().flat_map(|replay| {
            let samples = 0..replay.tokens.len();
            samples.map(|sample| (replay.tokens.tokens(sample), sample as u32 | REPLAY_BIT))
        });
        let mut samples: Vec<(usize, u32)> = own.chain(general).collect();
        samples.sort_by_key(|(tokens, number)| (std::cmp::Reverse(*tokens), *number));
        samples.truncate(self.course.most_samples());
        let numbers = samples.into_iter().map(|(_, number)| number);
        numbers.map(|number| self.sample(number)).collect()
    }

    /// A sample to learn from, by the number that steps give it.
    fn sample(&self, number: u32) -> Result<Numbered> {
        let tokens = match (&self.replay, number & REPLAY_BIT != 0) {
            (Some(replay), true) => replay.tokens.sample((number & !REPLAY_BIT) as usize)?,
            _ => self.prepared.tokens.sample(number as usize)?,
        };
        Ok(Numbered { number, tokens })
    }

    /// What became of the rows of each kind of file that there is.
    pub fn preparations(&self) -> Vec<(&'static str, &Preparation)> {
        let held = self.validation.as_ref();
        let held = held.and_then(|held| held.prepared.as_ref());
        let kinds = [
            ("data", Some(&self.prepared)),
            ("validation_data", held),
            ("replay_data", self.replay.as_ref()),
        ];
        let there = kinds
            .into_iter()
            .filter_map(|(name, prepared)| Some((name, prepared?)));
        there
            .map(|(name, prepared)| (name, &prepared.preparation))
            .collect()
    }

    /// Tokens of a step on average, those of general data included.
    pub fn mean_step_tokens(&self) -> f64 {
        let mean = |prepared: &Prepared, samples: &[u32]| {
            let tokens = samples
                .iter()
                .map(|sample| prepared.tokens.tokens(*sample as usize));
            tokens.sum::<usize>() as f64 / samples.len().max(1) as f64
        };
        let [own, general] = self.course.mean_samples();
        let replayed = self.replay.as_ref().map_or(0.0, |replay| {
            let samples: Vec<u32> = (0..replay.tokens.len() as u32).collect();
            general * mean(replay, &samples)
        });
        own * mean(&self.prepared, self.course.train()) + replayed
    }

    /// The largest id among all tokens.
    ///
    /// # Errors
    /// `Tokens` if a file of tokens cannot be read.
    pub fn largest_id(&self) -> Result<u32> {
        let mut largest = 0;
        let held = self
            .validation
            .iter()
            .filter_map(|held| held.prepared.as_ref());
        for prepared in [&self.prepared].into_iter().chain(&self.replay).chain(held) {
            for sample in 0..prepared.tokens.len() {
                let ids = prepared.tokens.sample(sample)?.input_ids;
                largest = ids.into_iter().fold(largest, u32::max);
            }
        }
        Ok(largest)
    }
}

type Sides = (Vec<u32>, Option<(Option<Prepared>, Vec<u32>)>);

/// A share of the data is held back, all samples of a prompt or none.
fn split(tokens: &TokenFile, config: &TrainConfig) -> Result<Sides> {
    if config.validation_split == 0.0 {
        return Ok(((0..tokens.len() as u32).collect(), None));
    }
    let (train, held) = split_tokens(tokens, config.validation_split, config.seed)?;
    if train.is_empty() || held.is_empty() {
        return Err(Error::Data {
            problem: format!(
                "validation_split {} leaves {} samples to train and {} to validate on, expected at least 1 of each\nhint: set validation_split to 0, or give files in validation_data",
                config.validation_split,
                train.len(),
                held.len()
            ),
        });
    }
    Ok((train, Some((None, held))))
}

/// The tokenizer and template of `config`, if training with them is sound.
fn encoder(config: &TrainConfig) -> Result<(Encoder, Vec<TemplateFault>)> {
    let encoder = Encoder {
        tokenizer: Arc::new(Tokenizer::open_with_template(
            &config.model,
            config.chat_template.as_deref(),
        )?),
        labels: config.label_options(),
        max_length: config.max_length,
        over_long: config.over_long,
    };
    let warnings = encoder.check_template()?;
    Ok((encoder, warnings))
}
