//! The one table that all figures are computed from: who gave which label to
//! what.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Result};

/// Texts of items are kept for showing only; this many characters do.
const EXCERPT: usize = 120;

/// What was rated.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Item {
    /// Its name in the export.
    pub id: String,
    /// The beginning of its text, where the export has one.
    pub text: String,
}

/// An answer, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Vote {
    /// The label, or the span and its label.
    pub answer: String,
    /// The annotators, in their order.
    pub annotators: Vec<String>,
}

/// One annotator's label, both as indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rating {
    pub(super) annotator: u32,
    pub(super) label: u32,
}

/// Something that each annotator gave at most one label: an item, or a run of
/// characters of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) item: u32,
    /// How many characters it stands for, or 1.
    pub(super) size: u64,
    /// At most one for each annotator, in their order.
    pub(super) ratings: Vec<Rating>,
}

/// Items × annotators → label, where any rating may be missing.
#[derive(Debug, Clone)]
pub struct Ratings {
    items: Vec<Item>,
    annotators: Vec<String>,
    labels: Vec<String>,
    /// The label of characters that are in no span, if these are characters.
    outside: Option<u32>,
    /// In the order of the items.
    units: Vec<Unit>,
}

impl Ratings {
    /// A table to be filled.
    pub fn builder() -> RatingsBuilder {
        RatingsBuilder::default()
    }

    pub(super) fn of_units(
        items: Vec<Item>,
        annotators: Vec<String>,
        labels: Vec<String>,
        outside: Option<u32>,
        units: Vec<Unit>,
    ) -> Self {
        Self {
            items,
            annotators,
            labels,
            outside,
            units,
        }
    }

    /// What was rated, in the order in which it came.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Who rated, in the order in which they came.
    pub fn annotators(&self) -> &[String] {
        &self.annotators
    }

    /// The labels in their order: the one that was asked for, else by value if
    /// all are numbers, else by letter.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How many labels were given.
    pub fn len(&self) -> usize {
        self.units.iter().map(|unit| unit.ratings.len()).sum()
    }

    /// Whether no label was given.
    pub fn is_empty(&self) -> bool {
        self.units.iter().all(|unit| unit.ratings.is_empty())
    }

    /// Who gave which label to an item, given as an index into
    /// [`Ratings::items`]; the label that most gave first.
    pub fn votes(&self, item: usize) -> Vec<Vote> {
        let mut by_label: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        let begin = self
            .units
            .partition_point(|unit| (unit.item as usize) < item);
        let units = self.units[begin..].iter();
        let units = units.take_while(|unit| unit.item as usize == item);
        for rating in units.flat_map(|unit| &unit.ratings) {
            let name = self.annotators[rating.annotator as usize].clone();
            by_label.entry(rating.label).or_default().push(name);
        }
        let mut votes: Vec<Vote> = by_label
            .into_iter()
            .map(|(label, annotators)| Vote {
                answer: self.labels[label as usize].clone(),
                annotators,
            })
            .collect();
        votes.sort_by_key(|vote| std::cmp::Reverse(vote.annotators.len()));
        votes
    }

    pub(super) fn units(&self) -> &[Unit] {
        &self.units
    }

    pub(super) fn outside(&self) -> Option<u32> {
        self.outside
    }

    /// The labels as numbers.
    ///
    /// # Errors
    /// `LabelScale` if a label is no finite number.
    pub(super) fn numbers(&self) -> Result<Vec<f64>> {
        let number = |label: &String| {
            number(label).ok_or_else(|| Error::LabelScale {
                problem: format!("the label {label:?} is no number, as an interval scale wants"),
                hint: "use --level ordinal with --order, or --level nominal",
            })
        };
        self.labels.iter().map(number).collect()
    }
}

/// Gathers ratings into [`Ratings`].
#[derive(Debug, Default)]
pub struct RatingsBuilder {
    items: Names,
    texts: Vec<String>,
    annotators: Names,
    labels: Names,
    /// `(item, annotator)` → label.
    cells: HashMap<(u32, u32), u32>,
}

