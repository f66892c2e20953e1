//! Answers that are right or wrong: exact match, and classes against classes
//! with scikit-learn's figures.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

use super::whitespace::squeezed;
use crate::{Error, Result};

/// When two answers are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ExactMatch {
    /// Whether case makes no difference.
    pub ignore_case: bool,
    /// Whether punctuation makes no difference, of ASCII or any other script.
    /// Symbols, such as `+` and `$`, do make one.
    pub ignore_punctuation: bool,
}

impl ExactMatch {
    /// What of `text` is compared: its form NFKC, so that full-width forms are
    /// the same as others, with one space where there was whitespace, and none
    /// at the ends.
    pub fn normalised(&self, text: &str) -> String {
        let mut normal: String = text.nfkc().collect();
        if self.ignore_case {
            // Lower case can undo the form: `İ` becomes two characters.
            normal = normal.to_lowercase().nfkc().collect();
        }
        if self.ignore_punctuation {
            normal = PUNCTUATION.replace_all(&normal, "").into_owned();
        }
        squeezed(&normal)
    }

    /// Whether the answer is one of the references.
    ///
    /// # Errors
    /// `NoReferences`.
    pub fn matches(&self, answer: &str, references: &[impl AsRef<str>]) -> Result<bool> {
        if references.is_empty() {
            return Err(Error::NoReferences);
        }
        let answer = self.normalised(answer);
        let mut references = references.iter();
        Ok(references.any(|reference| self.normalised(reference.as_ref()) == answer))
    }
}

static PUNCTUATION: std::sync::LazyLock<regex::Regex> =
    std::sync::LazyLock::new(|| regex::Regex::new(r"\p{P}").expect("a pattern that compiles"));

/// Precision, recall and F1, each 0 where it is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Scores {
    /// Of the rows that were given a label, the share that has it.
    pub precision: f64,
    /// Of the rows that have a label, the share that was given it.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// The scores of one label.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LabelScores {
    /// The label.
    pub label: String,
    /// Its scores.
    #[serde(flatten)]
    pub scores: Scores,
    /// How many rows have it.
    pub support: u64,
}

/// Figures of a task with labels.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LabelReport {
    /// How many rows there are.
    pub rows: u64,
    /// The share of rows that were given their label. There is none without rows.
    pub accuracy: Option<f64>,
    /// Each label's, in order.
    pub labels: Vec<LabelScores>,
    /// From the counts of all labels together.
    pub micro: Scores,
    /// The mean over labels.
    #[serde(rename = "macro")]
    pub macro_average: Scores,
    /// The mean over labels by support.
    pub weighted: Scores,
    /// How many rows of `labels[i]` were given `labels[j]`: `confusion[i][j]`.
    /// Rows with another label on either side are not in it.
    pub confusion: Vec<Vec<u64>>,
}

impl LabelReport {
    /// Compares the labels that rows have with those that they were given.
    /// `labels` says which of them the report is on, in its order; without it
    /// the report is on all that occur on either side, in order.
    ///
    /// A row that was given something that is no label at all belongs in: it
    /// lowers the recall of the label that it has. Give `labels`, or each such
    /// answer counts as one more label.
    ///
    /// # Errors
    /// `Rows` if there are not as many on both sides.
    pub fn new<T: AsRef<str>>(
        actual: &[T],
        predicted: &[T],
        labels: Option<&[&str]>,
    ) -> Result<Self> {
        if actual.len() != predicted.len() {
            return Err(Error::Rows {
                of: "predicted labels",
                expected: actual.len(),
                found: predicted.len(),
            });
        }
        let counts = Counts::of(actual, predicted);
        let mut seen: Vec<&str> = counts.actual.keys().copied().collect();
        seen.extend(counts.predicted.keys());
        seen.sort_unstable();
        seen.dedup();
        let labels = labels.unwrap_or(&seen);
        let of_labels: Vec<LabelScores> = labels.iter().map(|label| counts.scores(label)).collect();
        let supports: Vec<f64> = of_labels.iter().map(|label| label.support as f64).collect();
        let rows = actual.len() as u64;
        let right: u64 = seen.iter().map(|label| counts.pair(label, label)).sum();
        Ok(Self {
            rows,
            accuracy: (rows > 0).then(|| right as f64 / rows as f64),
            micro: counts.micro(labels),
            macro_average: averaged(&of_labels, &vec![1.0; labels.len()]),
            weighted: averaged(&of_labels, &supports),
            labels: of_labels,
            confusion: labels
                .iter()
                .map(|has| labels.iter().map(|given| counts.pair(has, given)).collect())
                .collect(),
        })
    }
}

/// How often labels and pairs of them occur.
struct Counts<'a> {
    actual: BTreeMap<&'a str, u64>,
    predicted: BTreeMap<&'a str, u64>,
    pairs: BTreeMap<(&'a str, &'a str), u64>,
}

impl<'a> Counts<'a> {
    fn of<T: AsRef<str>>(actual: &'a [T], predicted: &'a [T]) -> Self {
        let mut counts = Self {
            actual: BTreeMap::new(),
            predicted: BTreeMap::new(),
            pairs: BTreeMap::new(),
        };
        for (has, given) in actual.iter().zip(predicted) {
            let (has, given) = (has.as_ref(), given.as_ref());
            *counts.actual.entry(has).or_insert(0) += 1;
            *counts.predicted.entry(given).or_insert(0) += 1;
            *counts.pairs.entry((has, given)).or_insert(0) += 1;
        }
        counts
    }

    fn pair(&self, has: &str, given: &str) -> u64 {
        self.pairs.get(&(has, given)).copied().unwrap_or(0)
    }

    fn support(&self, label: &str) -> u64 {
        self.actual.get(label).copied().unwrap_or(0)
    }

    fn given(&self, label: &str) -> u64 {
        self.predicted.get(label).copied().unwrap_or(0)
    }

    fn scores(&self, label: &str) -> LabelScores {
        let support = self.support(label);
        LabelScores {
            label: label.to_owned(),
            scores: scores(self.pair(label, label), self.given(label), support),
            support,
        }
    }

    fn micro(&self, labels: &[&str]) -> Scores {
        let sum = |count: &dyn Fn(&str) -> u64| labels.iter().map(|label| count(label)).sum();
        scores(
            sum(&|label| self.pair(label, label)),
            sum(&|label| self.given(label)),
            sum(&|label| self.support(label)),
        )
    }
}

/// From the rows that are right, that were given a label, and that have it.
fn scores(right: u64, given: u64, has: u64) -> Scores {
    let share = |part: u64, of: u64| match of {
        0 => 0.0,
        of => part as f64 / of as f64,
    };
    Scores {
        precision: share(right, given),
        recall: share(right, has),
        f1: share(2 * right, given + has),
    }
}

fn averaged(labels: &[LabelScores], weights: &[f64]) -> Scores {
    let total: f64 = weights.iter().sum();
    if total == 0.0 {
        return Scores::default();
    }
    let mean = |part: &dyn Fn(&Scores) -> f64| {
        let weighted = labels
            .iter()
            .zip(weights)
            .map(|(label, weight)| part(&label.scores) * weight);
        weighted.sum::<f64>() / total
    };
    Scores {
        precision: mean(&|scores| scores.precision),
        recall: mean(&|scores| scores.recall),
        f1: mean(&|scores| scores.f1),
    }
}
