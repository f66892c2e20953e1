//! `retune data lint`: what is wrong with data files.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use retune_data::lint::{self, Finding, LintOptions, RULES, Report, Severity};

use super::input::{ReadArgs, TokenArgs, parse_share};
use crate::outcome::{Found, input_fault};
use crate::output::{check_paths, counted, plain, thousands};
use crate::{html, progress};

/// Say what is wrong with data files before anything is trained.
///
/// Every finding has a rule's name, a severity, the rows, examples and what to do.
/// Nothing is changed: that is for retune data clean. Exit code 1 if there are
/// findings of the severity of --fail-on or worse.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Data files, or folders of them
    #[arg(required_unless_present = "rules")]
    files: Vec<PathBuf>,

    /// The model's folder; without it, nothing is said of tokens and templates
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Validation files, which must not ask what the training files ask
    #[arg(long, value_name = "FILE")]
    validation: Vec<PathBuf>,

    /// Look for these rules only; can be repeated
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    rule: Vec<String>,

    /// Leave out these rules; can be repeated
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    ignore: Vec<String>,

    /// Count the answers with this phrase: is it over-represented? Can be repeated
    #[arg(long, value_name = "TEXT")]
    phrase: Vec<String>,

    /// The language that answers should have, such as zh or en [default: that of most]
    #[arg(long, value_name = "CODE")]
    language: Option<String>,

    /// Do not look for near-duplicates, which take about 1 KB a row
    #[arg(long)]
    no_near_duplicates: bool,

    /// The Jaccard similarity of 5-character shingles that makes near-duplicates
    #[arg(long, value_name = "SHARE", default_value_t = LintOptions::DEFAULT_NEAR_DUPLICATES, value_parser = parse_share)]
    threshold: f64,

    /// Examples shown of each finding
    #[arg(long, value_name = "N", default_value_t = LintOptions::DEFAULT_EXAMPLES)]
    examples: usize,

    /// From which severity on the exit code is 1
    #[arg(long, value_name = "SEVERITY", default_value = "error", value_parser = ["info", "warning", "error", "never"])]
    fail_on: String,

    /// Print the report as JSON, with all rows
    #[arg(long)]
    json: bool,

    /// Write the report as an HTML page too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Overwrite the HTML page if it is there
    #[arg(long)]
    overwrite: bool,

    /// List the rules and end
    #[arg(long)]
    rules: bool,

    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    read: ReadArgs,
}

const HEAD: Style = Style::new().bold();
const DIM: Style = AnsiColor::BrightBlack.on_default();

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Error => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
        Severity::Info => AnsiColor::Cyan.on_default().bold(),
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.rules {
        return list_rules();
    }
    check_paths(&args.files, &[args.html.as_deref()])?;
    check_language(args.language.as_deref())?;
    let encoder = match &args.model {
        Some(model) => Some(args.tokens.encoder(model)?),
        None => None,
    };
    let options = LintOptions {
        encoder: encoder.as_ref(),
        rules: args.rule.clone(),
        ignore: args.ignore.clone(),
        near_duplicates: (!args.no_near_duplicates).then_some(args.threshold),
        validation: args.validation.clone(),
        phrases: args.phrase.clone(),
        language: args.language.clone(),
        without: HashSet::new(),
        examples: args.examples,
    };
    let bar = progress::rows();
    let report = lint::lint(&args.files, &args.read.options()?, &options, &mut |rows| {
        bar.set_position(rows);
    });
    bar.finish_and_clear();
    let report = report?;
    let mut out = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        show(&mut out, args, &report)?;
    }
    if let Some(path) = &args.html {
        html::write(path, "Data report", &page(&report), args.overwrite)?;
        if !args.json {
            writeln!(out, "wrote {}", path.display())?;
        }
    }
    let limit = match args.fail_on.as_str() {
        "info" => Severity::Info,
        "warning" => Severity::Warning,
        "error" => Severity::Error,
        _ => return Ok(()),
    };
    if report
        .findings
        .iter()
        .any(|finding| finding.severity >= limit)
    {
        return Err(Found.into());
    }
    Ok(())
}

/// Languages have codes of two letters, few have three.
fn check_language(code: Option<&str>) -> Result<()> {
    let is_code = |code: &str| {
        let base = code.split('-').next().unwrap_or_default();
        (2..=3).contains(&base.len()) && base.chars().all(|c| c.is_ascii_lowercase())
    };
    // What people write who think of a country.
    let meant = match code {
        Some("cn") => "did you mean zh?",
        Some("jp") => "did you mean ja?",
        _ => "such as zh, en, ja",
    };
    match code.filter(|code| !is_code(code) || meant.starts_with("did")) {
        Some(code) => Err(input_fault(format!(
            "{code:?} is no code of a language\nhint: {meant}"
        ))),
        None => Ok(()),
    }
}

fn list_rules() -> Result<()> {
    let mut out = anstream::stdout().lock();
    for rule in RULES {
        let style = style(rule.severity);
        writeln!(
            out,
            "{style}{:<8}{style:#} {:<20} {}",
            rule.severity.name(),
            rule.id,
            rule.finds
        )?;
    }
    Ok(())
}

