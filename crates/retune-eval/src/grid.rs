//! Repetition as a measurement: which models loop under which settings, and why.

use std::collections::HashMap;

use retune_generate::{Assistant, LoopRule, Sampling};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::evaluate::answers;
use crate::held_out::HeldOut;
use crate::likelihood::Likelihood;
use crate::measure::Figure;
use crate::metrics::bootstrap::Bootstrap;
use crate::metrics::repetition::rep_n;
use crate::metrics::statistics::Statistics as _;
use crate::scores::{Outcome, RowScores, Scoring};

/// A way to sample, under a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// What it is called.
    pub name: String,
    /// The way.
    pub sampling: Sampling,
}

/// A model under a setting.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// The setting's name.
    pub setting: String,
    /// The share of answers that end in a loop.
    pub loops: Figure,
    /// The share of answers that were cut off at their greatest length.
    pub cut_off: Figure,
    /// The share of 4-grams of characters that came before in their answer.
    pub rep_4: Figure,
    /// Characters of an answer.
    pub characters: Figure,
    /// chrF against the data's answers.
    pub chrf: Figure,
    /// An answer that loops, if one does: the row's place, and the text.
    pub example: Option<(usize, String)>,
}

/// A model's row of the grid.
#[derive(Debug, Clone, Serialize)]
pub struct GridRow {
    /// The model's name.
    pub name: String,
    /// The run that it is a checkpoint of, if it is one.
    pub run: Option<String>,
    /// The perplexity of the data's answers.
    pub perplexity: Option<f64>,
    /// A cell for each setting.
    pub cells: Vec<Cell>,
}

/// What answers repeat themselves for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The model does not end its turn.
    Template,
    /// The data repeats itself.
    Data,
    /// It was trained for too long.
    OverTraining,
    /// The most likely token each time leads into a circle.
    Decoding,
}

/// Whether something is a likely cause, and by what figures.
#[derive(Debug, Clone, Serialize)]
pub struct Cause {
    /// What.
    pub kind: CauseKind,
    /// Whether it is likely.
    pub likely: bool,
    /// The figures, in words.
    pub evidence: String,
}

/// Which models loop under which settings.
#[derive(Debug, Clone, Serialize)]
pub struct Grid {
    /// The models.
    pub rows: Vec<GridRow>,
    /// What is and is not a likely cause, for the last model.
    pub causes: Vec<Cause>,
    /// The best setting of the last model, by its place.
    pub best: usize,
}

/// The settings that are tried, over the model's own `model`.
pub fn settings(model: &Sampling) -> Vec<Setting> {
    let greedy = Sampling {
        do_sample: false,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        dry_multiplier: 0.0,
        no_repeat_ngram_size: 0,
        ..model.clone()
    };
    let sampled = |temperature, top_p, top_k, repetition_penalty| Sampling {
        do_sample: true,
        temperature,
        top_p,
        top_k,
        repetition_penalty,
        ..greedy.clone()
    };
    let named = |name: &str, sampling: Sampling| Setting {
        name: name.to_owned(),
        sampling,
    };
    vec![
        named("greedy", greedy.clone()),
        named("the model's own", model.clone()),
        named("temperature 0.7, top_p 0.9", sampled(0.7, 0.9, 50, 1.0)),
        named(
            "temperature 0.5, top_p 0.8, penalty 1.1",
            sampled(0.5, 0.8, 50, 1.1),
        ),
        named(
            "greedy, repetition_penalty 1.1",
            Sampling {
                repetition_penalty: 1.1,
                ..greedy.clone()
            },
        ),
        named(
            "greedy, no_repeat_ngram_size 6",
            Sampling {
                no_repeat_ngram_size: 6,
                ..greedy.clone()
            },
        ),
        named(
            "greedy, dry_multiplier 0.8",
            Sampling {
                dry_multiplier: 0.8,
                ..greedy
            },
        ),
    ]
}

impl GridRow {
    /// What `assistant`, called `name`, answers to `rows` under each of `settings`.
    /// `on_progress` is told the setting's place and how many rows are done.
    ///
    /// # Errors
    /// As [`crate::Work::run`]; `NoneFits` if nothing was answered.
    pub fn new(
        assistant: &Assistant,
        (name, run): (&str, Option<&str>),
        (rows, scoring, bootstrap): (&HeldOut, &Scoring, &Bootstrap),
        settings: &[Setting],
        at_once: usize,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let own = crate::likelihood(assistant, &rows.rows, &mut |_| ())?;
        let all = Likelihood::sum(own.iter().flatten());
        let mut cells = Vec::with_capacity(settings.len());
        for (index, setting) in settings.iter().enumerate() {
            let on_rows = &mut |done| on_progress(index, done);
            let outcome = Outcome {
                likelihood: Vec::new(),
                answers: answers(assistant, &rows.rows, &setting.sampling, at_once, on_rows)?,
            };
            if outcome.answers.iter().all(Option::is_none) {
                return Err(Error::NoneFits {
                    rows: rows.rows.len(),
                });
            }
            cells.push(Cell::new(setting, (rows, scoring, bootstrap), &outcome)?);
        }
        Ok(Self {
            name: name.to_owned(),
            run: run.map(str::to_owned),
            perplexity: all.perplexity(),
            cells,
        })
    }
}

