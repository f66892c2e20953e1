//! `retune data split`: a training, a validation and perhaps a test file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use retune_data::lint::LintOptions;
use retune_data::source::{Format, RowWriter, find_files};
use retune_data::{Samples, split, split_rows};

use super::input::{ReadArgs, named, parse_share};
use crate::outcome::input_fault;
use crate::output::{check_paths, plural, thousands};

/// Split data files into train, validation and test, without leakage.
///
/// Rows that ask the same, or nearly the same, go to the same side. Classes are
/// split in proportion. The same seed gives the same split, and adding rows
/// moves few others.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Data files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The folder for train.jsonl, validation.jsonl and test.jsonl
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,

    /// The share of the validation side
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = parse_share)]
    validation: f64,

    /// The share of the test side
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    test: f64,

    /// Split the values of this column in proportion [default: the class, if there is one]
    #[arg(long, value_name = "COLUMN")]
    stratify: Option<String>,

    /// What decides which rows go where
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// The Jaccard similarity of prompts from which rows stay together
    #[arg(long, value_name = "SHARE", default_value_t = LintOptions::DEFAULT_NEAR_DUPLICATES, value_parser = parse_share)]
    threshold: f64,

    /// Write this format [default: that of the first file]
    #[arg(long, value_parser = named(&Format::NAMES))]
    to: Option<Format>,

    /// Overwrite files that are there
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    read: ReadArgs,
}

const SIDES: [&str; 3] = ["train", "validation", "test"];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.validation + args.test >= 1.0 {
        return Err(input_fault(
            "nothing is left for training: --validation and --test have to add up to less than 1",
        ));
    }
    if let Some(format @ (Format::Text | Format::Parquet)) = args.to {
        return Err(input_fault(format!(
            "--to {} cannot be written here\nhint: one of json, jsonl, csv, tsv",
            format.name()
        )));
    }
    let options = args.read.options()?;
    let threshold = (args.threshold > 0.0).then_some(args.threshold);
    let rows = split_rows(&args.files, &options, threshold, args.stratify.as_deref())?;
    let sides = split(&rows, &[args.validation, args.test], args.seed);
    let extension = match args.to.or_else(|| first_format(&args.files)) {
        Some(format @ (Format::Json | Format::Csv | Format::Tsv)) => format.name(),
        _ => "jsonl",
    };
    if sides.iter().all(|side| *side > 0) {
        return Err(input_fault(
            "no row is left for training\nhint: ask for smaller shares",
        ));
    }
    let asked = [true, args.validation > 0.0, args.test > 0.0];
    let paths = SIDES.map(|name| args.output.join(format!("{name}.{extension}")));
    check_paths(
        &args.files,
        &paths.each_ref().map(|path| Some(path.as_path())),
    )?;
    let mut writers = Vec::new();
    for (side, name) in SIDES.iter().enumerate() {
        let path = paths[side].clone();
        if asked[side] && !sides.contains(&side) {
            anstream::eprintln!(
                "warning: the {name} side is empty: there are too few rows that ask different things"
            );
        }
        if side == 0 || sides.contains(&side) {
            writers.push(Some((RowWriter::create(&path, args.overwrite)?, path)));
        } else {
            // What an earlier split left would hold rows of the other sides.
            if path.exists() {
                return Err(input_fault(format!(
                    "{} is there from another split\nhint: remove it, or choose another folder",
                    path.display()
                )));
            }
            writers.push(None);
        }
    }
    for (sample, side) in Samples::open(&args.files, options)?.zip(&sides) {
        if let Some((writer, _)) = &mut writers[*side] {
            writer.write(&sample?.fields)?;
        }
    }
    let mut out = anstream::stdout().lock();
    for (writer, path) in writers.into_iter().flatten() {
        let written = writer.rows();
        writer.finish()?;
        let share = 100.0 * written as f64 / rows.len().max(1) as f64;
        writeln!(
            out,
            "{:>9} {:<4} ({share:.1} %)  {}",
            thousands(written),
            plural(written, "row"),
            path.display()
        )?;
    }
    Ok(())
}

fn first_format(files: &[PathBuf]) -> Option<Format> {
    let first: PathBuf = find_files(files).ok()?.into_iter().next()?;
    let name = first.file_name()?.to_string_lossy().to_lowercase();
    let extension = |extension: &str| {
        let file = Path::new(&name);
        file.extension().is_some_and(|found| found == extension)
    };
    let known = Format::NAMES.iter().find(|(name, _)| extension(name));
    known.map(|(_, format)| *format)
}
