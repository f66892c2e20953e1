//! BLEU and chrF against sacreBLEU.

use proptest::prelude::*;
use retune_eval::Error;
use retune_eval::metrics::bleu::{Bleu, BleuStatistics, SmoothMethod};
use retune_eval::metrics::chrf::{Chrf, ChrfStatistics};
use retune_eval::metrics::statistics::{References, Statistics};
use retune_eval::metrics::tokenize::Tokenizer;
use serde_json::Value;

use crate::goldens::{Errors, GOLDENS, count, flag, list, number, numbers, rows, text, texts};

pub(crate) fn tokenizer(name: &str) -> Tokenizer {
    let found = Tokenizer::ALL.into_iter().find(|t| t.name() == name);
    found.expect("a tokeniser of sacreBLEU")
}

fn bleu(settings: &Value) -> Bleu {
    let value = || number(&settings["smooth_value"]);
    Bleu {
        tokenize: tokenizer(text(&settings["tokenize"])),
        lowercase: flag(&settings["lowercase"]),
        smooth_method: match text(&settings["smooth_method"]) {
            "none" => SmoothMethod::None,
            "floor" => SmoothMethod::Floor(value()),
            "add-k" => SmoothMethod::AddK(value()),
            "exp" => SmoothMethod::Exp,
            other => panic!("{other} is no smoothing"),
        },
        max_ngram_order: count(&settings["max_ngram_order"]),
        effective_order: flag(&settings["effective_order"]),
    }
}

fn chrf(settings: &Value) -> Chrf {
    Chrf {
        char_order: count(&settings["char_order"]),
        word_order: count(&settings["word_order"]),
        beta: count(&settings["beta"]) as u32,
        lowercase: flag(&settings["lowercase"]),
        whitespace: flag(&settings["whitespace"]),
        eps_smoothing: flag(&settings["eps_smoothing"]),
    }
}

/// All but the version, which is ours.
fn without_version(signature: &str) -> &str {
    let (rest, version) = signature.rsplit_once("|version:").expect("a version");
    assert!(!version.is_empty());
    rest
}

fn references() -> References {
    References::of(rows().iter().map(|row| row.references.len()))
}

#[test]
fn goldens_of_tokenisers() {
    let all = texts(&GOLDENS["texts"]);
    for tokenizer in Tokenizer::ALL {
        let tokenized = texts(&GOLDENS["tokenized"][tokenizer.name()]);
        assert_eq!(tokenized.len(), all.len());
        for (text, expected) in all.iter().zip(tokenized) {
            assert_eq!(tokenizer.apply(text), expected, "{tokenizer}: {text:?}");
        }
    }
}

#[test]
fn goldens_of_bleu() {
    let (rows, mut errors) = (rows(), Errors::default());
    for case in list(&GOLDENS["bleu"]) {
        let bleu = bleu(&case["settings"]);
        let signature = bleu.signature(references());
        assert_eq!(
            without_version(&signature),
            without_version(text(&case["signature"]))
        );
        let mut statistics: Vec<BleuStatistics> = Vec::new();
        for (row, expected) in rows.iter().zip(numbers(&case["sentences"])) {
            let row_statistics = bleu.statistics(row.hypothesis, &row.references);
            let row_statistics = row_statistics.expect("a reference");
            let score = bleu.corpus(&row_statistics).score;
            errors.compare(score, expected, (&bleu, row.hypothesis, &row.references));
            statistics.push(row_statistics);
        }
        let score = bleu.corpus(&BleuStatistics::sum(&statistics));
        let expected = &case["corpus"];
        errors.compare(score.score, number(&expected["score"]), bleu);
        errors.compare(score.bp, number(&expected["bp"]), bleu);
        let precisions = numbers(&expected["precisions"]);
        for (found, expected) in score.precisions.iter().zip(precisions) {
            errors.compare(*found, expected, bleu);
        }
        let counts = |name| list(&expected[name]).iter().map(|n| count(n) as u64);
        assert!(
            score.counts.iter().copied().eq(counts("counts")),
            "{bleu:?}"
        );
        assert!(
            score.totals.iter().copied().eq(counts("totals")),
            "{bleu:?}"
        );
        assert_eq!(score.sys_len, count(&expected["sys_len"]) as u64);
        assert_eq!(score.ref_len, count(&expected["ref_len"]) as u64);
    }
    errors.report("BLEU");
}

