//! Repetition within and between texts.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;
use retune_data::text::ngrams::{PhraseCounter, distinct_n, longest_repeat, rep_n, units};

#[test]
fn units_are_characters_and_words() {
    let cases: &[(&str, &[&str])] = &[
        ("你好，世界", &["你", "好", "世", "界"]),
        ("Don't stop, it’s 3pm!", &["Don't", "stop", "it’s", "3pm"]),
        ("用Python3写code吧", &["用", "Python3", "写", "code", "吧"]),
        ("안녕 하세요", &["안녕", "하세요"]),
        ("e\u{301}te\u{301} x", &["e\u{301}te\u{301}", "x"]),
        ("か\u{3099}き", &["か\u{3099}", "き"]),
        ("'quoted' -- … !", &["quoted"]),
        ("", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(units(text), *expected, "{text}");
    }
}

#[test]
fn distinct_and_repeated_ngrams() {
    let units = units("好好好学");
    assert_eq!(distinct_n(&units, 1), Some(0.5));
    assert_eq!(distinct_n(&units, 2), Some(2.0 / 3.0));
    assert_eq!(rep_n(&units, 1), Some(0.5));
    assert_eq!(distinct_n(&units, 4), Some(1.0));
    assert_eq!(distinct_n(&units, 5), None);
    assert_eq!(distinct_n(&units, 0), None);
}

/// By trying all pairs.
fn longest_repeat_slowly(units: &[&str]) -> usize {
    let mut longest = 0;
    for first in 0..units.len() {
        for again in first + 1..units.len() {
            let both = units[first..].iter().zip(&units[again..]);
            let same = both.take_while(|(a, b)| a == b).count();
            longest = longest.max(same.min(again - first));
        }
    }
    longest
}

#[test]
fn the_longest_repeat_is_found() {
    let text = units("我爱北京，他也爱北京");
    let repeat = longest_repeat(&text).unwrap();
    assert_eq!((repeat.first, repeat.again), (1..4, 6..9));
    assert_eq!(longest_repeat(&units("一二三")), None);
    assert_eq!(longest_repeat(&[]), None);
    let loops = "好".repeat(1001);
    let repeat = longest_repeat(&units(&loops)).unwrap();
    assert_eq!((repeat.first, repeat.again), (0..500, 500..1000));
}

/// In how many texts each phrase is.
fn exact(texts: &[String], lengths: std::ops::RangeInclusive<usize>) -> HashMap<Vec<&str>, u32> {
    let mut counts = HashMap::new();
    for text in texts {
        let units = units(text);
        let phrases: BTreeSet<Vec<&str>> = lengths
            .clone()
            .flat_map(|n| units.windows(n).map(<[&str]>::to_vec).collect::<Vec<_>>())
            .collect();
        for phrase in phrases {
            *counts.entry(phrase).or_insert(0) += 1;
        }
    }
    counts
}

proptest! {
    #[test]
    fn the_longest_repeat_is_as_long_as_any(text in "[ab]{0,12}[abc]{0,30}") {
        let text: Vec<String> = text.chars().map(String::from).collect();
        let units: Vec<&str> = text.iter().map(String::as_str).collect();
        let repeat = longest_repeat(&units);
        prop_assert_eq!(repeat.as_ref().map_or(0, |r| r.first.len()), longest_repeat_slowly(&units));
        if let Some(repeat) = repeat {
            prop_assert_eq!(&units[repeat.first.clone()], &units[repeat.again.clone()]);
            prop_assert!(repeat.first.end <= repeat.again.start);
        }
    }

    /// With little memory entries are dropped all the time: every count is still
    /// within its bounds, and nothing beyond the error is missing.
    #[test]
    fn lossy_counts_stay_within_their_bounds(texts in prop::collection::vec("[一二三四五六]{0,40}", 1..60)) {
        let exact = exact(&texts, 3..=3);
        let mut counter = PhraseCounter::new(3..=3, 0);
        for text in &texts {
            counter.add(text);
        }
        let phrases = counter.phrases(1);
        for phrase in phrases.iter().filter(|phrase| phrase.units == 3) {
            let count = exact[&units(&phrase.text)];
            prop_assert!((phrase.texts..=phrase.at_most).contains(&count), "{:?} {}", phrase, count);
            prop_assert!(phrase.at_most - phrase.texts <= counter.max_error());
        }
        let all: Vec<Vec<&str>> = phrases.iter().map(|p| units(&p.text)).collect();
        for (phrase, count) in &exact {
            let listed = all.iter().any(|units| units.windows(3).any(|w| w == phrase.as_slice()));
            prop_assert!(listed || *count <= counter.max_error(), "{:?} {}", phrase, count);
        }
    }

    /// With enough memory counts are exact, and what is listed is maximal.
    #[test]
    fn phrases_are_exact_and_maximal(texts in prop::collection::vec("[一二三]{0,12}", 1..12)) {
        let exact = exact(&texts, 2..=6);
        let mut counter = PhraseCounter::new(2..=5, 1 << 24);
        for text in &texts {
            counter.add(text);
        }
        prop_assert_eq!(counter.max_error(), 0);
        let phrases = counter.phrases(1);
        for phrase in phrases.iter().filter(|phrase| phrase.units < 5) {
            let units = units(&phrase.text);
            prop_assert_eq!(exact[&units], phrase.texts);
            let longer = exact.iter().find(|(longer, count)| {
                longer.len() == units.len() + 1
                    && **count >= phrase.texts
                    && (longer.starts_with(&units) || longer.ends_with(&units))
            });
            prop_assert!(longer.is_none(), "{:?} is in {:?}", phrase, longer);
        }
    }
}

#[test]
fn a_long_phrase_is_reported_once() {
    let mut counter = PhraseCounter::new(4..=6, 1 << 24);
    for name in ["张三", "李四", "王五"] {
        counter.add(&format!("{name}说：作为一个人工智能助手，我不能回答。"));
        counter.add(&format!("{name}今天没有来"));
    }
    let phrases = counter.phrases(3);
    let texts: Vec<(&str, u32)> = phrases.iter().map(|p| (p.text.as_str(), p.texts)).collect();
    assert_eq!(
        texts,
        [
            ("说：作为一个人工智能助手，我不能回答", 3),
            ("今天没有来", 3)
        ]
    );
    assert_eq!(phrases[0].units, 16);
    assert_eq!(counter.texts(), 6);
}

#[test]
fn a_phrase_counts_once_for_each_text() {
    let mut counter = PhraseCounter::new(2..=2, 1 << 20);
    counter.add("好的好的好的");
    counter.add("好的");
    let phrases = counter.phrases(2);
    assert_eq!(phrases.len(), 1);
    assert_eq!((phrases[0].text.as_str(), phrases[0].texts), ("好的", 2));
}
