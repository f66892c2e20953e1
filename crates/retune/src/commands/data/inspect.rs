//! `retune data inspect`: a row, token by token.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use retune_data::{Error, Inspection, Role, Sample, Samples, TokenView, check_template, inspect};

use super::input::{ReadArgs, TokenArgs};
use crate::html;
use crate::outcome::input_fault;
use crate::output::counted;
use crate::output::{check_paths, is_invisible, plain};

/// Show rows token by token: whose turn, what is learned from, and the exact prompt.
///
/// Green is learned from (label = id, weight 1), grey is not (label = -100,
/// weight 0). The prompt up to the first answer is, byte for byte, what chat and
/// serve will send.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Data files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The model's folder, for its tokenizer and chat template
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// The rows of each file to show, from 1; can be repeated
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',')]
    row: Vec<u64>,

    /// Overwrite the HTML page if it is there
    #[arg(long)]
    overwrite: bool,

    /// Write an HTML page instead
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    read: ReadArgs,
}

const LEARNED: Style = AnsiColor::Green.on_default().bold();
const MASKED: Style = AnsiColor::BrightBlack.on_default();
const HEAD: Style = Style::new().bold();

pub(crate) fn run(args: &Args) -> Result<()> {
    check_paths(&args.files, &[args.html.as_deref()])?;
    let encoder = args.tokens.encoder(&args.model)?;
    for fault in check_template(&encoder.tokenizer, &encoder.labels) {
        anstream::eprintln!(
            "warning: {}: {}\nhint: {}",
            fault.rule,
            plain(&fault.problem),
            fault.hint
        );
    }
    let mut page = String::new();
    let mut wanted = args.row.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let mut out = anstream::stdout().lock();
    let mut rows = 0;
    for sample in Samples::open(&args.files, args.read.options()?)? {
        let sample = match sample {
            Ok(sample) => sample,
            // Another row's fault is not asked for.
            Err(Error::Row(error)) if wanted.binary_search(&error.place.row).is_err() => continue,
            Err(error) => return Err(error.into()),
        };
        rows = rows.max(sample.place.row);
        if wanted.binary_search(&sample.place.row).is_err() {
            continue;
        }
        let inspection = inspect(&encoder.tokenizer, &sample.content, &encoder.labels)
            .with_context(|| sample.place.to_string())?;
        let tokens = inspection.tokens.len();
        if tokens > encoder.max_length {
            anstream::eprintln!(
                "warning: {} has {}, more than max_length {}; a training does with it what --over-long says",
                plain(&sample.place.to_string()),
                counted(tokens as u64, "token"),
                encoder.max_length
            );
        }
        match &args.html {
            Some(_) => add_to_page(&mut page, &sample, &inspection),
            None => show(&mut out, &sample, &inspection)?,
        }
    }
    if let Some(missing) = wanted.iter().find(|row| **row > rows || **row == 0) {
        return Err(input_fault(format!(
            "there is no row {missing}\nhint: rows are counted from 1, and there are {rows}"
        )));
    }
    if let Some(path) = &args.html {
        html::write(path, "Tokens and labels", &page, args.overwrite)?;
        writeln!(out, "wrote {}", path.display())?;
    }
    Ok(())
}

fn heading(sample: &Sample, inspection: &Inspection) -> String {
    let learned = inspection
        .tokens
        .iter()
        .filter(|token| token.scored)
        .count();
    format!(
        "{} · {}, {learned} of them learned from",
        sample.place,
        counted(inspection.tokens.len() as u64, "token")
    )
}

fn show(out: &mut impl std::io::Write, sample: &Sample, inspection: &Inspection) -> Result<()> {
    writeln!(out, "{HEAD}{}{HEAD:#}", plain(&heading(sample, inspection)))?;
    if !inspection.turns.is_empty() {
        writeln!(out, "\n{HEAD}text, byte for byte{HEAD:#}")?;
    }
    for turn in &inspection.turns {
        let style = if turn.scored { LEARNED } else { MASKED };
        for line in turn.text().split_inclusive('\n') {
            write!(out, "{style}{}{style:#}", visible(line))?;
            if line.ends_with('\n') {
                writeln!(out)?;
            }
        }
    }
    writeln!(
        out,
        "\n\n{HEAD}{:>5} {:>7} {:<9} {:>7} {:>6}  token{HEAD:#}",
        "#", "id", "role", "label", "weight"
    )?;
    for (index, token) in inspection.tokens.iter().enumerate() {
        let style = if token.scored { LEARNED } else { MASKED };
        let [label, weight] = label_and_weight(token);
        writeln!(
            out,
            "{index:>5} {:>7} {:<9} {label:>7} {weight:>6}  {style}{}{style:#}",
            token.id,
            role(token),
            visible(&token.text),
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn label_and_weight(token: &TokenView) -> [String; 2] {
    if token.scored {
        [token.id.to_string(), "1".to_owned()]
    } else {
        ["-100".to_owned(), "0".to_owned()]
    }
}

fn role(token: &TokenView) -> &'static str {
    token.role.map_or("-", Role::name)
}

/// A token's text on one line; `…` while a character is not complete.
fn visible(text: &str) -> String {
    if text.is_empty() {
        return "…".to_owned();
    }
    if text.trim_matches(' ').is_empty() {
        return "␠".repeat(text.len());
    }
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => visible.push('⏎'),
            '\r' => visible.push('␍'),
            '\t' => visible.push('⇥'),
            c if c.is_control() || is_invisible(c) => {
                let _ = write!(visible, "\\u{{{:x}}}", u32::from(c));
            }
            c => visible.push(c),
        }
    }
    visible
}

fn add_to_page(page: &mut String, sample: &Sample, inspection: &Inspection) {
    let _ = writeln!(
        page,
        "<h2>{}</h2>",
        html::escape(&heading(sample, inspection))
    );
    page.push_str(
        "<p>Byte for byte; what is learned from is <span class=\"learned\">green</span>. \
                   The text before it is what chat and serve send.</p><pre>",
    );
    for turn in &inspection.turns {
        let class = if turn.scored { "learned" } else { "masked" };
        let text = html::escape(&turn.text());
        let _ = write!(page, "<span class=\"{class}\">{text}</span>");
    }
    page.push_str("</pre><table><tr><th>#<th>id<th>role<th>label<th>weight<th>token</tr>\n");
    for (index, token) in inspection.tokens.iter().enumerate() {
        let class = if token.scored { "learned" } else { "masked" };
        let [label, weight] = label_and_weight(token);
        let _ = writeln!(
            page,
            "<tr class=\"{class}\"><td>{index}<td>{}<td>{}<td>{label}<td>{weight}<td><code>{}</code></tr>",
            token.id,
            role(token),
            html::escape(&visible(&token.text)),
        );
    }
    page.push_str("</table>\n");
}
