//! Diversity and repetition of answers alone.

use proptest::prelude::*;
use retune_eval::metrics::bleu::Bleu;
use retune_eval::metrics::diversity::{Lengths, SelfBleu, distinct_n};
use retune_eval::metrics::repetition::{Loop, LoopRule, longest_repeated_span, rep_n};

use crate::goldens::{Errors, GOLDENS, count, list, number, rows, text};
use crate::translation::{some_text, tokenizer};

fn characters(text: &str) -> Vec<char> {
    text.chars().collect()
}

#[test]
fn goldens_of_self_bleu() {
    let answers: Vec<&str> = rows().iter().map(|row| row.hypothesis).collect();
    let mut errors = Errors::default();
    for case in list(&GOLDENS["self_bleu"]) {
        let measure = SelfBleu {
            bleu: Bleu {
                tokenize: tokenizer(text(&case["tokenize"])),
                ..SelfBleu::default().bleu
            },
            ..SelfBleu::default()
        };
        let answers = &answers[..count(&case["answers"])];
        let found = measure.score(answers).expect("settings").expect("answers");
        assert_eq!(found.answers, answers.len());
        errors.compare(found.score, number(&case["score"]), case);
    }
    errors.report("self-BLEU");
}

#[test]
fn self_bleu_of_many_answers_is_of_a_sample() {
    let answers: Vec<String> = (0..60)
        .map(|n| format!("answer {} of {}", n % 7, n % 5))
        .collect();
    let of = |max_answers, seed| {
        let measure = SelfBleu {
            max_answers,
            seed,
            ..SelfBleu::default()
        };
        measure.score(&answers).expect("settings").expect("answers")
    };
    assert_eq!(of(60, 1), of(60, 2));
    assert_eq!(of(10, 1).answers, 10);
    assert_eq!(of(10, 1), of(10, 1));
    assert_ne!(of(10, 1), of(10, 2));
    assert_eq!(SelfBleu::default().score(&["one"]).expect("settings"), None);
}

#[test]
fn distinct_n_counts_over_all_answers() {
    let answers = [vec!["a", "b", "a"], vec!["a", "b"], vec![]];
    assert_eq!(distinct_n(&answers, 1), Some(2.0 / 5.0));
    assert_eq!(distinct_n(&answers, 2), Some(2.0 / 3.0));
    assert_eq!(distinct_n(&answers, 3), Some(1.0));
    assert_eq!(distinct_n(&answers, 4), None);
    assert_eq!(distinct_n(&answers, 0), None);
}

/// Against `numpy.mean`, `numpy.median` and `numpy.percentile`.
#[test]
fn lengths_of_answers() {
    let lengths = Lengths::of([5, 1, 9, 2]).expect("answers");
    assert_eq!((lengths.answers, lengths.min, lengths.max), (4, 1, 9));
    assert_eq!((lengths.mean, lengths.median), (4.25, 3.5));
    assert!((lengths.p95 - 8.4).abs() < 1e-12);
    assert_eq!(Lengths::of([]), None);
}

#[test]
fn rep_n_is_the_share_that_occurred_before() {
    assert_eq!(rep_n(&[1, 2, 3, 4], 2), Some(0.0));
    assert_eq!(rep_n(&[1, 2, 1, 2, 1], 2), Some(0.5));
    assert_eq!(rep_n(&[7; 9], 4), Some(1.0 - 1.0 / 6.0));
    assert_eq!(rep_n(&[1, 2, 3], 4), None);
    assert_eq!(rep_n(&[1, 2, 3], 0), None);
}

#[test]
fn longest_repeated_spans() {
    let span =
        |text: &str| longest_repeated_span(&characters(text)).map(|span| (span.first, span.last));
    assert_eq!(span("ababab"), Some((0..2, 4..6)));
    assert_eq!(span("我爱北京。他也爱北京"), Some((1..4, 7..10)));
    assert_eq!(span("aaaaa"), Some((0..2, 3..5)));
    assert_eq!(span("abc"), None);
    assert_eq!(span(""), None);
}

#[test]
fn a_long_text_of_one_symbol_takes_no_time() {
    let symbols = vec![7_u32; 30_000];
    let span = longest_repeated_span(&symbols).expect("a span");
    assert_eq!(span.length(), 15_000);
    let found = LoopRule::default().find(&symbols).expect("a loop");
    assert_eq!((found.unit, found.count, found.span), (1, 30_000, 30_000));
}

