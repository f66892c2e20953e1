//! Figures on the terminal.

use std::io::Write as _;

use anstyle::Style;
use anyhow::Result;
use retune_eval::metrics::bootstrap::{Interval, PairedDifference};
use retune_eval::metrics::words::Words;
use retune_eval::{Better, Comparison, Figure, Form, Line, Subject};

use retune_generate::Sampling;

use super::Told;
use crate::output::{counted, plain, thousands};

const STRONG: Style = Style::new().bold();
/// Of fewer rows there is no verdict: that all signs agree would be chance too often.
const FEWEST: usize = 6;
/// Rows of the largest losses, and of the largest gains, that are shown.
const EXAMPLES: usize = 3;

fn write_value(form: Form, value: f64) -> String {
    match form {
        Form::Share => format!("{:.1} %", 100.0 * value),
        Form::Number => format!("{value:.2}"),
    }
}

fn write_signed(form: Form, value: f64) -> String {
    match form {
        Form::Share => format!("{:+.1} pt", 100.0 * value),
        Form::Number => format!("{value:+.2}"),
    }
}

/// A figure with its interval, such as `12.3 % [10.1 %, 14.0 %]`.
pub(super) fn figure(form: Form, figure: &Figure) -> String {
    let Some(value) = figure.value else {
        return "–".to_owned();
    };
    format!(
        "{}{}",
        write_value(form, value),
        interval(form, figure.interval)
    )
}

fn interval(form: Form, interval: Option<Interval>) -> String {
    interval.map_or(String::new(), |Interval { low, high, .. }| {
        format!(" [{}, {}]", write_value(form, low), write_value(form, high))
    })
}

/// A difference with its interval, and whether that holds 0.
pub(super) fn difference(line: &Line, difference: &Option<PairedDifference>) -> (String, Verdict) {
    let form = line.form;
    let Some(PairedDifference {
        difference,
        interval: Interval { low, high, .. },
        ..
    }) = difference
    else {
        return (String::new(), Verdict::Open);
    };
    let text = format!(
        "{} [{}, {}]",
        write_signed(form, *difference),
        write_signed(form, *low),
        write_signed(form, *high)
    );
    let verdict = match line.better {
        Better::Higher | Better::Lower if line.rows < FEWEST => Verdict::TooFew,
        Better::Higher if *low > 0.0 => Verdict::Better,
        Better::Lower if *high < 0.0 => Verdict::Better,
        Better::Higher if *high < 0.0 => Verdict::Worse,
        Better::Lower if *low > 0.0 => Verdict::Worse,
        _ => Verdict::Open,
    };
    (text, verdict)
}

/// What an interval says of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Worse,
    /// It holds 0, or neither way is better.
    Open,
    /// Draws of so few rows say nothing.
    TooFew,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Open => "",
            Self::TooFew => "too few rows",
        }
    }
}

/// How it was measured, in one line each.
pub(super) fn about(told: &Told<'_>, comparison: &Comparison) -> Vec<String> {
    let rows = told.rows.rows.len() as u64;
    let mut lines = vec![match told.rows.total as u64 == rows {
        true => counted(rows, "row"),
        false => format!(
            "{} drawn of {}",
            counted(rows, "row"),
            thousands(told.rows.total as u64)
        ),
    }];
    if !told.rows.left_out.is_empty() {
        lines.push(format!(
            "{} left out, as they cannot be used",
            counted(told.rows.left_out.len() as u64, "row")
        ));
    }
    if comparison.left_out > 0 {
        lines.push(format!(
            "{} longer than a model takes, of which there are no figures",
            counted(comparison.left_out as u64, "row")
        ));
    }
    if let Some(sampling) = told.sampling {
        let how = match sampling.do_sample && sampling.temperature > 0.0 {
            true => format!(
                "sampled: temperature {}, top_k {}, top_p {}, min_p {}, seed {}",
                sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed
            ),
            false => "the most likely ones".to_owned(),
        };
        lines.push(format!("answers: {how}; {}", other_settings(sampling)));
        let [bleu, chrf] = told.scoring.signatures();
        lines.push(format!("BLEU {bleu}"));
        lines.push(format!("chrF {chrf}"));
        let words = match told.scoring.rouge.words {
            Words::RougeScore { stemmer: false } => "words as rouge-score cuts them",
            Words::RougeScore { stemmer: true } => "words as rouge-score cuts them, stemmed",
            Words::Characters => "characters",
            Words::Jieba => "words as jieba-rs cuts them",
        };
        lines.push(format!("ROUGE of {words}"));
    }
    lines
}

