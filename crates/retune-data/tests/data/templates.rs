//! Chat templates against what Hugging Face's environment gives.

use proptest::prelude::*;
use retune_data::{ChatTemplate, DateTime, Error};
use serde_json::{Map, Value, json};

use crate::shared;

fn variables(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn render(source: &str, value: Value) -> Result<String, Error> {
    ChatTemplate::new(source)?.render(&variables(value))
}

#[track_caller]
fn assert_renders(source: &str, value: Value, expected: &str) {
    assert_eq!(render(source, value).unwrap(), expected, "{source}");
}

/// Expected texts are those of Python's jinja2 3.1 with the options of
/// transformers.
#[test]
fn values_are_written_as_python_writes_them() {
    assert_renders("{{ true }} {{ none }} {{ x }}|", json!({}), "True None |");
    assert_renders("{{ x }}", json!({"x": 1e16}), "1e+16");
    assert_renders(
        "{{ x }} {{ y }}",
        json!({"x": 0.00001, "y": 3.0}),
        "1e-05 3.0",
    );
    assert_renders(
        "{{ x }}",
        json!({"x": {"b": [1, "it's", null], "a": "\n"}}),
        r#"{'b': [1, "it's", None], 'a': '\n'}"#,
    );
    assert_renders("{{ x|string ~ '!' }}", json!({"x": true}), "True!");
}

#[test]
fn tojson_is_json_dumps() {
    let x = json!({"b": "<甄>'\"\u{1}", "a": [], "c": [1, {"d": 2.5}]});
    let plain = r#"{"b": "<甄>'\"\u0001", "a": [], "c": [1, {"d": 2.5}]}"#;
    assert_renders("{{ x|tojson }}", json!({"x": x}), plain);
    let sorted = r#"{"a": [], "b": "<\u7504>'\"\u0001", "c": [1, {"d": 2.5}]}"#;
    assert_renders(
        "{{ x|tojson(ensure_ascii=true, sort_keys=true) }}",
        json!({"x": x}),
        sorted,
    );
    assert_renders(
        "{{ x|tojson(indent=2) }}",
        json!({"x": {"a": [1], "e": {}}}),
        "{\n  \"a\": [\n    1\n  ],\n  \"e\": {}\n}",
    );
    assert_renders(
        "{{ x|tojson(separators=(',', ':')) }}",
        json!({"x": {"a": [1, 2]}}),
        r#"{"a":[1,2]}"#,
    );
}

#[test]
fn indent_is_that_of_jinja() {
    assert_renders("{{ '{\n'|indent(4, first=true) }}|", json!({}), "    {\n|");
    assert_renders("{{ 'a\n\nb'|indent }}", json!({}), "a\n\n    b");
    assert_renders(
        "{{ 'a\n\nb'|indent(2, true, true) }}",
        json!({}),
        "  a\n  \n  b",
    );
}

#[test]
fn blocks_are_trimmed_and_text_is_kept_as_it_is() {
    let source = "{% for m in messages %}\n    {% if m.role == 'user' %}\nU: {{ m.content }}\n\
                  {% endif %}\n{% endfor %}\n";
    let messages = json!([{"role": "user", "content": "{{ 7 * 7 }} <&> {% raw %}"}]);
    assert_renders(
        source,
        json!({"messages": messages}),
        "U: {{ 7 * 7 }} <&> {% raw %}\n",
    );
}

#[test]
fn generation_marks_change_nothing() {
    let marked =
        "{%- for m in messages %}\n{%- generation %}\n{{ m }}\n{%- endgeneration -%}\n{% endfor %}";
    let plain = "{%- for m in messages %}\n{%- if true %}\n{{ m }}\n{%- endif -%}\n{% endfor %}";
    let messages = json!({"messages": ["a", "b"]});
    let expected = render(plain, messages.clone()).unwrap();
    assert_renders(marked, messages, &expected);
}

#[test]
fn refusals_and_mistakes_say_what_and_where() {
    let refusal =
        "{% macro m() %}{{ raise_exception('roles must alternate') }}{% endmacro %}{{ m() }}";
    let error = render(refusal, json!({})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template refuses this conversation: roles must alternate"
    );
    let error = render("a\n{% if %}", json!({})).unwrap_err();
    assert!(
        matches!(error, Error::TemplateSyntax { line: 2, .. }),
        "{error}"
    );
    let error = render("a\n\n{{ x.y.z }}", json!({})).unwrap_err();
    assert!(
        matches!(error, Error::TemplateFailed { line: 3, .. }),
        "{error}"
    );
}

#[test]
fn templates_that_run_or_grow_without_end_are_stopped() {
    for source in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    ] {
        let error = render(source, json!({})).unwrap_err();
        assert!(
            matches!(error, Error::TemplateFailed { .. }),
            "{source}: {error}"
        );
    }
}

