//! Settings: files, the command line, and all that can be wrong with them.

mod examples;
mod hostile;
mod names;
mod printed;
mod rules;

use std::path::{Path, PathBuf};

use retune_data::layout::Layout;
use retune_data::source::SampleBy;
use retune_data::{Learn, OverLong};
use retune_train::config::{
    FinetuningType, MemorySize, Override, Purpose, SchedulerType, Switch, fields,
};
use retune_train::{Error, Mistake, Place, TrainConfig};
use tempfile::TempDir;

/// The settings of a file of that name with that text, without a look at paths.
fn load(name: &str, text: impl AsRef<[u8]>) -> Result<TrainConfig, Error> {
    load_with(name, text, &[])
}

fn load_with(
    name: &str,
    text: impl AsRef<[u8]>,
    overrides: &[Override],
) -> Result<TrainConfig, Error> {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file is written");
    TrainConfig::load(Some(&path), overrides, Purpose::Print)
}

/// Settings as they come from the command line.
fn given(settings: &[(&str, &str)]) -> Vec<Override> {
    let given = |(name, value): &(&str, &str)| Override {
        name: (*name).to_owned(),
        values: vec![(*value).to_owned()],
        option: format!("--{name}"),
    };
    settings.iter().map(given).collect()
}

#[track_caller]
fn mistakes(result: Result<TrainConfig, Error>) -> Vec<Mistake> {
    match result {
        Err(Error::Config { mistakes }) => mistakes,
        Err(other) => panic!("another error: {other}"),
        Ok(config) => panic!("no mistake in {config:?}"),
    }
}

/// `key: problem` of each mistake.
#[track_caller]
fn problems(result: Result<TrainConfig, Error>) -> Vec<String> {
    let mistakes = mistakes(result).into_iter();
    let problem =
        |mistake: Mistake| format!("{}: {}", mistake.key.unwrap_or_default(), mistake.problem);
    mistakes.map(problem).collect()
}

