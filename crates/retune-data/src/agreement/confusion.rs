//! Which labels are taken for which.

use serde::Serialize;

use crate::agreement::ratings::Ratings;

/// Labels of a confusion at most. What is given less often is counted, not
/// listed: a table of thousands of labels tells nobody anything.
const LABELS: usize = 64;

/// How often labels meet on the same item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The labels of rows and columns.
    pub labels: Vec<String>,
    /// Rows: the labels of the first annotator; columns: those of the second.
    /// If there are more than two annotators, each two ratings of an item count
    /// in either direction, so that the table is symmetric.
    pub counts: Vec<Vec<u64>>,
    /// The annotators of rows and columns, if there are just two.
    pub annotators: Option<[String; 2]>,
    /// How many labels are too rare to be in the table.
    pub labels_left_out: usize,
}

impl Confusion {
    /// The confusion of all annotators. Where the items are characters, those
    /// that everyone leaves out are not counted.
    pub fn of(ratings: &Ratings) -> Self {
        let position = frequent(ratings);
        let size = position.iter().flatten().count();
        let pair = match ratings.annotators() {
            [first, second] => Some([first.clone(), second.clone()]),
            _ => None,
        };
        let mut counts = vec![vec![0; size]; size];
        for unit in ratings.units() {
            let mut places = vec![0u64; size];
            let mut first = None;
            for rating in &unit.ratings {
                let Some(row) = position[rating.label as usize] else {
                    continue;
                };
                match (pair.is_some(), first) {
                    (true, None) => first = Some(row),
                    (true, Some(first)) => counts[first][row] += unit.size,
                    (false, _) => places[row] += 1,
                }
            }
            if pair.is_none() {
                add_pairs(&mut counts, &places, unit.size);
            }
        }
        if let Some(outside) = ratings.outside().and_then(|label| position[label as usize]) {
            counts[outside][outside] = 0;
        }
        let labels = ratings.labels().iter().zip(&position);
        let labels = labels.filter(|(_, position)| position.is_some());
        Self {
            labels: labels.map(|(label, _)| label.clone()).collect(),
            counts,
            annotators: pair,
            labels_left_out: ratings.labels().len() - size,
        }
    }

    /// Pairs of different labels, the most often confused first: the labels as
    /// indices, and how often they met, in either direction.
    pub fn most_confused(&self) -> Vec<(usize, usize, u64)> {
        let size = self.labels.len();
        let pairs = (0..size).flat_map(|row| (row + 1..size).map(move |column| (row, column)));
        let counted = pairs.map(|(row, column)| {
            let both = self.counts[row][column] + self.counts[column][row];
            // A symmetric table has each meeting twice.
            let times = if self.annotators.is_some() { 1 } else { 2 };
            (row, column, both / times)
        });
        let mut confused: Vec<_> = counted.filter(|(_, _, count)| *count > 0).collect();
        confused.sort_by_key(|&(row, column, count)| (std::cmp::Reverse(count), row, column));
        confused
    }
}

/// Of each label the place in the table, unless it is too rare. The order of
/// the labels is kept.
fn frequent(ratings: &Ratings) -> Vec<Option<usize>> {
    let mut counts = vec![0u64; ratings.labels().len()];
    for unit in ratings.units() {
        for rating in &unit.ratings {
            counts[rating.label as usize] += unit.size;
        }
    }
    let mut by_count: Vec<usize> = (0..counts.len()).collect();
    by_count.sort_by_key(|&label| (std::cmp::Reverse(counts[label]), label));
    by_count.truncate(LABELS);
    by_count.sort_unstable();
    let mut position = vec![None; counts.len()];
    for (place, label) in by_count.into_iter().enumerate() {
        position[label] = Some(place);
    }
    position
}

/// Adds all ordered pairs of two ratings of a unit, of which each place has so
/// many.
fn add_pairs(counts: &mut [Vec<u64>], places: &[u64], size: u64) {
    let used: Vec<usize> = (0..places.len())
        .filter(|&place| places[place] > 0)
        .collect();
    for &row in &used {
        for &column in &used {
            let others = places[column] - u64::from(row == column);
            counts[row][column] += places[row] * others * size;
        }
    }
}
