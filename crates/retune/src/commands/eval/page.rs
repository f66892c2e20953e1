//! The report in files: a page, figures as JSON, rows as JSONL.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use retune_eval::metrics::diversity::Lengths;
use retune_eval::{Change, Comparison, Line, Subject};
use serde_json::{Map, Value as Json, json};

use super::table::{about, figure, rows};
use super::{FILES, Told};
use crate::chart::bars::{self, Bar};
use crate::html::{self, escape};
use crate::output::{say, write_report};

/// Rows of the largest losses, and of the largest gains, that a page shows.
const EXAMPLES: usize = 10;

pub(super) fn write(
    told: &Told<'_>,
    subjects: &[Subject],
    comparison: &Comparison,
    folder: &Path,
) -> Result<()> {
    let [page_name, json_name, rows_name] = FILES.map(|name| folder.join(name));
    let overwrite = told.args.overwrite;
    let mut lines = String::new();
    for index in 0..told.rows.rows.len() {
        let _ = writeln!(lines, "{}", row(told, subjects, comparison, index));
    }
    write_report(&rows_name, &lines, overwrite)?;
    let report = report(told, comparison);
    let report = serde_json::to_string_pretty(&report)?;
    write_report(&json_name, &report, overwrite)?;
    let page = page(told, subjects, comparison);
    html::write(&page_name, "Evaluation", &page, overwrite)?;
    Ok(())
}

/// Says where it was written to.
pub(super) fn tell(folder: &Path) -> Result<()> {
    let [page_name, json_name, rows_name] = FILES.map(|name| folder.join(name));
    say(format!(
        "\nwrote {}, {} and {}",
        page_name.display(),
        json_name.display(),
        rows_name.display()
    ))
}

/// All figures.
fn report(told: &Told<'_>, comparison: &Comparison) -> Json {
    let (mut labels, mut characters) = (Map::new(), Map::new());
    for (index, name) in told.names.iter().enumerate() {
        if let Some(report) = &comparison.labels[index] {
            labels.insert((*name).to_owned(), json!(report));
        }
        let scored = comparison.scored[index].iter().flatten();
        if let Some(lengths) = Lengths::of(scored.map(|row| row.characters)) {
            characters.insert((*name).to_owned(), json!(lengths));
        }
    }
    let [bleu, chrf] = told.scoring.signatures();
    json!({
        "retune": env!("CARGO_PKG_VERSION"),
        "models": told.names,
        "rows": told.rows.rows.len(),
        "rows_in_files": told.rows.total,
        "rows_too_long": comparison.left_out,
        "rows_left_out": told.rows.left_out,
        "sampling": told.sampling,
        "scoring": told.scoring,
        "bleu_signature": bleu,
        "chrf_signature": chrf,
        "figures": comparison.lines,
        "labels": labels,
        "characters": characters,
    })
}

/// What each model did on a row.
fn row(told: &Told<'_>, subjects: &[Subject], comparison: &Comparison, index: usize) -> Json {
    let row = &told.rows.rows[index];
    let mut models = Map::new();
    for (subject, scored) in subjects.iter().zip(&comparison.scored) {
        let mut own = Map::new();
        if let Some(Some(likelihood)) = subject.outcome.likelihood.get(index) {
            own.insert("loss".to_owned(), likelihood.loss.into());
            own.insert("scored_tokens".to_owned(), likelihood.tokens.into());
            own.insert("perplexity".to_owned(), likelihood.perplexity().into());
        }
        if let Some(Some(answer)) = subject.outcome.answers.get(index) {
            own.insert("answer".to_owned(), answer.text.as_str().into());
            own.insert("finish_reason".to_owned(), answer.finish.name().into());
        }
        if let Some(Some(scores)) = scored.get(index) {
            own.insert("scores".to_owned(), json!(scores));
        }
        models.insert(subject.name.clone(), Json::Object(own));
    }
    json!({
        "file": row.place.file.display().to_string(),
        "row": row.place.row,
        "prompt": row.question(),
        "reference": row.reference,
        "models": models,
    })
}

fn page(told: &Told<'_>, subjects: &[Subject], comparison: &Comparison) -> String {
    let mut page = String::new();
    for line in about(told, comparison) {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escape(&line));
    }
    page.push_str("<h2>Figures</h2>\n");
    page.push_str(&table(&rows(told, comparison)));
    let _ = writeln!(
        page,
        "<p class=\"note\">In brackets: intervals of {} by bootstrap over rows. A difference is called better or worse if its interval does not hold 0; there is none between perplexities of different tokens.</p>",
        percent(told.args.scoring.confidence)
    );
    for line in &comparison.lines {
        page.push_str(&chart(told, line));
    }
    if subjects.len() > 1 {
        let changes = &comparison.changes;
        let losses = changes.iter().filter(|change| change.gain < 0.0);
        let gains = changes.iter().rev().filter(|change| change.gain > 0.0);
        let losses: Vec<&Change> = losses.take(EXAMPLES).collect();
        let gains: Vec<&Change> = gains.take(EXAMPLES).collect();
        for (name, changes) in [("Worst rows", losses), ("Best rows", gains)] {
            if !changes.is_empty() {
                page.push_str(&examples(name, told, subjects, &changes));
            }
        }
    }
    page
}

fn percent(share: f64) -> String {
    format!("{} %", 100.0 * share)
}

/// Cells as a table, headings first.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let mut table = String::from("<table>\n");
    for (index, row) in rows.iter().enumerate() {
        table.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let (tag, text) = (if index == 0 { "th" } else { "td" }, escape(cell));
            let class = match (column, cell.as_str()) {
                (_, "better") => " class=\"good\"",
                (_, "worse") => " class=\"error\"",
                (0, _) => "",
                _ => " class=\"n\"",
            };
            let _ = write!(table, "<{tag}{class}>{text}</{tag}>");
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</table>\n");
    table
}

fn chart(told: &Told<'_>, line: &Line) -> String {
    let bars = line
        .figures
        .iter()
        .zip(&told.names)
        .filter_map(|(own, name)| {
            let label = figure(line.form, own);
            let label = label.split(" [").next().unwrap_or_default().to_owned();
            Some(Bar {
                name: (*name).to_owned(),
                value: own
                    .value
                    .filter(|value| value.is_finite() && *value >= 0.0)?,
                interval: own.interval.map(|interval| (interval.low, interval.high)),
                label,
            })
        });
    let bars: Vec<Bar> = bars.collect();
    match bars.is_empty() {
        true => String::new(),
        false => bars::render(line.name, &bars),
    }
}

fn examples(name: &str, told: &Told<'_>, subjects: &[Subject], changes: &[&Change]) -> String {
    let mut rows = format!("<h2>{name}</h2>\n<table>\n<tr><th></th><th>asked</th><th>data</th>");
    for subject in subjects {
        let _ = write!(rows, "<th>{}</th>", escape(&subject.name));
    }
    rows.push_str("</tr>\n");
    for change in changes {
        let row = &told.rows.rows[change.row];
        let _ = write!(
            rows,
            "<tr><td class=\"n\">{:+.1}</td><td>{}</td><td>{}</td>",
            change.gain,
            escape(row.question()),
            escape(&row.reference)
        );
        for subject in subjects {
            let answer = subject.outcome.answers.get(change.row);
            let text = answer
                .and_then(|answer| answer.as_ref())
                .map(|answer| &answer.text);
            let _ = write!(rows, "<td>{}</td>", escape(text.map_or("", |text| text)));
        }
        rows.push_str("</tr>\n");
    }
    rows.push_str("</table>\n");
    rows
}
