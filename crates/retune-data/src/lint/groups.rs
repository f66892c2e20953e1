//! What rows say together: copies, and one prompt with several answers.

use std::collections::BTreeMap;

use super::collect::Tally;
use super::report::{Example, RowRef};
use crate::error::counted;
use crate::text::minhash::Cluster;

/// Rows that ask the same from which on it is said.
const REPEATED: usize = 10;
/// Examples that are kept before the report cuts them.
const EXAMPLES: usize = 16;

/// What is kept of each row: hashes of its whole, its prompt and its answer.
pub(super) struct Record {
    pub(super) row: RowRef,
    pub(super) whole: u64,
    pub(super) prompt: u64,
    pub(super) answer: u64,
}

type Tallies = BTreeMap<&'static str, Tally>;

/// An example whose text is read later.
pub(super) fn example(row: RowRef, rows: usize) -> Example {
    Example {
        row: Some(row),
        text: String::new(),
        rows: rows as u64,
    }
}

/// Groups of records with the same key, each in the order of the rows.
fn grouped(records: &[Record], key: impl Fn(&Record) -> u64) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..records.len() as u32).collect();
    order.sort_by_key(|index| (key(&records[*index as usize]), *index));
    let same = |a: &u32, b: &u32| key(&records[*a as usize]) == key(&records[*b as usize]);
    let mut groups: Vec<Vec<u32>> = order
        .chunk_by(same)
        .filter(|group| group.len() > 1)
        .map(<[u32]>::to_vec)
        .collect();
    // The largest first, then in the order of the rows.
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0]));
    groups
}

/// Rows that are equal to an earlier one.
pub(super) fn duplicates(records: &[Record], tallies: &mut Tallies) {
    let groups = grouped(records, |record| record.whole);
    let copies: usize = groups.iter().map(|group| group.len() - 1).sum();
    if copies == 0 {
        return;
    }
    let rows = groups.iter().flat_map(|group| &group[1..]);
    let tally = Tally {
        count: copies as u64,
        message: format!(
            "{} of {}",
            counted(copies, "copy", "copies"),
            counted(groups.len(), "row", "rows")
        ),
        examples: shown(records, &groups),
        rows: rows.map(|index| records[*index as usize].row).collect(),
        fix: None,
    };
    tallies.insert("exact-duplicate", tally);
}

/// The first row of each group.
fn shown(records: &[Record], groups: &[Vec<u32>]) -> Vec<Example> {
    let groups = groups.iter().take(EXAMPLES);
    groups
        .map(|group| example(records[group[0] as usize].row, group.len()))
        .collect()
}

/// Prompts with several answers, and prompts of many rows.
pub(super) fn prompts(records: &[Record], tallies: &mut Tallies) {
    let groups = grouped(records, |record| record.prompt);
    let conflicts: Vec<Vec<u32>> = groups
        .iter()
        .filter(|group| {
            let first = records[group[0] as usize].answer;
            group
                .iter()
                .any(|index| records[*index as usize].answer != first)
        })
        .cloned()
        .collect();
    if !conflicts.is_empty() {
        let rows: usize = conflicts.iter().map(Vec::len).sum();
        let members = conflicts.iter().flatten();
        let tally = Tally {
            count: conflicts.len() as u64,
            message: format!(
                "{} with several answers, in {rows} rows",
                counted(conflicts.len(), "prompt", "prompts")
            ),
            examples: shown(records, &conflicts),
            rows: members.map(|index| records[*index as usize].row).collect(),
            fix: None,
        };
        tallies.insert("conflicting-answers", tally);
    }
    let many: Vec<Vec<u32>> = groups
        .into_iter()
        .filter(|group| group.len() >= REPEATED)
        .collect();
    if !many.is_empty() {
        let counts: Vec<String> = many
            .iter()
            .take(5)
            .map(|group| group.len().to_string())
            .collect();
        let members = many.iter().flatten();
        let tally = Tally {
            count: many.len() as u64,
            message: format!(
                "{} in {REPEATED} rows or more each ({}{})",
                counted(many.len(), "prompt", "prompts"),
                counts.join(", "),
                if many.len() > counts.len() {
                    ", …"
                } else {
                    ""
                }
            ),
            examples: shown(records, &many),
            rows: members.map(|index| records[*index as usize].row).collect(),
            fix: None,
        };
        tallies.insert("repeated-prompt", tally);
    }
}

/// Rows that differ by little from an earlier one. Exact copies have a finding
/// of their own.
pub(super) fn near_duplicates(records: &[Record], clusters: &[Cluster], tallies: &mut Tallies) {
    let mut tally = Tally::default();
    let mut groups = 0;
    for cluster in clusters {
        let mut kinds: Vec<u64> = Vec::new();
        for index in &cluster.members {
            let record = &records[*index as usize];
            if kinds.contains(&record.whole) {
                // It goes with the one that it copies.
                if kinds[0] != record.whole {
                    tally.rows.push(record.row);
                }
                continue;
            }
            kinds.push(record.whole);
            if kinds.len() == 1 {
                continue;
            }
            tally.count += 1;
            tally.rows.push(record.row);
            if kinds.len() == 2 {
                groups += 1;
                let first = records[cluster.members[0] as usize].row;
                tally
                    .examples
                    .extend([example(first, 1), example(record.row, 1)]);
            }
        }
    }
    if tally.count > 0 {
        tally.message = format!(
            "{} like {}, copies not counted",
            counted(tally.count as usize, "row", "rows"),
            counted(groups, "other", "others")
        );
        tallies.insert("near-duplicate", tally);
    }
}
