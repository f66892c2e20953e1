//! Counts what rows say, in their order.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::LintOptions;
use super::facts::Facts;
use super::groups::{self, Record};
use super::report::{Example, FileReport, Finding, Report, RowRef, TokenTotals};
use super::rules::{RULES, rule};
use super::skew::Skew;
use crate::error::Error;
use crate::gate::TemplateFault;
use crate::layout::Mapping;
use crate::source::{Place, SourceFile};
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
    /// The file of the last row, and its number.
    current: Option<(Arc<Path>, u32)>,
    opened: u32,
    tallies: BTreeMap<&'static str, Tally>,
    records: Vec<Record>,
    /// Hashes of what training rows ask, for validation rows.
    asked: HashMap<u64, u32>,
    near: Option<Index>,
    tokens: TokenTotals,
    skew: Skew,
}

impl<'a> Collector<'a> {
    pub(super) fn new(options: &'a LintOptions<'a>) -> Self {
        Self {
            options,
            rows: 0,
            files: Vec::new(),
            current: None,
            opened: 0,
            tallies: BTreeMap::new(),
            records: Vec::new(),
            asked: HashMap::new(),
            near: options.near_duplicates.map(Index::new),
            tokens: TokenTotals::default(),
            skew: Skew::new(options),
        }
    }

    fn row(&mut self, place: &Place) -> RowRef {
        let same = self
            .current
            .as_ref()
            .is_some_and(|(file, _)| Arc::ptr_eq(file, &place.file));
        if !same {
            self.current = Some((Arc::clone(&place.file), self.opened));
            self.opened += 1;
        }
        RowRef {
            file: self.current.as_ref().map_or(0, |(_, number)| *number),
            row: place.row,
            line: place.line.unwrap_or(0),
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

    pub(super) fn add(&mut self, facts: Result<Facts, Error>) {
        self.rows += 1;
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => return self.unusable(&error),
        };
        let row = self.row(&facts.place);
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
            self.tokens.longest = self.tokens.longest.max(facts.length as u64);
        }
        if !self.options.validation.is_empty() {
            self.asked.entry(facts.prompt).or_insert(number);
        }
        self.records.push(Record {
            row,
            whole: facts.whole,
            prompt: facts.prompt,
            answer: facts.answer,
        });
        self.skew.add(&facts, row);
    }

    fn unusable(&mut self, error: &Error) {
        match error {
            Error::Row(row_error) => {
                let row = self.row(&row_error.place);
                let text = match &row_error.field {
                    Some(field) => format!("field `{field}`: {}", row_error.problem),
                    None => row_error.problem.clone(),
                };
                self.found("unreadable-row", Some(row), text);
            }
            other => {
                self.rows -= 1;
                let text = other.to_string();
                self.found("unreadable-file", None, text);
            }
        }
    }

    /// A row of a validation file, whose question must be new.
    pub(super) fn add_validation(&mut self, facts: Result<Facts, Error>) {
        let Ok(facts) = facts else {
            return self.unusable(&facts.err().unwrap_or(Error::NothingScored));
        };
        let known = self.asked.get(&facts.prompt).copied();
        let near = || {
            let signature = facts.signature.as_ref()?;
            let found = self.near.as_ref()?.query(signature);
            found.first().map(|found| found.id)
        };
        if let Some(training) = known.or_else(near) {
            let training = self.records[training as usize].row;
            let text = format!("{} asks what row {} asks", facts.place, training.row);
            self.found("leakage", None, text);
        }
    }

    pub(super) fn files(&mut self, files: &[(SourceFile, Option<Mapping>)]) {
        self.files = files
            .iter()
            .map(|(file, mapping)| FileReport {
                path: file.path.display().to_string(),
                format: file.format.name(),
                encoding: file.encoding(),
                layout: mapping.as_ref().map(|mapping| mapping.layout.name()),
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
                groups::counted(tally.count as usize, "row has", "rows have"),
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
