//! What answers are worth, row by row and together.

use retune_generate::{Answer, Finish};

use crate::error::Result;
use crate::held_out::HeldOut;
use crate::likelihood::Likelihood;
use crate::measure::{Better, Column, Form, Measure};
use crate::metrics::bleu::Bleu;
use crate::metrics::chrf::Chrf;
use crate::metrics::diversity::{SelfBleu, distinct_n};
use crate::metrics::labels::{ExactMatch, LabelReport};
use crate::metrics::repetition::{LoopRule, longest_repeated_span, rep_n};
use crate::metrics::rouge::{Rouge, RougeScores};
use crate::metrics::statistics::References;
use crate::metrics::tokenize::Tokenizer;
use crate::metrics::words::Words;

/// How answers are compared with those of the data.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Scoring {
    /// BLEU of the corpus; sentences have its effective order.
    pub bleu: Bleu,
    /// chrF.
    pub chrf: Chrf,
    /// ROUGE.
    pub rouge: Rouge,
    /// What makes no difference to an exact match.
    pub exact_match: ExactMatch,
    /// The labels, where answers are labels.
    pub labels: Option<Vec<String>>,
}

/// The scores of one answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RowScores {
    /// BLEU of the sentence, from 0 to 100.
    pub bleu: f64,
    /// chrF, from 0 to 100.
    pub chrf: f64,
    /// ROUGE, from 0 to 1.
    #[serde(flatten)]
    pub rouge: RougeScores,
    /// Whether the answer is that of the data, but for whitespace and full-width forms.
    pub exact_match: bool,
    /// Characters.
    pub characters: usize,
    /// The share of 4-grams of characters that came before in the answer.
    pub rep_4: Option<f64>,
    /// Characters of the longest span that comes twice.
    pub longest_repeat: usize,
    /// Whether it ends in a loop.
    pub loops: bool,
    /// Whether it was cut off at its greatest length.
    pub cut_off: bool,
}

/// A model on rows.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How likely it finds each row's answer; empty if that was not asked.
    pub likelihood: Vec<Option<Likelihood>>,
    /// What it answered to each row; empty if nothing was asked.
    pub answers: Vec<Option<Answer>>,
}

impl Outcome {
    /// That of some of the rows.
    pub(crate) fn of_rows(&self, rows: &[usize]) -> Self {
        let answers = rows.iter().filter_map(|row| self.answers.get(*row));
        Self {
            likelihood: rows.iter().map(|row| self.likelihood[*row]).collect(),
            answers: answers.cloned().collect(),
        }
    }
}

impl Scoring {
    /// What suits the answers of `rows`: characters of Chinese, words of others; labels
    /// if they are.
    pub fn of(rows: &HeldOut) -> Self {
        let references = || rows.rows.iter().flat_map(|row| row.reference.chars());
        let wide = references().filter(|c| is_chinese_or_japanese(*c)).count();
        let letters = references().filter(|c| c.is_alphanumeric()).count();
        let chinese = wide * 2 > letters;
        Self {
            bleu: Bleu {
                tokenize: match chinese {
                    true => Tokenizer::Zh,
                    false => Tokenizer::Thirteen,
                },
                ..Bleu::default()
            },
            chrf: Chrf::default(),
            rouge: Rouge {
                words: match chinese {
                    true => Words::Characters,
                    false => Words::default(),
                },
            },
            exact_match: ExactMatch::default(),
            labels: rows
                .labels()
                .map(|labels| labels.into_iter().map(str::to_owned).collect()),
        }
    }

    /// What a reader needs to compute the same BLEU and chrF.
    pub fn signatures(&self) -> [String; 2] {
        let one = References::Each(1);
        [self.bleu.signature(one), self.chrf.signature(one)]
    }

