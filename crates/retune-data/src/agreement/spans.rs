//! Marked spans of text, as in named entity recognition.
//!
//! There are two ways to compare them. [`span_f1`] counts spans that are the
//! same to the character. Kappa and alpha want units that all annotators have
//! labelled, so [`SpanRatings::characters`] takes every character for one, with
//! the label of its span or none.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::agreement::ratings::{Item, Names, Rating, Ratings, Unit, Vote, excerpt};
use crate::agreement::{Figure, Undefined};
use crate::error::{Error, Result};

/// The label of a character that is in no span, as in IOB tags.
const OUTSIDE: &str = "O";
/// Labels of characters, over all runs, texts and annotators: about 1 GiB.
const MAX_CELLS: usize = 1 << 27;
/// Labels of overlapping spans that are told apart; more are no annotation.
const MAX_JOINED: usize = 8;

/// A marked part of a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Where it begins, in characters as the annotation tool counts them.
    pub start: u32,
    /// Where it ends; the character there is not part of it.
    pub end: u32,
    /// Its label.
    pub label: String,
}

/// Texts × annotators → spans. An annotator who marked nothing in a text has
/// rated it too.
#[derive(Debug, Clone)]
pub struct SpanRatings {
    items: Vec<Item>,
    /// How many characters each text has.
    lengths: Vec<u32>,
    annotators: Vec<String>,
    /// Of each item, who marked what, in the annotators' order.
    marked: Vec<BTreeMap<u32, BTreeSet<Span>>>,
}

impl SpanRatings {
    /// A table to be filled.
    pub fn builder() -> SpanRatingsBuilder {
        SpanRatingsBuilder::default()
    }

    /// The texts, in the order in which they came.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Who marked spans, in the order in which they came.
    pub fn annotators(&self) -> &[String] {
        &self.annotators
    }

    /// How many spans were marked.
    pub fn spans(&self) -> usize {
        let marked = self.marked.iter().flat_map(BTreeMap::values);
        marked.map(BTreeSet::len).sum()
    }

    /// Every character as a unit: its label is that of the span it is in, `O`
    /// outside of spans, and where spans overlap, all their labels joined
    /// with `+`. Runs of characters that everyone labels alike are one unit.
    ///
    /// # Errors
    /// `TooMuch` if there are more spans and annotators than memory is for.
    pub fn characters(&self) -> Result<Ratings> {
        let mut labels = Names::default();
        labels.index(OUTSIDE);
        let mut units = Vec::new();
        let mut cells = 0;
        for (item, (marked, length)) in self.marked.iter().zip(&self.lengths).enumerate() {
            let edges = edges(marked, *length);
            cells += edges.len().saturating_mul(marked.len());
            if cells > MAX_CELLS {
                return Err(Error::TooMuch {
                    what: "spans of many annotators",
                    limit: MAX_CELLS,
                });
            }
            let mut runs: Vec<Unit> = edges
                .windows(2)
                .map(|run| Unit {
                    item: item as u32,
                    size: u64::from(run[1] - run[0]),
                    ratings: Vec::with_capacity(marked.len()),
                })
                .collect();
            for (&annotator, spans) in marked {
                label_runs(&mut runs, &edges, annotator, spans, &mut labels);
            }
            units.append(&mut runs);
        }
        let (labels, position) = sorted(labels.names);
        for rating in units.iter_mut().flat_map(|unit| &mut unit.ratings) {
            rating.label = position[rating.label as usize];
        }
        let (items, annotators) = (self.items.clone(), self.annotators.clone());
        Ok(Ratings::of_units(items, annotators, labels, Some(0), units))
    }

    /// Who marked which span of a text, given as an index into
    /// [`SpanRatings::items`]; only spans that not all who rated it have
    /// marked, by their places.
    pub fn disputed(&self, item: usize) -> Vec<Vote> {
        let Some(marked) = self.marked.get(item) else {
            return Vec::new();
        };
        let mut by_span: BTreeMap<&Span, Vec<String>> = BTreeMap::new();
        for (&annotator, spans) in marked {
            for span in spans {
                let name = self.annotators[annotator as usize].clone();
                by_span.entry(span).or_default().push(name);
            }
        }
        by_span.retain(|_, annotators| annotators.len() < marked.len());
        let vote = |(span, annotators): (&Span, Vec<String>)| Vote {
            answer: format!("{} {}–{}", span.label, span.start, span.end),
            annotators,
        };
        by_span.into_iter().map(vote).collect()
    }

    /// Each text that the two have, and what they marked in it: spans that are
    /// the same, and spans in all.
    pub(super) fn matches(&self, first: u32, second: u32) -> (Vec<u32>, Vec<Matches>) {
        let both = (0..).zip(&self.marked).filter_map(|(item, marked)| {
            let (first, second) = (marked.get(&first)?, marked.get(&second)?);
            let matches = Matches {
                same: first.intersection(second).count() as u64,
                all: (first.len() + second.len()) as u64,
            };
            Some((item, matches))
        });
        both.unzip()
    }
}

/// Of one text and two annotators, or of several pairs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Matches {
    /// Spans with the same start, end and label.
    pub(super) same: u64,
    /// Spans of both.
    pub(super) all: u64,
}

