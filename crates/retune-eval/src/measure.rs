//! One figure of a model on rows, and how sure it is.

use crate::likelihood::Likelihood;
use crate::metrics::bleu::{Bleu, BleuStatistics};
use crate::metrics::bootstrap::{Bootstrap, Interval, PairedDifference};
use crate::metrics::chrf::{Chrf, ChrfStatistics};
use crate::metrics::labels::LabelReport;
use crate::metrics::statistics::{Statistics as _, mean_of_draw};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More of it.
    Higher,
    /// Less of it.
    Lower,
    /// Neither: it says what answers are like.
    Neither,
}

/// How a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// From 0 to 1, as a percentage.
    Share,
    /// As it is.
    Number,
}

/// What a figure is computed of, row by row, so that it can be computed of any draw of
/// rows.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    /// The mean of the rows that have a value.
    Mean(Vec<Option<f64>>),
    /// `exp` of the mean loss of all tokens.
    Perplexity(Vec<Likelihood>),
    /// Bits of loss a byte of text.
    BitsPerByte(Vec<Likelihood>),
    /// The share of all tokens that were right.
    TokenAccuracy(Vec<Likelihood>),
    Bleu(Bleu, Vec<BleuStatistics>),
    Chrf(Chrf, Vec<ChrfStatistics>),
    /// Of each row its label, and the one that it was given.
    MacroF1(Vec<String>, Vec<(String, String)>),
    /// A figure of all rows together that no draw of rows stands for.
    Whole(Option<f64>),
}

/// A figure by its name.
#[derive(Debug, Clone)]
pub struct Measure {
    /// What it is called.
    pub name: &'static str,
    /// Which way is better.
    pub better: Better,
    /// How it is written.
    pub form: Form,
    pub(crate) column: Column,
}

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Figure {
    /// None where no row defines it.
    pub value: Option<f64>,
    /// None where it is of all rows together, or rows are too few.
    pub interval: Option<Interval>,
}

impl Measure {
    pub(crate) fn new(name: &'static str, better: Better, form: Form, column: Column) -> Self {
        Self {
            name,
            better,
            form,
            column,
        }
    }

    fn rows(&self) -> usize {
        match &self.column {
            Column::Mean(rows) => rows.len(),
            Column::Perplexity(rows) | Column::BitsPerByte(rows) | Column::TokenAccuracy(rows) => {
                rows.len()
            }
            Column::Bleu(_, rows) => rows.len(),
            Column::Chrf(_, rows) => rows.len(),
            Column::MacroF1(_, rows) => rows.len(),
            Column::Whole(_) => 0,
        }
    }

    /// How many rows count; 0 for a figure of all rows together.
    pub fn defined(&self) -> usize {
        match &self.column {
            Column::Mean(rows) => rows.iter().flatten().count(),
            _ => self.rows(),
        }
    }

    /// The figure of a sample that has row `i` `times[i]` times.
    fn of_draw(&self, times: &[u32]) -> Option<f64> {
        match &self.column {
            Column::Mean(values) => mean_of_draw(values, times),
            Column::Perplexity(rows) => Likelihood::sum_of_draw(rows, times).perplexity(),
            Column::BitsPerByte(rows) => Likelihood::sum_of_draw(rows, times).bits_per_byte(),
            Column::TokenAccuracy(rows) => Likelihood::sum_of_draw(rows, times).token_accuracy(),
            Column::Bleu(bleu, rows) => {
                let sum = BleuStatistics::sum_of_draw(rows, times);
                Some(bleu.corpus(&sum).score)
            }
            Column::Chrf(chrf, rows) => {
                Some(chrf.corpus(&ChrfStatistics::sum_of_draw(rows, times)))
            }
            Column::MacroF1(labels, rows) => macro_f1(labels, rows, times),
            Column::Whole(value) => *value,
        }
    }

    /// The figure of all rows, with its interval.
    pub fn figure(&self, bootstrap: &Bootstrap) -> Figure {
        let rows = self.rows();
        Figure {
            value: self.of_draw(&vec![1; rows]),
            interval: match self.defined() {
                0 | 1 => None,
                _ => bootstrap.interval(rows, |times| self.of_draw(times)),
            },
        }
    }

    /// How this one differs from `other`'s on the same rows: this less that. None where
    /// no draw of rows stands for the figure, or two tokenizers make of the rows what
    /// cannot be compared.
    pub fn difference(&self, other: &Self, bootstrap: &Bootstrap) -> Option<PairedDifference> {
        let tokens = |measure: &Self| match &measure.column {
            Column::Perplexity(rows) | Column::TokenAccuracy(rows) => {
                rows.iter().map(|row| row.tokens).collect()
            }
            _ => Vec::new(),
        };
        if tokens(self) != tokens(other) {
            return None;
        }
        match self.rows() {
            0 | 1 => None,
            rows => bootstrap.paired(
                rows,
                |times| self.of_draw(times),
                |times| other.of_draw(times),
            ),
        }
    }
}

fn macro_f1(labels: &[String], rows: &[(String, String)], times: &[u32]) -> Option<f64> {
    let drawn = rows
        .iter()
        .zip(times)
        .flat_map(|(row, &times)| std::iter::repeat_n(row, times as usize));
    let (actual, predicted): (Vec<&str>, Vec<&str>) = drawn
        .map(|(actual, predicted)| (actual.as_str(), predicted.as_str()))
        .unzip();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let report = LabelReport::new(&actual, &predicted, Some(&labels)).ok()?;
    Some(report.macro_average.f1)
}
