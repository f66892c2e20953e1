//! What was found, for people and machines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::LintOptions;
use super::facts::excerpt;
use super::rules::Severity;
use crate::dataset::{DataOptions, Samples};
use crate::error::Result;

/// A row of the files that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RowRef {
    /// Which file, from 0.
    pub file: u32,
    /// The row in it, from 1.
    pub row: u64,
    /// The line on which it begins, from 1; 0 where there are no lines.
    pub line: u64,
}

/// A row that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The row, if it is one row.
    pub row: Option<RowRef>,
    /// What is shown of it.
    pub text: String,
    /// How many rows are like it, itself included; 1 where that says nothing.
    pub rows: u64,
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How many rows, prompts or files.
    pub count: u64,
    /// What was found, in a sentence.
    pub message: String,
    /// What can be done.
    pub fix: String,
    /// Some of it.
    pub examples: Vec<Example>,
    /// The rows, in order; those that can be left out.
    pub rows: Vec<RowRef>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name.
    pub path: String,
    /// Its format.
    pub format: &'static str,
    /// Its encoding, if it has more than ASCII.
    pub encoding: Option<&'static str>,
    /// Its layout.
    pub layout: Option<&'static str>,
}

/// Tokens of all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TokenTotals {
    /// Those that stay when over-long rows are dropped or cut.
    pub tokens: u64,
    /// Those that are learned from.
    pub scored: u64,
    /// Of the longest row, before it is.
    pub longest: u64,
}

/// How often a phrase stands in answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhraseReport {
    /// The phrase.
    pub phrase: String,
    /// In how many answers it stands.
    pub answers: u64,
    /// Their share of all answers, 0 to 1.
    pub share: f64,
    /// Whether it was asked for.
    pub asked: bool,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Rows read, those that could not be used included.
    pub rows: u64,
    /// The files.
    pub files: Vec<FileReport>,
    /// Their tokens, if a tokenizer was there.
    pub tokens: Option<TokenTotals>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// The phrases that were asked for, and those that most answers share.
    pub phrases: Vec<PhraseReport>,
}

impl Report {
    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// Reads the rows of examples that have no text yet.
    pub(super) fn fill_examples(
        &mut self,
        paths: &[PathBuf],
        data: &DataOptions,
        options: &LintOptions<'_>,
    ) -> Result<()> {
        for finding in &mut self.findings {
            finding.examples.truncate(options.examples);
        }
        let examples = self.findings.iter().flat_map(|finding| &finding.examples);
        let wanted: BTreeSet<(u32, u64)> = examples
            .filter(|example| example.text.is_empty())
            .filter_map(|example| example.row.map(|row| (row.file, row.row)))
            .collect();
        let texts = excerpts(paths, data, &wanted)?;
        for finding in &mut self.findings {
            for example in &mut finding.examples {
                if let (true, Some(row)) = (example.text.is_empty(), example.row) {
                    let text = texts.get(&(row.file, row.row));
                    example.text = text.cloned().unwrap_or_default();
                }
            }
        }
        Ok(())
    }
}

/// Question and answer of the rows `wanted`, shortened.
fn excerpts(
    paths: &[PathBuf],
    data: &DataOptions,
    wanted: &BTreeSet<(u32, u64)>,
) -> Result<BTreeMap<(u32, u64), String>> {
    let mut texts = BTreeMap::new();
    let Some(last) = wanted.last() else {
        return Ok(texts);
    };
    let mut samples = Samples::open(paths, data.clone())?;
    while let Some(sample) = samples.next() {
        let file = samples.file_number();
        let Ok(sample) = sample else { continue };
        let at = (file, sample.place.row);
        if wanted.contains(&at) {
            let (prompt, answer) = (sample.content.prompt(), sample.content.answer());
            let text = if prompt.is_empty() {
                excerpt(&answer, 0)
            } else {
                format!("{} → {}", excerpt(&prompt, 0), excerpt(&answer, 0))
            };
            texts.insert(at, text);
        }
        if at >= *last {
            break;
        }
    }
    Ok(texts)
}
