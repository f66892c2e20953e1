//! Rows to a training and a validation side.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::Value as Json;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::cache::TokenFile;
use crate::dataset::{DataOptions, Samples};
use crate::error::{Result, RowError};
use crate::sample::Content;
use crate::text::minhash::{Cluster, Index};
use crate::text::normal::key;

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
    // What rounding has left out of a part so far, so that many small strata
    // add up to the share that was asked for.
    let mut owed = vec![0.0; fractions.len()];
    for (stratum, mut members) in strata {
        members.sort_unstable();
        let wanted: Vec<f64> = fractions
            .iter()
            .zip(&owed)
            .map(|(fraction, owed)| fraction * sizes[stratum] as f64 + owed)
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
        for part in 0..fractions.len() {
            owed[part] = wanted[part] - filled[part];
        }
    }
    rows.iter().map(|row| side[&row.group]).collect()
}

/// What decides on the side of every row of `paths`. Rows that ask the same
/// are one group, and with `threshold` those that ask nearly the same (Jaccard
/// similarity of prompts). The stratum is the value of the column `stratify`,
/// or the class.
///
/// # Errors
/// Those of reading, and `Row` if a row has no column `stratify`.
pub fn split_rows(
    paths: &[PathBuf],
    data: &DataOptions,
    threshold: Option<f64>,
    stratify: Option<&str>,
) -> Result<Vec<SplitRow>> {
    let mut rows = Vec::new();
    let mut index = threshold.map(Index::new);
    for sample in Samples::open(paths, data.clone())? {
        let sample = sample?;
        let asked = sample.content.opening();
        let stratum = match (stratify, &sample.content) {
            (Some(column), _) => match sample.fields.get(column) {
                Some(Json::String(value)) => value.clone(),
                Some(value) => value.to_string(),
                None => {
                    let problem = "there is no such column to stratify by";
                    return Err(RowError::new(sample.place, problem).field(column).into());
                }
            },
            (None, Content::Classification { label, .. }) => label.clone(),
            (None, _) => String::new(),
        };
        if let Some(index) = &mut index {
            index.add(rows.len() as u32, &asked);
        }
        // 64 of 128 good bits are good.
        let group = key(&asked) as u64;
        rows.push(SplitRow { group, stratum });
    }
    join(
        &mut rows,
        &index.map(|index| index.clusters()).unwrap_or_default(),
    );
    Ok(rows)
}

/// The samples of a file of tokens that are trained on, and those that are held
/// back, `fraction` of all, in order. Those that ask the same, token by token up
/// to the first scored one, stay together.
///
/// # Errors
/// `File` if the tokens cannot be read.
pub fn split_tokens(tokens: &TokenFile, fraction: f64, seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
    let rows: Result<Vec<SplitRow>> = (0..tokens.len())
        .map(|sample| {
            let sample = tokens.sample(sample)?;
            let asked = sample.scored.iter().take_while(|scored| !**scored).count();
            // Of a text, all but the first token is scored.
            let asked = if asked > 1 {
                asked
            } else {
                sample.input_ids.len()
            };
            let ids = &sample.input_ids[..asked];
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            Ok(SplitRow {
                group: xxh3_64(&bytes),
                stratum: String::new(),
            })
        })
        .collect();
    let sides = split(&rows?, &[fraction], seed);
    let (train, held): (Vec<_>, Vec<_>) = (0..).zip(sides).partition(|(_, side)| *side == 0);
    let numbers = |side: Vec<(u32, usize)>| side.into_iter().map(|(sample, _)| sample).collect();
    Ok((numbers(train), numbers(held)))
}

/// Groups that share a cluster become one.
fn join(rows: &mut [SplitRow], clusters: &[Cluster]) {
    let mut parents: HashMap<u64, u64> = HashMap::new();
    let find = |parents: &HashMap<u64, u64>, mut group: u64| {
        while let Some(parent) = parents.get(&group) {
            group = *parent;
        }
        group
    };
    for cluster in clusters {
        let first = find(&parents, rows[cluster.members[0] as usize].group);
        for member in &cluster.members[1..] {
            let other = find(&parents, rows[*member as usize].group);
            if other != first {
                parents.insert(other, first);
            }
        }
    }
    for row in rows {
        row.group = find(&parents, row.group);
    }
}
