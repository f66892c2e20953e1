//! `retune eval`: what models are worth on rows that they did not learn from.

mod answers;
mod grid;
mod page;
mod subjects;
mod table;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args as _, FromArgMatches as _};
use retune_data::{BadRows, DataOptions};
use retune_eval::metrics::bleu::SmoothMethod;
use retune_eval::metrics::bootstrap::Bootstrap;
use retune_eval::metrics::chrf::Chrf;
use retune_eval::metrics::labels::ExactMatch;
use retune_eval::metrics::rouge::Rouge;
use retune_eval::metrics::tokenize::Tokenizer;
use retune_eval::metrics::words::Words;
use retune_eval::{Comparison, HeldOut, Scoring, Stage, Subject, Work};
use retune_generate::Sampling;
use retune_train::TrainConfig;
use retune_train::config::Precision;

use super::data::input::ReadArgs;
use super::sampling::{OpenArgs, SamplingArgs};
use crate::numbers::within;
use crate::outcome::input_fault;
use crate::output::{heard, plain};
use crate::progress;
use subjects::{Named, named};

/// Measure models on rows that they did not learn from, side by side.
///
///   retune eval output --data held_out.json
///
/// A trained model is compared with its base, which is asked in the same way; several
/// models, adapters or checkpoints with the first of them. Differences have intervals by
/// bootstrap over rows. Answers are the most likely ones, unless options say otherwise.
///
///   retune eval output --data held_out.json --repetition
///
/// measures which of them turn in circles under which settings, and says why.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Models, adapters or runs (the best checkpoint, or else the last)
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// The rows: files, or folders of files
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// General texts, on which likelihood is measured too: what tuning made a model forget
    #[arg(long, value_name = "FILE")]
    general: Vec<PathBuf>,
    /// Draw as many rows of each file list if there are more, the same each time; 0 for all
    #[arg(
        long = "max_samples",
        alias = "max-samples",
        value_name = "N",
        default_value = "200"
    )]
    max_samples: usize,
    /// All checkpoints of each run, in their order
    #[arg(long)]
    checkpoints: bool,
    /// Do not add the base of a single trained model
    #[arg(long = "no-base")]
    no_base: bool,
    /// Measure likelihood alone, without answers
    #[arg(long = "no-answers", conflicts_with = "repetition")]
    no_answers: bool,
    /// Measure repetition: settings of sampling against models
    #[arg(long, conflicts_with = "general")]
    repetition: bool,
    /// Write report.html, report.json and rows.jsonl into this folder
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Let them take the place of others
    #[arg(long, requires = "output")]
    overwrite: bool,
    /// How many answers are made at once
    #[arg(long, value_name = "N", default_value = "16", value_parser = within::<u64>(1..=1024))]
    batch_size: u64,
    /// Leave out rows that cannot be used, and list them
    #[arg(long)]
    skip: bool,
    #[command(flatten)]
    scoring: ScoringArgs,
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    read: ReadArgs,
}

