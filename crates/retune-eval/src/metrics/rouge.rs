//! ROUGE, with the figures of Google's rouge-score.
//!
//! # Reference
//! Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries

use std::collections::HashMap;

use super::lcs::{Interner, lcs_length, mark_lcs};
use super::ngrams::{ngram_counts, ngram_total, overlap};
use super::words::Words;
use crate::{Error, Result};

/// How ROUGE is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Rouge {
    /// What a word is. Only [`Words::RougeScore`] gives the figures that papers
    /// on English texts report.
    pub words: Words,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub enum RougeType {
    /// Words.
    #[serde(rename = "rouge1")]
    Rouge1,
    /// Pairs of words.
    #[serde(rename = "rouge2")]
    Rouge2,
    /// The longest common subsequence of words.
    #[serde(rename = "rougeL")]
    RougeL,
    /// The same, line by line: each line of the reference against all of the
    /// answer.
    #[serde(rename = "rougeLsum")]
    RougeLsum,
}

impl RougeType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rouge1, Self::Rouge2, Self::RougeL, Self::RougeLsum];

    /// The name that rouge-score gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
            Self::RougeLsum => "rougeLsum",
        }
    }
}

/// Shares between 0 and 1; all 0 where either text has no words.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct RougeScore {
    /// The share of the answer that the reference has.
    pub precision: f64,
    /// The share of the reference that the answer has.
    pub recall: f64,
    /// Their harmonic mean.
    pub fmeasure: f64,
}

/// A score of each type.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct RougeScores {
    /// Of words.
    pub rouge1: RougeScore,
    /// Of pairs of words.
    pub rouge2: RougeScore,
    /// Of the longest common subsequence.
    #[serde(rename = "rougeL")]
    pub rouge_l: RougeScore,
    /// Of the longest common subsequences of lines.
    #[serde(rename = "rougeLsum")]
    pub rouge_lsum: RougeScore,
}

impl RougeScores {
    /// That of one type.
    pub fn of(&self, rouge_type: RougeType) -> RougeScore {
        match rouge_type {
            RougeType::Rouge1 => self.rouge1,
            RougeType::Rouge2 => self.rouge2,
            RougeType::RougeL => self.rouge_l,
            RougeType::RougeLsum => self.rouge_lsum,
        }
    }
}

impl Rouge {
    /// The scores of one row. Each is that of the reference with the best
    /// F-measure; of equals the first.
    ///
    /// Takes time in proportion to the product of both lengths.
    ///
    /// # Errors
    /// `NoReferences`.
    pub fn scores(&self, prediction: &str, references: &[impl AsRef<str>]) -> Result<RougeScores> {
        let prediction = Cut::new(prediction, self.words);
        let of_references: Vec<RougeScores> = references
            .iter()
            .map(|reference| compared(&Cut::new(reference.as_ref(), self.words), &prediction))
            .collect();
        let best = |rouge_type| {
            let scores = of_references.iter().map(|scores| scores.of(rouge_type));
            let better = |best: RougeScore, next: RougeScore| match next.fmeasure > best.fmeasure {
                true => next,
                false => best,
            };
            scores.reduce(better).ok_or(Error::NoReferences)
        };
        Ok(RougeScores {
            rouge1: best(RougeType::Rouge1)?,
            rouge2: best(RougeType::Rouge2)?,
            rouge_l: best(RougeType::RougeL)?,
            rouge_lsum: best(RougeType::RougeLsum)?,
        })
    }
}

/// A text's words, all of them and line by line. They are not the same words
/// only where a segmenter sees across lines.
struct Cut {
    words: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Cut {
    fn new(text: &str, words: Words) -> Self {
        let lines = text.split('\n').filter(|line| !line.is_empty());
        Self {
            words: words.of(text),
            lines: lines.map(|line| words.of(line)).collect(),
        }
    }
}

fn compared(reference: &Cut, prediction: &Cut) -> RougeScores {
    let mut interner = Interner::default();
    let reference_words = interner.ids(&reference.words);
    let prediction_words = interner.ids(&prediction.words);
    let (of_reference, of_prediction) = (reference_words.len(), prediction_words.len());
    let ngrams = |order| {
        let reference = ngram_counts(&reference_words, order);
        let matched = overlap(&ngram_counts(&prediction_words, order), &reference);
        score(
            matched,
            ngram_total(of_reference, order),
            ngram_total(of_prediction, order),
        )
    };
    let longest = lcs_length(&reference_words, &prediction_words);
    RougeScores {
        rouge1: ngrams(1),
        rouge2: ngrams(2),
        rouge_l: score(longest as u64, of_reference as u64, of_prediction as u64),
        rouge_lsum: line_by_line(&reference.lines, &prediction.lines),
    }
}

/// ROUGE-Lsum: of each line of the reference, the words that are in its longest
/// common subsequence with some line of the answer. No word of the answer counts
/// twice, as in ROUGE 1.5.5.
fn line_by_line(reference: &[Vec<String>], prediction: &[Vec<String>]) -> RougeScore {
    let mut interner = Interner::default();
    let reference: Vec<Vec<u32>> = reference.iter().map(|line| interner.ids(line)).collect();
    let prediction: Vec<Vec<u32>> = prediction.iter().map(|line| interner.ids(line)).collect();
    let [of_reference, of_prediction] =
        [&reference, &prediction].map(|lines| lines.iter().map(Vec::len).sum::<usize>() as u64);
    let mut left: HashMap<u32, u64> = HashMap::new();
    for &word in prediction.iter().flatten() {
        *left.entry(word).or_insert(0) += 1;
    }
    let mut hits = 0;
    for line in &reference {
        let mut marks = vec![false; line.len()];
        for other in &prediction {
            mark_lcs(line, other, &mut marks);
        }
        for (word, _) in line.iter().zip(marks).filter(|(_, marked)| *marked) {
            if let Some(left @ 1..) = left.get_mut(word) {
                *left -= 1;
                hits += 1;
            }
        }
    }
    score(hits, of_reference, of_prediction)
}

fn score(matched: u64, of_reference: u64, of_prediction: u64) -> RougeScore {
    let precision = matched as f64 / of_prediction.max(1) as f64;
    let recall = matched as f64 / of_reference.max(1) as f64;
    let fmeasure = match precision + recall > 0.0 {
        true => 2.0 * precision * recall / (precision + recall),
        false => 0.0,
    };
    RougeScore {
        precision,
        recall,
        fmeasure,
    }
}
