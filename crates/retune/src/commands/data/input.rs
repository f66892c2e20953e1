//! Arguments that several data commands share: files, and how they are read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use retune_data::layout::{COLUMNS, Layout};
use retune_data::source::{Format, ReadOptions, SampleBy, encoding_for_label};
use retune_data::{DataOptions, Encoder, LabelOptions, Learn, OverLong, TemplateFault, Tokenizer};

use crate::builtin;
use crate::numbers::within;
use crate::outcome::input_fault;
use crate::output::{CACHE_VARIABLE, cache_folder};

/// A parser for values that stand in a table of names.
pub(crate) fn named<T: Copy + Send + Sync + 'static>(
    names: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name)).try_map(move |value: String| {
        let entry = names.iter().find(|(name, _)| *name == value);
        entry.map(|(_, value)| *value).ok_or("no such name")
    })
}

/// A share between 0 and 1.
pub(crate) fn parse_share(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

/// How data files are read.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Reading")]
pub(crate) struct ReadArgs {
    /// The files' format [default: by their names]
    #[arg(long, value_parser = named(&Format::NAMES))]
    format: Option<Format>,

    /// The files' encoding, such as gb18030 [default: by their bytes]
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,

    /// The column names of CSV or TSV files that have no header line
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    header: Vec<String>,

    /// What one sample is in plain text
    #[arg(long, default_value = "line", value_parser = named(&SampleBy::NAMES))]
    sample_by: SampleBy,

    /// The files' layout [default: by the columns of their first row]
    #[arg(long, value_parser = named(&Layout::NAMES))]
    layout: Option<Layout>,

    /// Which of the file's columns is what, such as instruction=question; can be repeated
    #[arg(long, value_name = "NAME=COLUMN", value_parser = parse_column)]
    column: Vec<(String, String)>,
}

fn parse_column(value: &str) -> Result<(String, String), String> {
    let Some((name, column)) = value.split_once('=') else {
        return Err("expected NAME=COLUMN, such as instruction=question".to_owned());
    };
    if !COLUMNS.contains(&name) {
        return Err(format!(
            "{name} is no column of a layout; there are {}",
            COLUMNS.join(", ")
        ));
    }
    Ok((name.to_owned(), column.to_owned()))
}

impl ReadArgs {
    pub(crate) fn options(&self) -> Result<DataOptions> {
        let encoding = match &self.encoding {
            None => None,
            Some(label) => Some(encoding_for_label(label).ok_or_else(|| {
                input_fault(format!(
                    "there is no encoding {label:?}\nhint: known are utf-8, utf-16le, gb18030, big5, shift_jis, windows-1252, …"
                ))
            })?),
        };
        Ok(DataOptions {
            read: ReadOptions {
                format: self.format,
                encoding,
                columns: self.header.clone(),
                sample_by: self.sample_by,
                stop: None,
            },
            layout: self.layout,
            columns: self.column.iter().cloned().collect::<BTreeMap<_, _>>(),
        })
    }
}

/// How samples become tokens.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Tokens")]
pub(crate) struct TokenArgs {
    /// A chat template to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,

    /// The system prompt of conversations that have none
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,

    /// What is learned from
    #[arg(long, default_value = "all-answers", value_parser = named(&Learn::NAMES))]
    train_on: Learn,

    /// The most tokens that a sample may have
    #[arg(long, value_name = "N", default_value_t = Encoder::DEFAULT_MAX_LENGTH, value_parser = within::<usize>(2..=1 << 24))]
    max_length: usize,

    /// What is done with conversations of more tokens
    #[arg(long, default_value = "drop", value_parser = named(&OverLong::NAMES))]
    over_long: OverLong,
}

/// Says what is worth knowing about a chat template.
pub(crate) fn template_warnings(faults: &[TemplateFault]) {
    for fault in faults {
        anstream::eprintln!(
            "warning: {}: {}\nhint: {}",
            fault.rule,
            fault.problem,
            fault.hint
        );
    }
}

impl TokenArgs {
    /// The same as `encoder`, if nothing speaks against training with it.
    pub(crate) fn checked_encoder(&self, model: &std::path::Path) -> Result<Encoder> {
        let encoder = self.encoder(model)?;
        template_warnings(&encoder.check_template()?);
        Ok(encoder)
    }

    /// The tokenizer of the folder `model`, and how it is used.
    pub(crate) fn encoder(&self, model: &std::path::Path) -> Result<Encoder> {
        let mut folder = builtin::resolve(model)?;
        let mut trained_with = None;
        // An adapter's folder or a run's has its base's tokenizer, and a template of its own.
        if folder.is_dir() && !folder.join("tokenizer.json").exists() {
            let source = builtin::find(&folder, None)?;
            (folder, trained_with) = (source.model, source.chat_template);
        }
        let tokenizer = match &self.chat_template {
            Some(file) => Tokenizer::open_with_template(&folder, Some(file))?,
            None => Tokenizer::open_with_template_source(&folder, trained_with)?,
        };
        Ok(Encoder {
            tokenizer: Arc::new(tokenizer),
            labels: LabelOptions {
                learn: self.train_on,
                system: self.system.clone(),
            },
            max_length: self.max_length,
            over_long: self.over_long,
        })
    }
}

/// Where tokens are kept.
#[derive(clap::Args, Clone)]
pub(crate) struct CacheArgs {
    /// The folder in which tokenised data is kept [default: retune in the user's cache folder]
    #[arg(long, value_name = "DIR", env = CACHE_VARIABLE, hide_env_values = true)]
    cache_dir: Option<PathBuf>,
}

impl CacheArgs {
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        match &self.cache_dir {
            Some(folder) => Ok(folder.clone()),
            None => cache_folder(),
        }
    }
}
