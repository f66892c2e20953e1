//! `retune eval --repetition`: models against settings.

use std::fmt::Write as _;
use std::io::Write as _;

use anstyle::Style;
use anyhow::Result;
use retune_eval::{CauseKind, Cell, Figure, Form, Grid, GridRow, HeldOut, Scoring, settings};
use serde_json::json;

use super::page::table;
use super::subjects::{self, Named};
use super::table::{excerpt, figure, write_rows};
use super::{Args, FILES};
use crate::chart::bars::{self, Bar};
use crate::html::{self, escape};
use crate::output::{counted, heard, plain, say, write_report};
use crate::progress;

const STRONG: Style = Style::new().bold();

pub(super) fn run(
    args: &Args,
    subjects: &[Named],
    rows: &HeldOut,
    scoring: &Scoring,
) -> Result<()> {
    if !rows.has_prompts() {
        return Err(crate::outcome::input_fault(
            "the rows hold texts without turns, to which nothing can be answered\nhint: give rows with questions and answers",
        ));
    }
    let bar = progress::stages();
    let mut found = Vec::new();
    let bootstrap = args.scoring.bootstrap();
    let mut tried = Vec::new();
    subjects::each(args, subjects, &mut |assistant, subject| {
        let name = &subject.name;
        let settings = settings(&args.sampling.over(&assistant.sampling)?);
        let mut now = None;
        let mut on_progress = |setting: usize, done: usize| {
            if now != Some(setting) {
                now = Some(setting);
                let what = format!("{name}: {}", settings[setting].name);
                progress::begin(&bar, &what, rows.rows.len() as u64);
            }
            bar.set_position(done as u64);
        };
        let (data, at_once) = ((rows, scoring, &bootstrap), args.batch_size as usize);
        found.push(GridRow::new(
            assistant,
            (name, subject.run.as_deref()),
            data,
            &settings,
            at_once,
            &mut on_progress,
        )?);
        tried.push(json!({"model": name, "settings": settings}));
        Ok(())
    })?;
    bar.finish_and_clear();
    let grid = Grid::new(found, rows);
    let mut wrote = None;
    if let Some(folder) = &args.output {
        let [page_name, json_name, stale] = FILES.map(|name| folder.join(name));
        let report = json!({"rows": rows.rows.len(), "settings": tried, "grid": grid});
        let report = serde_json::to_string_pretty(&report)?;
        write_report(&json_name, &report, args.overwrite)?;
        html::write(&page_name, "Repetition", &page(&grid, rows), args.overwrite)?;
        // Rows of another report do not belong to this one.
        if args.overwrite && stale.exists() {
            std::fs::remove_file(&stale)?;
        }
        wrote = Some(format!(
            "\nwrote {} and {}",
            page_name.display(),
            json_name.display()
        ));
    }
    heard(show(&grid, rows))?;
    wrote.map_or(Ok(()), say)
}

/// A figure of a cell, under its heading.
type Column = (&'static str, Form, fn(&Cell) -> &Figure);

/// The figures of a cell.
const COLUMNS: [Column; 5] = [
    ("loops", Form::Share, |cell| &cell.loops),
    ("cut off", Form::Share, |cell| &cell.cut_off),
    ("rep-4", Form::Share, |cell| &cell.rep_4),
    ("characters", Form::Number, |cell| &cell.characters),
    ("chrF", Form::Number, |cell| &cell.chrf),
];

/// The table of one model, headings first.
fn rows_of(row: &GridRow, best: Option<usize>) -> Vec<Vec<String>> {
    let mut heading = vec![plain(&row.name)];
    heading.extend(COLUMNS.map(|(name, ..)| name.to_owned()));
    let mut rows = vec![heading];
    for (index, cell) in row.cells.iter().enumerate() {
        let mut cells = vec![cell.setting.clone()];
        cells.extend(COLUMNS.map(|(_, form, of)| figure(form, of(cell))));
        if best == Some(index) {
            cells.push("best".to_owned());
        }
        rows.push(cells);
    }
    rows
}

fn cause(kind: CauseKind) -> &'static str {
    match kind {
        CauseKind::Template => "the template or the end of turns",
        CauseKind::Data => "the data",
        CauseKind::OverTraining => "training for too long",
        CauseKind::Decoding => "decoding",
    }
}

/// What the figures say, a sentence each.
fn findings(grid: &Grid) -> Vec<String> {
    let mut findings = Vec::new();
    let Some(last) = grid.rows.last() else {
        return findings;
    };
    let loops = last.cells.iter().filter_map(|cell| cell.loops.value);
    let likely = grid.causes.iter().filter(|cause| cause.likely);
    let likely: Vec<&str> = likely.map(|own| cause(own.kind)).collect();
    findings.push(match (loops.fold(0.0, f64::max), &likely[..]) {
        (0.0, _) => format!("{} loops under no setting", plain(&last.name)),
        (_, []) => "no cause stands out".to_owned(),
        (_, likely) => format!("likely cause: {}", likely.join(", and ")),
    });
    for own in &grid.causes {
        findings.push(format!("{}: {}", cause(own.kind), plain(&own.evidence)));
    }
    if let Some(cell) = last.cells.get(grid.best) {
        findings.push(format!("best setting: {}", cell.setting));
    }
    findings
}

fn show(grid: &Grid, rows: &HeldOut) -> Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "{}, {} of sampling",
        counted(rows.rows.len() as u64, "prompt"),
        counted(
            grid.rows.first().map_or(0, |row| row.cells.len()) as u64,
            "setting"
        )
    )?;
    let last = grid.rows.len().saturating_sub(1);
    for (index, row) in grid.rows.iter().enumerate() {
        writeln!(out)?;
        let best = (index == last).then_some(grid.best);
        write_rows(&mut out, &rows_of(row, best))?;
        let example = row.cells.iter().find_map(|cell| cell.example.as_ref());
        if let Some((at, text)) = example {
            writeln!(
                out,
                "for example, asked {}: {}",
                excerpt(rows.rows[*at].question()),
                excerpt(text)
            )?;
        }
    }
    writeln!(out)?;
    for (index, finding) in findings(grid).iter().enumerate() {
        match index {
            0 => writeln!(out, "{STRONG}{finding}{STRONG:#}")?,
            _ => writeln!(out, "{finding}")?,
        }
    }
    Ok(())
}

fn page(grid: &Grid, rows: &HeldOut) -> String {
    let mut page = String::new();
    for finding in findings(grid) {
        let _ = writeln!(page, "<p>{}</p>", escape(&finding));
    }
    let last = grid.rows.len().saturating_sub(1);
    for (index, row) in grid.rows.iter().enumerate() {
        let best = (index == last).then_some(grid.best);
        let _ = writeln!(page, "<h2>{}</h2>", escape(&row.name));
        page.push_str(&table(&rows_of(row, best)));
        let bars = row.cells.iter().map(|cell| Bar {
            name: cell.setting.clone(),
            value: cell.loops.value.unwrap_or(0.0),
            interval: cell.loops.interval.map(|found| (found.low, found.high)),
            label: format!("{:.1} %", 100.0 * cell.loops.value.unwrap_or(0.0)),
        });
        let title = format!("{}: answers that loop", row.name);
        page.push_str(&bars::render(&title, &bars.collect::<Vec<_>>()));
        for cell in &row.cells {
            if let Some((at, text)) = &cell.example {
                let _ = writeln!(
                    page,
                    "<p class=\"note\">{}, asked {}:</p><pre>{}</pre>",
                    escape(&cell.setting),
                    escape(rows.rows[*at].question()),
                    escape(text)
                );
            }
        }
    }
    page
}
