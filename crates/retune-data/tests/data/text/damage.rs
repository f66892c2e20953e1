//! Damage of texts, and good texts that look a little like it.

use encoding_rs::{GBK, WINDOWS_1252};
use retune_data::text::damage::DamageKind::{
    ControlCharacter, DirectionControl, HtmlEntity, HtmlTag, Placeholder, PrivateUse, ReadAsGbk,
    ReadAsLatin1, ReplacementCharacter, UnwrittenMemory, ZeroWidth,
};
use retune_data::text::damage::{DamageKind, find_damage};

/// Sentences for what becomes of them in the wrong encoding.
const CHINESE: &[&str] = &[
    "你好",
    "你是谁？",
    "臣妾做不到啊！",
    "今天天气不错，我们一起去公园走走吧。",
    "机器学习是人工智能的一个分支，它让计算机从数据中学习规律。",
    "“好”，他说。",
    "请把这段话翻译成英文。",
    "後來他們都搬到臺灣去了。",
];

fn found(text: &str) -> Vec<(DamageKind, &str)> {
    let found = find_damage(text).into_iter();
    found.map(|d| (d.kind, &text[d.range])).collect()
}

#[test]
fn damage_is_found() {
    let cases = [
        (
            ReplacementCharacter,
            "a\u{fffd}\u{fffd}b",
            "\u{fffd}\u{fffd}",
        ),
        (ReadAsGbk, "他说锟斤拷锟斤拷。", "锟斤拷锟斤拷"),
        (ReadAsGbk, "浣犲ソ", "浣犲ソ"),
        (ReadAsGbk, "他说：浣犲ソ", "浣犲ソ"),
        (UnwrittenMemory, "x烫烫烫烫", "烫烫烫烫"),
        (UnwrittenMemory, "屯屯屯", "屯屯屯"),
        (ReadAsLatin1, "cafÃ© au lait", "Ã©"),
        (ReadAsLatin1, "itâ€™s fine", "â€™"),
        (ReadAsLatin1, "ä½\u{a0}å¥½", "ä½\u{a0}å¥½"),
        (ReadAsLatin1, "ä½ å¥½", "ä½ å¥½"),
        (ReadAsLatin1, "20 Â°C", "Â°"),
        (ReadAsLatin1, "ok ðŸ˜€", "ðŸ˜€"),
        (ControlCharacter, "a\u{0}\u{8}b", "\u{0}\u{8}"),
        (ControlCharacter, "a\u{7f}", "\u{7f}"),
        (ControlCharacter, "a\u{85}", "\u{85}"),
        (ZeroWidth, "你\u{200b}好", "\u{200b}"),
        (ZeroWidth, "\u{feff}你好", "\u{feff}"),
        (ZeroWidth, "co\u{ad}operate", "\u{ad}"),
        (ZeroWidth, "hi\u{e0041}\u{e0042}", "\u{e0041}\u{e0042}"),
        (DirectionControl, "a\u{202e}b", "\u{202e}"),
        (PrivateUse, "字\u{e123}", "\u{e123}"),
        (HtmlTag, "好<br/>的", "<br/>"),
        (HtmlTag, "</div>", "</div>"),
        (HtmlTag, "<A HREF=\"x\">", "<A HREF=\"x\">"),
        (HtmlTag, "<!-- a -->", "<!-- a -->"),
        (HtmlEntity, "A&nbsp;B", "&nbsp;"),
        (HtmlEntity, "it&#39;s", "&#39;"),
        (HtmlEntity, "&#x4f60;", "&#x4f60;"),
        (Placeholder, "我是{{name}}。", "{{name}}"),
        (Placeholder, "{{ 姓名 }}", "{{ 姓名 }}"),
        (Placeholder, "key=<YOUR_API_KEY>", "<YOUR_API_KEY>"),
        (Placeholder, "Regards,\n[Your Name]", "[Your Name]"),
        (Placeholder, "此致\n[您的姓名]", "[您的姓名]"),
    ];
    for (kind, text, part) in cases {
        assert_eq!(found(text), [(kind, part)], "{text:?}");
    }
}

#[test]
fn chinese_read_as_gbk_or_latin_1_is_found() {
    for text in CHINESE {
        assert_eq!(found(text), [], "{text}");
        let (garbled, _) = GBK.decode_without_bom_handling(text.as_bytes());
        let kinds = found(&garbled);
        assert!(
            kinds.iter().any(|(kind, _)| *kind == ReadAsGbk),
            "{text}: {garbled}"
        );
        let (garbled, _) = WINDOWS_1252.decode_without_bom_handling(text.as_bytes());
        assert_eq!(
            found(&garbled),
            [(ReadAsLatin1, garbled.as_ref())],
            "{text}"
        );
    }
}

#[test]
fn good_texts_are_left_alone() {
    let cases = [
        "a < b and c > d, a<b",
        "<红楼梦>和《西游记》",
        "x <y> z, <a, b>, List<b>, <b>",
        "<think>想</think>",
        "R&D, AT&T; &c; Tom & Jerry;",
        "\\frac{{a}}{{b}}, x^{{ab}}, \\text{{name}}",
        "{name}, ${name}, {{}}, {{ x",
        "[link](http://a.b), [Your Name](x), [1], [你的名字](y)",
        "TODO, [姓], [您的]",
        "`<br>` 和 `{{name}}`",
        "```html\n<div class=\"a\">{{name}}&nbsp;</div>\n```\n好",
        "未完的代码：\n```\n<p>a</p>",
        "café, naïve, Ünal, «É», Élysée… «né…»",
        "«\u{a0}né\u{a0}»",
        "VOILÀ”, CORAÇÃO, IRMÃ”, FORÊT, Straße, Ærø, på, señor",
        "家人👨\u{200d}👩\u{200d}👧 🏴\u{e0067}\u{e0062}\u{e007f} ❤\u{fe0f}",
        "می\u{200c}خواهم, \u{200f}שלום",
        "क्\u{200d}ष",
        "制表\t换行\r\n",
        "好烫烫，屯里屯外",
        "溫潤飲伴到，當璧便爲賢",
        "銍村。",
        "烴類化合物，鍊句，褰翠幙",
        "“‘引号’”——……·《书名》〈〉【】",
        "ｶﾀｶﾅ カタカナ ひらがな",
    ];
    for text in cases {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn a_bold_letter_needs_its_end() {
    assert_eq!(found("<b>好</b>").len(), 2);
    assert_eq!(found("若 a<b> c"), []);
}
