//! Files that are no settings.

use std::fmt::Write as _;

use super::{given, load, load_with, mistakes, problems};

#[test]
fn bytes_that_are_no_text_are_refused() {
    let utf16: Vec<u8> = "r: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&b"r: 1\n\xff\xfe"[..], &[b"\xff\xfe", &utf16[..]].concat()] {
        for name in ["a.yaml", "a.toml"] {
            let found = problems(load(name, bytes));
            assert!(found[0].contains("expected text in UTF-8"), "{found:?}");
        }
    }
    for name in ["a.yaml", "a.toml"] {
        assert!(load(name, "model: \0\nmodel = \0").is_err(), "{name}");
    }
}

#[test]
fn a_mark_at_the_start_and_carriage_returns_do_no_harm() {
    let yaml = load("a.yaml", "\u{feff}r: 3\r\nseed: 4\r\n").expect("settings");
    let toml = load("a.toml", "\u{feff}r = 3\r\nseed = 4\r\n").expect("settings");
    assert_eq!((yaml.r, yaml.seed), (3, 4));
    assert_eq!(toml, yaml);
}

#[test]
fn what_is_nested_or_grows_without_end_is_refused() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(20_000), close.repeat(20_000));
    let yaml = format!("columns: {}", deep("[", "]"));
    assert_eq!(mistakes(load("a.yaml", yaml)).len(), 1);
    assert_eq!(mistakes(load("a.yaml", deep("{a: ", "}"))).len(), 1);
    assert!(!mistakes(load("a.toml", format!("columns = {}", deep("[", "]")))).is_empty());
    let over = given(&[("data", &deep("[", "]"))]);
    assert_eq!(mistakes(load_with("a.yaml", "", &over)).len(), 1);
    // Each line nine times the one before it.
    let mut laughs = "a0: &a0 [x]\n".to_owned();
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        let _ = writeln!(
            laughs,
            "a{level}: &a{level} [{}]",
            vec![below; 9].join(", ")
        );
    }
    assert!(!mistakes(load("a.yaml", laughs)).is_empty());
    let large = "#".repeat((1 << 20) + 1);
    assert!(problems(load("a.yaml", large))[0].contains("a file of 1048577 bytes"));
}

#[test]
fn what_is_no_table_of_settings_is_refused() {
    for (name, text, part) in [
        (
            "a.yaml",
            "- r\n",
            "expected settings, one `name: value` a line, found a list",
        ),
        ("a.yaml", "r 3\n", "found \"r 3\""),
        ("a.yaml", "r: 1\n---\nr: 2\n", "multiple"),
        ("a.yaml", "r: [1\n", ""),
        ("a.yaml", "r: *gone\n", "unknown"),
        ("a.json", "{\"r\": 1,}}", ""),
        ("a.txt", "r: 1\n", "ends in .yaml"),
        ("a", "r: 1\n", "ends in .yaml"),
    ] {
        let found = mistakes(load(name, text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].problem.contains(part), "{text}: {found:?}");
        assert!(
            !found[0].problem.contains(" at line "),
            "the place is told once: {found:?}"
        );
    }
}
