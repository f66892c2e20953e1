//! Scripts and languages.

use retune_data::text::language::{Chinese, Script, Scripts, chinese_of, language_of, script_of};

#[test]
fn scripts_are_told_apart() {
    let cases = [
        ("甄嬛传", Script::Han),
        ("hello", Script::Latin),
        ("これは日本語の文章です", Script::Kana),
        ("東京都の人口は多い", Script::Kana),
        ("안녕하세요", Script::Hangul),
        ("Привет, мир", Script::Cyrillic),
        ("مرحبا بالعالم", Script::Arabic),
        ("שלום", Script::Hebrew),
        ("Καλημέρα", Script::Greek),
        ("สวัสดี", Script::Thai),
        ("नमस्ते", Script::Devanagari),
        ("ქართული", Script::Other),
        ("我用 Python 写一个 function，再调用它。", Script::Han),
        ("好 ok 好 ok", Script::Mixed),
        ("12 + 34 = 46 !?", Script::None),
        ("", Script::None),
    ];
    for (text, script) in cases {
        assert_eq!(script_of(text), script, "{text}");
    }
}

#[test]
fn shares_are_of_characters_and_words() {
    let scripts = Scripts::of("你好 wonderful world");
    assert_eq!(scripts.share(Script::Han), 0.5);
    assert_eq!(scripts.share(Script::Latin), 0.5);
    assert_eq!(scripts.share(Script::Kana), 0.0);
    assert_eq!(scripts.share(Script::Mixed), 0.0);
    assert_eq!(scripts.main(), Script::Mixed);
}

#[test]
fn languages_have_their_tags() {
    let cases = [
        ("你们都来了", Some("zh-Hans")),
        ("你們都來了", Some("zh-Hant")),
        ("好", Some("zh")),
        ("これは日本語です", Some("ja")),
        ("안녕하세요", Some("ko")),
        ("สวัสดี", Some("th")),
        (
            "The weather is lovely today, and we are all going to the park.",
            Some("en"),
        ),
        (
            "Il fait très beau aujourd'hui, nous allons tous nous promener au parc.",
            Some("fr"),
        ),
        (
            "Сегодня прекрасная погода, и мы все вместе идём гулять в парк.",
            Some("ru"),
        ),
        // Too short to be told.
        ("ok", None),
        ("Bonjour", None),
        ("Привет", None),
        ("123", None),
    ];
    for (text, code) in cases {
        let language = language_of(text);
        assert_eq!(language.map(|l| l.code), code, "{text}");
        assert!(language.is_none_or(|l| l.confidence > 0.0 && l.confidence <= 1.0));
    }
}

#[test]
fn simplified_and_traditional_chinese() {
    let cases = [
        (
            "臣妾要告发熹贵妃私通，秽乱后宫，罪不容诛！",
            Chinese::Simplified,
        ),
        (
            "臣妾要告發熹貴妃私通，穢亂後宮，罪不容誅！",
            Chinese::Traditional,
        ),
        ("这个這個", Chinese::Both),
        ("皇后山水日月", Chinese::Either),
        ("堃和喆是人名", Chinese::Either),
        ("hello", Chinese::Either),
    ];
    for (text, chinese) in cases {
        assert_eq!(chinese_of(text), chinese, "{text}");
    }
    // Pairs such as 后 and 後, 听 and 聽 are left out: both lists have one of them.
    let pairs = "爱愛发發国國门門说說时時会會来來这這们們对對过過还還见見长長东東车車\
                 马馬鸟鳥鱼魚龙龍龟龜书書学學写寫读讀电電体體价價话話";
    let chars: Vec<char> = pairs.chars().filter(|c| !c.is_whitespace()).collect();
    for pair in chars.chunks(2) {
        let [simplified, traditional] = [pair[0], pair[1]].map(|c| chinese_of(&c.to_string()));
        assert_eq!(simplified, Chinese::Simplified, "{pair:?}");
        assert_eq!(traditional, Chinese::Traditional, "{pair:?}");
    }
}
