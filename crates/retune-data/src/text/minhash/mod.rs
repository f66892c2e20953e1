//! Near-duplicates: MinHash signatures and an index of them.
//!
//! Two texts are near-duplicates if the sets of their shingles (runs of five
//! letters or digits, after
//! [`letters`](super::normal::letters)) have a Jaccard similarity of at least
//! a threshold. A [`Signature`] estimates it; [`Index`] finds, without
//! comparing all pairs, those that are worth an estimate.
//!
//! # Reference
//! Broder 1997, "On the resemblance and containment of documents"; Indyk &
//! Motwani 1998 for banding; Li & König 2010, arXiv:0910.3349, for keeping a
//! few bits of each minimum.

mod signature;

use std::collections::HashMap;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use signature::{Kind, low_bits, share};
pub use signature::{PERMUTATIONS, SHINGLE, Signature, jaccard};

/// How sure the index is to find a pair that is as similar as the threshold.
const RECALL: f64 = 0.95;

/// Members of a bucket that a text is compared with, the latest ones. Rows
/// made from one template all fall into one bucket, and comparing all pairs
/// would take time quadratic in them; each is still linked to a latest one.
const COMPARED: usize = 64;

/// No row.
const NONE: u32 = u32::MAX;

/// Texts that are linked by near-duplicates, directly or through others.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Their ids in ascending order, two at least.
    pub members: Vec<u32>,
    /// The least similarity among the links that were found.
    pub similarity: f64,
}

/// A text of the index that is similar to a queried one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// The id under which it was added.
    pub id: u32,
    /// The estimated Jaccard similarity.
    pub similarity: f64,
}

/// An index of texts that finds near-duplicates.
///
/// A signature is cut into bands; texts that agree in a whole band are
/// candidates, and stay if their estimated similarity reaches the threshold. A
/// pair that is just as similar as the threshold is found with a probability
/// of 95 % or more, a copy always. The result depends on the texts and their
/// order alone.
///
/// # Memory
/// 0.7 to 1.2 KB for each text with a threshold of 0.8 (256 bytes of signature, and
/// 23 to 43 for each of 18 bands, as full as the hash table is), 16 to 32 bytes for a
/// copy of an earlier one.
#[derive(Debug)]
pub struct Index {
    threshold: f64,
    /// Minima in a band.
    rows: usize,
    bands: usize,
    ids: Vec<u32>,
    /// Union-find over rows, in the order of `ids`.
    parents: Vec<u32>,
    /// The least similarity of a link in the cluster, at its root.
    weakest: Vec<f64>,
    /// The texts with a signature that none before them had.
    leaders: Vec<Leader>,
    /// The leaders' place in `leaders`, by a hash of the whole signature; for
    /// short texts the row.
    first: HashMap<u128, u32>,
    /// The leader that came into a bucket last, by band and hash.
    buckets: HashMap<u64, u32>,
    /// For each leader and band the leader that was in the bucket before.
    before: Vec<u32>,
}

#[derive(Debug)]
struct Leader {
    row: u32,
    minima: [u16; PERMUTATIONS],
}

impl Index {
    /// An empty index for near-duplicates with a similarity of at least
    /// `threshold`, which is brought into 0.1 to 1; 0.8 is usual.
    #[must_use]
    pub fn new(threshold: f64) -> Self {
        // A threshold that is no number asks for the surest.
        let threshold = if threshold.is_nan() {
            1.0
        } else {
            threshold.clamp(0.1, 1.0)
        };
        let (bands, rows) = banding(threshold);
        Self {
            threshold,
            rows,
            bands,
            ids: Vec::new(),
            parents: Vec::new(),
            weakest: Vec::new(),
            leaders: Vec::new(),
            first: HashMap::new(),
            buckets: HashMap::new(),
            before: Vec::new(),
        }
    }

    /// Adds `text` under `id`.
    pub fn add(&mut self, id: u32, text: &str) {
        self.add_signature(id, &Signature::of(text));
    }

    /// Adds a text under `id` by its signature.
    pub fn add_signature(&mut self, id: u32, signature: &Signature) {
        let row = self.ids.len() as u32;
        self.ids.push(id);
        self.parents.push(row);
        self.weakest.push(1.0);
        match &signature.0 {
            Kind::Empty => {}
            Kind::Short(key) => {
                let first = *self.first.entry(*key).or_insert(row);
                self.link(first, row, 1.0);
            }
            Kind::Minima(minima) => self.add_minima(row, minima),
        }
    }

    fn add_minima(&mut self, row: u32, minima: &[u32; PERMUTATIONS]) {
        let key = signature_key(minima);
        if let Some(&leader) = self.first.get(&key) {
            self.link(self.leaders[leader as usize].row, row, 1.0);
            return;
        }
        for (leader, similarity) in self.candidates(minima) {
            self.link(self.leaders[leader as usize].row, row, similarity);
        }
        let leader = self.leaders.len() as u32;
        self.first.insert(key, leader);
        for band in band_keys(minima, self.rows).take(self.bands) {
            let last = self.buckets.insert(band, leader);
            self.before.push(last.unwrap_or(NONE));
        }
        let minima = low_bits(minima);
        self.leaders.push(Leader { row, minima });
    }