#[test]
fn goldens_of_chrf() {
    let (rows, mut errors) = (rows(), Errors::default());
    for case in list(&GOLDENS["chrf"]) {
        let chrf = chrf(&case["settings"]);
        assert_eq!(chrf.name(), text(&case["name"]));
        let signature = chrf.signature(references());
        assert_eq!(
            without_version(&signature),
            without_version(text(&case["signature"]))
        );
        let mut statistics = Vec::new();
        for (row, expected) in rows.iter().zip(numbers(&case["sentences"])) {
            let row_statistics = chrf.statistics(row.hypothesis, &row.references);
            let row_statistics = row_statistics.expect("a reference");
            let score = chrf.corpus(&row_statistics);
            errors.compare(score, expected, (&chrf, row.hypothesis, &row.references));
            statistics.push(row_statistics);
        }
        let score = chrf.corpus(&ChrfStatistics::sum(&statistics));
        errors.compare(score, number(&case["corpus"]), chrf);
    }
    errors.report("chrF");
}

#[test]
fn signatures_name_the_program_that_counted() {
    let version = env!("CARGO_PKG_VERSION");
    let bleu = Bleu {
        smooth_method: SmoothMethod::Floor(0.1),
        ..Bleu::default().for_sentences()
    };
    assert_eq!(
        bleu.signature(References::Each(1)),
        format!("nrefs:1|case:mixed|eff:yes|tok:13a|smooth:floor[0.10]|version:retune-{version}")
    );
    assert_eq!(
        Chrf::plus_plus().signature(References::of([1, 2])),
        format!("nrefs:var|case:mixed|eff:yes|nc:6|nw:2|space:no|version:retune-{version}")
    );
    assert_eq!(Chrf::plus_plus().name(), "chrF2++");
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let none: [&str; 0] = [];
    let found = Bleu::default().statistics("a", &none);
    assert!(matches!(found, Err(Error::NoReferences)));
    let found = Chrf::default().statistics("a", &none);
    assert!(matches!(found, Err(Error::NoReferences)));
    let bleu = Bleu {
        max_ngram_order: 0,
        ..Bleu::default()
    };
    assert_eq!(
        bleu.statistics("a", &["a"])
            .expect_err("an error")
            .to_string(),
        "max_ngram_order: expected at least 1, found 0"
    );
    let bleu = Bleu {
        smooth_method: SmoothMethod::AddK(f64::NAN),
        ..Bleu::default()
    };
    assert!(bleu.statistics("a", &["a"]).is_err());
    let chrf = Chrf {
        char_order: 0,
        ..Chrf::default()
    };
    assert!(chrf.statistics("a", &["a"]).is_err());
}

/// Texts of letters of two scripts, punctuation and whitespace.
pub(crate) fn some_text() -> impl Strategy<Value = String> {
    "[a-cA-C我们的，。,.0-9 \n-]{0,30}"
}

proptest! {
    #[test]
    fn an_answer_that_is_its_reference_scores_100(text in some_text()) {
        let expected = if text.trim().is_empty() { 0.0 } else { 100.0 };
        let bleu = Bleu::default().for_sentences();
        let score = bleu.sentence(&text, &[&text]).expect("a reference").score;
        prop_assert!((score - expected).abs() < 1e-9, "{score}");
        let score = Chrf::plus_plus().sentence(&text, &[&text]).expect("a reference");
        prop_assert!((score - expected).abs() < 1e-9, "{score}");
    }

    #[test]
    fn a_sample_is_scored_by_its_sum(
        rows in prop::collection::vec((some_text(), some_text(), 0..4_u32), 1..6),
    ) {
        let statistics = |hypothesis: &str, reference: &str| {
            Bleu::default().statistics(hypothesis, &[reference]).expect("a reference")
        };
        let each: Vec<_> = rows.iter().map(|(h, r, _)| statistics(h, r)).collect();
        let times: Vec<u32> = rows.iter().map(|row| row.2).collect();
        let drawn = BleuStatistics::sum_of_draw(&each, &times);
        let repeated = rows.iter().rev().flat_map(|(h, r, times)| {
            std::iter::repeat_with(|| statistics(h, r)).take(*times as usize)
        });
        let repeated: Vec<_> = repeated.collect();
        prop_assert_eq!(drawn, BleuStatistics::sum(&repeated));
        let chrf = |h: &str, r: &str| Chrf::default().statistics(h, &[r]).expect("a reference");
        let each: Vec<_> = rows.iter().map(|(h, r, _)| chrf(h, r)).collect();
        let repeated = rows.iter().rev().flat_map(|(h, r, times)| {
            std::iter::repeat_with(|| chrf(h, r)).take(*times as usize)
        });
        let repeated: Vec<_> = repeated.collect();
        prop_assert_eq!(ChrfStatistics::sum_of_draw(&each, &times), ChrfStatistics::sum(&repeated));
    }
}
