//! The settings of a run on the command line: every field is an option, made
//! of the same table as the checks and the schema.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use retune_generate::Source;
use retune_train::TrainConfig;
use retune_train::config::{
    ALIASES, Field, Kind, Override, Purpose, fields, foreign_names, json_schema,
};

use crate::builtin;
use crate::outcome::input_fault;
use crate::output::{plain, say};

const POSITIONAL: &str = "config";
const PRINT: &str = "print-config";
const SCHEMA: &str = "schema";

/// What was written on the command line of `retune train` or `retune plan`.
#[derive(Debug, Clone)]
pub(crate) struct TrainArgs {
    files: Vec<PathBuf>,
    overrides: Vec<Override>,
    print: Option<Syntax>,
    schema: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Yaml,
    Toml,
}

impl TrainArgs {
    /// The same, with one more file of settings.
    pub(crate) fn with_file(&self, file: &Path) -> Self {
        let mut changed = self.clone();
        changed.files.push(file.to_path_buf());
        changed
    }

    /// The file of settings, if one was named.
    ///
    /// # Errors
    /// If there are several.
    pub(crate) fn file(&self) -> Result<Option<&Path>> {
        if let [_, second, ..] = &self.files[..] {
            return Err(input_fault(format!(
                "{} is a second file of settings, and there can be one\nhint: data files are named with --data; settings look like learning_rate=1e-4",
                second.display()
            )));
        }
        Ok(self.files.first().map(PathBuf::as_path))
    }

    /// The settings of the command line.
    pub(crate) fn overrides(&self) -> &[Override] {
        &self.overrides
    }
}

/// The settings that `args` ask for; none if they asked to print something,
/// which is done then.
pub(crate) fn config(args: &TrainArgs) -> Result<Option<TrainConfig>> {
    if args.schema {
        std::io::stdout().write_all(json_schema().as_bytes())?;
        return Ok(None);
    }
    let file = args.file()?;
    // What is wrong with the settings is told later, all at once.
    let begin = Beginning::named(file, &args.overrides);
    let (purpose, overrides) = match args.print {
        Some(_) => (Purpose::Print, args.overrides.clone()),
        None => (Purpose::Run, begin.resolved(&args.overrides)?),
    };
    let config = TrainConfig::load_over(&begin.defaults(), file, &overrides, purpose)?;
    let passed_over = passed_over(file, &overrides);
    if args.print.is_some() {
        passed_over
            .iter()
            .for_each(|line| anstream::eprintln!("{line}"));
    }
    if printed(args, &config)? {
        return Ok(None);
    }
    passed_over.iter().try_for_each(say)?;
    tell_defaults(&config, file, &overrides)?;
    Ok(Some(config))
}

