//! The report for a reader.

use std::io::Write;

use anstyle::Style;
use anyhow::Result;
use retune_data::agreement::{
    Confusion, Estimate, Export, Level, Options, PairRow, Reliability, Report, Vote, Weights,
};

use super::table::{self, Align, shortened};
use crate::output::counted;

/// Rows of a table at most; `--json` has all.
const ROWS: usize = 20;
/// Labels of the matrix, and confused pairs above it, at most.
const LABELS: usize = 6;
const TEXT: usize = 76;

const HEAD: Style = Style::new().bold();

pub(super) fn report(
    out: &mut impl Write,
    export: &Export,
    options: &Options,
    report: &Report,
) -> Result<()> {
    summary(out, export, report)?;
    figures(out, options, report)?;
    reading(out, report)?;
    pairs(out, options, report)?;
    annotators(out, report)?;
    confusion(out, report)?;
    relabel(out, report)
}

fn summary(out: &mut impl Write, export: &Export, report: &Report) -> Result<()> {
    let what = if report.spans { "span" } else { "rating" };
    writeln!(
        out,
        "{}, {} of them rated twice or more · {} · {} · {}",
        counted(report.items as u64, "item"),
        report.items_with_overlap,
        counted(report.annotators.len() as u64, "annotator"),
        counted(report.ratings as u64, what),
        counted(
            (report.labels.len() - usize::from(report.spans)) as u64,
            "label"
        ),
    )?;
    write!(out, "read as {}", export.format)?;
    match &export.question {
        Some(question) => writeln!(out, ", question {}", shortened(question, 40))?,
        None => writeln!(out)?,
    }
    for (what, count) in &export.left_out {
        writeln!(out, "not used: {count} {what}")?;
    }
    Ok(())
}

fn figures(out: &mut impl Write, options: &Options, report: &Report) -> Result<()> {
    let level = match options.level {
        Level::Nominal => "nominal",
        Level::Ordinal => "ordinal",
        Level::Interval => "interval",
    };
    let over = if report.spans { ", characters" } else { "" };
    let fleiss = match report.fleiss_kappa.value {
        Some(_) => format!(
            "over the {} with {}",
            counted(report.fleiss_items as u64, "item"),
            counted(report.fleiss_ratings_per_item as u64, "rating")
        ),
        None => String::new(),
    };
    let row = |name: String, estimate: &Estimate, note: String| {
        vec![name, value(estimate), interval(estimate), note]
    };
    let alpha = format!("Krippendorff's alpha ({level}{over})");
    let mut rows = vec![
        row(alpha, &report.krippendorff_alpha, String::new()),
        row("Fleiss' kappa".into(), &report.fleiss_kappa, fleiss),
    ];
    if let Some(f1) = &report.span_f1 {
        let note = "over all pairs; spans that are the same to the character";
        rows.push(row("F1 of spans".into(), f1, note.into()));
    }
    heading(out, &format!("Agreement{}", interval_note(options)))?;
    Ok(table::write(
        out,
        &[Align::Left, Align::Right, Align::Left, Align::Left],
        &rows,
    )?)
}

/// What intervals are, once for all tables.
fn interval_note(options: &Options) -> String {
    let bootstrap = &options.bootstrap;
    match bootstrap.replicates {
        0 => String::new(),
        replicates => format!(
            ", with what {} % of {replicates} bootstrap samples of items give",
            // Enough digits for any share that is given; rounding hides binary dust.
            (bootstrap.confidence * 1e8).round() / 1e6
        ),
    }
}

