//! What holds for every text: no panic, spans on character boundaries, linear
//! time.

use std::ops::Range;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use retune_data::text::{damage, language, markers, minhash, ngrams, normal, personal};

/// Spans in order, apart, and on character boundaries.
fn check(text: &str, ranges: impl Iterator<Item = Range<usize>>) {
    let mut end = 0;
    for range in ranges {
        assert!(range.start >= end && range.start < range.end, "{range:?}");
        assert!(text.get(range.clone()).is_some(), "{range:?} in {text:?}");
        end = range.end;
    }
}

fn everything(text: &str) {
    let personal = personal::find_personal(text);
    for found in &personal {
        let shown = personal::mask(text, found.range.clone());
        assert_ne!(shown, text[found.range.clone()]);
    }
    check(text, personal.into_iter().map(|p| p.range));
    check(text, damage::find_damage(text).into_iter().map(|d| d.range));
    check(
        text,
        markers::find_markers(text).into_iter().map(|m| m.range),
    );
    let _ = language::language_of(text);
    let _ = language::chinese_of(text);
    assert_eq!(normal::key(text), normal::key(&normal::normal(text)));
    let signature = minhash::Signature::of(text);
    assert!(signature.similarity(&signature) == 1.0 || normal::letters(text).is_empty());
    let units = ngrams::units(text);
    assert!(units.iter().all(|unit| !unit.is_empty()));
    let _ = ngrams::longest_repeat(&units);
    ngrams::PhraseCounter::new(2..=3, 0).add(text);
}

/// Pieces that detectors look for, so that random texts get near to them.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = [
        "<",
        "|",
        "｜",
        ">",
        "[",
        "]",
        "im_start",
        "/INST",
        "SYS",
        "<br",
        "</b>",
        "<!--",
        "-->",
        "&",
        "#39",
        ";",
        "{{",
        "name",
        "}}",
        "`",
        "```",
        "\n",
        " ",
        "13812345679",
        "86",
        "+",
        "-",
        "0086",
        "11010519491231002X",
        "4111",
        "1111",
        "@",
        "qq.com",
        ".",
        "sk-",
        "eyJ",
        "é",
        "Ã",
        "â€",
        "™",
        "浣",
        "犲",
        "ソ",
        "锟斤拷",
        "烫烫",
        "你",
        "好",
        "\u{200d}",
        "\u{301}",
        "😀",
        "-----BEGIN ",
        "PRIVATE KEY-----",
        "\u{fffd}",
        "ﬁ",
        "İ",
        "ß",
        "\u{3099}",
        "か",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..30).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        everything(&text);
    }

    #[test]
    fn no_mixture_is_too_strange(text in pieces()) {
        everything(&text);
    }
}

/// A megabyte that repeats what a detector begins with. Quadratic time would
/// be minutes; the limit leaves room for a slow and busy machine.
#[test]
fn time_is_linear_on_hostile_texts() {
    let pieces = [
        "<|",
        "<",
        "[",
        "<a ",
        "<!--",
        "&",
        "&#",
        "{{",
        "{{a",
        "[Your ",
        "`",
        "```\n",
        "1",
        "1 ",
        "1-",
        "138 ",
        "+1 ",
        "4111 ",
        "86-",
        "0086",
        "@",
        "a@",
        "a.",
        "@a.",
        "sk-",
        "eyJ",
        "eyJa.",
        "eyJaaaaaaaaaa.eyJaaaaaaaaaa.",
        "sk-aaaaaaaaaaaaaaaaaaaaa1 ",
        "-----BEGIN ",
        "Ã",
        "Ã©",
        "é…",
        "浣犲ソ",
        "銍村",
        "锟斤拷",
        "烫",
        "ä½ ",
        "\u{200d}",
        "\u{301}",
        "a\u{301}",
        "一",
        "a ",
        "<b>",
        "|im_start",
        "<|im_start|>",
        "a'",
    ];
    for piece in pieces {
        let text = piece.repeat((1 << 20) / piece.len());
        let start = Instant::now();
        let _ = personal::find_personal(&text);
        let _ = damage::find_damage(&text);
        let _ = markers::find_markers(&text);
        let _ = language::language_of(&text);
        let _ = normal::key(&text);
        let _ = minhash::Signature::of(&text);
        let _ = ngrams::distinct_n(&ngrams::units(&text), 3);
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{piece:?}: {:?}",
            start.elapsed()
        );
    }
}
