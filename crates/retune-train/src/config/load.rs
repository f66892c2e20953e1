//! Settings from a file and the command line, with all mistakes at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::field::{Field, fields};
use super::foreign::{self, Meaning, PassedOver};
use super::overruled::{overruled, without_overruled};
use super::source::{self, Entry, Node};
use super::{TrainConfig, check, given, names, paths, rules};
use crate::error::{Error, Mistake, Place, Result};

/// A setting on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The setting, by any of its names.
    pub name: String,
    /// The texts behind it: one, or several for a list.
    pub values: Vec<String>,
    /// How it was written, to be named in a mistake: `--learning_rate`.
    pub option: String,
}

/// What settings are loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To train with them: model and data must be named, and all paths exist.
    Run,
    /// To look at them.
    Print,
}

/// What was given and is good by itself.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub settings: BTreeMap<&'static str, Setting>,
    /// Fields that were given with a value that they do not take.
    pub bad: BTreeSet<&'static str>,
    /// What holds for fields that were not given, instead of the usual defaults.
    pub defaults: BTreeMap<&'static str, Json>,
    /// What was given and has no effect.
    pub passed_over: Vec<PassedOver>,
}

#[derive(Debug)]
pub(super) struct Setting {
    pub place: Place,
    /// The key as it was written.
    pub key: String,
    pub value: Json,
}

impl TrainConfig {
    /// The settings of `file` (YAML, JSON or TOML, by its extension), over which
    /// those of the command line go; the defaults for the rest.
    ///
    /// # Errors
    /// `Config` with everything that is wrong with them.
    pub fn load(file: Option<&Path>, overrides: &[Override], purpose: Purpose) -> Result<Self> {
        Self::load_over(&[], file, overrides, purpose)
    }

    /// The same, where `defaults` hold instead of the usual ones. They count as not given:
    /// none is a mistake beside a setting that makes it void.
    ///
    /// # Errors
    /// As [`TrainConfig::load`].
    pub fn load_over(
        defaults: &[Override],
        file: Option<&Path>,
        overrides: &[Override],
        purpose: Purpose,
    ) -> Result<Self> {
        let mut given = Given::default();
        let mut mistakes = Vec::new();
        given.set_defaults(defaults, &mut mistakes);
        let mut unreadable = false;
        if let Some(path) = file {
            let (entries, syntax) = source::read(path);
            unreadable = entries.is_empty() && !syntax.is_empty();
            mistakes.extend(syntax);
            given.add_file(path, &entries, &mut mistakes);
        }
        given.add_command_line(overrides, &mut mistakes);
        if unreadable {
            // Nobody knows what such a file would say together with the rest.
            return Err(in_order(mistakes));
        }
        Self::finish(given, mistakes, purpose)
    }

    /// Whether settings can be read from `file` at all.
    ///
    /// # Errors
    /// `Config` with what is wrong with its language.
    pub fn check_file(file: &Path) -> Result<()> {
        match source::read(file) {
            (_, mistakes) if mistakes.is_empty() => Ok(()),
            (_, mistakes) => Err(in_order(mistakes)),
        }
    }

    /// The path that a setting names, whatever is wrong with the others.
    pub fn named_path(
        setting: &str,
        file: Option<&Path>,
        overrides: &[Override],
    ) -> Option<PathBuf> {
        let given = Given::whatever_is_wrong(file, overrides);
        let named = given.settings.get(setting)?;
        named.value.as_str().map(PathBuf::from)
    }

    /// The settings of other programs that were given and have no effect.
    pub fn passed_over(file: Option<&Path>, overrides: &[Override]) -> Vec<PassedOver> {
        Given::whatever_is_wrong(file, overrides).passed_over
    }

    /// These settings, which stand in `file`, with those of the command line over
    /// them.
    ///
    /// # Errors
    /// As [`TrainConfig::load`].
    pub fn changed(&self, file: &Path, overrides: &[Override]) -> Result<Self> {
        let mut given = Given::default();
        let mut mistakes = Vec::new();
        given.add_settings(file, self);
        given.add_command_line(overrides, &mut mistakes);
        Self::finish(given, mistakes, Purpose::Run)
    }

