//! Counts what rows say, in their order.

use std::collections::{BTreeMap, HashMap};

use super::LintOptions;
use super::facts::Facts;
use super::groups::{self, Record};
use super::report::{Example, FileReport, Finding, Report, RowRef, TokenTotals};
use super::rules::{RULES, rule};
use super::skew::Skew;
use crate::dataset::OpenedFile;
use crate::error::{Error, counted};
use crate::gate::TemplateFault;
use crate::source::Place;
use crate::text::minhash::Index;

/// What a rule has found so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) message: String,
    pub(super) fix: Option<String>,
    pub(super) examples: Vec<Example>,
    pub(super) rows: Vec<RowRef>,
}

pub(super) struct Collector<'a> {
    options: &'a LintOptions<'a>,
    rows: u64,
    files: Vec<FileReport>,
    tallies: BTreeMap<&'static str, Tally>,
    records: Vec<Record>,
    /// Hashes of what training rows ask, for validation rows.
    asked: HashMap<u64, u32>,
    near: Option<Index>,
    /// Of prompts alone, for validation rows.
    near_prompts: Option<Index>,
    tokens: TokenTotals,
    skew: Skew,
}

impl<'a> Collector<'a> {
    pub(super) fn new(options: &'a LintOptions<'a>) -> Self {
        Self {
            options,
            rows: 0,
            files: Vec::new(),
            tallies: BTreeMap::new(),
            records: Vec::new(),
            asked: HashMap::new(),
            near: options.near_duplicates.map(Index::new),
            near_prompts: options.near_prompts().map(Index::new),
            tokens: TokenTotals::default(),
            skew: Skew::new(options),
        }
    }

    fn found(&mut self, rule: &'static str, row: Option<RowRef>, text: String) {
        let keep = self.options.examples;
        let tally = self.tallies.entry(rule).or_default();
        tally.count += 1;
        if tally.examples.len() < keep {
            tally.examples.push(Example { row, text, rows: 1 });
        }
        tally.rows.extend(row);
    }

    pub(super) fn template(&mut self, fault: &TemplateFault) {
        if fault.rule == "template-prefix" && !fault.refused {
            // Rows of several turns say so themselves, if there are any.
            return;
        }
        self.found(fault.rule, None, fault.problem.clone());
        if let Some(tally) = self.tallies.get_mut(fault.rule) {
            tally.message.clone_from(&fault.problem);
            tally.fix = Some(fault.hint.clone());
        }
    }

    pub(super) fn add(&mut self, file: u32, facts: Result<Facts, Error>) {
        self.rows += 1;
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => return self.unusable(Some(file), &error),
        };
        let row = row_of(file, &facts.place);
        for hit in &facts.hits {
            self.found(hit.rule, Some(row), hit.example.clone());
        }
        let number = self.records.len() as u32;
        if let (Some(index), Some(signature)) = (&mut self.near, &facts.signature) {
            index.add_signature(number, signature);
        }
        if let Some((tokens, scored)) = facts.tokens {
            self.tokens.tokens += tokens as u64;
            self.tokens.scored += scored as u64;
        }
        self.tokens.longest = self.tokens.longest.max(facts.length as u64);
        if !self.options.validation.is_empty() {
            self.asked.entry(facts.asked).or_insert(number);
            if let (Some(index), Some(signature)) =
                (&mut self.near_prompts, &facts.prompt_signature)
            {
                index.add_signature(number, signature);
            }
        }
        self.records.push(Record {
            row,
            whole: facts.whole,
            prompt: facts.prompt,
            answer: facts.answer,
        });
        self.skew.add(&facts, row);
    }

    /// A row of a validation file has no number.
    fn unusable(&mut self, file: Option<u32>, error: &Error) {
        match error {
            Error::Row(row_error) => {
                let row = file.map(|file| row_of(file, &row_error.place));
                let place = match file {
                    Some(_) => String::new(),
                    None => format!("{}: ", row_error.place),
                };
                let text = match &row_error.field {
                    Some(field) => format!("{place}field `{field}`: {}", row_error.problem),
                    None => format!("{place}{}", row_error.problem),
                };
                self.found("unreadable-row", row, text);
            }
            other => {
                if file.is_some() {
                    self.rows -= 1;
                }
                let text = other.to_string();
                self.found("unreadable-file", None, text);
            }
        }
    }

    /// A row of a validation file, whose question must be new.
    pub(super) fn add_validation(&mut self, facts: Result<Facts, Error>) {
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => return self.unusable(None, &error),
        };
        let known = self.asked.get(&facts.asked).copied();
        let near = || {
            let signature = facts.prompt_signature.as_ref()?;
            let found = self.near_prompts.as_ref()?.query(signature);
            found.first().map(|found| found.id)
        };
        if let Some(training) = known.or_else(near) {
            let training = self.records[training as usize].row;
            let text = format!("{} asks what row {} asks", facts.place, training.row);
            self.found("leakage", None, text);
        }
    }

    pub(super) fn files(&mut self, files: &[OpenedFile]) {
        for file in files.iter().filter(|file| !file.unused.is_empty()) {
            let path = file.source.path.display();
            self.found(
                "unused-column",
                None,
                format!("{path}: {}", file.unused.join(", ")),
            );
        }
        self.files = files
            .iter()
            .map(|file| FileReport {
                path: file.source.path.display().to_string(),
                format: file.source.format.name(),
                encoding: file.source.encoding(),
                layout: file.mapping.as_ref().map(|mapping| mapping.layout.name()),
            })
            .collect();
    }

    pub(super) fn finish(mut self) -> Report {
        groups::duplicates(&self.records, &mut self.tallies);
        groups::prompts(&self.records, &mut self.tallies);
        if let Some(near) = &self.near {
            groups::near_duplicates(&self.records, &near.clusters(), &mut self.tallies);
        }
        let phrases = self.skew.finish(&mut self.tallies);
        if let (Some(tally), Some(encoder)) =
            (self.tallies.get_mut("over-long"), self.options.encoder)
        {
            tally.message = format!(
                "{} more tokens than max_length {}; the longest has {}",
                counted(tally.count as usize, "row has", "rows have"),
                encoder.max_length,
                self.tokens.longest
            );
        }
        let findings = RULES
            .iter()
            .filter(|rule| self.options.wants(rule.id))
            .filter_map(|known| {
                let tally = self.tallies.remove(known.id)?;
                Some(finding(known.id, tally))
            })
            .collect();
        Report {
            rows: self.rows,
            files: self.files,
            tokens: self.options.encoder.map(|_| self.tokens),
            findings,
            phrases,
        }
    }
}

fn row_of(file: u32, place: &Place) -> RowRef {
    RowRef {
        file,
        row: place.row,
        line: place.line.unwrap_or(0),
    }
}

fn finding(id: &'static str, mut tally: Tally) -> Finding {
    let known = rule(id).unwrap_or(&RULES[0]);
    tally.rows.sort_unstable();
    let message = if tally.message.is_empty() {
        known.finds.to_owned()
    } else {
        tally.message
    };
    Finding {
        rule: id,
        severity: known.severity,
        count: tally.count,
        message,
        fix: tally.fix.unwrap_or_else(|| known.fix.to_owned()),
        examples: tally.examples,
        rows: tally.rows,
    }
}
