//! What is printed before and after a run.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::Style;
use anyhow::Result;
use retune_compute::Device;
use retune_data::layout::Layout;
use retune_data::source::find_files;
use retune_data::{LeftOut, Preparation, Understood};
use retune_model::Tuning;
use retune_train::config::SchedulerType;
use retune_train::events::{MetricRecord, read_metrics};
use retune_train::{Ending, Plan, Prepared, TrainConfig, Trainer, has_saved};

use crate::builtin;
use crate::chart::{Chart, svg, terminal};
use crate::outcome::input_fault;
use crate::output::{computed_on, plain, thousands, typed, write_report};
use crate::signals;

const HEAD: Style = Style::new().bold();
const WIDTH: usize = 78;
const ROWS: usize = 14;
/// Rows of each kind that are listed.
const LISTED: usize = 5;

pub(crate) fn line(out: &mut impl Write, name: &str, value: impl std::fmt::Display) -> Result<()> {
    writeln!(out, "{HEAD}{name:<10}{HEAD:#} {value}")?;
    Ok(())
}

/// What is about to happen: model, device, data, steps, memory if it fits.
pub(crate) fn beginning(prepared: &Prepared, device: &Device, plan: Option<&Plan>) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let config = &prepared.config;
    let what = match &prepared.tuning {
        Tuning::Lora(lora) => format!("LoRA, r {}, lora_alpha {}", lora.r, lora.lora_alpha),
        Tuning::Full { freeze } if !freeze.is_empty() => {
            format!("all weights but {}", plain(&freeze.join(", ")))
        }
        _ => "all weights".to_owned(),
    };
    let model = plain(&builtin::shown(&config.model));
    line(
        &mut out,
        "model",
        format!("{model} ({}), {what}", prepared.model.model_type),
    )?;
    line(
        &mut out,
        "device",
        computed_on(device, prepared.dtype(device)),
    )?;
    let data = &prepared.data;
    let samples = format!(
        "{} samples to learn from, {} to validate on",
        thousands(data.course.train().len() as u64),
        thousands(data.validation_samples() as u64)
    );
    line(&mut out, "data", samples)?;
    for (files, preparation) in data.preparations() {
        let paths = match files {
            "validation_data" => &config.validation_data,
            "replay_data" => &config.replay_data,
            _ => &config.data,
        };
        understood(&mut out, paths, preparation)?;
        rows_left_out(&mut out, files, preparation)?;
    }
    let schedule = &prepared.schedule;
    let kind = match schedule.kind {
        SchedulerType::Linear => "linear",
        SchedulerType::Cosine => "cosine",
        SchedulerType::Constant => "constant",
    };
    line(
        &mut out,
        "steps",
        format!(
            "{} of {} samples, {} to an epoch; rate {:e} after {} steps, then {kind} to {:e}",
            thousands(schedule.total_steps),
            config.per_device_train_batch_size * config.gradient_accumulation_steps,
            thousands(data.course.steps_per_epoch()),
            schedule.learning_rate,
            thousands(schedule.warmup_steps),
            match schedule.kind {
                SchedulerType::Constant => schedule.learning_rate,
                _ => schedule.min_lr,
            }
        ),
    )?;
    let Some(plan) = plan else {
        return Ok(());
    };
    line(
        &mut out,
        "memory",
        format!(
            "{:.2} GB of tensors expected at most, {:.2} GB of them the model; activations are {}, at most {} tokens at a time",
            plan.peak_bytes as f64 / 1e9,
            plan.model_bytes as f64 / 1e9,
            if plan.fit.recompute {
                "computed again"
            } else {
                "kept"
            },
            thousands(plan.fit.batch_tokens as u64)
        ),
    )
}

/// What became of rows that are not learned from as they are, and the first of them.
/// What the files of a setting were taken for.
fn understood(out: &mut impl Write, paths: &[PathBuf], preparation: &Preparation) -> Result<()> {
    let paths = find_files(paths)?;
    let files = paths.iter().zip(&preparation.files);
    for (path, Understood { layout, unused }) in files.clone().take(LISTED) {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let layout = layout.as_deref().unwrap_or("no rows");
        let mut said = format!("{}: {layout}", plain(&name));
        if layout == Layout::Preference.name() {
            said.push_str(", the chosen answers are learned, the rejected ones are not used");
        }
        if !unused.is_empty() {
            said.push_str(&format!("; not used: {}", plain(&unused.join(", "))));
        }
        line(out, "", said)?;
    }
    match files.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => line(out, "", format!("… and {more} more files")),
    }
}

fn rows_left_out(out: &mut impl Write, files: &str, preparation: &Preparation) -> Result<()> {
    let Preparation {
        cut,
        over_long,
        unusable,
        ..
    } = preparation;
    let count = |rows: u64| match rows {
        1 => "1 row".to_owned(),
        _ => format!("{} rows", thousands(rows)),
    };
    if *cut > 0 {
        line(out, "", format!("{files}: {} cut, too long", count(*cut)))?;
    }
    let kinds = [
        ("left out, too long", over_long),
        ("left out, of no use", unusable),
    ];
    for (what, rows) in kinds.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        line(
            out,
            "",
            format!("{files}: {} {what}", count(rows.len() as u64)),
        )?;
        for LeftOut { place, reason } in rows.iter().take(LISTED) {
            line(out, "", format!("  {}: {}", plain(place), plain(reason)))?;
        }
        if rows.len() > LISTED {
            let more = thousands((rows.len() - LISTED) as u64);
            line(out, "", format!("  … and {more} more"))?;
        }
    }
    Ok(())
}

