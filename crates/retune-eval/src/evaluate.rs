//! One model on rows.

use retune_generate::{Assistant, Sampling, answer_all};

use crate::compare::Subject;
use crate::error::{Error, Result};
use crate::held_out::HeldOutRow;
use crate::likelihood::likelihood;
use crate::scores::Outcome;

/// What a model is to do.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// The rows that it is evaluated on.
    pub rows: &'a [HeldOutRow],
    /// Rows of general texts, of which only the likelihood is asked; may be none.
    pub general: &'a [HeldOutRow],
    /// How it answers; none if it need not.
    pub answers: Option<Sampling>,
    /// How many answers are made at once.
    pub at_once: usize,
}

/// What is being done, for who looks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The likelihood of the rows.
    Likelihood,
    /// That of general rows.
    General,
    /// Answers.
    Answers,
}

impl Work<'_> {
    /// Has `assistant` do it; it is called `name`. `on_progress` is told the stage and
    /// how many of its rows are done.
    ///
    /// # Errors
    /// `Row` for a row that cannot be encoded; `NotFinite`, `Generate`, `Model`.
    pub fn run(
        &self,
        assistant: &Assistant,
        name: &str,
        on_progress: &mut dyn FnMut(Stage, usize),
    ) -> Result<Subject> {
        let on_rows = &mut |rows| on_progress(Stage::Likelihood, rows);
        let own = likelihood(assistant, self.rows, on_rows)?;
        let on_rows = &mut |rows| on_progress(Stage::General, rows);
        let general = likelihood(assistant, self.general, on_rows)?;
        let answers = match &self.answers {
            Some(sampling) => {
                let on_rows = &mut |rows| on_progress(Stage::Answers, rows);
                answers(assistant, self.rows, sampling, self.at_once, on_rows)?
            }
            None => Vec::new(),
        };
        Ok(Subject {
            name: name.to_owned(),
            outcome: Outcome {
                likelihood: own,
                answers,
            },
            general,
        })
    }
}

/// What `assistant` answers to each of `rows`; none to a text without turns, or where
/// the prompt leaves no room. Rows have seeds of their own.
///
/// # Errors
/// `Row` for a prompt that cannot be encoded; `Generate`.
pub(crate) fn answers(
    assistant: &Assistant,
    rows: &[HeldOutRow],
    sampling: &Sampling,
    at_once: usize,
    on_rows: &mut dyn FnMut(usize),
) -> Result<Vec<Option<retune_generate::Answer>>> {
    let mut asked = Vec::new();
    let mut requests = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let Some(prompt) = &row.prompt else {
            continue;
        };
        let sampling = Sampling {
            seed: sampling.seed.wrapping_add(index as u64),
            ..sampling.clone()
        };
        let request = assistant.request(prompt.clone(), sampling);
        let request = request.map_err(|error| match error {
            retune_generate::Error::Tokens(problem) => row.error(problem),
            other => other.into(),
        })?;
        match request.check(&assistant.model, usize::MAX) {
            Ok(_) => {
                asked.push(index);
                requests.push(request);
            }
            Err(retune_generate::Error::TooLong { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut answers = vec![None; rows.len()];
    let mut done = rows.len() - asked.len();
    let (model, tokenizer) = (&assistant.model, &assistant.tokenizer);
    answer_all::<Error>(model, tokenizer, requests, (1, at_once), |place, answer| {
        answers[asked[place.request]] = Some(answer);
        done += 1;
        on_rows(done);
        Ok(())
    })?;
    Ok(answers)
}