    fn finish(mut given: Given, mut mistakes: Vec<Mistake>, purpose: Purpose) -> Result<Self> {
        let config = without_overruled(&mut given).unwrap_or_else(|problem| {
            mistakes.push(Mistake {
                place: Place::Nowhere,
                key: None,
                problem,
                hint: None,
            });
            Self::default()
        });
        mistakes.extend(rules::mistakes(&config, &given));
        if purpose == Purpose::Run {
            mistakes.extend(paths::mistakes(&config, &given));
        }
        match mistakes[..] {
            [] => Ok(config),
            _ => Err(in_order(mistakes)),
        }
    }
}

impl Given {
    /// What is given, and good by itself.
    fn whatever_is_wrong(file: Option<&Path>, overrides: &[Override]) -> Self {
        let mut given = Self::default();
        let mut mistakes = Vec::new();
        if let Some(path) = file {
            let (entries, _) = source::read(path);
            given.add_file(path, &entries, &mut mistakes);
        }
        given.add_command_line(overrides, &mut mistakes);
        given
    }

    /// All settings of `config` that are not the defaults. One that has no effect was a
    /// default of its run.
    fn add_settings(&mut self, file: &Path, config: &TrainConfig) {
        let values = serde_json::to_value(config).unwrap_or_default();
        let overruled = overruled(config);
        for field in fields() {
            let value = &values[&field.name];
            if overruled.iter().any(|found| found.name == field.name) {
                self.defaults.insert(&field.name, value.clone());
            } else if *value != field.default {
                let setting = Setting {
                    place: Place::File {
                        path: file.to_path_buf(),
                        line: None,
                        column: None,
                    },
                    key: field.name.clone(),
                    value: value.clone(),
                };
                self.settings.insert(&field.name, setting);
            }
        }
    }

    fn add_file(&mut self, path: &Path, entries: &[Entry], mistakes: &mut Vec<Mistake>) {
        let mut seen: BTreeMap<&'static str, usize> = BTreeMap::new();
        for entry in entries {
            let place = source::place(path, Some(entry.mark));
            for (field, node) in self.meant(&entry.key, &entry.node, &place, mistakes) {
                let same = node.as_ref().is_some_and(|node| self.says(field, node));
                if let Some(line) = seen.get(field.name.as_str()).filter(|_| !same) {
                    let mut problem = format!("is given twice, first in line {line}");
                    if entry.key != field.name {
                        problem = format!("means {}, which {problem}", field.name);
                    }
                    let twice = Mistake::new(place.clone(), &entry.key, problem);
                    mistakes.push(twice.hint("keep one of them"));
                    continue;
                }
                seen.insert(&field.name, entry.mark.0);
                let at = |mark| source::place(path, Some(mark));
                let node = node.as_ref().unwrap_or(&entry.node);
                self.add(field, &entry.key, place.clone(), node, at, mistakes);
            }
        }
        self.add_axolotls_default(path, entries);
    }

    /// Whether `field` has the value of `node` already.
    fn says(&self, field: &Field, node: &Node) -> bool {
        let setting = self.settings.get(field.name.as_str());
        let value = check::check(field, node).ok();
        setting.is_some_and(|setting| Some(&setting.value) == value.as_ref())
    }

    /// A file of Axolotl's that names no kind of adapter asks for all weights.
    fn add_axolotls_default(&mut self, path: &Path, entries: &[Entry]) {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        // Also one that is refused.
        let adapter = find("adapter").is_some_and(|entry| entry.node.value != source::Value::Null);
        let named = adapter || find("finetuning_type").is_some();
        if let Some(datasets) = find("datasets").filter(|_| !named) {
            let setting = Setting {
                place: source::place(path, Some(datasets.mark)),
                key: "datasets".to_owned(),
                value: Json::from("full"),
            };
            self.settings.insert("finetuning_type", setting);
        }
    }

