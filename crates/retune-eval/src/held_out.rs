//! Rows that a model did not learn from: what is asked, and what the data answers.

use std::path::PathBuf;

use retune_data::source::Place;
use retune_data::{
    BadRows, Content, Conversation, DataOptions, LabelOptions, Role, Samples, Tokenizer, label,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Result};

/// One row.
#[derive(Debug, Clone)]
pub struct HeldOutRow {
    /// Where it stands.
    pub place: Place,
    /// What it holds.
    pub content: Content,
    /// What is asked, up to the last answer; none of a text without turns.
    pub prompt: Option<Conversation>,
    /// What the data answers.
    pub reference: String,
}

/// Rows to evaluate on.
#[derive(Debug, Clone)]
pub struct HeldOut {
    /// The rows, in the order of the files.
    pub rows: Vec<HeldOutRow>,
    /// How many there are in the files that can be used; more than `rows` if some were drawn.
    pub total: usize,
    /// Rows that could not be used, with what is wrong with them.
    pub left_out: Vec<String>,
}

impl HeldOut {
    /// The rows of `paths`; of more than `most`, as many are drawn by a hash of `seed`
    /// and place.
    ///
    /// # Errors
    /// `Data` for a file that cannot be used, or a row unless `bad_rows` are skipped;
    /// `NoRows` if there is none, not even one that is left out.
    pub fn open(
        paths: &[PathBuf],
        options: DataOptions,
        bad_rows: BadRows,
        most: Option<usize>,
        seed: u64,
    ) -> Result<Self> {
        let (mut rows, mut left_out) = (Vec::new(), Vec::new());
        for sample in Samples::open(paths, options)? {
            match sample {
                Ok(sample) => rows.push(HeldOutRow::new(sample.place, sample.content)),
                Err(error) if bad_rows == BadRows::Skip => left_out.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        let total = rows.len();
        if total == 0 && left_out.is_empty() {
            let named: Vec<String> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return Err(Error::NoRows {
                files: named.join(", "),
            });
        }
        if let Some(most) = most.filter(|most| *most < total) {
            let key = |index: &usize| xxh3_64_with_seed(&index.to_le_bytes(), seed);
            let mut drawn: Vec<usize> = (0..total).collect();
            drawn.sort_by_key(|index| (key(index), *index));
            drawn.truncate(most);
            drawn.sort_unstable();
            let mut drawn = drawn.into_iter().peekable();
            let mut index = 0..;
            rows.retain(|_| {
                drawn
                    .next_if_eq(&index.next().unwrap_or(usize::MAX))
                    .is_some()
            });
        }
        Ok(Self {
            rows,
            total,
            left_out,
        })
    }

    /// Leaves out the rows that do not fit a model's chat template, as if there were none.
    pub fn leave_out_misfits(&mut self, tokenizer: &Tokenizer, system: Option<&str>) {
        let options = LabelOptions {
            system: system.map(str::to_owned),
            ..LabelOptions::default()
        };
        let before = self.rows.len();
        self.rows.retain(|row| {
            let problem = label(tokenizer, &row.content, &options).err();
            let fits = problem.is_none();
            self.left_out
                .extend(problem.map(|problem| row.error(problem).to_string()));
            fits
        });
        self.total -= before - self.rows.len();
    }

    /// Whether there is something to answer in any row.
    pub fn has_prompts(&self) -> bool {
        self.rows.iter().any(|row| row.prompt.is_some())
    }

    /// The different answers, if they are so few and so short that they are labels: at
    /// most one for five rows, of at most 32 characters.
    pub fn labels(&self) -> Option<Vec<&str>> {
        let mut labels: Vec<&str> = self.rows.iter().map(|row| row.reference.trim()).collect();
        labels.sort_unstable();
        labels.dedup();
        let short = labels.iter().all(|label| label.chars().count() <= 32);
        (short && labels.len() >= 2 && labels.len() * 5 <= self.rows.len()).then_some(labels)
    }
}

impl HeldOutRow {
    fn new(place: Place, content: Content) -> Self {
        let reference = content.answer();
        let prompt = match &content {
            Content::Text(_) => None,
            Content::Conversation(conversation) => Some(conversation.clone()),
            Content::Classification { text, label } => {
                Some(Conversation::of_turn(text.as_str(), label.as_str()))
            }
            Content::Preference(preference) => Some(preference.preferred()),
            _ => None,
        };
        let prompt = prompt.map(|mut conversation| {
            let mut messages = conversation.messages.iter();
            let last = messages.rposition(|message| message.role == Role::Assistant);
            let end = last.unwrap_or(conversation.messages.len());
            conversation.messages.truncate(end);
            conversation
        });
        Self {
            place,
            prompt: prompt.filter(|prompt| !prompt.messages.is_empty()),
            reference,
            content,
        }
    }

    /// Why this row cannot be used.
    pub(crate) fn error(&self, problem: retune_data::Error) -> Error {
        Error::Row {
            place: Box::new(self.place.clone()),
            problem: Box::new(problem),
        }
    }

    /// The last question.
    pub fn question(&self) -> &str {
        let messages = self.prompt.iter().flat_map(|prompt| &prompt.messages);
        let asked = messages.rev().find(|message| message.role == Role::User);
        asked.map_or("", |message| &message.content)
    }
}
