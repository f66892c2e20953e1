//! `retune data convert`: from one layout to another.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use retune_data::layout::Layout;
use retune_data::source::RowWriter;
use retune_data::{RowError, Sample, Samples};

use super::input::{ReadArgs, named};

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
    let mut writer = RowWriter::create(&args.output, args.overwrite)?;
    let mut skipped = 0;
    for sample in Samples::open(&args.files, args.read.options()?)? {
        let row = sample.and_then(|sample| converted(args.to, sample));
        match row {
            Ok(row) => writer.write(&row)?,
            Err(error) if args.skip && matches!(error, retune_data::Error::Row(_)) => {
                skipped += 1;
                anstream::eprintln!("skipped: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let rows = writer.rows();
    writer.finish()?;
    let mut out = anstream::stdout().lock();
    write!(out, "wrote {rows} rows to {}", args.output.display())?;
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
        RowError::new(sample.place, problem)
            .hint("leave such rows out with --skip, or choose --to messages, which has a place for all")
            .into()
    })
}
