//! `retune tokenizer train`: a vocabulary learned from data files.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressStyle;
use retune_data::{
    BadRows, NewTokenizer, TokenCounts, Tokenizer, TokenizerOptions, TokenizerProgress,
    train_tokenizer,
};

use crate::commands::data::input::ReadArgs;
use crate::outcome::input_fault;
use crate::output::thousands;
use crate::output::{check_new_folder, plain};
use crate::progress;

/// Tokens that are shown.
const SHOWN: usize = 8;
/// Rows that are listed where they could not be used.
const LISTED: usize = 20;

/// Learn a byte-level BPE tokenizer from all texts of data files.
///
/// The folder is one of Hugging Face's, laid out as Qwen2.5's: tokenizer.json and
/// tokenizer_config.json with a chat template (ChatML). Every text has tokens,
/// and the same texts always give the same tokenizer.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  retune tokenizer train texts/ --output tokenizer --vocab-size 8192
  retune tokenizer train chat.jsonl --output tokenizer --vocab-size 4096 --special '<|tool|>'")]
pub(crate) struct Args {
    /// Data files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The folder to write: a new one, or one that is empty
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,

    /// How many tokens there are to be, special ones too
    #[arg(long, value_name = "N")]
    vocab_size: usize,

    /// How often two neighbours have to occur to become a token
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_frequency: u64,

    /// The most bytes that a token may have
    #[arg(long, value_name = "N")]
    max_token_length: Option<usize>,

    /// A special token beside <|endoftext|>, <|im_start|> and <|im_end|>; can be repeated
    #[arg(long, value_name = "TOKEN")]
    special: Vec<String>,

    /// Leave out rows that cannot be used, and list them
    #[arg(long)]
    skip: bool,

    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let data = args.read.options()?;
    let options = TokenizerOptions {
        vocab_size: args.vocab_size,
        min_frequency: args.min_frequency,
        max_token_length: args.max_token_length,
        special_tokens: args.special.clone(),
    };
    let bad_rows = match args.skip {
        true => BadRows::Skip,
        false => BadRows::Stop,
    };
    check_new_folder(&args.output)?;
    let bar = progress::rows();
    let trained = train_tokenizer(&args.files, &data, bad_rows, &options, &mut |at| match at {
        TokenizerProgress::Reading(rows) => bar.set_position(rows),
        TokenizerProgress::Merging => {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message("making tokens");
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    });
    bar.finish_and_clear();
    let trained = trained?;
    std::fs::create_dir_all(&args.output)
        .map_err(|error| input_fault(format!("cannot write {}: {error}", args.output.display())))?;
    trained.save(&args.output)?;
    let tokenizer = Tokenizer::open(&args.output)?;
    let bar = progress::rows();
    let counts = tokenizer.count_files(&args.files, &data, &mut |rows| bar.set_position(rows));
    bar.finish_and_clear();
    show(args, &trained, &tokenizer, counts?)
}

fn show(
    args: &Args,
    trained: &NewTokenizer,
    tokenizer: &Tokenizer,
    counts: TokenCounts,
) -> Result<()> {
    let size = trained.vocab_size();
    if size < args.vocab_size {
        anstream::eprintln!(
            "warning: the texts give {} tokens, not {}: no more neighbours occur {} times within a word\nhint: give more texts, or lower --min-frequency",
            thousands(size as u64),
            thousands(args.vocab_size as u64),
            thousands(args.min_frequency)
        );
    }
    let per = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let longest = tokenizer.longest_tokens(SHOWN);
    let longest: Vec<String> = longest.iter().map(|token| format!("{token:?}")).collect();
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "vocabulary  {} tokens, {} of them special",
        thousands(size as u64),
        tokenizer.special_tokens().len()
    )?;
    writeln!(
        out,
        "texts       {} rows, {} characters, {} bytes",
        thousands(trained.rows),
        thousands(counts.characters),
        thousands(counts.bytes)
    )?;
    writeln!(
        out,
        "tokens      {}: {:.3} a character, {:.2} bytes a token",
        thousands(counts.tokens),
        per(counts.tokens, counts.characters),
        per(counts.bytes, counts.tokens)
    )?;
    writeln!(out, "longest     {}", plain(&longest.join(" ")))?;
    writeln!(out, "written to  {}", args.output.display())?;
    for row in trained.unusable.iter().take(LISTED) {
        writeln!(out, "skipped: {}", plain(row))?;
    }
    if trained.unusable.len() > LISTED {
        let more = thousands((trained.unusable.len() - LISTED) as u64);
        writeln!(out, "skipped: … and {more} more")?;
    }
    Ok(())
}
