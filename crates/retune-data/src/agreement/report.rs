//! Everything there is to say about the agreement of annotators, at once.

use serde::Serialize;

use crate::agreement::alpha::Alpha;
use crate::agreement::kappa::{FleissTable, Pair};
use crate::agreement::spans::{Matches, SpanRatings, f1};
use crate::agreement::{
    Annotations, Candidate, Confusion, Figure, Item, Level, Ratings, Reliability, Undefined, Vote,
    Weights, carefulness, relabel_first,
};
use crate::bootstrap::{Bootstrap, Interval};
use crate::error::{Error, Result};

/// Of so many annotators, those with the most ratings, all pairs are compared.
/// A crowd's pairs would be half a million, of which each shares an item or two.
const PAIRED: usize = 48;

/// What figures are wanted.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Options {
    /// What may be said of two different labels, for alpha.
    pub level: Level,
    /// How much worse a larger difference is, for Cohen's kappa.
    pub weights: Weights,
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// How many items to label again are listed.
    pub relabel: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::default(),
            weights: Weights::default(),
            bootstrap: Bootstrap::default(),
            relabel: 10,
        }
    }
}

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure, if the data defines it.
    pub value: Option<f64>,
    /// Its bootstrap interval over items.
    pub interval: Option<Interval>,
    /// Why there is no figure.
    pub undefined: Option<Undefined>,
}

impl Estimate {
    /// `figure` for all items once, and over samples of them.
    fn new(bootstrap: &Bootstrap, items: usize, figure: impl Fn(&[u32]) -> Figure + Sync) -> Self {
        let value = figure(&vec![1; items]);
        let interval = value
            .ok()
            .and_then(|_| bootstrap.interval(items, |times| figure(times).ok()));
        Self {
            value: value.ok(),
            interval,
            undefined: value.err(),
        }
    }
}

/// An annotator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnnotatorRow {
    /// The name in the export.
    pub name: String,
    /// How many items the annotator rated.
    pub items: usize,
    /// The share of the others' labels for the same items that are equal; none
    /// for who shares no item.
    pub agreement: Option<f64>,
}

/// Two annotators.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairRow {
    /// The one.
    pub first: String,
    /// The other.
    pub second: String,
    /// How many items both have rated.
    pub shared_items: usize,
    /// The share of them (for spans: of their characters) with the same label.
    pub agreement: Option<f64>,
    /// Cohen's kappa.
    pub cohen_kappa: Estimate,
    /// F1 of spans that are the same to the character, if these are spans.
    pub span_f1: Option<Estimate>,
}

/// An item to label again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RelabelRow {
    /// What it is.
    #[serde(flatten)]
    pub item: Item,
    /// How much annotators disagree on it.
    #[serde(flatten)]
    pub disagreement: Candidate,
    /// Who answered what; for spans, only those that not all have marked.
    pub votes: Vec<Vote>,
}

/// How far annotators agree. For spans, all figures but F1 are over characters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How many items were rated.
    pub items: usize,
    /// How many of them by two annotators or more.
    pub items_with_overlap: usize,
    /// How many labels were given, or for spans, how many were marked.
    pub ratings: usize,
    /// Whether spans of texts were marked.
    pub spans: bool,
    /// The labels in their order.
    pub labels: Vec<String>,
    /// Who rated.
    pub annotators: Vec<AnnotatorRow>,
    /// Krippendorff's alpha.
    pub krippendorff_alpha: Estimate,
    /// What it is good for.
    pub reliability: Option<Reliability>,
    /// Fleiss' kappa.
    pub fleiss_kappa: Estimate,
    /// How many items Fleiss' kappa is over.
    pub fleiss_items: usize,
    /// How many ratings each of them has.
    pub fleiss_ratings_per_item: usize,
    /// F1 over all pairs and their spans, if these are spans.
    pub span_f1: Option<Estimate>,
    /// Pairs that share an item.
    pub pairs: Vec<PairRow>,
    /// How many annotators have too few ratings to be in a pair.
    pub annotators_not_paired: usize,
    /// Which labels are taken for which.
    pub confusion: Confusion,
    /// On how many items annotators disagree.
    pub items_with_disagreement: usize,
    /// Those of them to label again first.
    pub relabel: Vec<RelabelRow>,
}

