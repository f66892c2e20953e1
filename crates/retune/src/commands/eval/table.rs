//! Figures on the terminal.

use std::io::Write as _;

use anstyle::Style;
use anyhow::Result;
use retune_eval::metrics::bootstrap::{Interval, PairedDifference};
use retune_eval::{Better, Comparison, Figure, Line, Subject};

use super::Told;
use crate::output::{counted, plain, thousands};

const STRONG: Style = Style::new().bold();
/// Rows of the largest losses, and of the largest gains, that are shown.
const EXAMPLES: usize = 3;

/// How a figure is written.
#[derive(Clone, Copy)]
enum Form {
    /// From 0 to 1, as a percentage.
    Share,
    /// With two places.
    Number,
}

fn form(name: &str) -> Form {
    match name {
        "perplexity" | "general perplexity" | "BLEU" | "chrF" | "self-BLEU" | "characters"
        | "longest repeat" => Form::Number,
        _ => Form::Share,
    }
}

impl Form {
    fn write(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.1} %", 100.0 * value),
            Self::Number => format!("{value:.2}"),
        }
    }

    fn write_signed(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:+.1} pt", 100.0 * value),
            Self::Number => format!("{value:+.2}"),
        }
    }
}

/// A figure with its interval, such as `12.3 % [10.1 %, 14.0 %]`.
pub(super) fn figure(name: &str, figure: &Figure) -> String {
    let form = form(name);
    let Some(value) = figure.value else {
        return "–".to_owned();
    };
    format!("{}{}", form.write(value), interval(form, figure.interval))
}

fn interval(form: Form, interval: Option<Interval>) -> String {
    interval.map_or(String::new(), |Interval { low, high, .. }| {
        format!(" [{}, {}]", form.write(low), form.write(high))
    })
}

/// A difference with its interval, and whether that holds 0.
pub(super) fn difference(line: &Line, difference: &Option<PairedDifference>) -> (String, Verdict) {
    let form = form(line.name);
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
        form.write_signed(*difference),
        form.write_signed(*low),
        form.write_signed(*high)
    );
    let verdict = match line.better {
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
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Open => "",
        }
    }
}

/// How it was measured, in one line each.
pub(super) fn about(told: &Told<'_>) -> Vec<String> {
    let rows = told.rows.rows.len() as u64;
    let mut lines = vec![match told.rows.total as u64 == rows {
        true => counted(rows, "row"),
        false => format!(
            "{} drawn of {}",
            counted(rows, "row"),
            thousands(told.rows.total as u64)
        ),
    }];
    if let Some(sampling) = told.sampling {
        let how = match sampling.do_sample && sampling.temperature > 0.0 {
            true => format!(
                "sampled: temperature {}, top_k {}, top_p {}, min_p {}, seed {}",
                sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed
            ),
            false => "the most likely ones".to_owned(),
        };
        lines.push(format!(
            "answers: {how}; repetition_penalty {}, max_new_tokens {}",
            sampling.repetition_penalty, sampling.max_new_tokens
        ));
        let [bleu, chrf] = told.scoring.signatures();
        lines.push(format!("BLEU {bleu}"));
        lines.push(format!("chrF {chrf}"));
        lines.push(format!("ROUGE by {:?}", told.scoring.rouge.words));
    }
    lines
}

pub(super) fn show(told: &Told<'_>, subjects: &[Subject], comparison: &Comparison) -> Result<()> {
    let mut out = anstream::stdout().lock();
    for line in about(told) {
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
        let mut row = vec![line.name.to_owned(), figure(line.name, &line.figures[0])];
        for (own, differs) in line.figures[1..].iter().zip(&line.differences) {
            let (text, verdict) = difference(line, differs);
            row.extend([figure(line.name, own), text, verdict.word().to_owned()]);
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
        Some(_) => "chrF",
        None => "less perplexity",
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
            writeln!(out, "{:+.1} {unit}, {}", change.gain, row.place)?;
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
