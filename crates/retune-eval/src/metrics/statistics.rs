//! How figures of rows become one of a corpus.

/// Counts of a row that may be added up: the figure of a corpus is computed
/// from their sum, so that of any drawn sample is too.
pub trait Statistics: Default {
    /// Adds those of a row that counts `times` times.
    fn add(&mut self, row: &Self, times: u32);

    /// The sum over all rows.
    fn sum<'a>(rows: impl IntoIterator<Item = &'a Self>) -> Self
    where
        Self: 'a,
    {
        let mut sum = Self::default();
        for row in rows {
            sum.add(row, 1);
        }
        sum
    }

    /// The sum over a sample that has row `i` `times[i]` times, as
    /// [`Bootstrap`](retune_data::bootstrap::Bootstrap) draws it.
    fn sum_of_draw(rows: &[Self], times: &[u32]) -> Self {
        let mut sum = Self::default();
        for (row, &times) in rows.iter().zip(times) {
            if times > 0 {
                sum.add(row, times);
            }
        }
        sum
    }
}

/// The mean over a sample that has value `i` `times[i]` times, of those that have
/// a value; there is none of no value.
pub fn mean_of_draw<T: Copy + Into<Option<f64>>>(values: &[T], times: &[u32]) -> Option<f64> {
    let (mut sum, mut drawn) = (0.0, 0.0);
    for (value, &times) in values.iter().zip(times) {
        if let Some(value) = (*value).into() {
            sum += value * f64::from(times);
            drawn += f64::from(times);
        }
    }
    (drawn > 0.0).then(|| sum / drawn)
}

/// Adds `row`, `times` times, to a list of counts that grows as needed.
pub(super) fn add_counts(sum: &mut Vec<u64>, row: &[u64], times: u32) {
    if sum.len() < row.len() {
        sum.resize(row.len(), 0);
    }
    for (sum, row) in sum.iter_mut().zip(row) {
        *sum += row * u64::from(times);
    }
}

/// How many references the rows have, as signatures say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum References {
    /// As many in every row.
    Each(usize),
    /// Not as many in every row.
    Varying,
}

impl References {
    /// From the number of references of each row.
    pub fn of(counts: impl IntoIterator<Item = usize>) -> Self {
        let mut counts = counts.into_iter();
        let first = counts.next().unwrap_or(0);
        if counts.all(|count| count == first) {
            Self::Each(first)
        } else {
            Self::Varying
        }
    }
}

impl std::fmt::Display for References {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Each(count) => write!(f, "{count}"),
            Self::Varying => f.write_str("var"),
        }
    }
}