    /// The scores of `answer` where the data answers `reference`.
    ///
    /// # Errors
    /// `Setting` if BLEU's make no sense.
    pub fn row(&self, answer: &Answer, reference: &str) -> Result<RowScores> {
        let characters: Vec<char> = answer.text.trim_end().chars().collect();
        let references = [reference];
        Ok(RowScores {
            bleu: self
                .bleu
                .for_sentences()
                .sentence(&answer.text, &references)?
                .score,
            chrf: self.chrf.sentence(&answer.text, &references)?,
            rouge: self.rouge.scores(&answer.text, &references)?,
            exact_match: self.exact_match.matches(&answer.text, &references)?,
            characters: characters.len(),
            rep_4: rep_n(&characters, 4),
            longest_repeat: longest_repeated_span(&characters).map_or(0, |span| span.length()),
            loops: LoopRule::default().find(&characters).is_some(),
            cut_off: answer.finish == Finish::Length,
        })
    }

    /// The scores of all answers of `outcome`.
    ///
    /// # Errors
    /// As [`Scoring::row`].
    pub fn rows(&self, rows: &HeldOut, outcome: &Outcome) -> Result<Vec<Option<RowScores>>> {
        let pairs = outcome.answers.iter().zip(&rows.rows);
        let score = |answer: &Answer, reference: &str| self.row(answer, reference);
        pairs
            .map(|(answer, row)| {
                let scores = answer.as_ref().map(|answer| score(answer, &row.reference));
                scores.transpose()
            })
            .collect()
    }

    /// All figures of `outcome`, of which `scored` are the scores.
    ///
    /// # Errors
    /// As [`Scoring::row`].
    pub fn measures(
        &self,
        rows: &HeldOut,
        outcome: &Outcome,
        scored: &[Option<RowScores>],
    ) -> Result<Vec<Measure>> {
        let mut measures = likelihood_measures(
            ["perplexity", "bits per byte", "token accuracy"],
            &outcome.likelihood,
        );
        if !outcome.answers.is_empty() {
            measures.extend(self.label_measures(rows, outcome));
            measures.extend(self.reference_measures(rows, outcome, scored)?);
            measures.extend(self.answer_measures(outcome, scored)?);
        }
        Ok(measures)
    }

    /// Precision, recall and F1 of each label; none where answers are no labels or there
    /// are none.
    pub(crate) fn label_report(&self, rows: &HeldOut, outcome: &Outcome) -> Option<LabelReport> {
        let labels: Vec<&str> = self.labels.as_ref()?.iter().map(String::as_str).collect();
        let (actual, given): (Vec<String>, Vec<String>) =
            label_pairs(rows, outcome).into_iter().unzip();
        let report = LabelReport::new(&actual, &given, Some(&labels)).ok();
        report.filter(|report| report.rows > 0)
    }

    /// Those that compare labels.
    fn label_measures(&self, rows: &HeldOut, outcome: &Outcome) -> Vec<Measure> {
        let Some(labels) = &self.labels else {
            return Vec::new();
        };
        let pairs = label_pairs(rows, outcome);
        let right = |(actual, given): &(String, String)| Some(f64::from(u8::from(actual == given)));
        let accuracy = Column::Mean(pairs.iter().map(right).collect());
        vec![
            Measure::new("accuracy", Better::Higher, Form::Share, accuracy),
            Measure::new(
                "macro F1",
                Better::Higher,
                Form::Share,
                Column::MacroF1(labels.clone(), pairs),
            ),
        ]
    }

    /// Those that compare answers with the data's.
    fn reference_measures(
        &self,
        rows: &HeldOut,
        outcome: &Outcome,
        scored: &[Option<RowScores>],
    ) -> Result<Vec<Measure>> {
        let mut bleu = Vec::new();
        let mut chrf = Vec::new();
        for (row, answer) in rows.rows.iter().zip(&outcome.answers) {
            let references = [&row.reference];
            // A row without an answer counts nothing.
            let (mut row_bleu, mut row_chrf) = Default::default();
            if let Some(answer) = answer {
                row_bleu = self.bleu.statistics(&answer.text, &references)?;
                row_chrf = self.chrf.statistics(&answer.text, &references)?;
            }
            bleu.push(row_bleu);
            chrf.push(row_chrf);
        }
        let mean = |name, value: fn(&RowScores) -> f64| {
            Measure::new(
                name,
                Better::Higher,
                Form::Share,
                mean(scored, |row| Some(value(row))),
            )
        };
        Ok(vec![
            Measure::new(
                "BLEU",
                Better::Higher,
                Form::Number,
                Column::Bleu(self.bleu, bleu),
            ),
            Measure::new(
                "chrF",
                Better::Higher,
                Form::Number,
                Column::Chrf(self.chrf, chrf),
            ),
            mean("ROUGE-1", |row| row.rouge.rouge1.fmeasure),
            mean("ROUGE-2", |row| row.rouge.rouge2.fmeasure),
            mean("ROUGE-L", |row| row.rouge.rouge_l.fmeasure),
            mean("ROUGE-Lsum", |row| row.rouge.rouge_lsum.fmeasure),
            mean("exact match", |row| f64::from(u8::from(row.exact_match))),
        ])
    }