/// How answers are compared with the data's.
#[derive(clap::Args)]
#[command(next_help_heading = "Scoring")]
struct ScoringArgs {
    /// BLEU's tokens, as sacreBLEU names them [default: zh for Chinese, else 13a]
    #[arg(long, value_name = "NAME", value_parser = ["13a", "zh", "char", "intl", "none"])]
    tokenize: Option<String>,
    /// ROUGE's words [default: characters for Chinese, else rouge-score]
    #[arg(long, value_name = "NAME")]
    words: Option<WordsName>,
    /// Case makes no difference to BLEU, chrF and exact matches
    #[arg(long)]
    lowercase: bool,
    /// Punctuation makes no difference to exact matches
    #[arg(long = "ignore-punctuation")]
    ignore_punctuation: bool,
    /// What BLEU does where no n-gram of a length matches, as sacreBLEU names it
    #[arg(long = "smooth-method", value_name = "NAME", default_value = "exp")]
    smooth_method: SmoothName,
    /// The longest sequence of words that chrF counts: 0, or 2 for chrF++
    #[arg(long = "chrf-word-order", value_name = "N", default_value = "0", value_parser = within::<usize>(0..=6))]
    chrf_word_order: usize,
    /// White space counts as characters of chrF
    #[arg(long = "chrf-whitespace")]
    chrf_whitespace: bool,
    /// chrF takes orders that a text is too short for as nearly 0, as chrF++.py does
    #[arg(long = "chrf-eps-smoothing")]
    chrf_eps_smoothing: bool,
    /// Answers are texts, even if there are so few different ones that they look like labels
    #[arg(long = "no-labels")]
    no_labels: bool,
    /// The share of draws that an interval holds
    #[arg(long, value_name = "SHARE", default_value = "0.95", value_parser = confidence)]
    confidence: f64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum WordsName {
    RougeScore,
    RougeScoreStemmed,
    Characters,
    Jieba,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SmoothName {
    None,
    Floor,
    AddK,
    Exp,
}

fn confidence(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| *share > 0.0 && *share < 1.0)
        .ok_or_else(|| "expected a number between 0 and 1".to_owned())
}

impl ScoringArgs {
    fn over(&self, found: Scoring) -> Scoring {
        let mut scoring = found;
        if let Some(name) = &self.tokenize {
            let named = Tokenizer::ALL.into_iter().find(|own| own.name() == name);
            scoring.bleu.tokenize = named.unwrap_or(scoring.bleu.tokenize);
        }
        if let Some(words) = self.words {
            scoring.rouge = Rouge {
                words: match words {
                    WordsName::RougeScore => Words::RougeScore { stemmer: false },
                    WordsName::RougeScoreStemmed => Words::RougeScore { stemmer: true },
                    WordsName::Characters => Words::Characters,
                    WordsName::Jieba => Words::Jieba,
                },
            };
        }
        // With sacreBLEU's own values.
        scoring.bleu.smooth_method = match self.smooth_method {
            SmoothName::None => SmoothMethod::None,
            SmoothName::Floor => SmoothMethod::Floor(0.1),
            SmoothName::AddK => SmoothMethod::AddK(1.0),
            SmoothName::Exp => SmoothMethod::Exp,
        };
        scoring.bleu.lowercase = self.lowercase;
        scoring.chrf = Chrf {
            lowercase: self.lowercase,
            word_order: self.chrf_word_order,
            whitespace: self.chrf_whitespace,
            eps_smoothing: self.chrf_eps_smoothing,
            ..scoring.chrf
        };
        scoring.exact_match = ExactMatch {
            ignore_case: self.lowercase,
            ignore_punctuation: self.ignore_punctuation,
        };
        if self.no_labels {
            scoring.labels = None;
        }
        scoring
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            confidence: self.confidence,
            ..Bootstrap::default()
        }
    }
}

/// All that a report tells beside its figures.
struct Told<'a> {
    args: &'a Args,
    names: Vec<&'a str>,
    rows: &'a HeldOut,
    scoring: &'a Scoring,
    sampling: Option<&'a Sampling>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    measure(args, &named(args)?, args.read.options()?)
}

/// What `retune eval RUN --data FILES` does for the run and the validation data of
/// `config`, which says how they are read; with a report in the run's folder. Before that,
/// what both models answer to the run's prompts.
pub(crate) fn of_run(config: &TrainConfig) -> Result<()> {
    let run = &config.output_dir;
    let mut line: Vec<OsString> = vec!["eval".into(), run.into()];
    for file in &config.validation_data {
        line.extend(["--data".into(), file.into()]);
    }
    line.extend(["--output".into(), run.join("eval").into()]);
    line.push("--overwrite".into());
    if config.skip_bad_rows {
        line.push("--skip".into());
    }
    line.extend(["--device".into(), config.device.to_string().into()]);
    if let Some(threads) = config.threads {
        line.extend(["--threads".into(), threads.to_string().into()]);
    }
    let precision = match config.precision {
        Precision::Auto => None,
        Precision::F32 => Some("f32"),
        Precision::Bf16 => Some("bf16"),
    };
    if let Some(name) = precision {
        line.extend(["--precision".into(), name.into()]);
    }
    let command = Args::augment_args(clap::Command::new("eval"));
    let args = Args::from_arg_matches(&command.try_get_matches_from(line)?)?;
    let subjects = named(&args)?;
    heard(answers::show(&args, &subjects, config))?;
    measure(&args, &subjects, config.data_options()?)
}