/// F1 when text `i` is there `times[i]` times.
pub(super) fn f1(matches: &[Matches], times: &[u32]) -> Figure {
    let sum = |count: fn(&Matches) -> u64| -> u64 {
        let counts = matches.iter().zip(times);
        counts
            .map(|(matches, &times)| count(matches) * u64::from(times))
            .sum()
    };
    if matches.is_empty() {
        return Err(Undefined::NoOverlap);
    }
    match sum(|matches| matches.all) {
        0 => Err(Undefined::NoSpans),
        all => Ok(2.0 * sum(|matches| matches.same) as f64 / all as f64),
    }
}

/// F1 of two annotators, given as indices into [`SpanRatings::annotators`]: of
/// the spans in texts that both have rated, the share that the other has too,
/// with the same start, end and label. It does not matter who comes first.
///
/// The result is undefined if they share no text, or if neither marked a span.
///
/// # Reference
/// Hripcsak & Rothschild 2005, doi:10.1197/jamia.M1733: where what is not
/// marked cannot be counted, kappa approaches F1.
pub fn span_f1(ratings: &SpanRatings, first: usize, second: usize) -> Figure {
    let (_, matches) = ratings.matches(first as u32, second as u32);
    f1(&matches, &vec![1; matches.len()])
}

/// Where the labels of a text may change, from 0 to its end.
fn edges(marked: &BTreeMap<u32, BTreeSet<Span>>, length: u32) -> Vec<u32> {
    let spans = marked.values().flatten();
    let mut edges: Vec<u32> = spans.flat_map(|span| [span.start, span.end]).collect();
    edges.extend([0, length]);
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Gives each run of characters the annotator's label.
fn label_runs(
    runs: &mut [Unit],
    edges: &[u32],
    annotator: u32,
    spans: &BTreeSet<Span>,
    labels: &mut Names,
) {
    // Labels of the spans that are open, with how many there are of each.
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut starting = spans.iter().peekable();
    let mut ending: Vec<&Span> = spans.iter().collect();
    ending.sort_unstable_by_key(|span| span.end);
    let mut ending = ending.into_iter().peekable();
    for (run, &edge) in runs.iter_mut().zip(edges) {
        while let Some(span) = starting.next_if(|span| span.start <= edge) {
            *open.entry(&span.label).or_default() += 1;
        }
        while let Some(span) = ending.next_if(|span| span.end <= edge) {
            match open.get_mut(span.label.as_str()) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    open.remove(span.label.as_str());
                }
            }
        }
        let label = if open.is_empty() {
            labels.index(OUTSIDE)
        } else {
            let names: Vec<&str> = open.keys().copied().take(MAX_JOINED).collect();
            labels.index(&names.join("+"))
        };
        run.ratings.push(Rating { annotator, label });
    }
}

/// The names by letter, but for the first, and where each went.
fn sorted(names: Vec<String>) -> (Vec<String>, Vec<u32>) {
    let mut labels = names.clone();
    labels[1..].sort();
    let place: HashMap<&String, u32> = labels.iter().zip(0..).collect();
    let position = names.iter().map(|name| place[name]).collect();
    (labels, position)
}

/// Gathers spans into [`SpanRatings`].
#[derive(Debug, Default)]
pub struct SpanRatingsBuilder {
    items: Names,
    annotators: Names,
    texts: Vec<String>,
    lengths: Vec<u32>,
    marked: Vec<BTreeMap<u32, BTreeSet<Span>>>,
}

impl SpanRatingsBuilder {
    /// Notes what `annotator` marked in `item`, which may be nothing. Spans
    /// without a character are not kept. Of two such notes the later counts;
    /// true if there was one before.
    pub fn mark(&mut self, item: &str, annotator: &str, spans: Vec<Span>) -> bool {
        let item = self.item(item);
        let annotator = self.annotators.index(annotator);
        let spans: BTreeSet<Span> = spans
            .into_iter()
            .filter(|span| span.start < span.end)
            .collect();
        let end = spans.iter().map(|span| span.end).max().unwrap_or(0);
        self.lengths[item] = self.lengths[item].max(end);
        self.marked[item].insert(annotator, spans).is_some()
    }

    /// Gives an item's text. Without it, a text ends where its last span does.
    pub fn describe(&mut self, item: &str, text: &str) {
        let index = self.item(item);
        self.texts[index] = excerpt(text);
        let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        self.lengths[index] = self.lengths[index].max(length);
    }

    fn item(&mut self, name: &str) -> usize {
        let index = self.items.index(name) as usize;
        let items = self.items.names.len();
        self.texts.resize(items, String::new());
        self.lengths.resize(items, 0);
        self.marked.resize(items, BTreeMap::new());
        index
    }

    /// The table.
    pub fn build(self) -> SpanRatings {
        let items = self.items.names.into_iter().zip(self.texts);
        SpanRatings {
            items: items.map(|(id, text)| Item { id, text }).collect(),
            lengths: self.lengths,
            annotators: self.annotators.names,
            marked: self.marked,
        }
    }
}