/// How much of the model is trained; `opened` is how long it took to open.
pub(crate) fn parameters(trainer: &mut Trainer, opened: Duration) -> Result<()> {
    let all = trainer.model.config().num_parameters();
    let parameters = trainer.model.parameters();
    let trained: u64 = parameters
        .iter()
        .map(|parameter| parameter.value.len() as u64)
        .sum();
    let count = parameters.len() as u64;
    let adapter = matches!(trainer.tuning, Tuning::Lora(_));
    let of = if adapter { all + trained } else { all };
    let mut out = anstream::stdout().lock();
    line(
        &mut out,
        "trained",
        format!(
            "{} numbers in {} tensors, {:.3} % of {}; opened in {:.1} s",
            thousands(trained),
            thousands(count),
            100.0 * trained as f64 / of as f64,
            thousands(of),
            opened.as_secs_f64()
        ),
    )
}

/// Which checkpoints are no longer of a run that goes back.
pub(crate) fn set_aside(trainer: &Trainer) -> Result<()> {
    let mut out = anstream::stdout().lock();
    for path in &trainer.set_aside {
        let path = plain(&path.display().to_string());
        line(
            &mut out,
            "set aside",
            format!("{path}, of a later step; delete it when you like"),
        )?;
    }
    Ok(())
}

/// How it went: the curve, where things are.
pub(crate) fn end(trainer: &Trainer, ending: Ending, device: &Device) -> Result<()> {
    let output = trainer.config.output_dir.clone();
    let (mut train, mut eval) = (Vec::new(), Vec::new());
    for record in read_metrics(&output.join("metrics.jsonl"))? {
        match record {
            MetricRecord::Train(record) => train.push((record.step as f64, record.loss)),
            MetricRecord::Eval(record) => eval.push((record.step as f64, record.eval_loss)),
            _ => {}
        }
    }
    let chart = Chart::loss(&train, &eval).titled("Loss");
    write_report(&output.join("loss.svg"), &svg::render(&chart), true)?;
    let mut out = anstream::stdout().lock();
    terminal::draw(&mut out, &chart, WIDTH, ROWS)?;
    let why = match ending {
        Ending::Completed => "all steps are done",
        Ending::Early => "the validation loss no longer fell",
        Ending::Stopped => "stopped",
    };
    let progress = &trainer.progress;
    line(
        &mut out,
        "done",
        format!(
            "{why}: {} steps, {} tokens; {:.2} GB of tensors at the peak",
            thousands(progress.step),
            thousands(progress.tokens),
            device.memory().peak as f64 / 1e9
        ),
    )?;
    let best = progress.best.map_or(progress.step, |(step, _)| step);
    let folder = output.join(format!("checkpoint-{best}"));
    let name = match progress.best {
        Some((_, loss)) => format!(" (validation loss {loss:.4})"),
        None => String::new(),
    };
    if folder.is_dir() {
        let kind = match progress.best {
            Some(_) => "best",
            None => "last",
        };
        line(&mut out, kind, format!("{}{name}", folder.display()))?;
    }
    line(
        &mut out,
        "figures",
        format!(
            "{0}/metrics.jsonl, {0}/loss.svg; tensorboard --logdir {1}",
            output.display(),
            typed(&output)
        ),
    )?;
    match eval.last() {
        Some((step, loss)) if !loss.is_finite() => Err(input_fault(format!(
            "behind step {step} the validation loss is no number, so the model is of no use\nhint: begin again with a lower learning_rate; metrics.jsonl tells where it went wrong"
        ))),
        _ => Ok(()),
    }
}

/// What to type next, behind `steps` steps.
pub(crate) fn next(config: &TrainConfig, steps: u64, ending: Ending) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let output = typed(&config.output_dir);
    line(&mut out, "next", format!("retune chat {output}"))?;
    // On what it did not learn from, if that is a file.
    if let Some(held_out) = config.validation_data.first() {
        let held_out = typed(held_out);
        line(
            &mut out,
            "",
            format!("retune eval {output} --data {held_out}"),
        )?;
    }
    line(&mut out, "", format!("retune serve {output}"))?;
    let more = match ending {
        // As many as were meant at first, whatever the loss does.
        Ending::Early => {
            let usual = TrainConfig::default().early_stopping_threshold;
            let threshold = match config.early_stopping_threshold == usual {
                true => String::new(),
                false => format!(" --early_stopping_threshold {usual}"),
            };
            format!("--early_stopping_patience null{threshold}")
        }
        _ => format!("--max_steps {}", 2 * steps),
    };
    line(
        &mut out,
        "",
        format!("retune train --resume --output_dir {output} --allow-changed {more}"),
    )
}

/// How to go on with a run that a signal stopped.
pub(crate) fn stopped(trainer: &Trainer, signal: i32) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let output = &trainer.config.output_dir;
    let goes_on = match has_saved(output)? {
        false => "before there was a checkpoint; the same command begins again".to_owned(),
        true => format!(
            "retune train --resume --output_dir {} goes on",
            typed(output)
        ),
    };
    let name = signals::name(signal);
    line(&mut out, "stopped", format!("by {name}; {goes_on}"))
}
