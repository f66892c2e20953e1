//! How values are distributed, counted tensor by tensor.

use super::proto::HistogramProto;

/// Sign, exponent and the first three bits of the fraction: eight buckets for
/// each power of two, about as wide as TensorFlow's, which grow by a tenth.
/// A value's bucket is so read off its bits, without a search.
const SHIFT: u32 = 20;
const BUCKETS: usize = 1 << (32 - SHIFT);
const POSITIVE: usize = BUCKETS / 2;

/// Counts of values in buckets that are the same for all histograms.
///
/// Memory is 32 KiB, however many values are added.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    min: f32,
    max: f32,
    sum: f64,
    sum_squares: f64,
    non_finite: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            sum: 0.0,
            sum_squares: 0.0,
            non_finite: 0,
        }
    }
}

impl Histogram {
    /// Counts further values. NaN and infinities have no place on an axis and
    /// are counted apart.
    pub fn add(&mut self, values: &[f32]) {
        for &value in values {
            if !value.is_finite() {
                self.non_finite += 1;
                continue;
            }
            self.counts[(value.to_bits() >> SHIFT) as usize] += 1;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            let value = f64::from(value);
            self.sum += value;
            self.sum_squares += value * value;
        }
    }

    /// How many values were not finite.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The message, from the first bucket that holds something to the last.
    /// Stretches of empty buckets in between are one bucket.
    pub(super) fn proto(&self) -> HistogramProto {
        // From the most negative value up: a larger pattern of bits is further
        // from zero on either side.
        let negative = (POSITIVE..BUCKETS).rev();
        let ordered: Vec<usize> = negative.chain(0..POSITIVE).collect();
        let counted = |bucket: &usize| self.counts[*bucket] > 0;
        let (Some(first), Some(last)) = (
            ordered.iter().position(counted),
            ordered.iter().rposition(counted),
        ) else {
            return HistogramProto::default();
        };
        let mut proto = HistogramProto {
            min: f64::from(self.min),
            max: f64::from(self.max),
            sum: self.sum,
            sum_squares: self.sum_squares,
            ..HistogramProto::default()
        };
        for stretch in ordered[first..=last].chunk_by(|a, b| !counted(a) && !counted(b)) {
            let count = self.counts[stretch[0]] as f64;
            proto.num += count;
            proto.bucket.push(count);
            proto
                .bucket_limit
                .push(right_edge(stretch[stretch.len() - 1]));
        }
        proto
    }
}

/// Where a bucket ends towards larger values.
fn right_edge(bucket: usize) -> f64 {
    let bits = (bucket as u32) << SHIFT;
    if bucket >= POSITIVE {
        // The value nearest to zero, which for the last of them is -0.
        return f64::from(f32::from_bits(bits)) + 0.0;
    }
    let next = f32::from_bits(bits + (1 << SHIFT));
    // Above the largest finite value there is infinity, which is no edge.
    f64::from(next.min(f32::MAX))
}
