//! Models side by side on the same rows.

use serde::Serialize;

use crate::error::Result;
use crate::held_out::HeldOut;
use crate::likelihood::Likelihood;
use crate::measure::{Better, Figure, Measure};
use crate::metrics::bootstrap::{Bootstrap, PairedDifference};
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
    /// The rows by what the last subject gained against the first, the largest loss
    /// first; empty for a single subject.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// The figures of `subjects` on `rows`, the first being that with which the others
    /// are compared.
    ///
    /// # Errors
    /// As [`Scoring::row`].
    pub fn new(
        rows: &HeldOut,
        subjects: &[Subject],
        scoring: &Scoring,
        bootstrap: &Bootstrap,
    ) -> Result<Self> {
        let mut scored = Vec::with_capacity(subjects.len());
        let mut measures: Vec<Vec<Measure>> = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let own = scoring.rows(rows, &subject.outcome)?;
            let mut all = scoring.measures(rows, &subject.outcome, &own)?;
            let names = ["general perplexity", "general token accuracy"];
            all.extend(likelihood_measures(names, &subject.general));
            scored.push(own);
            measures.push(all);
        }
        let count = measures.first().map_or(0, Vec::len);
        let line = |at: usize| {
            let of = |subject: &Vec<Measure>| subject[at].clone();
            let all: Vec<Measure> = measures.iter().map(of).collect();
            Line {
                name: all[0].name,
                better: all[0].better,
                figures: all.iter().map(|own| own.figure(bootstrap)).collect(),
                differences: all[1..]
                    .iter()
                    .map(|own| own.difference(&all[0], bootstrap))
                    .collect(),
            }
        };
        Ok(Self {
            lines: (0..count).map(line).collect(),
            changes: changes(subjects, &scored),
            scored,
        })
    }

    /// The line of that name.
    pub fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }
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