/// Prints `config`, or the schema, if that is asked for.
pub(super) fn printed(args: &TrainArgs, config: &TrainConfig) -> Result<bool> {
    let text = match args.print {
        _ if args.schema => json_schema(),
        Some(Syntax::Yaml) => config.to_yaml(),
        Some(Syntax::Toml) => config.to_toml(),
        None => return Ok(false),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(true)
}

/// What training begins with, as far as settings name it.
pub(super) struct Beginning {
    model: PathBuf,
    adapter: Option<PathBuf>,
}

impl Beginning {
    fn named(file: Option<&Path>, overrides: &[Override]) -> Self {
        let named = |setting| TrainConfig::named_path(setting, file, overrides);
        Self {
            model: named("model").unwrap_or_default(),
            adapter: named("adapter"),
        }
    }

    /// The same, where `recorded` are the settings of a run.
    pub(super) fn of_run(recorded: &TrainConfig, overrides: &[Override]) -> Self {
        let named = Self::named(None, overrides);
        let model = match named.model.as_os_str().is_empty() {
            true => recorded.model.clone(),
            false => named.model,
        };
        Self { model, ..named }
    }

    /// What is known of it from the training that made it; none of what is not there, or was
    /// made by nobody.
    fn source(&self) -> Option<Source> {
        let found = match &self.adapter {
            None if self.model.as_os_str() == builtin::NAME => return None,
            Some(adapter) => builtin::find(adapter, Some(&self.model)),
            None => builtin::find(&self.model, None),
        };
        found.ok()
    }

    /// `overrides` with the folders that `builtin` and a run mean: the base's and that of the
    /// run's best checkpoint, which is an adapter's or a whole model's.
    pub(super) fn resolved(&self, overrides: &[Override]) -> Result<Vec<Override>> {
        let mut overrides = builtin::resolved(overrides, &self.model)?;
        let Some(source) = self.source() else {
            return Ok(overrides);
        };
        match (&self.adapter, source.adapter) {
            (Some(named), Some(found)) if found != *named => {
                builtin::replace(&mut overrides, "adapter", &found);
            }
            (None, None) if source.model != self.model && self.model.is_dir() => {
                builtin::replace(&mut overrides, "model", &source.model);
            }
            _ => {}
        }
        Ok(overrides)
    }

    /// What holds where nothing is said: the built-in base's settings, and the system prompt
    /// that an adapter or a model was trained with.
    fn defaults(&self) -> Vec<Override> {
        let mut defaults = builtin::training_defaults(&self.model);
        let system = self.source().and_then(|source| source.system);
        defaults.extend(system.map(|system| Override {
            name: "system".to_owned(),
            values: vec![system],
            option: "the system prompt of the training before".to_owned(),
        }));
        defaults
    }
}

/// Warns where training goes on from one that had another chat template.
pub(super) fn check_template(config: &TrainConfig, template: Option<&str>) {
    let begin = Beginning {
        model: config.model.clone(),
        adapter: config.adapter.clone(),
    };
    let before = begin.source().and_then(|source| source.chat_template);
    if before.is_some_and(|before| Some(before.as_str()) != template) {
        let folder = begin.adapter.unwrap_or(begin.model);
        anstream::eprintln!(
            "warning: {} was trained with another chat template, which its folder holds (retune.json, chat_template.jinja or tokenizer_config.json); name it in a file as chat_template, or what was learned before may be lost",
            plain(&folder.display().to_string())
        );
    }
}

/// Which settings of other programs have no effect, and why, in lines.
fn passed_over(file: Option<&Path>, overrides: &[Override]) -> Vec<String> {
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    for passed in TrainConfig::passed_over(file, overrides) {
        match told.iter_mut().find(|(reason, _)| *reason == passed.reason) {
            Some((_, keys)) => keys.push(passed.key),
            None => told.push((passed.reason, vec![passed.key])),
        }
    }
    let line = |(index, (reason, keys)): (usize, (&str, Vec<String>))| {
        let label = if index == 0 { "left out" } else { "" };
        plain(&format!("{label:<11}{}: {reason}", keys.join(", ")))
    };
    told.into_iter().enumerate().map(line).collect()
}

/// Says which settings are not the usual ones, though nobody gave them.
fn tell_defaults(config: &TrainConfig, file: Option<&Path>, overrides: &[Override]) -> Result<()> {
    let Ok(usual) = TrainConfig::load(file, overrides, Purpose::Print) else {
        return Ok(());
    };
    let (own, usual) = (serde_json::to_value(config)?, serde_json::to_value(&usual)?);
    // Not where it was taken back.
    if own["system"] != usual["system"] && config.system.is_some() {
        say(format!(
            "system     that of the training before: {}",
            plain(config.system.as_deref().unwrap_or_default())
        ))?;
    }
    let others = fields()
        .iter()
        .filter(|field| field.name != "system" && own[&field.name] != usual[&field.name]);
    let told: Vec<String> = others
        .map(|field| {
            let value = &own[&field.name];
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!("{} {value}", field.name)
        })
        .collect();
    if !told.is_empty() {
        say(format!(
            "settings   as the built-in base has them: {}",
            told.join(", ")
        ))?;
    }
    Ok(())
}

impl clap::Args for TrainArgs {
    fn augment_args(command: Command) -> Command {
        let positional = Arg::new(POSITIONAL)
            .value_name("CONFIG] [KEY=VALUE")
            .action(ArgAction::Append)
            .help("A file of settings in YAML, JSON or TOML, and settings that go over it");
        let print = Arg::new(PRINT)
            .long(PRINT)
            .value_name("yaml|toml")
            .num_args(0..=1)
            .default_missing_value("yaml")
            .help("Print all settings as a commented file, and end");
        let schema = Arg::new(SCHEMA)
            .long(SCHEMA)
            .action(ArgAction::SetTrue)
            .help("Print the JSON schema of settings, for editors, and end");
        let command = command.args([positional, print, schema]);
        let command = command.args(fields().iter().map(option));
        command.args(foreign_names().map(foreign))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn option(field: &'static Field) -> Arg {
    let mut help = field.description.clone();
    if let Some(default) = field.default_text() {
        help.push_str(&format!(" [default: {default}]"));
    }
    let value_name = match &field.kind {
        Kind::Bool => "BOOL",
        Kind::Whole { .. } => "N",
        Kind::Number(_) => "NUMBER",
        Kind::Text => "TEXT",
        Kind::Size => "SIZE",
        Kind::Choice(_) | Kind::Device => "NAME",
        Kind::List if field.is_prose() => "TEXT",
        Kind::List => "A,B,…",
        Kind::Texts | Kind::Numbers(_) => "NAME=VALUE,…",
    };
    let aliases = ALIASES.iter().filter(|(_, name)| *name == field.name);
    let option = Arg::new(field.name.as_str())
        .long(field.name.as_str())
        .aliases(aliases.map(|(alias, _)| *alias))
        .value_name(value_name)
        // All values reach the settings' own check, which tells all mistakes.
        .action(ArgAction::Append)
        .allow_hyphen_values(matches!(field.kind, Kind::Whole { .. } | Kind::Number(_)))
        .help_heading(field.group)
        .help(help);
    let option = match field.kind {
        Kind::Bool => option.num_args(0..=1).default_missing_value("true"),
        _ => option,
    };
    match field.kebab_name == field.name {
        true => option,
        false => option.alias(field.kebab_name.as_str()),
    }
}

/// An option of another program's, taken to say what to write instead.
fn foreign(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::Append)
        .num_args(0..=1)
        .default_missing_value("true")
        .hide(true)
}

impl FromArgMatches for TrainArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let texts = |name: &str| -> Vec<String> {
            let values = matches.get_many::<String>(name);
            values.into_iter().flatten().cloned().collect()
        };
        let names = fields().iter().map(|field| field.name.as_str());
        let names = names.chain(foreign_names());
        let given = names.map(|name| (name, texts(name)));
        let mut overrides: Vec<Override> = given
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| Override {
                name: name.to_owned(),
                values,
                option: format!("--{name}"),
            })
            .collect();
        let mut files = Vec::new();
        // A file may stand right behind --print-config.
        let mut print = None;
        for text in texts(PRINT) {
            match text.as_str() {
                "yaml" => print = Some(Syntax::Yaml),
                "toml" => print = Some(Syntax::Toml),
                _ => files.push(text),
            }
        }
        if matches.contains_id(PRINT) {
            print = print.or(Some(Syntax::Yaml));
        }
        for text in texts(POSITIONAL) {
            match assignment(&text) {
                Some(given) => overrides.push(given),
                None => files.push(text),
            }
        }
        Ok(Self {
            files: files.into_iter().map(PathBuf::from).collect(),
            overrides,
            print,
            schema: matches.get_flag(SCHEMA),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// LLaMA-Factory's form, `key=value`. A path with `=` in it is written `./a=b.yaml`.
fn assignment(text: &str) -> Option<Override> {
    let (name, value) = text.split_once('=')?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    is_name.then(|| Override {
        name: name.to_owned(),
        values: vec![value.to_owned()],
        option: format!("{name}="),
    })
}
