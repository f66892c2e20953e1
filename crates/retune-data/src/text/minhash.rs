//! Near-duplicates: MinHash signatures and an index of them.
//!
//! Two texts are near-duplicates if the sets of their shingles (runs of five
//! letters or digits, after [`letters`]) have a Jaccard similarity of at least
//! a threshold. A [`Signature`] estimates it; [`Index`] finds, without
//! comparing all pairs, those that are worth an estimate.
//!
//! # Reference
//! Broder 1997, "On the resemblance and containment of documents"; Indyk &
//! Motwani 1998 for banding; Li & König 2010, arXiv:0910.3349, for keeping a
//! few bits of each minimum.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use super::normal::letters;

/// Characters of a shingle.
pub const SHINGLE: usize = 5;

/// Hash functions of a signature. The estimate's standard error at similarity
/// `J` is `sqrt(J (1 - J) / 128)`, at most 0.044.
pub const PERMUTATIONS: usize = 128;

/// How sure the index is to find a pair that is as similar as the threshold.
const RECALL: f64 = 0.95;

/// Members of a bucket that a text is compared with, the latest ones. Rows
/// made from one template all fall into one bucket, and comparing all pairs
/// would take time quadratic in them; each is still linked to a latest one.
const COMPARED: usize = 64;

/// No row.
const NONE: u32 = u32::MAX;

/// What is kept of a text to compare it with others: 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Neither letters nor digits: like nothing, not even its own copy.
    Empty,
    /// Fewer characters than a shingle: equal or not.
    Short(u128),
    Minima(Box<[u32; PERMUTATIONS]>),
}

impl Signature {
    /// The signature of `text`. It depends on nothing else, so that callers
    /// can take signatures in parallel.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = letters(text);
        let hashes: Vec<u64> = shingles(&text).map(|s| xxh3_64(s.as_bytes())).collect();
        if !hashes.is_empty() {
            return Self(Kind::Minima(minima(&hashes)));
        }
        Self(if text.is_empty() {
            Kind::Empty
        } else {
            Kind::Short(xxh3_128(text.as_bytes()))
        })
    }

    /// The estimated Jaccard similarity: the share of hash functions whose
    /// minima are equal. Texts shorter than a shingle have 1 or 0.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        match (&self.0, &other.0) {
            (Kind::Minima(a), Kind::Minima(b)) => share(&low_bits(a), &low_bits(b)),
            (Kind::Short(a), Kind::Short(b)) if a == b => 1.0,
            _ => 0.0,
        }
    }
}

/// The exact Jaccard similarity of the shingles of two texts. Two texts that
/// are both shorter than a shingle have 1 if they are equal, else 0.
#[must_use]
pub fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b) = (letters(a), letters(b));
    let (left, right): (HashSet<&str>, HashSet<&str>) =
        (shingles(&a).collect(), shingles(&b).collect());
    if left.is_empty() && right.is_empty() {
        return f64::from(u8::from(a == b && !a.is_empty()));
    }
    let both = left.intersection(&right).count();
    both as f64 / (left.len() + right.len() - both) as f64
}

/// The shingles of a text of letters, in order, with repeats.
fn shingles(letters: &str) -> impl Iterator<Item = &str> {
    let starts = letters.char_indices().map(|(at, _)| at);
    let ends = letters
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .skip(SHINGLE - 1);
    starts.zip(ends).map(|(start, end)| &letters[start..end])
}

/// The multipliers of the hash functions, one for each half of a shingle's
/// hash.
static MULTIPLIERS: LazyLock<[[u32; PERMUTATIONS]; 2]> = LazyLock::new(|| {
    let number = |half: usize, i: usize| xxh3_64_with_seed(&[half as u8], i as u64) as u32 | 1;
    [0, 1].map(|half| std::array::from_fn(|i| number(half, i)))
});

/// The least value of each hash function over the shingles. A function is the
/// sum of both halves of the hash, each times an odd number, modulo 2³²
/// (multilinear hashing, Dietzfelbinger 1996): four or more at a time in a
/// vector register.
fn minima(hashes: &[u64]) -> Box<[u32; PERMUTATIONS]> {
    let [low_by, high_by] = &*MULTIPLIERS;
    let mut minima = Box::new([u32::MAX; PERMUTATIONS]);
    for &hash in hashes {
        let (low, high) = (hash as u32, (hash >> 32) as u32);
        for ((least, a), b) in minima.iter_mut().zip(low_by).zip(high_by) {
            let value = a.wrapping_mul(low).wrapping_add(b.wrapping_mul(high));
            *least = (*least).min(value);
        }
    }
    minima
}

/// Sixteen bits of a minimum are enough to compare it: others agree by chance
/// once in 65,536.
fn low_bits(minima: &[u32; PERMUTATIONS]) -> [u16; PERMUTATIONS] {
    minima.map(|minimum| minimum as u16)
}

fn share(a: &[u16; PERMUTATIONS], b: &[u16; PERMUTATIONS]) -> f64 {
    let equal: u16 = a.iter().zip(b).map(|(a, b)| u16::from(a == b)).sum();
    f64::from(equal) / PERMUTATIONS as f64
}

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
/// About 0.8 KB for each text with a threshold of 0.8 (256 bytes of signature, and
/// some 25 to 30 for each of 18 bands), 40 bytes for a copy of an earlier one.
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
    /// `threshold`, which is taken into 0.1 to 1; 0.8 is usual.
    #[must_use]
    pub fn new(threshold: f64) -> Self {
        // `max` and `min`, because `clamp` would let NaN through.
        let threshold = threshold.max(0.1).min(1.0);
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