impl Report {
    /// Computes everything.
    ///
    /// # Errors
    /// `NothingToCompare` if there is one annotator or none; `LabelScale` if
    /// the level is `Interval` and a label is no number; `TooMuch`.
    pub fn of(annotations: &Annotations, options: &Options) -> Result<Self> {
        match annotations {
            Annotations::Labels(ratings) => Self::compute(ratings, None, options),
            Annotations::Spans(spans) => {
                let nominal = options.level == Level::Nominal && options.weights == Weights::None;
                if !nominal {
                    return Err(Error::LabelScale {
                        problem: "labels of spans have no order".into(),
                        hint: "leave out --level and --weights",
                    });
                }
                Self::compute(&spans.characters()?, Some(spans), options)
            }
        }
    }

    fn compute(ratings: &Ratings, spans: Option<&SpanRatings>, options: &Options) -> Result<Self> {
        check(ratings, spans)?;
        let bootstrap = &options.bootstrap;
        let alpha = Alpha::new(ratings, options.level)?;
        let shared = shared_items(ratings);
        let fleiss = FleissTable::new(ratings);
        let (pairs, matches) = pairs(ratings, spans, options);
        let mut relabel = relabel_first(ratings);
        let items_with_disagreement = relabel.len();
        relabel.truncate(options.relabel);
        let krippendorff_alpha = over(bootstrap, ratings, &shared, |times| alpha.of(times));
        Ok(Self {
            items: ratings.items().len(),
            items_with_overlap: shared.len(),
            ratings: spans.map_or_else(|| ratings.len(), SpanRatings::spans),
            spans: spans.is_some(),
            labels: ratings.labels().to_vec(),
            annotators: annotators(ratings),
            krippendorff_alpha,
            reliability: krippendorff_alpha.value.map(Reliability::of),
            fleiss_kappa: Estimate::new(bootstrap, fleiss.items.len(), |times| fleiss.of(times)),
            fleiss_items: fleiss.items.len(),
            fleiss_ratings_per_item: fleiss.ratings_per_item,
            span_f1: spans.map(|_| pooled_f1(bootstrap, &matches)),
            pairs,
            annotators_not_paired: ratings.annotators().len().saturating_sub(PAIRED),
            confusion: Confusion::of(ratings),
            items_with_disagreement,
            relabel: relabel_rows(ratings, spans, relabel),
        })
    }
}

fn relabel_rows(
    ratings: &Ratings,
    spans: Option<&SpanRatings>,
    candidates: Vec<Candidate>,
) -> Vec<RelabelRow> {
    let row = |disagreement: Candidate| RelabelRow {
        item: ratings.items()[disagreement.item].clone(),
        votes: match spans {
            Some(spans) => spans.disputed(disagreement.item),
            None => ratings.votes(disagreement.item),
        },
        disagreement,
    };
    candidates.into_iter().map(row).collect()
}

/// Refuses what cannot have a figure, whichever is asked for.
fn check(ratings: &Ratings, spans: Option<&SpanRatings>) -> Result<()> {
    let problem = match (ratings.annotators(), spans) {
        ([], _) => "no item has been rated".to_owned(),
        ([only], _) => format!("only {only:?} has rated items"),
        (_, Some(spans)) if spans.spans() == 0 => "nobody marked a span".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::NothingToCompare { problem })
}

/// The items that have two ratings or more.
fn shared_items(ratings: &Ratings) -> Vec<u32> {
    let units = ratings.units().iter();
    let units = units.filter(|unit| unit.ratings.len() > 1);
    let mut items: Vec<u32> = units.map(|unit| unit.item).collect();
    items.dedup();
    items
}

