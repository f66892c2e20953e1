//! Rows to a training and a validation side.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What decides on which side a row goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitRow {
    /// Rows of one group stay together: those that ask the same, or nearly.
    pub group: u64,
    /// Each stratum is split in the same proportion, such as a class.
    pub stratum: String,
}

/// The side of each row: 0 for the first part, and so on. `fractions` are those
/// of the parts behind the first, such as 0.1 for validation; what they leave is
/// the first part.
///
/// Within a stratum, groups go to the parts in an order that is a hash of the
/// seed and the group, so that a row that is added moves few others. A group
/// with rows of several strata belongs to that of its first row. A part gets a
/// group if that brings it closer to its share.
pub fn split(rows: &[SplitRow], fractions: &[f64], seed: u64) -> Vec<usize> {
    let mut groups: HashMap<u64, usize> = HashMap::new();
    for row in rows {
        *groups.entry(row.group).or_default() += 1;
    }
    // In the order of the strata's names, each group once.
    let mut strata: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seen: HashMap<u64, usize> = HashMap::new();
    for row in rows {
        if seen.insert(row.group, 0).is_none() {
            let key = xxh3_64_with_seed(&row.group.to_le_bytes(), seed);
            let stratum = row.stratum.as_str();
            strata.entry(stratum).or_default().push((key, row.group));
            *sizes.entry(stratum).or_default() += groups[&row.group];
        }
    }
    let mut side = seen;
    for (stratum, mut members) in strata {
        members.sort_unstable();
        let wanted: Vec<f64> = fractions
            .iter()
            .map(|fraction| fraction * sizes[stratum] as f64)
            .collect();
        let mut filled = vec![0.0; fractions.len()];
        for (_, group) in members {
            let size = groups[&group] as f64;
            let part = (0..fractions.len()).find(|part| {
                (filled[*part] + size - wanted[*part]).abs() < (wanted[*part] - filled[*part]).abs()
            });
            if let Some(part) = part {
                filled[part] += size;
                side.insert(group, part + 1);
            }
        }
    }
    rows.iter().map(|row| side[&row.group]).collect()
}