fn summary(report: &Report) -> String {
    let mut summary = counted(report.rows, "row");
    if let Some(tokens) = report.tokens {
        let share = 100.0 * tokens.scored as f64 / tokens.tokens.max(1) as f64;
        let _ = write!(
            summary,
            " · {}, {} of them learned from ({share:.0} %); the longest row has {}",
            counted(tokens.tokens, "token"),
            thousands(tokens.scored),
            thousands(tokens.longest)
        );
    }
    summary
}

fn place(report: &Report, example: &lint::Example) -> String {
    let Some(row) = example.row else {
        return String::new();
    };
    let mut place = String::new();
    if report.files.len() > 1 {
        let file = report.files.get(row.file as usize);
        let _ = write!(
            place,
            "{} ",
            file.map_or_else(|| "?".to_owned(), |file| plain(&file.path))
        );
    }
    let _ = write!(place, "row {}", row.row);
    if row.line > 0 {
        let _ = write!(place, " (line {})", row.line);
    }
    place
}

fn show(out: &mut impl std::io::Write, args: &Args, report: &Report) -> Result<()> {
    for file in &report.files {
        let mut facts = vec![file.format];
        facts.extend(file.layout);
        facts.extend(file.encoding);
        writeln!(
            out,
            "{HEAD}{}{HEAD:#} · {}",
            plain(&file.path),
            facts.join(" · ")
        )?;
    }
    writeln!(out, "{}\n", summary(report))?;
    let width = report
        .findings
        .iter()
        .map(|finding| finding.rule.len())
        .max();
    for finding in &report.findings {
        let style = style(finding.severity);
        writeln!(
            out,
            "{style}{:<7}{style:#} {:<width$} {:>9}  {}",
            finding.severity.name(),
            finding.rule,
            thousands(finding.count),
            plain(&finding.message),
            width = width.unwrap_or(0),
        )?;
    }
    if !report.findings.is_empty() {
        writeln!(out)?;
    }
    if args.examples > 0 {
        for finding in &report.findings {
            show_finding(out, report, finding)?;
        }
    }
    if !report.phrases.is_empty() {
        writeln!(out, "{HEAD}phrases in answers{HEAD:#}")?;
        for phrase in &report.phrases {
            let note = if phrase.asked { " (asked for)" } else { "" };
            let bar = "█".repeat((phrase.share * 40.0).round() as usize);
            writeln!(
                out,
                "  {:>7} {:>6.2} %  {}{note} {DIM}{bar}{DIM:#}",
                thousands(phrase.answers),
                100.0 * phrase.share,
                plain(&phrase.phrase).replace('\n', "⏎"),
            )?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "{}, {}, {}",
        counted(report.count(Severity::Error) as u64, "error"),
        counted(report.count(Severity::Warning) as u64, "warning"),
        counted(report.count(Severity::Info) as u64, "note")
    )?;
    if args.model.is_none() {
        writeln!(
            out,
            "hint: with --model DIR, tokens, lengths and the chat template are checked too"
        )?;
    }
    Ok(())
}

fn show_finding(out: &mut impl std::io::Write, report: &Report, finding: &Finding) -> Result<()> {
    let style = style(finding.severity);
    writeln!(out, "{style}{}{style:#}: {}", finding.rule, finding.fix)?;
    for example in &finding.examples {
        if example.text != finding.message {
            let place = place(report, example);
            writeln!(out, "  {DIM}{place:<22}{DIM:#} {}", shown(example))?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// An example's text on one line, with how many rows there are of it.
fn shown(example: &lint::Example) -> String {
    let text = plain(&example.text).replace('\n', "⏎");
    match example.rows {
        0 | 1 => text,
        rows => format!("{rows} × {text}"),
    }
}

fn page(report: &Report) -> String {
    let mut page = String::new();
    for file in &report.files {
        let mut facts = vec![file.format];
        facts.extend(file.layout);
        facts.extend(file.encoding);
        let _ = write!(
            page,
            "<p><b>{}</b> · {}</p>",
            html::escape(&file.path),
            facts.join(" · ")
        );
    }
    let _ = write!(page, "<p>{}</p>", summary(report));
    page.push_str("<table><tr><th>severity<th>rule<th class=\"n\">count<th>what</tr>");
    for finding in &report.findings {
        let _ = write!(
            page,
            "<tr><td class=\"{0}\">{0}<td><a href=\"#{1}\">{1}</a><td class=\"n\">{2}<td>{3}</tr>",
            finding.severity.name(),
            finding.rule,
            thousands(finding.count),
            html::escape(&finding.message)
        );
    }
    page.push_str("</table>");
    for finding in &report.findings {
        let _ = write!(
            page,
            "<h2 id=\"{0}\">{0}</h2><p>{1}</p><p class=\"note\">Fix: {2}</p><table>",
            finding.rule,
            html::escape(&finding.message),
            html::escape(&finding.fix)
        );
        for example in &finding.examples {
            let _ = write!(
                page,
                "<tr><td>{}<td>{}</tr>",
                html::escape(&place(report, example)),
                html::escape(&shown(example))
            );
        }
        let rows: Vec<String> = finding
            .rows
            .iter()
            .take(500)
            .map(|row| row.row.to_string())
            .collect();
        let more = finding.rows.len().saturating_sub(rows.len());
        page.push_str("</table>");
        if !rows.is_empty() {
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let _ = write!(
                page,
                "<details><summary>{}</summary><p class=\"note\">{}{more}</p></details>",
                counted(finding.rows.len() as u64, "row"),
                rows.join(", ")
            );
        }
    }
    page
}
