//! What is wrong with data files, said before anything is trained.
//!
//! Rows go by once, in batches: what a row says by itself is found on all
//! threads (`facts`), then counted in order (`collect`), so that a million rows
//! take some tens of bytes each. What rows say together (duplicates, conflicts,
//! skew) follows from that at the end (`groups`, `skew`); examples are then read
//! again from the files.

mod collect;
mod facts;
mod groups;
mod report;
mod rules;
mod skew;

use std::collections::HashSet;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::dataset::{DataOptions, Samples};
use crate::encode::Encoder;
use crate::error::{Error, Result};
use crate::gate::check_template;
use crate::sample::Sample;

use collect::Collector;
use facts::Facts;

pub use report::{Example, FileReport, Finding, PhraseReport, Report, RowRef, TokenTotals};
pub use rules::{RULES, Rule, Severity, rule};

/// What is looked for, and how.
#[derive(Debug, Default)]
pub struct LintOptions<'a> {
    /// The model's tokenizer and settings; without them, nothing is said of
    /// tokens.
    pub encoder: Option<&'a Encoder>,
    /// Rules to look for; all if empty.
    pub rules: Vec<String>,
    /// Rules to leave out.
    pub ignore: Vec<String>,
    /// The Jaccard similarity from which rows are near-duplicates, if they are
    /// looked for.
    pub near_duplicates: Option<f64>,
    /// Validation files that must not ask what the training files ask.
    pub validation: Vec<PathBuf>,
    /// Phrases that are counted in answers.
    pub phrases: Vec<String>,
    /// The language that answers should have; by default that of most.
    pub language: Option<String>,
    /// Rows that are passed over: the number of their file, and theirs.
    pub without: HashSet<(u32, u64)>,
    /// How many examples are kept of each finding.
    pub examples: usize,
}

impl LintOptions<'_> {
    /// What `near_duplicates` is where nobody says otherwise.
    pub const DEFAULT_NEAR_DUPLICATES: f64 = 0.8;
    /// The same of `examples`.
    pub const DEFAULT_EXAMPLES: usize = 3;

    /// The similarity from which prompts are nearly the same, if that matters.
    fn near_prompts(&self) -> Option<f64> {
        self.near_duplicates.filter(|_| !self.validation.is_empty())
    }

    fn wants(&self, rule: &str) -> bool {
        let named = |rules: &[String]| rules.iter().any(|name| name == rule);
        (self.rules.is_empty() || named(&self.rules)) && !named(&self.ignore)
    }
}

/// Looks at `paths`. `progress` is told how many rows were read.
///
/// Rows and files that cannot be read are findings like others.
///
/// # Errors
/// `File` if a path does not exist; `Argument` if a rule's name is unknown.
pub fn lint(
    paths: &[PathBuf],
    data: &DataOptions,
    options: &LintOptions<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Report> {
    for name in options.rules.iter().chain(&options.ignore) {
        if rule(name).is_none() {
            let known: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
            return Err(Error::Argument {
                problem: format!("there is no rule {name}; there are {}", known.join(", ")),
            });
        }
    }
    let mut collector = Collector::new(options);
    if let Some(encoder) = options.encoder {
        for fault in check_template(&encoder.tokenizer, &encoder.labels) {
            collector.template(&fault);
        }
    }
    let mut samples = Samples::open(paths, data.clone())?;
    read(&mut samples, options, progress, &mut |file, facts| {
        collector.add(file, facts);
    })?;
    collector.files(samples.files());
    if !options.validation.is_empty() {
        let mut validation = Samples::open(&options.validation, data.clone())?;
        read(&mut validation, options, &mut |_| {}, &mut |_, facts| {
            collector.add_validation(facts);
        })?;
    }
    let mut report = collector.finish();
    report.fill_examples(paths, data, options)?;
    Ok(report)
}

/// Gives every row's facts, or its error, to `add`, in order.
fn read(
    samples: &mut Samples,
    options: &LintOptions<'_>,
    progress: &mut dyn FnMut(u64),
    add: &mut dyn FnMut(u32, std::result::Result<Facts, Error>),
) -> Result<()> {
    let mut rows = 0;
    loop {
        let batch = samples.batch();
        if batch.is_empty() {
            return Ok(());
        }
        rows += batch.len() as u64;
        let passed_over = |file: u32, sample: &Result<Sample>| match sample {
            Ok(sample) => options.without.contains(&(file, sample.place.row)),
            Err(_) => false,
        };
        let facts: Vec<_> = batch
            .into_par_iter()
            .filter(|(file, sample)| !passed_over(*file, sample))
            .map(|(file, sample)| (file, sample.map(|sample| Facts::of(&sample, options))))
            .collect();
        for (file, facts) in facts {
            add(file, facts);
        }
        progress(rows);
    }
}
