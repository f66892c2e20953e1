//! Names of settings and of values: other programs', and misspelt ones.

use retune_train::config::{ALIASES, FOREIGN, fields};

use super::{load, mistakes};

#[test]
fn names_of_other_programs_are_understood() {
    let text = "model_name_or_path: m\ndataset: d.json\nlora_rank: 16\nlora_target: all\n\
        cutoff_len: 512\nval_size: 0.1\nlr: 1e-5\nnum_epochs: 1\n";
    let ours = "model: m\ndata: d.json\nr: 16\ntarget_modules: all-linear\n\
        max_length: 512\nvalidation_split: 0.1\nlearning_rate: 1e-5\nnum_train_epochs: 1\n";
    assert_eq!(
        load("a.yaml", text).expect("theirs"),
        load("a.yaml", ours).expect("ours")
    );
    let names: Vec<&str> = fields().iter().map(|field| field.name.as_str()).collect();
    for (alias, name) in ALIASES {
        assert!(
            names.contains(name),
            "{alias} means {name}, which there is not"
        );
        assert!(!names.contains(alias), "{alias} is a setting itself");
    }
}

#[test]
fn a_setting_and_its_other_name_are_twice_the_same() {
    let found = mistakes(load("a.yaml", "r: 8\nlora_rank: 8\n"));
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0]
            .to_string()
            .lines()
            .next()
            .map(|line| line.split_once(", line").expect("a line").1),
        Some(" 2, column 1, `lora_rank`: means r, which is given twice, first in line 1")
    );
}

#[test]
fn what_has_no_place_here_says_what_to_write() {
    for (name, hint) in FOREIGN {
        let found = mistakes(load("a.yaml", format!("{name}: true\n")));
        assert_eq!(found[0].problem, "there is no such setting", "{name}");
        assert_eq!(found[0].hint.as_deref(), Some(*hint), "{name}");
    }
    // A hint that names a setting names one that there is.
    let known: Vec<&str> = fields().iter().map(|field| field.name.as_str()).collect();
    for (name, hint) in FOREIGN {
        let words = hint.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.contains('_')) {
            assert!(known.contains(&word), "{name}: the hint names {word}");
        }
    }
}

#[test]
fn the_nearest_name_is_suggested_if_one_is_near() {
    let hint = |text: &str| {
        mistakes(load("a.yaml", text))[0]
            .hint
            .clone()
            .unwrap_or_default()
    };
    assert_eq!(hint("lerning_rate: 1\n"), "did you mean learning_rate?");
    assert_eq!(hint("Learning_Rate: 1\n"), "did you mean learning_rate?");
    assert_eq!(hint("target_module: a\n"), "did you mean target_modules?");
    assert_eq!(hint("lr_scheduler_type: cosin\n"), "did you mean cosine?");
    assert_eq!(
        hint("columns: {instructon: a}\n"),
        "did you mean instruction?"
    );
    assert_eq!(
        hint("zzz: 1\n"),
        "retune train --print-config shows all settings"
    );
    assert_eq!(hint("lr_scheduler_type: polynomial\n"), "");
}