/// An estimate over some of the items, when `figure` takes how often each of
/// all is there.
fn over(
    bootstrap: &Bootstrap,
    ratings: &Ratings,
    items: &[u32],
    figure: impl Fn(&[u32]) -> Figure + Sync,
) -> Estimate {
    Estimate::new(bootstrap, items.len(), |times| {
        let mut all = vec![0; ratings.items().len()];
        for (&item, &times) in items.iter().zip(times) {
            all[item as usize] = times;
        }
        figure(&all)
    })
}

fn annotators(ratings: &Ratings) -> Vec<AnnotatorRow> {
    let mut items = vec![0; ratings.annotators().len()];
    let mut last = vec![None; items.len()];
    for unit in ratings.units() {
        for rating in &unit.ratings {
            let annotator = rating.annotator as usize;
            if last[annotator] != Some(unit.item) {
                last[annotator] = Some(unit.item);
                items[annotator] += 1;
            }
        }
    }
    let rows = ratings.annotators().iter().zip(items);
    let rows = rows.zip(carefulness(ratings));
    rows.map(|((name, items), careful)| AnnotatorRow {
        name: name.clone(),
        items,
        agreement: careful.agreement.ok(),
    })
    .collect()
}

/// Whether each annotator is among those with the most ratings.
fn most_active(ratings: &Ratings) -> Vec<bool> {
    let careful = carefulness(ratings);
    let mut order: Vec<usize> = (0..careful.len()).collect();
    order.sort_by_key(|&annotator| (std::cmp::Reverse(careful[annotator].ratings), annotator));
    let mut chosen = vec![false; careful.len()];
    for &annotator in order.iter().take(PAIRED) {
        chosen[annotator] = true;
    }
    chosen
}

/// Items, and what two annotators marked in each.
type Matched = (Vec<u32>, Vec<Matches>);

/// All pairs, and of each the items and spans that they share, if there are any.
fn pairs(
    ratings: &Ratings,
    spans: Option<&SpanRatings>,
    options: &Options,
) -> (Vec<PairRow>, Vec<Matched>) {
    let bootstrap = &options.bootstrap;
    let labels = ratings.labels().len();
    let mut rows = Vec::new();
    let mut all_matches = Vec::new();
    for ((first, second), pair) in Pair::all(ratings, &most_active(ratings)) {
        let matches = spans.map(|spans| spans.matches(first, second));
        let name = |annotator: u32| ratings.annotators()[annotator as usize].clone();
        rows.push(PairRow {
            first: name(first),
            second: name(second),
            // A text without a character is shared too.
            shared_items: matches
                .as_ref()
                .map_or(pair.items.len(), |(items, _)| items.len()),
            agreement: pair.agreement().ok(),
            cohen_kappa: Estimate::new(bootstrap, pair.items.len(), |times| {
                pair.kappa(options.weights, labels, times)
            }),
            span_f1: matches.as_ref().map(|(_, matches)| {
                Estimate::new(bootstrap, matches.len(), |times| f1(matches, times))
            }),
        });
        all_matches.extend(matches);
    }
    (rows, all_matches)
}

/// F1 of all pairs together. Samples are of texts, so a text is drawn with all
/// the pairs that share it.
fn pooled_f1(bootstrap: &Bootstrap, pairs: &[Matched]) -> Estimate {
    let mut by_item = std::collections::BTreeMap::<u32, Matches>::new();
    for (items, matches) in pairs {
        for (item, matches) in items.iter().zip(matches) {
            let sum = by_item.entry(*item).or_default();
            sum.same += matches.same;
            sum.all += matches.all;
        }
    }
    let matches: Vec<Matches> = by_item.into_values().collect();
    Estimate::new(bootstrap, matches.len(), |times| f1(&matches, times))
}
