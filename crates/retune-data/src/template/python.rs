//! Values as Python writes them: `str`, `repr`, and `json.dumps`.

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::guard::{MAX_DEPTH, too_deep};

/// The arguments of `json.dumps`.
pub(super) struct JsonStyle {
    pub(super) indent: Option<usize>,
    pub(super) ascii: bool,
    pub(super) sorted: bool,
    pub(super) separators: Option<[String; 2]>,
}

/// What is written is at most this long: no conversation is, and a value that
/// holds itself many times over would be written without end.
const MAX_BYTES: usize = 16 << 20;

/// A text that stops growing at a limit. Writers look whether it is full, so that
/// they end soon after it is.
#[derive(Default)]
struct Bounded {
    text: String,
    /// How many lists and dictionaries are open.
    depth: usize,
    too_deep: bool,
}

impl Bounded {
    fn push(&mut self, part: &str) {
        if !self.is_full() {
            self.text.push_str(part);
        }
    }

    fn spaces(&mut self, count: usize) {
        if !self.is_full() {
            self.text.extend(std::iter::repeat_n(' ', count));
        }
    }

    fn is_full(&self) -> bool {
        self.too_deep || self.text.len() > MAX_BYTES
    }

    /// Opens or closes a list or dictionary. One that is too deep is not opened.
    fn open(&mut self, bracket: &str) -> bool {
        self.push(bracket);
        self.depth += 1;
        self.too_deep |= self.depth > MAX_DEPTH;
        !self.is_full()
    }

    fn close(&mut self, bracket: &str) {
        self.push(bracket);
        self.depth -= 1;
    }

    fn finish(self) -> Result<String, Error> {
        if self.too_deep {
            return Err(too_deep());
        }
        if self.is_full() {
            return Err(too_long());
        }
        Ok(self.text)
    }
}

/// The error of a text that is too long.
pub(super) fn too_long() -> Error {
    let problem = format!(
        "a value is longer than {} MiB when it is written",
        MAX_BYTES >> 20
    );
    Error::new(ErrorKind::InvalidOperation, problem)
}

/// Whether a text of `bytes` is too long.
pub(super) fn is_too_long(bytes: usize) -> bool {
    bytes > MAX_BYTES
}

/// `str(value)`; nothing for what is undefined.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => {
            let mut out = Bounded::default();
            write_repr(value, &mut out);
            out.finish()
        }
    }
}

/// `repr(value)`.
fn write_repr(value: &Value, out: &mut Bounded) {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push("None"),
        ValueKind::Bool => out.push(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::String => out.push(&quoted(value.as_str().unwrap_or_default())),
        ValueKind::Map => {
            if !out.open("{") {
                return;
            }
            for (index, (key, value)) in pairs(value).enumerate() {
                if out.is_full() {
                    return;
                }
                out.push(if index > 0 { ", " } else { "" });
                write_repr(&key, out);
                out.push(": ");
                write_repr(&value, out);
            }
            out.close("}");
        }
        ValueKind::Seq | ValueKind::Iterable => {
            if !out.open("[") {
                return;
            }
            for (index, item) in items(value).enumerate() {
                if out.is_full() {
                    return;
                }
                out.push(if index > 0 { ", " } else { "" });
                write_repr(&item, out);
            }
            out.close("]");
        }
        _ => out.push(&value.to_string()),
    }
}

/// A string in Python's quotes.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            c if c.is_control() && u32::from(c) < 0x100 => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

/// `json.dumps(value, …)`.
pub(super) fn json(value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut out = Bounded::default();
    write_json(value, style, &mut out);
    out.finish()
}

fn write_json(value: &Value, style: &JsonStyle, out: &mut Bounded) {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push("null"),
        ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::Map => {
            let mut pairs: Vec<(Value, Value)> = pairs(value).collect();
            if style.sorted {
                pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            let colon = match &style.separators {
                Some([_, colon]) => colon,
                None => ": ",
            };
            write_list(style, ["{", "}"], pairs, out, |(key, value), out| {
                let key = key
                    .as_str()
                    .map_or_else(|| number_or_name(&key), str::to_owned);
                write_string(&key, style.ascii, out);
                out.push(colon);
                write_json(&value, style, out);
            });
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = items(value).collect();
            write_list(style, ["[", "]"], items, out, |item, out| {
                write_json(&item, style, out);
            });
        }
        _ => {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            write_string(&text, style.ascii, out);
        }
    }
}

/// A key that is no text, as `str` writes it.
fn number_or_name(key: &Value) -> String {
    text(key).unwrap_or_default()
}

fn write_list<T>(
    style: &JsonStyle,
    [open, close]: [&str; 2],
    items: Vec<T>,
    out: &mut Bounded,
    mut write: impl FnMut(T, &mut Bounded),
) {
    let comma = match (&style.separators, style.indent) {
        (Some([comma, _]), _) => comma,
        (None, Some(_)) => ",",
        (None, None) => ", ",
    };
    let line = |depth: usize, out: &mut Bounded| {
        if let Some(indent) = style.indent {
            out.push("\n");
            out.spaces(indent * depth);
        }
    };
    let is_empty = items.is_empty();
    if !out.open(open) {
        return;
    }
    for (index, item) in items.into_iter().enumerate() {
        if out.is_full() {
            return;
        }
        if index > 0 {
            out.push(comma);
        }
        line(out.depth, out);
        write(item, out);
    }
    if !is_empty {
        line(out.depth - 1, out);
    }
    out.close(close);
}

fn write_string(text: &str, ascii: bool, out: &mut Bounded) {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x20 || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    out.push(&quoted);
}

/// A number as `repr` and `json.dumps` write it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => python_float(float),
        _ => value.to_string(),
    }
}

/// The shortest digits that give the number back, as everywhere; Python's choice
/// is when to write an exponent.
fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn items(value: &Value) -> impl Iterator<Item = Value> {
    value.try_iter().into_iter().flatten()
}

fn pairs(value: &Value) -> impl Iterator<Item = (Value, Value)> {
    items(value).map(move |key| {
        let item = value.get_item(&key).unwrap_or(Value::UNDEFINED);
        (key, item)
    })
}