    /// Those of answers alone.
    fn answer_measures(
        &self,
        outcome: &Outcome,
        scored: &[Option<RowScores>],
    ) -> Result<Vec<Measure>> {
        let texts: Vec<&str> = outcome
            .answers
            .iter()
            .flatten()
            .map(|answer| answer.text.as_str())
            .collect();
        let words: Vec<Vec<String>> = texts.iter().map(|text| self.rouge.words.of(text)).collect();
        let self_bleu = SelfBleu {
            bleu: self.bleu.for_sentences(),
            ..SelfBleu::default()
        };
        let self_bleu = self_bleu.score(&texts)?.map(|score| score.score);
        let whole =
            |name, form, value| Measure::new(name, Better::Neither, form, Column::Whole(value));
        let of_rows = |name, better, form, value: fn(&RowScores) -> Option<f64>| {
            Measure::new(name, better, form, mean(scored, value))
        };
        Ok(vec![
            whole("distinct-1", Form::Share, distinct_n(&words, 1)),
            whole("distinct-2", Form::Share, distinct_n(&words, 2)),
            whole("self-BLEU", Form::Number, self_bleu),
            of_rows("rep-4", Better::Lower, Form::Share, |row| row.rep_4),
            of_rows("longest repeat", Better::Lower, Form::Number, |row| {
                Some(row.longest_repeat as f64)
            }),
            of_rows("loops", Better::Lower, Form::Share, |row| {
                Some(f64::from(u8::from(row.loops)))
            }),
            of_rows("cut off", Better::Lower, Form::Share, |row| {
                Some(f64::from(u8::from(row.cut_off)))
            }),
            of_rows("characters", Better::Neither, Form::Number, |row| {
                Some(row.characters as f64)
            }),
        ])
    }
}

/// Perplexity, bits per byte and token accuracy, under `names`; none without rows.
pub(crate) fn likelihood_measures(
    names: [&'static str; 3],
    rows: &[Option<Likelihood>],
) -> Vec<Measure> {
    let rows: Vec<Likelihood> = rows.iter().map(|row| row.unwrap_or_default()).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    vec![
        Measure::new(
            names[0],
            Better::Lower,
            Form::Number,
            Column::Perplexity(rows.clone()),
        ),
        Measure::new(
            names[1],
            Better::Lower,
            Form::Number,
            Column::BitsPerByte(rows.clone()),
        ),
        Measure::new(
            names[2],
            Better::Higher,
            Form::Share,
            Column::TokenAccuracy(rows),
        ),
    ]
}

/// Of each row its label, and what was answered.
fn label_pairs(rows: &HeldOut, outcome: &Outcome) -> Vec<(String, String)> {
    let pairs = rows.rows.iter().zip(&outcome.answers);
    let given =
        |answer: &Option<Answer>| answer.as_ref().map_or("", |own| own.text.trim()).to_owned();
    pairs
        .map(|(row, answer)| (row.reference.trim().to_owned(), given(answer)))
        .collect()
}

fn mean(scored: &[Option<RowScores>], value: impl Fn(&RowScores) -> Option<f64>) -> Column {
    let values = scored.iter().map(|row| row.as_ref().and_then(&value));
    Column::Mean(values.collect())
}

fn is_chinese_or_japanese(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}
