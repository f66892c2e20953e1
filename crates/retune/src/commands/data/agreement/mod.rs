//! `retune data agreement`: how far annotators agree.

mod show;
mod table;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use retune_data::agreement::{
    Bootstrap, Export, ExportOptions, Format, Level, Options, Report, Weights, read,
};
use retune_data::source::{self, ReadOptions, Row, Rows, encoding_for_label, find_files};
use serde_json::json;

use super::input::named;
use crate::numbers::within;
use crate::outcome::input_fault;

/// Measure how far annotators agree, and find the items to label again.
///
/// Reads exports of Label Studio (JSON, JSON-MIN), Prodigy (JSONL) and MTurk
/// (CSV), and plain columns: a row for each rating (item, annotator, label) or a
/// column for each annotator. Labels and marked spans (NER) are both fine, and
/// ratings may be missing.
///
/// Agreement of 80 % means little where one label is given 80 % of the time.
/// Kappa and alpha take out what chance gives: 1 is perfect, 0 is chance. Cohen's
/// kappa compares two annotators, Fleiss' kappa items with equally many ratings,
/// and Krippendorff's alpha everything; use alpha unless there is a reason not to.
/// At least .800 is reliable, at least .667 allows tentative conclusions.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Exports, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Where the annotations come from [default: by the first row]
    #[arg(long, value_name = "TOOL", value_parser = named(&TOOLS))]
    from: Option<Format>,

    /// The field that names the item [default: what the tool uses; in columns item, id, …]
    #[arg(long, value_name = "COLUMN")]
    item: Option<String>,

    /// The field that names the annotator [default: what the tool uses; in columns annotator, rater, …]
    #[arg(long, value_name = "COLUMN")]
    annotator: Option<String>,

    /// The question: a column, a control's name in Label Studio, a field [default: the only one]
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,

    /// The columns of annotators, if each has a column [default: annotator_1, rater2, …]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', conflicts_with_all = ["annotator", "label"])]
    annotators: Vec<String>,

    /// What alpha takes labels for: names, ranks, or numbers that are so far apart
    #[arg(long, default_value = "nominal", value_parser = named(&LEVELS))]
    level: Level,

    /// What Cohen's kappa takes a difference for: equally bad, or by the steps between the labels
    #[arg(long, default_value = "none", value_parser = named(&WEIGHTS))]
    weights: Weights,

    /// The labels from low to high [default: by value or by letter]
    #[arg(long, value_name = "LOW,…,HIGH", value_delimiter = ',')]
    order: Vec<String>,

    /// Samples of items that intervals are made from; 0 for none
    #[arg(long, value_name = "N", default_value = "1000", value_parser = within::<u32>(0..=100_000))]
    bootstrap: u32,

    /// The share of the samples that an interval holds
    #[arg(long, value_name = "SHARE", default_value = "0.95", value_parser = parse_confidence)]
    confidence: f64,

    /// What the samples are drawn from; the same seed gives the same intervals
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,

    /// How many items to label again are shown
    #[arg(long, value_name = "N", default_value = "10")]
    relabel: usize,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,

    /// The files' format [default: by their names]
    #[arg(long, value_parser = named(&source::Format::NAMES), help_heading = "Reading")]
    format: Option<source::Format>,

    /// The files' encoding, such as gb18030 [default: by their bytes]
    #[arg(long, value_name = "NAME", help_heading = "Reading")]
    encoding: Option<String>,
}

const TOOLS: [(&str, Format); 4] = [
    ("label-studio", Format::LabelStudio),
    ("prodigy", Format::Prodigy),
    ("mturk", Format::Mturk),
    ("columns", Format::Columns),
];
const LEVELS: [(&str, Level); 3] = [
    ("nominal", Level::Nominal),
    ("ordinal", Level::Ordinal),
    ("interval", Level::Interval),
];
const WEIGHTS: [(&str, Weights); 3] = [
    ("none", Weights::None),
    ("linear", Weights::Linear),
    ("quadratic", Weights::Quadratic),
];

fn parse_confidence(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(share) if 0.0 < share && share < 1.0 => Ok(share),
        _ => Err("expected a share between 0 and 1, such as 0.95".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let export = read(rows(args)?, &args.export_options())?;
    let options = args.options();
    let report = Report::of(&export.annotations, &options)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        let whole = as_json(&export, &options, &report);
        writeln!(out, "{}", serde_json::to_string_pretty(&whole)?)?;
        return Ok(());
    }
    show::report(&mut out, &export, &options, &report)
}

impl Args {
    fn export_options(&self) -> ExportOptions {
        ExportOptions {
            format: self.from,
            item: self.item.clone(),
            annotator: self.annotator.clone(),
            label: self.label.clone(),
            annotators: self.annotators.clone(),
            order: self.order.clone(),
        }
    }

    fn options(&self) -> Options {
        Options {
            level: self.level,
            weights: self.weights,
            bootstrap: Bootstrap {
                replicates: self.bootstrap,
                confidence: self.confidence,
                seed: self.seed,
            },
            relabel: self.relabel,
        }
    }
}

/// The rows of all files.
fn rows(args: &Args) -> Result<impl Iterator<Item = retune_data::Result<Row>>> {
    let encoding = match &args.encoding {
        None => None,
        Some(label) => Some(
            encoding_for_label(label)
                .ok_or_else(|| input_fault(format!("there is no encoding {label:?}")))?,
        ),
    };
    let options = ReadOptions {
        format: args.format,
        encoding,
        ..ReadOptions::default()
    };
    // One file is open at a time.
    let rows = move |file: PathBuf| -> Box<dyn Iterator<Item = retune_data::Result<Row>>> {
        match Rows::open(&file, &options) {
            Ok(rows) => Box::new(rows),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    };
    Ok(find_files(&args.files)?.into_iter().flat_map(rows))
}

fn as_json(export: &Export, options: &Options, report: &Report) -> serde_json::Value {
    json!({
        "format": export.format,
        "question": export.question,
        "left_out": export.left_out,
        "options": options,
        "report": report,
    })
}
