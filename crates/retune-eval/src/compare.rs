//! Models side by side on the same rows.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::held_out::HeldOut;
use crate::likelihood::Likelihood;
use crate::measure::{Better, Figure, Form, Measure};
use crate::metrics::bootstrap::{Bootstrap, PairedDifference};
use crate::metrics::labels::LabelReport;
use crate::scores::{Outcome, RowScores, Scoring, likelihood_measures};

/// A model under its name, with what it did.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// What it did on the rows.
    pub outcome: Outcome,
    /// How likely it finds each row of a general file; empty if there is none.
    pub general: Vec<Option<Likelihood>>,
}

/// One line of the table: a figure of all subjects.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The figure's name.
    pub name: &'static str,
    /// Which way is better.
    pub better: Better,
    /// How it is written.
    pub form: Form,
    /// How many rows it is of; 0 where it is of all together.
    pub rows: usize,
    /// That of each subject.
    pub figures: Vec<Figure>,
    /// How each subject but the first differs from the first.
    pub differences: Vec<Option<PairedDifference>>,
}

/// A row on which the last subject gained or lost against the first.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// The row's place among the rows.
    pub row: usize,
    /// What it gained in chrF, or in perplexity where nothing was answered.
    pub gain: f64,
}

/// Models side by side.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The figures.
    pub lines: Vec<Line>,
    /// The scores of each subject's answers.
    pub scored: Vec<Vec<Option<RowScores>>>,
    /// Each subject's figures of labels, where answers are labels.
    pub labels: Vec<Option<LabelReport>>,
    /// The rows by what the last subject gained against the first, the largest loss
    /// first; empty for a single subject.
    pub changes: Vec<Change>,
    /// Rows that are longer than a subject takes; no figure is of them.
    pub left_out: usize,
}

impl Comparison {
    /// The figures of `subjects` on `rows`, the first being that with which the others
    /// are compared. Rows that a subject cannot take are left out for all.
    ///
    /// # Errors
    /// As [`Scoring::row`]; `NoneFits` if no row is left.
    pub fn new(
        rows: &HeldOut,
        subjects: &[Subject],
        scoring: &Scoring,
        bootstrap: &Bootstrap,
    ) -> Result<Self> {
        let common = common(rows, subjects);
        if common.is_empty() {
            return Err(Error::NoneFits {
                rows: rows.rows.len(),
            });
        }
        let general = common_of(subjects.iter().map(|subject| &subject.general));
        let taken = HeldOut {
            rows: common.iter().map(|row| rows.rows[*row].clone()).collect(),
            left_out: Vec::new(),
            total: rows.total,
        };
        let mut scored = Vec::with_capacity(subjects.len());
        let mut labels = Vec::with_capacity(subjects.len());
        let mut measures: Vec<Vec<Measure>> = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let outcome = subject.outcome.of_rows(&common);
            let own = scoring.rows(&taken, &outcome)?;
            labels.push(scoring.label_report(&taken, &outcome));
            let mut all = scoring.measures(&taken, &outcome, &own)?;
            let names = [
                "general perplexity",
                "general bits per byte",
                "general token accuracy",
            ];
            let general: Vec<_> = general.iter().map(|row| subject.general[*row]).collect();
            all.extend(likelihood_measures(names, &general));
            let mut of_all = vec![None; rows.rows.len()];
            for (row, own) in common.iter().zip(own) {
                of_all[*row] = own;
            }
            scored.push(of_all);
            measures.push(all);
        }
        // All subjects did the same work, so they have the same measures.
        let count = measures.first().map_or(0, Vec::len);
        let line = |at: usize| {
            let all: Vec<&Measure> = measures.iter().map(|subject| &subject[at]).collect();
            Line {
                name: all[0].name,
                better: all[0].better,
                form: all[0].form,
                rows: all.iter().map(|own| own.defined()).min().unwrap_or(0),
                figures: all.iter().map(|own| own.figure(bootstrap)).collect(),
                differences: all[1..]
                    .iter()
                    .map(|own| own.difference(all[0], bootstrap))
                    .collect(),
            }
        };
        Ok(Self {
            lines: (0..count).map(line).collect(),
            changes: changes(subjects, &scored),
            scored,
            labels,
            left_out: rows.rows.len() - common.len(),
        })
    }
}

/// The rows that every subject took, by their places.
fn common(rows: &HeldOut, subjects: &[Subject]) -> Vec<usize> {
    let mut common = common_of(subjects.iter().map(|subject| &subject.outcome.likelihood));
    common.retain(|row| {
        let answered = |subject: &Subject| {
            let answers = &subject.outcome.answers;
            answers.is_empty() || rows.rows[*row].prompt.is_none() || answers[*row].is_some()
        };
        subjects.iter().all(answered)
    });
    common
}

fn common_of<'a>(subjects: impl Iterator<Item = &'a Vec<Option<Likelihood>>>) -> Vec<usize> {
    let subjects: Vec<_> = subjects.collect();
    let rows = subjects.first().map_or(0, |first| first.len());
    let mut common: Vec<usize> = (0..rows).collect();
    common.retain(|row| subjects.iter().all(|subject| subject[*row].is_some()));
    common
}

fn changes(subjects: &[Subject], scored: &[Vec<Option<RowScores>>]) -> Vec<Change> {
    let ([first, .., last], [first_scored, .., last_scored]) = (subjects, scored) else {
        return Vec::new();
    };
    let answered = last_scored.iter().any(Option::is_some);
    let rows = first.outcome.likelihood.len().max(first_scored.len());
    let gain = |row: usize| -> Option<f64> {
        if answered {
            let of = |scored: &[Option<RowScores>]| Some(scored.get(row)?.as_ref()?.chrf);
            return Some(of(last_scored)? - of(first_scored)?);
        }
        let of = |subject: &Subject| {
            let row = *subject.outcome.likelihood.get(row)?;
            row?.perplexity()
        };
        Some(of(first)? - of(last)?)
    };
    let gains = (0..rows).filter_map(|row| {
        Some(Change {
            row,
            gain: gain(row)?,
        })
    });
    let mut changes: Vec<Change> = gains.collect();
    changes.sort_by(|a, b| a.gain.total_cmp(&b.gain));
    changes
}
