//! `retune data clean`: chosen faults taken out of data files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use retune_data::lint::LintOptions;
use retune_data::source::RowWriter;
use retune_data::{
    Balance, BalanceBy, CleanOptions, CleanReport, Cleaned, Content, Edit, Sample, Segmenter, clean,
};
use serde_json::{Map, Value as Json, json};

use super::input::{ReadArgs, TokenArgs, named, parse_share};
use crate::outcome::input_fault;
use crate::output::{check_paths, counted, thousands, write_report};

/// Take chosen faults out of data files; what was not asked for stays as it is.
///
/// Rows are dropped first (copies among what stays), then groups are capped, then
/// texts are changed. Writes the rows that stay, in the layout in which they were read, and, if
/// wanted, the rows that were left out and a report.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  retune data clean chat.json -o kept.json --drop exact-duplicate,empty-answer
  retune data clean chat.json -o kept.json --balance prompt=10 --strip html")]
pub(crate) struct Args {
    /// Data files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The file for the rows that stay: .json, .jsonl, .csv or .tsv
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// The file (.jsonl) for the rows that are left out, with the reason
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,

    /// The file (.json) for a report
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Leave out the rows that these lint rules find (retune data lint --rules lists them)
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    drop: Vec<String>,

    /// Change texts: take out control characters or HTML, trim white space
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = named(&Edit::NAMES))]
    strip: Vec<Edit>,

    /// Put words such as [mobile number] in the place of what looks like personal data
    #[arg(long)]
    mask_personal_data: bool,

    /// Keep at most N rows of each group: prompt=N, answer=N, opening=N, label=N,
    /// or of the answers with a phrase: phrase:TEXT=N; can be repeated
    #[arg(long, value_name = "BY=N", value_parser = parse_balance)]
    balance: Vec<Balance>,

    /// Which rows of a capped group stay
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// The Jaccard similarity that makes near-duplicates
    #[arg(long, value_name = "SHARE", default_value_t = LintOptions::DEFAULT_NEAR_DUPLICATES, value_parser = parse_share)]
    threshold: f64,

    /// Write segmented, normalised texts without stop words, for classic models such as
    /// bag-of-words classifiers. Chat models do not want this
    #[arg(long)]
    segment: bool,

    /// The model's folder, for rules about tokens
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Overwrite files that are there
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    read: ReadArgs,
}

fn parse_balance(value: &str) -> Result<Balance, String> {
    let expected = "expected prompt=N, answer=N, opening=N, label=N or phrase:TEXT=N";
    let (by, cap) = value.rsplit_once('=').ok_or(expected)?;
    let cap = cap.parse().map_err(|_| expected)?;
    let by = match by {
        "prompt" => BalanceBy::Prompt,
        "answer" => BalanceBy::Answer,
        "opening" => BalanceBy::Opening,
        "label" => BalanceBy::Label,
        _ => match by.strip_prefix("phrase:") {
            Some(phrase) if !phrase.is_empty() => BalanceBy::Phrase(phrase.to_owned()),
            _ => return Err(expected.to_owned()),
        },
    };
    Ok(Balance { by, cap })
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let encoder = match &args.model {
        Some(model) => Some(args.tokens.encoder(model)?),
        None => None,
    };
    let mut edits = args.strip.clone();
    if args.mask_personal_data {
        edits.push(Edit::PersonalData);
    }
    if args.drop.is_empty() && edits.is_empty() && args.balance.is_empty() && !args.segment {
        return Err(input_fault(
            "nothing to do\nhint: say what, such as --drop exact-duplicate; retune data lint shows what there is",
        ));
    }
    let options = CleanOptions {
        drop: args.drop.clone(),
        edits,
        balance: args.balance.clone(),
        seed: args.seed,
        threshold: args.threshold,
    };
    let outputs = [
        Some(&*args.output),
        args.rejected.as_deref(),
        args.report.as_deref(),
    ];
    check_paths(&args.files, &outputs)?;
    if args.segment {
        anstream::eprintln!(
            "warning: segmented text without stop words is for classic models; a chat model learns from text as it is written"
        );
    }
    let segmenter = args.segment.then(Segmenter::default);
    let mut kept = RowWriter::create(&args.output, args.overwrite)?;
    let mut rejected = match &args.rejected {
        Some(path) => Some(RowWriter::create(path, args.overwrite)?),
        None => None,
    };
    let data = args.read.options()?;
    let report = clean(
        &args.files,
        &data,
        encoder.as_ref(),
        &options,
        &mut |row| match (row, &mut rejected) {
            (Cleaned::Kept(sample), _) => match &segmenter {
                Some(segmenter) => kept.write(&segmented(segmenter, sample)),
                None => kept.write(&sample.fields),
            },
            (
                Cleaned::Rejected {
                    place,
                    fields,
                    reason,
                },
                Some(rejected),
            ) => {
                let row = json!({
                    "reason": reason, "file": place.file.display().to_string(),
                    "row": place.row, "line": place.line, "fields": fields,
                });
                rejected.write(row.as_object().unwrap_or(&Map::new()))
            }
            _ => Ok(()),
        },
    )?;
    kept.finish()?;
    if let Some(rejected) = rejected {
        rejected.finish()?;
    }
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        write_report(path, &text, args.overwrite)?;
    }
    show(args, &report)
}

/// A row for classic models: the text's words, and the class if there is one.
fn segmented(segmenter: &Segmenter, sample: &Sample) -> Map<String, Json> {
    let texts = match &sample.content {
        Content::Classification { text, .. } => vec![text.as_str()],
        other => other.texts().into_iter().map(|(_, text)| text).collect(),
    };
    let mut row = Map::new();
    row.insert("text".into(), segmenter.segment(&texts.join("\n")).into());
    if let Content::Classification { label, .. } = &sample.content {
        row.insert("label".into(), label.as_str().into());
    }
    row
}

fn show(args: &Args, report: &CleanReport) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let rejected: u64 = report.rejected.values().sum();
    writeln!(
        out,
        "{} of {} kept, {} left out → {}",
        thousands(report.kept),
        counted(report.rows, "row"),
        thousands(rejected),
        args.output.display()
    )?;
    let lines = |counts: &BTreeMap<String, u64>| -> Vec<String> {
        let counts = counts.iter();
        counts
            .map(|(name, count)| format!("  {:>9}  {name}", thousands(*count)))
            .collect()
    };
    for line in lines(&report.rejected) {
        writeln!(out, "{line}")?;
    }
    for (edit, count) in &report.edited {
        writeln!(out, "  {:>9}  changed: {edit}", thousands(*count))?;
    }
    Ok(())
}
