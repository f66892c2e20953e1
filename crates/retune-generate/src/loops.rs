//! Answers that turn in a circle.

/// When an answer that ends in repetition is taken to loop.
///
/// The defaults let 「哈哈哈」, `...` and a refrain that is sung twice pass: a loop
/// must repeat its unit three times, and fill twenty symbols. The unit may be as
/// long as that allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LoopRule {
    /// How many whole times the unit occurs at least, one behind another; less
    /// than 2 is taken for 2.
    pub min_count: usize,
    /// How many symbols at the end the repetition fills at least.
    pub min_span: usize,
}

impl Default for LoopRule {
    fn default() -> Self {
        Self {
            min_count: 3,
            min_span: 20,
        }
    }
}

/// What an answer ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Loop {
    /// How many symbols the repeated unit has.
    pub unit: usize,
    /// How many whole times it occurs.
    pub count: usize,
    /// How many symbols at the end the repetition fills, with a unit that was
    /// cut off.
    pub span: usize,
}

impl LoopRule {
    /// The loop that `symbols` end in, if they do; of several units the shortest.
    ///
    /// The end is what counts, as a model that loops does not stop: it is cut
    /// off, maybe within a unit. Whitespace or an end token behind the loop is
    /// for the caller to take off. A rule of dashes or a run of the same digit
    /// that ends an answer is a loop, too.
    ///
    /// Takes linear time.
    pub fn find<T: Eq>(&self, symbols: &[T]) -> Option<Loop> {
        let agreement = agreement_from_the_end(symbols);
        (1..=symbols.len() / 2).find_map(|unit| {
            let span = unit + agreement[unit];
            let count = span / unit;
            let loops = count >= self.min_count.max(2) && span >= self.min_span;
            loops.then_some(Loop { unit, count, span })
        })
    }
}

/// For each distance, how many symbols from the end backwards are the same as
/// those that far before them.
///
/// # Reference
/// Gusfield 1997, Algorithms on Strings, Trees and Sequences, 1.4: the Z values
/// of the reversed sequence
pub(crate) fn agreement_from_the_end<T: Eq>(symbols: &[T]) -> Vec<usize> {
    let length = symbols.len();
    let from_end = |index: usize| &symbols[length - 1 - index];
    let mut agreement = vec![0; length];
    let (mut left, mut right) = (0, 0);
    for distance in 1..length {
        let mut same: usize = match distance < right {
            true => agreement[distance - left].min(right - distance),
            false => 0,
        };
        while distance + same < length && from_end(same) == from_end(distance + same) {
            same += 1;
        }
        if distance + same > right {
            (left, right) = (distance, distance + same);
        }
        agreement[distance] = same;
    }
    agreement
}
