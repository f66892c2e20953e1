//! Texts that are the same but for their looks.

use retune_data::text::normal::{exact_key, key, letters, normal};

#[test]
fn looks_do_not_count() {
    let same: &[&[&str]] = &[
        &[
            "你是谁？",
            "你是谁",
            " 你是谁?? ",
            "你是谁……",
            "你是\u{200b}谁。",
        ],
        &[
            "Hello,  World!",
            "hello, world",
            "ＨＥＬＬＯ， ｗｏｒｌｄ",
            "HELLO,\n\tWORLD...",
        ],
        &["ﬁne ①", "fine 1"],
        &["ÉTÉ", "e\u{301}te\u{301}"],
    ];
    for texts in same {
        for text in *texts {
            assert_eq!(normal(text), normal(texts[0]), "{text:?}");
            assert_eq!(key(text), key(texts[0]));
        }
    }
}

#[test]
fn words_and_inner_punctuation_count() {
    let texts = [
        "你是谁",
        "你是 谁",
        "你,是谁",
        "你是誰",
        "",
        "？",
        "。",
        "a b",
        "ab",
    ];
    for (at, text) in texts.iter().enumerate() {
        for other in &texts[at + 1..] {
            assert_ne!(key(text), key(other), "{text:?} {other:?}");
        }
    }
}

#[test]
fn exact_keys_are_of_bytes() {
    assert_eq!(exact_key("甄嬛"), exact_key("甄嬛"));
    assert_ne!(exact_key("甄嬛"), exact_key("甄嬛 "));
}

#[test]
fn letters_are_what_is_left() {
    assert_eq!(letters(" Ａ-b，c！第１回 "), "abc第1回");
    assert_eq!(letters("……！？"), "");
}