fn marks(mistakes: &[Mistake]) -> Vec<(Option<usize>, Option<usize>)> {
    let mark = |mistake: &Mistake| match mistake.place {
        Place::File { line, column, .. } => (line, column),
        _ => (None, None),
    };
    mistakes.iter().map(mark).collect()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for (name, text) in [
        ("a.yaml", ""),
        ("a.yaml", "# nothing\n"),
        ("a.yml", "---\n"),
        ("a.json", "{}"),
        ("a.toml", ""),
    ] {
        let config = load(name, text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(config, TrainConfig::default(), "{text:?}");
    }
}

const YAML: &str = "\
model: m
data: [a.json, b c.json]
r: 16
learning_rate: 2e-4
lr_scheduler_type: cosine
layout: sharegpt
columns: {conversations: talk}
train_on: last-answer
over_long: truncate-prompt
format: text
sample_by: paragraph
system: |
  two
  lines
target_modules: q_proj
learning_rates:
  lora_B: 1e-3
gradient_checkpointing: true
memory: 1.5GiB
max_steps: 10
skip_bad_rows: true
";

const TOML: &str = r#"
model = "m"
data = ["a.json", "b c.json"]
r = 16
learning_rate = 2e-4
lr_scheduler_type = "cosine"
layout = "sharegpt"
train_on = "last-answer"
over_long = "truncate-prompt"
format = "text"
sample_by = "paragraph"
system = """
two
lines
"""
target_modules = "q_proj"
gradient_checkpointing = "on"
memory = "1536 mib"
max_steps = 10
skip_bad_rows = true
columns = { conversations = "talk" }
[learning_rates]
lora_B = 0.001
"#;

#[test]
fn the_same_can_be_said_in_yaml_toml_and_json() {
    let config = load("a.yaml", YAML).expect("settings");
    assert_eq!(config.model, Path::new("m"));
    assert_eq!(config.data, ["a.json", "b c.json"].map(PathBuf::from));
    assert_eq!((config.r, config.max_steps), (16, Some(10)));
    assert_eq!(config.learning_rate, 2e-4);
    assert_eq!(config.lr_scheduler_type, SchedulerType::Cosine);
    assert_eq!(config.layout, Some(Layout::ShareGpt));
    assert_eq!(config.columns["conversations"], "talk");
    assert_eq!(config.train_on, Learn::LastAnswer);
    assert_eq!(config.over_long, OverLong::TruncatePrompt);
    assert_eq!(config.sample_by, SampleBy::Paragraph);
    assert_eq!(config.system.as_deref(), Some("two\nlines\n"));
    assert_eq!(config.target_modules, ["q_proj"]);
    assert_eq!(config.learning_rates["lora_B"], 1e-3);
    assert_eq!(config.gradient_checkpointing, Switch::On);
    assert_eq!(config.memory_bytes(), Some(3 << 29));
    assert!(config.skip_bad_rows);
    // What is not said stays as it is.
    assert_eq!(config.finetuning_type, FinetuningType::Lora);
    assert_eq!(config.seed, 42);

    assert_eq!(load("a.toml", TOML).expect("settings"), config);
    let json = serde_json::to_string(&config).expect("JSON");
    let json: TrainConfig = serde_json::from_str(&json).expect("settings");
    assert_eq!(json, config, "a run keeps its settings in JSON");
}

#[test]
fn the_command_line_goes_over_the_file() {
    let text = "model: m\nr: 4\nmemory: 8GB\ntarget_modules: all-linear\n";
    let over = given(&[
        ("r", "2"),
        ("lora-alpha", "1e1"),
        ("target_modules", "q_proj, v_proj"),
        ("data", r#"["a,b.json", c.json]"#),
        ("memory", "null"),
        ("output_dir", "2024"),
        ("columns", "output=answer,instruction=question"),
        ("learning_rates", "{lora_B: 1e-3}"),
        ("use_rslora", "true"),
        ("system", "true"),
    ]);
    let config = load_with("a.yaml", text, &over).expect("settings");
    assert_eq!((config.r, config.lora_alpha), (2, 10.0));
    assert_eq!(config.target_modules, ["q_proj", "v_proj"]);
    assert_eq!(config.data, ["a,b.json", "c.json"].map(PathBuf::from));
    assert_eq!(config.memory, None);
    assert_eq!(config.output_dir, Path::new("2024"));
    let columns = [("instruction", "question"), ("output", "answer")];
    assert!(
        config.columns.iter().eq(columns
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .iter()
            .map(|(a, b)| (a, b)))
    );
    assert_eq!(config.learning_rates["lora_B"], 1e-3);
    assert!(config.use_rslora);
    assert_eq!(config.system.as_deref(), Some("true"));
}

#[test]
fn a_list_may_be_given_bit_by_bit_and_prose_has_commas() {
    let several = |name: &str, values: &[&str]| Override {
        name: name.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        option: format!("--{name}"),
    };
    let over = [
        several("data", &["a.json", "b.json,c.json"]),
        several("sample_prompts", &["well, who are you?", "[one, two]"]),
    ];
    let config = load_with("a.yaml", "data: z.json\n", &over).expect("settings");
    assert_eq!(
        config.data,
        ["a.json", "b.json", "c.json"].map(PathBuf::from)
    );
    assert_eq!(config.sample_prompts, ["well, who are you?", "one", "two"]);
    let twice = load_with("a.yaml", "", &[several("r", &["1", "2"])]);
    assert_eq!(problems(twice), ["r: expected one value, found 2: 1, 2"]);
}

#[test]
fn all_mistakes_are_told_at_once_and_where_they_are() {
    let text =
        "r: 0\nlearning_rate: fast\n\nseeds: 3\ndata: [a, 1]\nr: 3\ncolumns:\n  output: {a: b}\n";
    let found = mistakes(load_with(
        "a.yaml",
        text,
        &given(&[("seed", "-1"), ("lora_r", "x")]),
    ));
    let shown: Vec<String> = found
        .iter()
        .map(|mistake| {
            format!(
                "{}: {}",
                mistake.key.as_deref().unwrap_or(""),
                mistake.problem
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "r: expected a whole number of at least 1, found 0",
            "learning_rate: expected a number above 0, found \"fast\"",
            "seeds: there is no such setting",
            "data: expected a text, found 1",
            "r: is given twice, first in line 1",
            "columns: output: expected a text, found a table",
            "seed: expected a whole number of at least 0, found -1",
            "lora_r: expected a whole number of at least 1, found \"x\"",
        ]
    );
    let at = |line, column| (Some(line), Some(column));
    let expected = [
        at(1, 4),
        at(2, 16),
        at(4, 1),
        at(5, 11),
        at(6, 1),
        at(8, 11),
    ];
    assert_eq!(marks(&found)[..6], expected);
    assert_eq!(
        found[6].place,
        Place::CommandLine {
            option: "--seed".to_owned()
        }
    );
}

#[test]
fn toml_tells_places_and_all_faults_of_syntax() {
    let found = mistakes(load("a.toml", "r = 0\nr = 1\n[columns]\noutput = 3\n"));
    let at = |line, column| (Some(line), Some(column));
    assert_eq!(marks(&found), [at(1, 5), at(2, 1), at(4, 10)], "{found:?}");
    // With broken syntax, nothing is said of what may have been misread.
    let found = mistakes(load("a.toml", "r = 0\nseed = = 3\nmodel = x\n"));
    let lines: Vec<Option<usize>> = marks(&found).iter().map(|(line, _)| *line).collect();
    assert!(
        lines.contains(&Some(2)) && lines.contains(&Some(3)),
        "{found:?}"
    );
    assert!(!lines.contains(&Some(1)), "{found:?}");
}

/// Where a model brings a default of its own that another setting makes void, a run
/// that goes on is not told that it gave both.
#[test]
fn a_default_without_effect_does_not_keep_a_run_from_going_on() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data.json");
    for file in [&data, &folder.path().join("config.json")] {
        std::fs::write(file, "{}").expect("a file is written");
    }
    let path = |path: &Path| path.display().to_string();
    let (model, data) = (path(folder.path()), path(&data));
    let said = given(&[("model", &model), ("data", &data), ("max_steps", "9")]);
    let defaults = given(&[("num_train_epochs", "4")]);
    let config = TrainConfig::load_over(&defaults, None, &said, Purpose::Run);
    let config = config.expect("the default is not a mistake");
    assert_eq!((config.num_train_epochs, config.max_steps), (4.0, Some(9)));
    let later = config.changed(Path::new("checkpoint-4"), &given(&[("device", "cpu")]));
    let later = later.expect("nor is it later");
    assert_eq!((later.num_train_epochs, later.max_steps), (4.0, Some(9)));
    let other = given(&[("num_train_epochs", "5")]);
    let other = config.changed(Path::new("checkpoint-4"), &other);
    let other = other.expect("it goes over the steps");
    assert_eq!((other.num_train_epochs, other.max_steps), (5.0, None));
}

#[test]
fn paths_that_are_not_there_are_named() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = |settings: &[(&str, &str)]| TrainConfig::load(None, &given(settings), Purpose::Run);
    let keys = |result| -> Vec<String> {
        let keys = mistakes(result).into_iter().map(|mistake| mistake.key);
        keys.map(Option::unwrap_or_default).collect()
    };
    assert_eq!(keys(run(&[])), ["model", "data"]);

    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
    std::fs::create_dir(path("m")).expect("a folder");
    write("a.json", "[]");
    let (model, data, gone) = (path("m"), path("a.json"), path("gone"));
    let bare = mistakes(run(&[("model", &model), ("data", &data)]));
    assert_eq!(bare[0].problem, format!("{model} holds no config.json"));

    let all = run(&[
        ("model", &gone),
        ("data", &gone),
        ("validation_data", &path("gone.txt")),
        ("replay_data", &path("gone.csv")),
        ("replay_ratio", "0.5"),
        ("adapter", &model),
        ("chat_template", &model),
        ("output_dir", &data),
    ]);
    assert_eq!(
        keys(all),
        [
            "model",
            "data",
            "validation_data",
            "replay_data",
            "adapter",
            "chat_template",
            "output_dir"
        ]
    );

    write("m/config.json", "{}");
    let config = run(&[("model", &model), ("data", &data), ("output_dir", &gone)]);
    assert_eq!(config.expect("settings").output_dir, Path::new(&gone));
}

#[test]
fn memory_is_written_as_people_do() {
    let bytes = |text: &str| text.parse::<MemorySize>().map(MemorySize::bytes);
    for (text, expected) in [
        ("8GB", 8_000_000_000),
        ("8gb", 8_000_000_000),
        ("8 GiB", 8 << 30),
        ("0.5MiB", 1 << 19),
        ("1e3KB", 1_000_000),
        ("17B", 17),
    ] {
        assert_eq!(bytes(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "8",
        "8G",
        "GB",
        "-1GB",
        "0GB",
        "0.1B",
        "infGB",
        "nanB",
        "1e30TB",
        "99999999999TB",
        "8GBs",
    ] {
        assert!(bytes(text).is_err(), "{text}");
    }
    let shown = |text: &str| text.parse::<MemorySize>().map(|size| size.to_string());
    assert_eq!(shown("1024MiB"), Ok("1GiB".to_owned()));
    assert_eq!(shown("1.5GB"), Ok("1500MB".to_owned()));
}

#[test]
fn settings_become_the_arguments_of_reading() {
    let text = "encoding: gbk\nformat: csv\nlayout: alpaca\nskip_bad_rows: true\nsystem: s\n";
    let config = load("a.yaml", text).expect("settings");
    let options = config.data_options().expect("options");
    assert_eq!(
        options.read.encoding.map(|encoding| encoding.name()),
        Some("GBK")
    );
    assert_eq!(options.layout, Some(Layout::Alpaca));
    assert_eq!(config.bad_rows(), retune_data::BadRows::Skip);
    assert_eq!(config.label_options().system.as_deref(), Some("s"));
    let unknown = TrainConfig {
        encoding: Some("klingon".to_owned()),
        ..config
    };
    assert!(unknown.data_options().is_err());
}

#[test]
fn every_field_is_described_and_has_a_place() {
    let json = serde_json::to_value(TrainConfig::default()).expect("JSON");
    let json = json.as_object().expect("an object");
    let names: Vec<&str> = fields().iter().map(|field| field.name.as_str()).collect();
    assert!(
        json.keys().eq(&names),
        "the schema has the struct's fields in order"
    );
    let mut groups: Vec<&str> = fields().iter().map(|field| field.group).collect();
    groups.dedup();
    let expected = [
        "Model",
        "LoRA",
        "Data",
        "Validation",
        "Training",
        "Computing",
        "Logs",
    ];
    assert_eq!(groups, expected);
    for field in fields() {
        assert!(field.description.len() > 10, "{}", field.name);
        assert_eq!(field.default, json[&field.name], "{}", field.name);
    }
}

#[test]
fn defaults_of_a_model_hold_where_nothing_is_given() {
    let own = given(&[
        ("finetuning_type", "full"),
        ("num_train_epochs", "4"),
        ("learning_rate", "5e-4"),
    ]);
    let load = |overrides: &[(&str, &str)]| {
        TrainConfig::load_over(&own, None, &given(overrides), Purpose::Print)
    };
    let config = load(&[]).expect("settings");
    assert_eq!(config.finetuning_type, FinetuningType::Full);
    assert_eq!((config.num_train_epochs, config.learning_rate), (4.0, 5e-4));
    assert_eq!(config.save_steps, TrainConfig::default().save_steps);
    let lora = load(&[
        ("finetuning_type", "lora"),
        ("learning_rate", "1e-4"),
        ("r", "4"),
    ]);
    let lora = lora.expect("settings");
    assert_eq!(lora.finetuning_type, FinetuningType::Lora);
    assert_eq!((lora.num_train_epochs, lora.learning_rate), (4.0, 1e-4));
    // They were not given, so max_steps makes none of them a mistake.
    assert_eq!(
        load(&[("max_steps", "7")]).expect("settings").max_steps,
        Some(7)
    );
    let void = problems(load(&[("r", "4")]));
    assert_eq!(void, ["r: has no effect, since finetuning_type is full"]);
}