#[test]
fn loops_are_told_from_laughter() {
    let find = |text: &str| LoopRule::default().find(&characters(text));
    assert_eq!(find("太好笑了哈哈哈"), None);
    assert_eq!(find("wait for it..."), None);
    assert_eq!(find("la la la, la la la"), None);
    assert_eq!(find(""), None);
    let sentence = "我不知道。";
    assert_eq!(find(&sentence.repeat(3)), None, "three short sentences");
    let unit = sentence.chars().count();
    assert_eq!(
        find(&format!("好的，{}", sentence.repeat(5))),
        Some(Loop {
            unit,
            count: 5,
            span: 25
        })
    );
    // Cut off within its unit.
    assert_eq!(
        find(&format!("好的，{}我不", sentence.repeat(5))),
        Some(Loop {
            unit,
            count: 5,
            span: 27
        })
    );
    // It must reach the end.
    assert_eq!(
        find(&format!("{}但是现在知道了。", sentence.repeat(5))),
        None
    );
    // Twice is no loop, however long.
    let long = "This sentence is fairly long and says nothing. ";
    assert_eq!(find(&long.repeat(2)), None);
    assert_eq!(
        find(&long.repeat(3)).map(|found| found.unit),
        Some(long.len())
    );
    let strict = LoopRule {
        min_count: 5,
        min_span: 5,
    };
    assert_eq!(
        strict.find(&[1, 2, 3, 3, 3, 3, 3]),
        Some(Loop {
            unit: 1,
            count: 5,
            span: 5
        })
    );
}

/// The longest span that occurs twice without overlap, by trying all.
fn longest_by_trial(symbols: &[u8]) -> usize {
    let n = symbols.len();
    let occurs = |length: &usize| {
        (0..n).any(|one| {
            (one + length..n).any(|other| {
                other + length <= n && symbols[one..one + length] == symbols[other..other + length]
            })
        })
    };
    (1..=n / 2).rev().find(occurs).unwrap_or(0)
}

/// The loop, by trying all units and counting symbol by symbol.
fn loop_by_trial(rule: &LoopRule, symbols: &[u8]) -> Option<Loop> {
    let n = symbols.len();
    (1..=n / 2).find_map(|unit| {
        let same = (unit..n)
            .rev()
            .take_while(|&i| symbols[i] == symbols[i - unit]);
        let span = unit + same.count();
        let count = span / unit;
        (count >= rule.min_count && span >= rule.min_span).then_some(Loop { unit, count, span })
    })
}

proptest! {
    #[test]
    fn spans_are_those_found_by_trial(symbols in prop::collection::vec(0..3_u8, 0..40)) {
        let found = longest_repeated_span(&symbols);
        let length = found.as_ref().map_or(0, |span| span.length());
        prop_assert_eq!(length, longest_by_trial(&symbols));
        if let Some(span) = found {
            prop_assert!(span.first.end <= span.last.start);
            prop_assert_eq!(&symbols[span.first], &symbols[span.last]);
        }
    }

    #[test]
    fn loops_are_those_found_by_trial(
        before in prop::collection::vec(0..3_u8, 0..6),
        unit in prop::collection::vec(0..3_u8, 1..5),
        length in 0..30_usize,
    ) {
        let mut symbols = before;
        symbols.extend(unit.iter().cycle().take(length));
        for rule in [LoopRule::default(), LoopRule { min_count: 2, min_span: 4 }] {
            prop_assert_eq!(rule.find(&symbols), loop_by_trial(&rule, &symbols));
        }
    }

    #[test]
    fn self_bleu_is_the_mean_over_all_pairs(answers in prop::collection::vec(some_text(), 2..6)) {
        let measure = SelfBleu::default();
        let others = |index: usize| -> Vec<&str> {
            let others = answers.iter().enumerate().filter(|(other, _)| *other != index);
            others.map(|(_, answer)| answer.as_str()).collect()
        };
        let scores = answers.iter().enumerate().map(|(index, answer)| {
            measure.bleu.sentence(answer, &others(index)).expect("references").score
        });
        let mean = scores.sum::<f64>() / answers.len() as f64;
        let found = measure.score(&answers).expect("settings").expect("answers");
        prop_assert!((found.score - mean).abs() < 1e-9);
    }
}