/// Alpha in plain words.
fn reading(out: &mut impl Write, report: &Report) -> Result<()> {
    let (Some(reliability), Some(alpha)) = (report.reliability, report.krippendorff_alpha.value)
    else {
        return Ok(());
    };
    let words = match reliability {
        Reliability::Reliable => "is at least .800: the labels can be relied on",
        Reliability::Tentative => "is between .667 and .800: good for tentative conclusions only",
        Reliability::Unreliable if alpha <= 0.0 => {
            "is not above 0: the labels agree no better than by chance"
        }
        Reliability::Unreliable => "is below .667: the labels are not to be relied on",
    };
    writeln!(out, "\n  Alpha {words} (Krippendorff 2004, p. 241).")?;
    if let Some(interval) = report.krippendorff_alpha.interval
        && Reliability::of(interval.low) != reliability
    {
        let bound = if reliability == Reliability::Reliable {
            ".800"
        } else {
            ".667"
        };
        writeln!(
            out,
            "  Its interval reaches below {bound}: more items would make it surer."
        )?;
    }
    Ok(())
}

fn pairs(out: &mut impl Write, options: &Options, report: &Report) -> Result<()> {
    let weights = match options.weights {
        Weights::None => "unweighted",
        Weights::Linear => "linear weights",
        Weights::Quadratic => "quadratic weights",
    };
    heading(out, &format!("Pairs: Cohen's kappa, {weights}"))?;
    let mut pairs: Vec<&PairRow> = report.pairs.iter().collect();
    let hidden = pairs.len().saturating_sub(ROWS);
    if hidden > 0 {
        let kappa = |pair: &PairRow| pair.cohen_kappa.value.unwrap_or(f64::INFINITY);
        pairs.sort_by(|a, b| kappa(a).total_cmp(&kappa(b)));
    }
    let mut head = vec!["annotators", "shared", "same", "kappa", ""];
    let mut align = vec![
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Left,
    ];
    if report.spans {
        head.extend(["F1", ""]);
        align.extend([Align::Right, Align::Left]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect()];
    for pair in pairs.into_iter().take(ROWS) {
        let [first, second] = [&pair.first, &pair.second].map(|name| shortened(name, 18));
        let kappa = &pair.cohen_kappa;
        let mut row = vec![
            format!("{first} · {second}"),
            pair.shared_items.to_string(),
            percent(pair.agreement),
            value(kappa),
            interval(kappa),
        ];
        row.extend(pair.span_f1.iter().flat_map(|f1| [value(f1), interval(f1)]));
        rows.push(row);
    }
    table::write(out, &align, &rows)?;
    if report.pairs.is_empty() {
        writeln!(out, "  no two annotators share an item")?;
    }
    more(out, hidden, "pairs, with a higher kappa")?;
    if report.annotators_not_paired > 0 {
        let count = counted(report.annotators_not_paired as u64, "annotator");
        writeln!(out, "  not compared in pairs: {count} with fewer ratings")?;
    }
    Ok(())
}

fn annotators(out: &mut impl Write, report: &Report) -> Result<()> {
    heading(out, "Annotators")?;
    let mut annotators: Vec<_> = report.annotators.iter().collect();
    let hidden = annotators.len().saturating_sub(ROWS);
    if hidden > 0 {
        annotators.sort_by(|a, b| {
            let agreement = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
            agreement(a.agreement).total_cmp(&agreement(b.agreement))
        });
    }
    let mut rows = vec![
        ["name", "items", "same as others"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in annotators.into_iter().take(ROWS) {
        rows.push(vec![
            row.name.clone(),
            row.items.to_string(),
            percent(row.agreement),
        ]);
    }
    table::write(out, &[Align::Left, Align::Right, Align::Right], &rows)?;
    more(out, hidden, "annotators, who agree more")
}

fn confusion(out: &mut impl Write, report: &Report) -> Result<()> {
    let confusion = &report.confusion;
    let confused = confusion.most_confused();
    if confused.is_empty() {
        return Ok(());
    }
    let unit = if report.spans { "characters" } else { "times" };
    heading(out, "Labels that are taken for each other")?;
    let mut rows = Vec::new();
    for &(first, second, count) in confused.iter().take(LABELS) {
        let [first, second] = [first, second].map(|label| shortened(&confusion.labels[label], 18));
        rows.push(vec![
            format!("{first} – {second}"),
            count.to_string(),
            unit.to_owned(),
        ]);
    }
    table::write(out, &[Align::Left, Align::Right, Align::Left], &rows)?;
    more(
        out,
        confused.len().saturating_sub(LABELS),
        "pairs of labels",
    )?;
    writeln!(out)?;
    matrix(out, confusion, &confused)
}

/// The labels that are confused most, as a matrix.
fn matrix(
    out: &mut impl Write,
    confusion: &Confusion,
    confused: &[(usize, usize, u64)],
) -> Result<()> {
    let mut shown: Vec<usize> = Vec::new();
    for &(first, second, _) in confused {
        for label in [first, second] {
            if shown.len() < LABELS && !shown.contains(&label) {
                shown.push(label);
            }
        }
    }
    shown.sort_unstable();
    let name = |label: usize| shortened(&confusion.labels[label], 12);
    let mut head = vec![String::new()];
    head.extend(shown.iter().map(|&label| name(label)));
    let mut rows = vec![head];
    for &row in &shown {
        let counts = shown.iter().map(|&column| confusion.counts[row][column]);
        let mut cells = vec![name(row)];
        cells.extend(counts.map(|count| match count {
            0 => "·".to_owned(),
            count => count.to_string(),
        }));
        rows.push(cells);
    }
    let mut align = vec![Align::Right; shown.len() + 1];
    align[0] = Align::Left;
    table::write(out, &align, &rows)?;
    match &confusion.annotators {
        Some([first, second]) => {
            let [first, second] = [first, second].map(|name| shortened(name, 30));
            writeln!(out, "  rows: {first}, columns: {second}")?;
        }
        None => writeln!(out, "  every two ratings of an item, in both directions")?,
    }
    Ok(())
}

fn relabel(out: &mut impl Write, report: &Report) -> Result<()> {
    let total = report.items_with_disagreement;
    if total == 0 {
        heading(out, "There is no item on which annotators disagree")?;
        return Ok(());
    }
    let note = "by entropy in bits, then by the votes of annotators who agree with others";
    heading(
        out,
        &format!(
            "Label again first: {} of {} with disagreement",
            report.relabel.len(),
            counted(total as u64, "item")
        ),
    )?;
    if report.relabel.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {note}")?;
    for row in &report.relabel {
        let id = shortened(&row.item.id, 40);
        let votes = shortened(&votes(&row.votes), TEXT);
        writeln!(out, "  {:.2}  {id}: {votes}", row.disagreement.entropy)?;
        if !row.item.text.is_empty() && row.item.text != row.item.id {
            writeln!(out, "        {}", shortened(&row.item.text, TEXT))?;
        }
    }
    Ok(())
}

fn votes(votes: &[Vote]) -> String {
    let vote = |vote: &Vote| format!("{} ({})", vote.answer, vote.annotators.join(", "));
    let votes: Vec<String> = votes.iter().take(ROWS).map(vote).collect();
    votes.join(" · ")
}

fn heading(out: &mut impl Write, text: &str) -> Result<()> {
    Ok(writeln!(out, "\n{HEAD}{text}{HEAD:#}")?)
}

fn more(out: &mut impl Write, hidden: usize, what: &str) -> Result<()> {
    match hidden {
        0 => Ok(()),
        hidden => Ok(writeln!(
            out,
            "  and {hidden} more {what} (--json has all)"
        )?),
    }
}

fn value(estimate: &Estimate) -> String {
    match (estimate.value, estimate.undefined) {
        (Some(value), _) => number(value),
        (None, Some(why)) => format!("undefined ({why})"),
        (None, None) => "undefined".to_owned(),
    }
}

fn interval(estimate: &Estimate) -> String {
    match estimate.interval {
        Some(interval) => format!("{} … {}", number(interval.low), number(interval.high)),
        None => String::new(),
    }
}

/// Three digits, and no sign on a zero.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    if text == "-0.000" {
        text[1..].to_owned()
    } else {
        text
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
}