/// What else decides on answers, as far as it is not off.
fn other_settings(sampling: &Sampling) -> String {
    let off = Sampling::default();
    let penalties = [
        (
            "repetition_penalty",
            sampling.repetition_penalty,
            off.repetition_penalty,
        ),
        (
            "frequency_penalty",
            sampling.frequency_penalty,
            off.frequency_penalty,
        ),
        (
            "presence_penalty",
            sampling.presence_penalty,
            off.presence_penalty,
        ),
        (
            "dry_multiplier",
            sampling.dry_multiplier,
            off.dry_multiplier,
        ),
    ];
    let mut told = vec![format!("max_new_tokens {}", sampling.max_new_tokens)];
    let on = penalties.into_iter().filter(|(_, own, off)| own != off);
    told.extend(on.map(|(name, own, _)| format!("{name} {own}")));
    let counts = [
        ("no_repeat_ngram_size", sampling.no_repeat_ngram_size),
        ("min_new_tokens", sampling.min_new_tokens),
        ("max_phrase_repeats", sampling.max_phrase_repeats),
        ("tokens with a logit_bias:", sampling.logit_bias.len()),
        ("stop texts:", sampling.stop.len()),
        ("stop_token_ids:", sampling.stop_token_ids.len()),
    ];
    let on = counts.into_iter().filter(|(_, own)| *own > 0);
    told.extend(on.map(|(name, own)| format!("{name} {own}")));
    told.join(", ")
}

pub(super) fn show(told: &Told<'_>, subjects: &[Subject], comparison: &Comparison) -> Result<()> {
    let mut out = anstream::stdout().lock();
    for line in about(told, comparison) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    write_rows(&mut out, &rows(told, comparison))?;
    if told.names.len() > 1 {
        examples(&mut out, told, subjects, comparison)?;
    }
    Ok(())
}

/// The table's cells, headings first.
pub(super) fn rows(told: &Told<'_>, comparison: &Comparison) -> Vec<Vec<String>> {
    let [first, others @ ..] = &told.names[..] else {
        return Vec::new();
    };
    let mut heading = vec![String::new(), plain(first)];
    for name in others {
        heading.extend([plain(name), "difference".to_owned(), String::new()]);
    }
    let mut rows = vec![heading];
    for line in &comparison.lines {
        let mut row = vec![line.name.to_owned(), figure(line.form, &line.figures[0])];
        for (own, differs) in line.figures[1..].iter().zip(&line.differences) {
            let (text, verdict) = difference(line, differs);
            row.extend([figure(line.form, own), text, verdict.word().to_owned()]);
        }
        rows.push(row);
    }
    rows
}

/// Writes cells in columns, the first row in bold.
pub(super) fn write_rows(out: &mut impl std::io::Write, rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let space = width - cell.chars().count();
            format!("{cell}{}", " ".repeat(space))
        });
        let text = cells.collect::<Vec<_>>().join("  ");
        match index {
            0 => writeln!(out, "{STRONG}{}{STRONG:#}", text.trim_end())?,
            _ => writeln!(out, "{}", text.trim_end())?,
        }
    }
    Ok(())
}

/// Rows on which the last model lost most, and gained most.
fn examples(
    out: &mut impl std::io::Write,
    told: &Told<'_>,
    subjects: &[Subject],
    comparison: &Comparison,
) -> Result<()> {
    let changes = &comparison.changes;
    let unit = match told.sampling {
        Some(_) => ("chrF", 1.0),
        // Gains are of less perplexity.
        None => ("perplexity", -1.0),
    };
    let losses = changes.iter().filter(|change| change.gain < 0.0);
    let gains = changes.iter().rev().filter(|change| change.gain > 0.0);
    let sides = [
        ("Worst", losses.take(EXAMPLES).collect::<Vec<_>>()),
        ("Best", gains.take(EXAMPLES).collect()),
    ];
    for (name, changes) in sides {
        if changes.is_empty() {
            continue;
        }
        writeln!(
            out,
            "\n{STRONG}{name} rows of {} against {}{STRONG:#}",
            plain(told.names[told.names.len() - 1]),
            plain(told.names[0])
        )?;
        for change in changes {
            let row = &told.rows.rows[change.row];
            writeln!(
                out,
                "{} {:+.1}, {}",
                unit.0,
                unit.1 * change.gain,
                row.place
            )?;
            writeln!(out, "  asked     {}", excerpt(row.question()))?;
            writeln!(out, "  data      {}", excerpt(&row.reference))?;
            for subject in [&subjects[0], &subjects[subjects.len() - 1]] {
                let answer = subject.outcome.answers.get(change.row);
                if let Some(Some(answer)) = answer {
                    writeln!(
                        out,
                        "  {:<9} {}",
                        plain(&subject.name),
                        excerpt(&answer.text)
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// The beginning of a text, on one line.
pub(super) fn excerpt(text: &str) -> String {
    const MOST: usize = 72;
    let line = plain(text).replace('\n', " ");
    match line.chars().count() > MOST {
        true => format!("{}…", line.chars().take(MOST).collect::<String>()),
        false => line,
    }
}