    /// The leaders in a bucket of `minima` whose estimate reaches the
    /// threshold, in the order in which they came.
    fn candidates(&self, minima: &[u32; PERMUTATIONS]) -> Vec<(u32, f64)> {
        let mut seen = Vec::new();
        for (band, key) in band_keys(minima, self.rows).take(self.bands).enumerate() {
            let mut next = self.buckets.get(&key).copied().unwrap_or(NONE);
            let mut compared = 0;
            while next != NONE && compared < COMPARED {
                seen.push(next);
                next = self.before[next as usize * self.bands + band];
                compared += 1;
            }
        }
        seen.sort_unstable();
        seen.dedup();
        let minima = low_bits(minima);
        let estimates = seen.into_iter().map(|leader| {
            (
                leader,
                share(&minima, &self.leaders[leader as usize].minima),
            )
        });
        estimates
            .filter(|(_, similarity)| *similarity >= self.threshold)
            .collect()
    }

    /// The texts of the index that are near-duplicates of `signature`'s, the most similar
    /// ones first. Of texts with equal signatures only the first one is given,
    /// so that the answer stays short: it tells whether a text has leaked.
    #[must_use]
    pub fn query(&self, signature: &Signature) -> Vec<Match> {
        let found = |row: u32, similarity| Match {
            id: self.ids[row as usize],
            similarity,
        };
        match &signature.0 {
            Kind::Empty => Vec::new(),
            Kind::Short(key) => self
                .first
                .get(key)
                .map(|row| found(*row, 1.0))
                .into_iter()
                .collect(),
            Kind::Minima(minima) => {
                let mut candidates = self.candidates(minima);
                candidates.sort_by(|(_, a), (_, b)| b.total_cmp(a));
                let rows = candidates.into_iter();
                rows.map(|(leader, s)| found(self.leaders[leader as usize].row, s))
                    .collect()
            }
        }
    }

    /// All clusters, in the order of their first members.
    #[must_use]
    pub fn clusters(&self) -> Vec<Cluster> {
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for row in 0..self.ids.len() as u32 {
            let root = self.root(row);
            members
                .entry(root)
                .or_default()
                .push(self.ids[row as usize]);
        }
        let mut clusters: Vec<Cluster> = members
            .into_iter()
            .filter(|(_, members)| members.len() > 1)
            .map(|(root, mut members)| {
                members.sort_unstable();
                let similarity = self.weakest[root as usize];
                Cluster {
                    members,
                    similarity,
                }
            })
            .collect();
        clusters.sort_by(|a, b| a.members.cmp(&b.members));
        clusters
    }

    fn root(&self, mut row: u32) -> u32 {
        while self.parents[row as usize] != row {
            row = self.parents[row as usize];
        }
        row
    }

    /// Joins the clusters of two rows. The earlier root stays; paths are
    /// halved on the way, which keeps them short.
    fn link(&mut self, a: u32, b: u32, similarity: f64) {
        let [a, b] = [a, b].map(|mut row| {
            while self.parents[row as usize] != row {
                let parent = self.parents[row as usize];
                self.parents[row as usize] = self.parents[parent as usize];
                row = parent;
            }
            row
        });
        let (root, child) = (a.min(b), a.max(b));
        let weakest = self.weakest[a as usize].min(self.weakest[b as usize]);
        self.weakest[root as usize] = weakest.min(similarity);
        self.parents[child as usize] = root;
    }
}

/// Bands and minima in each: the longest bands with which a pair at the
/// threshold still agrees in one with probability [`RECALL`]. Longer bands have
/// fewer candidates that come to nothing.
fn banding(threshold: f64) -> (usize, usize) {
    let found = |rows: i32| {
        let bands = PERMUTATIONS as i32 / rows;
        1.0 - (1.0 - threshold.powi(rows)).powi(bands)
    };
    let rows = (1..=PERMUTATIONS as i32 / 2)
        .rev()
        .find(|rows| found(*rows) >= RECALL)
        .unwrap_or(1) as usize;
    (PERMUTATIONS / rows, rows)
}

/// A hash of each band, other for each of them.
fn band_keys(minima: &[u32; PERMUTATIONS], rows: usize) -> impl Iterator<Item = u64> {
    minima
        .chunks_exact(rows)
        .enumerate()
        .map(|(band, minima)| xxh3_64_with_seed(&bytes(minima), band as u64))
}

fn signature_key(minima: &[u32; PERMUTATIONS]) -> u128 {
    xxh3_128(&bytes(minima))
}

fn bytes(minima: &[u32]) -> Vec<u8> {
    minima.iter().flat_map(|m| m.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_find_what_is_as_similar_as_the_threshold() {
        assert_eq!(banding(0.8), (18, 7));
        assert_eq!(banding(1.0), (2, 64));
        for threshold in [0.1, 0.3, 0.5, 0.7, 0.9, 0.95] {
            let (bands, rows) = banding(threshold);
            assert!(bands * rows <= PERMUTATIONS);
            let found = 1.0 - (1.0 - threshold.powi(rows as i32)).powi(bands as i32);
            assert!(found >= RECALL || rows == 1, "{threshold}: {found}");
        }
    }
}
