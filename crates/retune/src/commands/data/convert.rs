//! `retune data convert`: from one layout to another.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use retune_data::layout::Layout;
use retune_data::source::RowWriter;
use retune_data::{Content, RowError, Sample, Samples};

use super::input::{ReadArgs, named};
use crate::output::counted;
use crate::output::{check_paths, plain};

/// Write data files in another layout or format.
///
/// The output's name tells its format: .json, .jsonl, .csv or .tsv. A row that
/// the layout has no place for (tools in alpaca, say) is an error, unless it
/// may be skipped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Data files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The layout to write [default: the one that is read]
    #[arg(long, value_name = "LAYOUT", value_parser = named(&Layout::NAMES))]
    to: Option<Layout>,

    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Leave out rows that cannot be read or written, and list them
    #[arg(long)]
    skip: bool,

    /// Overwrite the output if it is there
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    check_paths(&args.files, &[Some(&args.output)])?;
    let mut writer = RowWriter::create(&args.output, args.overwrite)?;
    let (mut skipped, mut rejected) = (0, 0);
    let mut samples = Samples::open(&args.files, args.read.options()?)?;
    for sample in samples.by_ref() {
        if let Ok(sample) = &sample {
            let pair = matches!(sample.content, Content::Preference(_));
            rejected += u64::from(pair && args.to.is_some_and(|to| to != Layout::Preference));
        }
        let row = sample.and_then(|sample| converted(args.to, sample));
        match row {
            Ok(row) => writer.write(&row)?,
            Err(error) if args.skip && matches!(error, retune_data::Error::Row(_)) => {
                skipped += 1;
                anstream::eprintln!("skipped: {}", plain(&error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let rows = writer.rows();
    writer.finish()?;
    if rejected > 0 {
        anstream::eprintln!(
            "note: {rejected} worse answers have no place in the layout and are left out"
        );
    }
    for file in samples.files().iter().filter(|_| args.to.is_some()) {
        if !file.unused.is_empty() {
            let columns = plain(&file.unused.join(", "));
            let path = plain(&file.source.path.display().to_string());
            anstream::eprintln!("note: columns of {path} that are left out: {columns}");
        }
    }
    let mut out = anstream::stdout().lock();
    write!(
        out,
        "wrote {} to {}",
        counted(rows, "row"),
        args.output.display()
    )?;
    match skipped {
        0 => writeln!(out)?,
        skipped => writeln!(out, ", skipped {skipped}")?,
    }
    Ok(())
}

type Fields = serde_json::Map<String, serde_json::Value>;

fn converted(to: Option<Layout>, sample: Sample) -> retune_data::Result<Fields> {
    let Some(layout) = to else {
        return Ok(sample.fields);
    };
    layout.write(&sample.content).map_err(|problem| {
        let hint = match sample.content {
            // A text and a class have no turns.
            Content::Text(_) => "leave such rows out with --skip, or choose --to text",
            Content::Classification { .. } => {
                "leave such rows out with --skip, or choose --to classification"
            }
            _ => "leave such rows out with --skip, or choose --to messages, which has a place for all turns",
        };
        RowError::new(sample.place, problem).hint(hint).into()
    })
}
