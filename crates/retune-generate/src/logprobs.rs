//! How likely a token was.

use crate::sampling::log_softmax;

/// A chosen token and others that it was chosen among.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TokenLogprobs {
    /// The token; it may be one that ends the answer.
    pub token: u32,
    /// The natural logarithm of its probability, as the model has it: before
    /// temperature, penalties and cuts.
    pub logprob: f32,
    /// The most likely tokens with theirs, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

impl TokenLogprobs {
    /// Those of `token` and the `count` most likely ones, from logits `[V]`.
    pub(crate) fn new(logits: &[f32], token: u32, count: usize) -> Self {
        let all = log_softmax(logits);
        let mut top: Vec<(u32, f32)> = (0..).zip(all.iter().copied()).collect();
        let likelier = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if count > 0 && count < top.len() {
            top.select_nth_unstable_by(count - 1, likelier);
        }
        top.truncate(count);
        top.sort_by(likelier);
        // Else each token of an answer would hold a vocabulary's room.
        top.shrink_to_fit();
        Self {
            token,
            logprob: all[token as usize],
            top,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_token_takes_no_more_room_than_it_needs() {
        let logits: Vec<f32> = (0..10_000).map(|id| (id % 97) as f32).collect();
        let told = TokenLogprobs::new(&logits, 5, 3);
        assert_eq!(
            told.top.iter().map(|top| top.0).collect::<Vec<_>>(),
            [96, 193, 290]
        );
        assert!(told.top.capacity() < 10, "{}", told.top.capacity());
        assert_eq!(told.logprob, told.top[0].1 - 91.0);
    }
}