impl Cell {
    fn new(
        setting: &Setting,
        (rows, scoring, bootstrap): (&HeldOut, &Scoring, &Bootstrap),
        outcome: &Outcome,
    ) -> Result<Self> {
        let scored = scoring.rows(rows, outcome)?;
        let measures = scoring.measures(rows, outcome, &scored)?;
        let figure = |name: &str| {
            let measure = measures.iter().find(|measure| measure.name == name);
            let none = Figure {
                value: None,
                interval: None,
            };
            measure.map_or(none, |measure| measure.figure(bootstrap))
        };
        let looping = |row: &Option<RowScores>| row.as_ref().is_some_and(|row| row.loops);
        let example = scored.iter().position(looping);
        let example = example.and_then(|index| {
            let answer = outcome.answers[index].as_ref()?;
            Some((index, answer.text.clone()))
        });
        Ok(Self {
            setting: setting.name.clone(),
            loops: figure("loops"),
            cut_off: figure("cut off"),
            rep_4: figure("rep-4"),
            characters: figure("characters"),
            chrf: figure("chrF"),
            example,
        })
    }

    fn loop_share(&self) -> f64 {
        self.loops.value.unwrap_or(0.0)
    }
}

impl Grid {
    /// What the rows of models on `data` show, the last one being that which is to be
    /// explained. The first setting is greedy.
    pub fn new(rows: Vec<GridRow>, data: &HeldOut) -> Self {
        let cells = rows.last().map_or(&[][..], |row| &row.cells);
        let causes = vec![
            template(cells),
            data_repeats(cells, data),
            over_training(&rows),
            decoding(cells),
        ];
        Self {
            best: best(cells, data.rows.len()),
            rows,
            causes,
        }
    }
}

/// Below this share of looping answers there is nothing to explain.
const SOME: f64 = 0.02;

/// Among settings that loop as little as any, but for one answer, the one whose answers
/// are nearest to the data's.
fn best(cells: &[Cell], rows: usize) -> usize {
    let least = cells.iter().map(Cell::loop_share).fold(1.0, f64::min);
    let few = least + 1.0 / rows.max(1) as f64;
    let chrf = |index: &usize| cells[*index].chrf.value.unwrap_or(0.0);
    let mut best = 0;
    for index in (0..cells.len()).filter(|index| cells[*index].loop_share() <= few) {
        if cells[best].loop_share() > few || chrf(&index) > chrf(&best) {
            best = index;
        }
    }
    best
}

fn template(cells: &[Cell]) -> Cause {
    let cut_off = cells.iter().filter_map(|cell| cell.cut_off.value);
    let least = cut_off.fold(1.0, f64::min);
    Cause {
        kind: CauseKind::Template,
        likely: least >= 0.5 && !cells.is_empty(),
        evidence: format!(
            "under every setting at least {} of the answers go on to their greatest length; half of them or more would mean that the model was not taught to end its turn, or is asked under another template",
            percent(least)
        ),
    }
}

fn data_repeats(cells: &[Cell], data: &HeldOut) -> Cause {
    let count = data.rows.len().max(1) as f64;
    let mut said: HashMap<&str, usize> = HashMap::new();
    let (mut loops, mut repeated) = (0, Vec::new());
    for row in &data.rows {
        let text = row.reference.trim();
        *said.entry(text).or_default() += 1;
        let characters: Vec<char> = text.chars().collect();
        loops += usize::from(LoopRule::default().find(&characters).is_some());
        repeated.extend(rep_n(&characters, 4));
    }
    let sum = repeated.iter().fold(0.0, |sum: f64, own: &f64| sum + own);
    let rep_4 = sum / repeated.len().max(1) as f64;
    let commonest = said.values().max().copied().unwrap_or(0) as f64 / count;
    let loops = loops as f64 / count;
    let answered = cells
        .first()
        .and_then(|cell| cell.rep_4.value)
        .unwrap_or(0.0);
    Cause {
        kind: CauseKind::Data,
        likely: loops >= SOME || (answered > 0.05 && rep_4 > answered / 2.0),
        evidence: format!(
            "of the data's answers {} loop, and {} of their 4-grams came before (greedy answers: {}); the commonest answer is {} of all",
            percent(loops),
            percent(rep_4),
            percent(answered),
            percent(commonest)
        ),
    }
}

fn over_training(rows: &[GridRow]) -> Cause {
    let kind = CauseKind::OverTraining;
    // Only checkpoints of one run tell it.
    let run = rows.last().and_then(|row| row.run.as_ref());
    let of_run = |row: &&GridRow| run.is_some() && row.run.as_ref() == run;
    let rows: Vec<&GridRow> = rows.iter().filter(of_run).collect();
    let perplexities: Vec<f64> = rows.iter().filter_map(|row| row.perplexity).collect();
    let (Some(last), [_, _, ..]) = (perplexities.last(), &perplexities[..]) else {
        return Cause {
            kind,
            likely: false,
            evidence:
                "one checkpoint alone does not show it; name several of a run, or use --checkpoints"
                    .to_owned(),
        };
    };
    let least = perplexities.iter().copied().fold(f64::INFINITY, f64::min);
    let loops = |row: &&GridRow| row.cells.first().map_or(0.0, Cell::loop_share);
    let told: Vec<String> = rows
        .iter()
        .map(|row| {
            let perplexity = row.perplexity.unwrap_or(f64::NAN);
            format!("{} {perplexity:.2} ({})", row.name, percent(loops(row)))
        })
        .collect();
    Cause {
        kind,
        likely: *last > 1.05 * least,
        evidence: format!(
            "perplexity of the data's answers, and greedy answers that loop: {}; it would show as a perplexity that rises again",
            told.join(", ")
        ),
    }
}

fn decoding(cells: &[Cell]) -> Cause {
    let greedy = cells.first().map_or(0.0, Cell::loop_share);
    let least = cells.iter().map(Cell::loop_share).fold(greedy, f64::min);
    Cause {
        kind: CauseKind::Decoding,
        likely: greedy >= SOME && least <= greedy / 2.0,
        evidence: format!(
            "{} of the greedy answers loop, and {} under the setting with the fewest",
            percent(greedy),
            percent(least)
        ),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