fn measure(args: &Args, subjects: &[Named], options: DataOptions) -> Result<()> {
    let most = (args.max_samples > 0).then_some(args.max_samples);
    let open = |files: &[PathBuf], options: DataOptions| -> Result<HeldOut> {
        let bad_rows = match args.skip {
            true => BadRows::Skip,
            false => BadRows::Stop,
        };
        let mut found = HeldOut::open(files, options, bad_rows, most, 0)?;
        if args.skip {
            leave_out_misfits(&mut found, subjects)?;
        }
        Ok(found)
    };
    let rows = open(&args.data, options)?;
    let general = match args.general.is_empty() {
        true => None,
        // Of another kind, most often, than the data that the options describe.
        false => Some(open(&args.general, DataOptions::default())?),
    };
    check_output(args)?;
    let scoring = args.scoring.over(Scoring::of(&rows));
    if args.repetition && args.sampling.draws() {
        return Err(input_fault(
            "--repetition tries ways to draw of its own\nhint: leave out do_sample, temperature, top_k, top_p and min_p",
        ));
    }
    if args.repetition {
        return grid::run(args, subjects, &rows, &scoring);
    }
    let sampling = match args.no_answers || !rows.has_prompts() {
        true => None,
        false => Some(sampling(args, subjects)?),
    };
    let work = Work {
        rows: &rows.rows,
        general: general.as_ref().map_or(&[][..], |general| &general.rows),
        answers: sampling.clone(),
        at_once: args.batch_size as usize,
    };
    let outcomes = work_through(args, subjects, &work)?;
    let comparison = Comparison::new(&rows, &outcomes, &scoring, &args.scoring.bootstrap())?;
    let told = Told {
        args,
        names: outcomes.iter().map(|own| own.name.as_str()).collect(),
        rows: &rows,
        scoring: &scoring,
        sampling: sampling.as_ref(),
    };
    if let Some(folder) = &args.output {
        page::write(&told, &outcomes, &comparison, folder)?;
    }
    heard(table::show(&told, &outcomes, &comparison))?;
    match &args.output {
        Some(folder) => page::tell(folder),
        None => Ok(()),
    }
}

/// Rows that are listed when they are left out.
const LISTED: usize = 5;

/// Leaves out what does not fit the template of one of the models, and tells what is left out.
fn leave_out_misfits(rows: &mut HeldOut, subjects: &[Named]) -> Result<()> {
    for Named { source, .. } in subjects {
        let template = source.chat_template.clone();
        let tokenizer = retune_data::Tokenizer::open_with_template_source(&source.model, template)?;
        rows.leave_out_misfits(&tokenizer, source.system.as_deref());
    }
    let count = rows.left_out.len();
    for problem in rows.left_out.iter().take(LISTED) {
        anstream::eprintln!("left out: {}", plain(problem));
    }
    if count > LISTED {
        anstream::eprintln!("left out: … and {} more", count - LISTED);
    }
    match rows.rows.is_empty() {
        true => Err(input_fault(
            "every row is left out; nothing can be measured",
        )),
        false => Ok(()),
    }
}

/// The most likely answers, of the first model's settings what matters to them.
fn sampling(args: &Args, subjects: &[Named]) -> Result<Sampling> {
    let model = subjects
        .first()
        .map(|own| Sampling::of_model(&own.source.model));
    let greedy = Sampling {
        do_sample: false,
        ..model.transpose()?.unwrap_or_default()
    };
    args.sampling.over(&greedy)
}

/// Has each subject do the work; a base model that several share is opened once.
fn work_through(args: &Args, subjects: &[Named], work: &Work<'_>) -> Result<Vec<Subject>> {
    let bar = progress::stages();
    let mut outcomes = Vec::with_capacity(subjects.len());
    subjects::each(args, subjects, &mut |assistant, subject| {
        let name = &subject.name;
        let mut now = None;
        let mut on_progress = |stage: Stage, done: usize| {
            if now != Some(stage) {
                now = Some(stage);
                let (what, count) = match stage {
                    Stage::Likelihood => ("likelihood", work.rows.len()),
                    Stage::General => ("general texts", work.general.len()),
                    Stage::Answers => ("answers", work.rows.len()),
                };
                progress::begin(&bar, &format!("{name}: {what}"), count as u64);
            }
            bar.set_position(done as u64);
        };
        outcomes.push(work.run(assistant, name, &mut on_progress)?);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(outcomes)
}

const FILES: [&str; 3] = ["report.html", "report.json", "rows.jsonl"];

/// Refuses to write over another report, before the work is done.
fn check_output(args: &Args) -> Result<()> {
    let Some(folder) = &args.output else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        crate::outcome::input_fault(format!("{} cannot be made: {error}", folder.display()))
    })?;
    let there = FILES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.exists());
    match there.filter(|_| !args.overwrite) {
        Some(path) => Err(crate::outcome::input_fault(format!(
            "{} is there already\nhint: choose another folder, or allow it with --overwrite",
            path.display()
        ))),
        None => Ok(()),
    }
}