#[test]
fn values_that_are_nested_or_shared_without_end_are_stopped() {
    let nested = "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}";
    let shared = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    for (value, written) in [
        (nested, "{{ ns.x|tojson }}"),
        (nested, "{{ ns.x }}"),
        (nested, "ok"),
        (shared, "{{ ns.x|tojson }}"),
        (shared, "{{ ns.x|string }}"),
        (shared, "{{ raise_exception(ns.x) }}"),
        ("", "{{ (range(100000)|list * 100)|tojson(indent=1000) }}"),
        ("", "{{ '%1000000000d'|format(1) }}"),
        ("", "{{ '{:>1000000000}'.format(1) }}"),
        ("", "{{ ('\n' * 1000000)|indent(1000) }}"),
        ("", "{{ [1]|pprint }}"),
    ] {
        // Nested lists may be written, if their depth is bearable; all else is an
        // error.
        match render(&[value, written].concat(), json!({})) {
            Ok(text) => assert!(value == nested && text.len() < 1 << 20, "{value}{written}"),
            Err(Error::TemplateFailed { .. } | Error::TemplateSyntax { .. }) => {}
            Err(error) => panic!("{value}{written}: {error}"),
        }
    }
    assert_renders(
        "{{ '%s is %d'|format('a', 3) }} {{ '{}!'.format('b') }}",
        json!({}),
        "a is 3 b!",
    );
}

#[test]
fn a_long_conversation_is_no_loop() {
    let messages: Vec<Value> = (0..3000)
        .map(|n| json!({"role": "user", "content": n.to_string()}))
        .collect();
    let source = "{% for m in messages %}{{ m.role }}{{ m.content }}{% if loop.last %}!{% endif %}\n{% endfor %}";
    let text = render(source, json!({"messages": messages})).unwrap();
    assert!(text.ends_with("user2999!"), "{}", text.len());
}

#[test]
fn the_date_of_today_is_there() {
    let year = render("{{ strftime_now('%Y') }}", json!({})).unwrap();
    assert!(year.parse::<u32>().is_ok_and(|year| year >= 2026), "{year}");
}

/// The cases that Hugging Face's own JavaScript implementation is tested with.
#[test]
fn public_cases_render_as_expected() {
    let Some(path) = shared::file("chat-templates/hf-jinja-e2e.json") else {
        return;
    };
    let groups: Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for (name, case) in groups.values().flat_map(|group| group.as_object().unwrap()) {
        count += 1;
        let source = case["chat_template"].as_str().unwrap();
        let mut target = case["target"].as_str().unwrap().to_owned();
        if name == "MadeAgents/Hammer2.1" {
            // `{{ tools|string }}`: JSON in JavaScript, where the case comes
            // from, and Python's `repr` in transformers.
            let tools = render("{{ tools }}", case["data"].clone()).unwrap();
            assert!(tools.starts_with("[{'type': 'function'"), "{tools}");
            let json = render("{{ tools|tojson }}", case["data"].clone()).unwrap();
            target = target.replace(&json, &tools);
        }
        let template = ChatTemplate::new_at(source, DateTime::constant(2025, 7, 10, 9, 30, 0, 0));
        match template.and_then(|t| t.render(&variables(case["data"].clone()))) {
            Ok(text) if text == target => {}
            Ok(text) => failures.push(format!("{name}:\n{text}\n--- expected\n{}", case["target"])),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count}\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

proptest! {
    #[test]
    fn no_template_panics(source in "(\\{\\{|\\}\\}|\\{%|%\\}|for|if|in|end|generation|[a-z|.~'()+ \\n-]){0,40}") {
        let _ = render(&source, json!({"a": [1, {"b": "c"}]}));
    }

    #[test]
    fn text_comes_through_unchanged(text in any::<String>()) {
        assert_renders("{{ x }}", json!({"x": text}), &text);
    }
}
