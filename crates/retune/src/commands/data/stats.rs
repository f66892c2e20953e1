//! `retune data stats`: what data files hold, counted and drawn.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use retune_data::{
    BadRows, Prepared, Samples, TextCounter, TextStats, TokenStats, prepare, token_stats,
};
use serde_json::json;

use super::input::{CacheArgs, ReadArgs, TokenArgs};
use crate::numbers::within;
use crate::output::{counted, plain, thousands};
use crate::progress;

/// Count what data files hold: rows, turns, languages, tokens and their lengths.
///
/// With --model, tokens are counted as a training would see them, and kept in
/// the cache that the training takes them from.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Data files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The model's folder; without it, nothing is said of tokens
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Leave out rows that cannot be used, and list them
    #[arg(long)]
    skip: bool,

    /// Samples that go through the model at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = within::<u16>(1..=u64::from(u16::MAX)))]
    per_device_train_batch_size: u16,

    /// Batches of an optimizer step
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = within::<u16>(1..=u64::from(u16::MAX)))]
    gradient_accumulation_steps: u16,

    /// What decides the order of samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    read: ReadArgs,
}

/// Tokens that a packed batch may hold here; which samples share a batch has
/// little effect on the figures.
const MAX_TOKENS: usize = 4096;
const HEAD: Style = Style::new().bold();
const BAR: Style = AnsiColor::Green.on_default();

pub(crate) fn run(args: &Args) -> Result<()> {
    let data = args.read.options()?;
    let mut counter = TextCounter::default();
    let mut skipped = Vec::new();
    for sample in Samples::open(&args.files, data.clone())? {
        match sample {
            Ok(sample) => counter.add(&sample),
            Err(error) if args.skip && !error.ends_its_file() => skipped.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    let text = counter.finish();
    let mut tokens = None;
    if let Some(model) = &args.model {
        let encoder = args.tokens.checked_encoder(model)?;
        let bad_rows = if args.skip {
            BadRows::Skip
        } else {
            BadRows::Stop
        };
        let bar = progress::rows();
        let prepared = prepare(
            &args.files,
            &data,
            &encoder,
            bad_rows,
            &args.cache.folder()?,
            &mut |rows| {
                bar.set_position(rows);
            },
        );
        bar.finish_and_clear();
        let prepared = prepared?;
        let per_step = usize::from(args.per_device_train_batch_size)
            * usize::from(args.gradient_accumulation_steps);
        let stats = token_stats(&prepared.tokens, per_step, MAX_TOKENS, args.seed)?;
        tokens = Some((prepared, stats));
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        let preparation = tokens.as_ref().map(|(prepared, _)| &prepared.preparation);
        let stats = tokens.as_ref().map(|(_, stats)| stats);
        let report =
            json!({"text": text, "tokens": stats, "preparation": preparation, "skipped": skipped});
        serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    show_text(&mut out, &text)?;
    if let Some((prepared, stats)) = &tokens {
        show_tokens(&mut out, args, prepared, stats)?;
    }
    for row in skipped.iter().take(20) {
        writeln!(out, "skipped: {}", plain(row))?;
    }
    Ok(())
}

fn listed<K: std::fmt::Display + Ord>(counts: &BTreeMap<K, u64>) -> String {
    let mut counts: Vec<(&K, &u64)> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = counts.iter().take(12);
    let shown =
        shown.map(|(name, count)| format!("{} {}", plain(&name.to_string()), thousands(**count)));
    let more = counts.len().saturating_sub(12);
    let mut list = shown.collect::<Vec<_>>().join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    list
}

fn line(out: &mut impl Write, name: &str, value: impl std::fmt::Display) -> Result<()> {
    writeln!(out, "{HEAD}{name:<14}{HEAD:#} {value}")?;
    Ok(())
}

fn show_text(out: &mut impl Write, stats: &TextStats) -> Result<()> {
    line(
        out,
        "rows",
        format!("{} ({})", thousands(stats.rows), listed(&stats.kinds)),
    )?;
    if !stats.turns.is_empty() {
        line(out, "turns", listed(&stats.turns))?;
        line(
            out,
            "system prompt",
            format!(
                "in {}; tools in {}",
                counted(stats.with_system, "row"),
                thousands(stats.with_tools)
            ),
        )?;
    }
    if !stats.labels.is_empty() {
        line(out, "classes", listed(&stats.labels))?;
    }
    let mean = |chars: u64| chars as f64 / stats.rows.max(1) as f64;
    line(
        out,
        "characters",
        format!(
            "{:.1} a prompt, {:.1} an answer",
            mean(stats.prompt_chars),
            mean(stats.answer_chars)
        ),
    )?;
    line(out, "languages", listed(&stats.languages))?;
    let [one, two, three] = stats.distinct;
    line(
        out,
        "vocabulary",
        format!(
            "{} characters and words in {} of answers; distinct-1 {one:.3}, distinct-2 {two:.3}, distinct-3 {three:.3}",
            thousands(stats.vocabulary),
            thousands(stats.counted_units)
        ),
    )
}

fn show_tokens(
    out: &mut impl Write,
    args: &Args,
    prepared: &Prepared,
    stats: &TokenStats,
) -> Result<()> {
    let share = |part: u64| 100.0 * part as f64 / stats.tokens.max(1) as f64;
    line(
        out,
        "tokens",
        format!(
            "{} in {}, {} of them learned from ({:.1} %){}",
            thousands(stats.tokens),
            counted(stats.samples, "sample"),
            thousands(stats.scored),
            share(stats.scored),
            if prepared.from_cache {
                ", from the cache"
            } else {
                ""
            }
        ),
    )?;
    line(
        out,
        "a sample",
        format!(
            "{:.1} tokens; half have at most {}, 90 % {}, 99 % {}, the longest {}",
            stats.tokens as f64 / stats.samples.max(1) as f64,
            stats.median,
            stats.p90,
            stats.p99,
            stats.longest
        ),
    )?;
    let most = stats
        .histogram
        .iter()
        .map(|bucket| bucket.samples)
        .max()
        .unwrap_or(1);
    for bucket in &stats.histogram {
        let eighths = (bucket.samples * 320).div_ceil(most.max(1)) as usize;
        let mut bar = "█".repeat(eighths / 8);
        bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
        writeln!(
            out,
            "  {:>6}–{:<6} {:>9} {BAR}{bar}{BAR:#}",
            bucket.start,
            bucket.end - 1,
            thousands(bucket.samples)
        )?;
    }
    let preparation = &prepared.preparation;
    if preparation.cut > 0 || !preparation.over_long.is_empty() {
        line(
            out,
            "over-long",
            format!(
                "{} dropped, {} cut",
                counted(preparation.over_long.len() as u64, "row"),
                thousands(preparation.cut)
            ),
        )?;
        for row in preparation.over_long.iter().take(5) {
            writeln!(out, "  {} ({})", row.place, row.reason)?;
        }
    }
    for row in preparation.unusable.iter().take(5) {
        writeln!(out, "  left out: {}: {}", row.place, row.reason)?;
    }
    line(
        out,
        "an epoch",
        format!(
            "{} of {} × {} samples; {} computed, packed without padding ({:.1} % of all); all begin with the same {}",
            counted(stats.steps, "step"),
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            counted(stats.computed, "token"),
            share(stats.computed),
            counted(stats.common_prefix, "token")
        ),
    )?;
    let padding: Vec<String> = stats
        .padding
        .iter()
        .map(|(batch, share)| format!("{:.0} % at batch {batch}", 100.0 * share))
        .collect();
    line(
        out,
        "padding",
        format!("{} where batches are padded", padding.join(", ")),
    )
}