impl RatingsBuilder {
    /// Notes that `annotator` gave `item` a label. Of two ratings of one item by
    /// one annotator the later counts; true if there was one before.
    pub fn rate(&mut self, item: &str, annotator: &str, label: &str) -> bool {
        let item = self.items.index(item);
        let annotator = self.annotators.index(annotator);
        let label = self.labels.index(label);
        self.cells.insert((item, annotator), label).is_some()
    }

    /// Keeps the beginning of an item's text, to be shown with it.
    pub fn describe(&mut self, item: &str, text: &str) {
        let index = self.items.index(item) as usize;
        self.texts.resize(self.items.names.len(), String::new());
        self.texts[index] = excerpt(text);
    }

    /// The table. Labels that are all numbers are taken by value, so that `1`
    /// and `1.0` are the same. `order` gives the labels from low to high, or is
    /// empty.
    ///
    /// # Errors
    /// `LabelScale` if `order` lacks a label or has one twice.
    pub fn build(mut self, order: &[String]) -> Result<Ratings> {
        let values: Option<Vec<f64>> = self.labels.names.iter().map(|name| number(name)).collect();
        let by_value = values.is_some();
        let spelled = |label: &String| match number(label) {
            Some(value) if by_value => value.to_string(),
            _ => label.clone(),
        };
        let given: Vec<String> = self.labels.names.iter().map(spelled).collect();
        let order: Vec<String> = order.iter().map(spelled).collect();
        let labels = ordered(&given, order, by_value)?;
        let position: HashMap<&String, u32> = labels.iter().zip(0..).collect();
        let position: Vec<u32> = given.iter().map(|label| position[label]).collect();
        self.texts.resize(self.items.names.len(), String::new());
        let mut units: Vec<Unit> = (0..self.items.names.len() as u32)
            .map(|item| Unit {
                item,
                size: 1,
                ratings: Vec::new(),
            })
            .collect();
        for ((item, annotator), label) in self.cells {
            let label = position[label as usize];
            units[item as usize]
                .ratings
                .push(Rating { annotator, label });
        }
        for unit in &mut units {
            unit.ratings.sort_unstable_by_key(|rating| rating.annotator);
        }
        let items = self.items.names.into_iter().zip(self.texts);
        Ok(Ratings {
            items: items.map(|(id, text)| Item { id, text }).collect(),
            annotators: self.annotators.names,
            labels,
            outside: None,
            units,
        })
    }
}

/// The distinct labels of `given`, as `order` says, by value or by letter.
fn ordered(given: &[String], order: Vec<String>, by_value: bool) -> Result<Vec<String>> {
    if order.is_empty() {
        let mut labels = given.to_vec();
        if by_value {
            let value = |label: &String| number(label).unwrap_or_default();
            labels.sort_by(|a, b| value(a).total_cmp(&value(b)));
        } else {
            labels.sort();
        }
        labels.dedup();
        return Ok(labels);
    }
    let wrong = |problem| Error::LabelScale {
        problem,
        hint: "name every label once, from low to high",
    };
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = order.iter().find(|label| !seen.insert(label.as_str())) {
        return Err(wrong(format!("the order has the label {twice:?} twice")));
    }
    match given.iter().find(|label| !seen.contains(label.as_str())) {
        Some(missing) => Err(wrong(format!("the order lacks the label {missing:?}"))),
        None => Ok(order),
    }
}

/// A finite number. Zero has no sign.
pub(super) fn number(text: &str) -> Option<f64> {
    let value: f64 = text.trim().parse().ok()?;
    value.is_finite().then_some(value + 0.0)
}

/// The beginning of a text, in one line.
pub(super) fn excerpt(text: &str) -> String {
    let line = |c: char| if c.is_whitespace() { ' ' } else { c };
    text.trim().chars().take(EXCERPT).map(line).collect()
}

/// Names, numbered in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) names: Vec<String>,
    indices: HashMap<String, u32>,
}

impl Names {
    pub(super) fn index(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        let index = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.indices.insert(name.to_owned(), index);
        index
    }
}