    /// The settings that `key` stands for with that value, and their values where those are
    /// not the one that was written. What is passed over is noted, what is none is a mistake.
    fn meant(
        &mut self,
        key: &str,
        node: &Node,
        place: &Place,
        mistakes: &mut Vec<Mistake>,
    ) -> Vec<(&'static Field, Option<Node>)> {
        let name = key.replace('-', "_");
        match foreign::meaning(&name, node) {
            Meaning::Settings(settings) => {
                let settings = settings.into_iter();
                return settings.map(|(field, node)| (field, Some(node))).collect();
            }
            Meaning::Nothing(reason) => {
                let key = key.to_owned();
                self.passed_over.push(PassedOver { key, reason });
            }
            Meaning::Refused { value, hint } => {
                let problem = match value {
                    true => format!("retune does not take {}", node.value.in_words()),
                    false => NO_SETTING.to_owned(),
                };
                mistakes.push(Mistake::new(place.clone(), key, problem).hint(hint));
            }
            Meaning::Unknown => match names::meaning(&name) {
                Some(field) => return vec![(field, None)],
                None => mistakes.push(unknown(place.clone(), key)),
            },
        }
        Vec::new()
    }

    fn set_defaults(&mut self, defaults: &[Override], mistakes: &mut Vec<Mistake>) {
        let mut own = Self::default();
        own.add_command_line(defaults, mistakes);
        let settings = own.settings.into_iter();
        self.defaults = settings
            .map(|(name, setting)| (name, setting.value))
            .collect();
    }

    fn add_command_line(&mut self, overrides: &[Override], mistakes: &mut Vec<Mistake>) {
        let mut seen: BTreeMap<&'static str, &str> = BTreeMap::new();
        for given in overrides {
            let option = given.option.clone();
            let place = Place::CommandLine { option };
            let written = given::as_written(&given.values);
            for (field, node) in self.meant(&given.name, &written, &place, mistakes) {
                if let Some(first) = seen.insert(&field.name, &given.option) {
                    let problem = format!("is given twice, first as {first}");
                    let twice = Mistake::new(place.clone(), &given.name, problem);
                    mistakes.push(twice.hint("keep one of them"));
                    continue;
                }
                match node.map_or_else(|| given::parse(field, &given.values), Ok) {
                    Ok(node) => {
                        let at = |_| place.clone();
                        self.add(field, &given.name, place.clone(), &node, at, mistakes);
                    }
                    Err(problem) => {
                        self.bad.insert(&field.name);
                        mistakes.push(Mistake::new(place.clone(), &given.name, problem));
                    }
                }
            }
        }
    }

    fn add(
        &mut self,
        field: &'static Field,
        key: &str,
        place: Place,
        node: &Node,
        at: impl Fn(source::Mark) -> Place,
        mistakes: &mut Vec<Mistake>,
    ) {
        match check::check(field, node) {
            // It takes back what the file says, and what would hold instead.
            Ok(Json::Null) => {
                self.settings.remove(field.name.as_str());
                self.defaults.remove(field.name.as_str());
            }
            Ok(value) => {
                let key = key.to_owned();
                let setting = Setting { place, key, value };
                self.settings.insert(&field.name, setting);
            }
            Err(faults) => {
                self.bad.insert(&field.name);
                mistakes.extend(faults.into_iter().map(|fault| Mistake {
                    place: at(fault.mark),
                    key: Some(key.to_owned()),
                    problem: fault.problem,
                    hint: fault.hint,
                }));
            }
        }
    }

    /// The settings, with defaults for what was not given.
    ///
    /// # Errors
    /// In words, if the struct does not take what its schema does.
    pub(super) fn config(&self) -> std::result::Result<TrainConfig, String> {
        let defaults = self.defaults.iter();
        let settings = self.settings.iter();
        let settings = settings.map(|(name, setting)| (name, &setting.value));
        let values = defaults.chain(settings);
        let values = values.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let values = Json::Object(values.collect::<Map<_, _>>());
        serde_json::from_value(values).map_err(|error| error.to_string())
    }
}

const NO_SETTING: &str = "there is no such setting";

/// First the file from top to bottom, then the command line, then what is missing.
fn in_order(mut mistakes: Vec<Mistake>) -> Error {
    mistakes.sort_by_key(|mistake| match &mistake.place {
        Place::File { line, column, .. } => (0, *line, *column),
        Place::CommandLine { .. } => (1, None, None),
        Place::Nowhere => (2, None, None),
    });
    Error::Config { mistakes }
}

fn unknown(place: Place, key: &str) -> Mistake {
    let mistake = Mistake::new(place, key, NO_SETTING);
    let general = "retune train --print-config shows all settings";
    mistake.hint(names::advice(key).unwrap_or_else(|| general.to_owned()))
}
