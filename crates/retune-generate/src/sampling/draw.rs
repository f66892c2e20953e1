//! The choice of a token.

use retune_compute::RandomKey;
use retune_model::largest;

use super::{History, Sampling};

/// What random numbers are for.
const SAMPLING: u64 = 4 << 32;

impl Sampling {
    /// Chooses the token after `history`; none if all are banned. `logits` are changed.
    pub(crate) fn choose(&self, logits: &mut [f32], history: History<'_>) -> Option<u32> {
        self.process(logits, history);
        if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            return None;
        }
        if !self.do_sample || self.temperature == 0.0 {
            return Some(largest(logits));
        }
        let kept = self.candidates(logits);
        Some(draw(&kept, self.uniform(history.answer().len() as u64)))
    }

    /// The tokens that are drawn from behind processed logits, with their weights (the
    /// most likely token has 1), in the order of their ids.
    pub fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut kept: Vec<(u32, f32)> = (0..)
            .zip(logits.iter().copied())
            .filter(|(_, logit)| *logit > f32::NEG_INFINITY)
            .collect();
        if self.top_k > 0 && self.top_k < kept.len() {
            let mut scores: Vec<f32> = kept.iter().map(|(_, score)| *score).collect();
            let (_, least, _) =
                scores.select_nth_unstable_by(self.top_k - 1, |a, b| b.total_cmp(a));
            let least = *least;
            kept.retain(|(_, score)| *score >= least);
        }
        let highest = kept
            .iter()
            .fold(f32::NEG_INFINITY, |highest, (_, score)| highest.max(*score));
        let mut weights: Vec<(u32, f64)> = kept
            .iter()
            .map(|&(token, logit)| {
                let below = f64::from(logit) - f64::from(highest);
                (token, (below / self.temperature).exp())
            })
            .collect();
        if self.top_p < 1.0 {
            weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
            let mut before = 0.0;
            // Those go behind which enough has been kept already.
            let count = weights
                .iter()
                .take_while(|(_, weight)| {
                    let wanted = before < self.top_p * all;
                    before += weight;
                    wanted
                })
                .count();
            weights.truncate(count.max(1));
            weights.sort_by_key(|(token, _)| *token);
        }
        if self.min_p > 0.0 {
            weights.retain(|(_, weight)| *weight >= self.min_p);
        }
        weights
    }

    /// A number from 0 up to 1 for the token `index` of the answer.
    fn uniform(&self, index: u64) -> f64 {
        let key = RandomKey::new(self.seed, SAMPLING);
        let [low, high, ..] = key.block([index as u32, (index >> 32) as u32, 0, 0]);
        let bits = u64::from(high) << 32 | u64::from(low);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The token at `share` of all weights.
fn draw(weights: &[(u32, f64)], share: f64) -> u32 {
    let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut left = share * all;
    for (token, weight) in weights {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    weights.last().map_or(0, |(token, _)| *token)
}

/// The logarithms of the probabilities that `logits` stand for.
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - highest).exp())
        .sum();
    let normalizer = f64::from(highest) + sum.ln();
    logits
        .iter()
        .map(|logit| (f64::from(*logit) - normalizer) as f32)
        .collect()
}
