//! What templates may call that is not minijinja's own, or not without bounds.

use jiff::ZonedDateTime;
use jiff::civil::DateTime;
use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters, functions};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::environment::Raised;
use super::guard::{hold, listed, walk};
use super::{compile, python};

type Result<T> = std::result::Result<T, Error>;

/// Numbers in formats, which ask for widths, have fewer digits.
const MAX_DIGITS: usize = 5;
/// Wider margins are no text but an attack.
const MAX_INDENT: usize = 1000;
/// Longer ranges are no loops over messages.
const MAX_RANGE: i128 = 100_000;

/// Adds them to an environment, with `now` for the present time, or the clock's.
pub(super) fn install(environment: &mut Environment<'static>, now: Option<DateTime>) {
    environment.set_unknown_method_callback(method);
    environment.add_global(compile::ONE, 1);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| {
        strftime(
            format,
            now.unwrap_or_else(|| ZonedDateTime::now().datetime()),
        )
    });
    environment.add_function("range", range);
    environment.add_function("dict", dict);
    environment.add_function("namespace", namespace);
    environment.add_filter("tojson", to_json);
    environment.add_filter("indent", indent);
    environment.add_filter("string", string);
    environment.add_filter("format", format);
    environment.add_filter("sum", sum);
    environment.add_filter("reverse", |value: &Value| listed(&filters::reverse(value)?));
    environment.add_filter("items", |value: &Value| listed(&filters::items(value)?));
    // They compute item by item, or write without a bound, and no template of a
    // model asks for them; the first two are not Jinja's.
    for name in ["chain", "zip", "pprint"] {
        environment.remove_filter(name);
    }
    environment.remove_global("debug");
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

fn raise_exception(message: &Value) -> Result<Value> {
    let raised = Raised(python::text(message)?);
    Err(invalid("refused").with_source(raised))
}

/// A local time in C's notation.
fn strftime(format: &str, time: DateTime) -> Result<String> {
    jiff::fmt::strtime::format(format, time).map_err(|error| {
        let problem = format!("strftime_now('{format}'): {error}");
        invalid(problem)
    })
}

/// Python's methods on texts, dictionaries and lists.
fn method(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value> {
    for argument in arguments {
        walk(state, argument, 0)?;
    }
    match (method, value.as_str()) {
        ("format", Some(text)) => check_format(text, arguments)?,
        // It compares with each.
        ("count", None) => walk(state, value, 0)?,
        _ => {}
    }
    listed(&unknown_method_callback(state, value, method, arguments)?)
}

/// Jinja's `format`.
fn format(state: &mut State, format: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value> {
    let arguments = arguments.into_values();
    if let Some(text) = format.as_str() {
        check_format(text, &arguments)?;
    }
    let arguments = arguments.into_iter().map(ValueOrKwargs::from);
    filters::format(state, format, Rest(arguments.collect()))
}

/// Looks at the most that a format could write.
fn check_format(format: &str, arguments: &[Value]) -> Result<()> {
    let digits = format.split(|c: char| !c.is_ascii_digit()).map(str::len);
    let digits = digits.max().unwrap_or(0);
    if digits >= MAX_DIGITS {
        let problem = format!("a format with a number of {MAX_DIGITS} digits or more");
        return Err(invalid(problem));
    }
    let mut widest = if digits < 2 {
        10
    } else {
        10_usize.pow(digits as u32)
    };
    for argument in arguments {
        widest += python::text(argument)?.len();
    }
    let places = format.matches(['%', '{']).count();
    if python::is_too_long(places.saturating_mul(widest)) {
        return Err(python::too_long());
    }
    Ok(())
}

/// Python's `range`, as a list.
fn range(first: i64, second: Option<i64>, step: Option<i64>) -> Result<Vec<i64>> {
    let (start, end) = second.map_or((0, first), |end| (first, end));
    let step = step.unwrap_or(1);
    // Wide enough for all differences of two numbers.
    let [start, end, wide] = [start, end, step].map(i128::from);
    let length = match step {
        0 => return Err(invalid("range() needs a step other than 0")),
        1.. => (end - start + wide - 1) / wide,
        _ => (start - end - wide - 1) / -wide,
    };
    if length > MAX_RANGE {
        return Err(invalid(format!("range() of more than {MAX_RANGE} numbers")));
    }
    let numbers = (0..length.max(0)).map(|index| start + index * wide);
    // All are between the two ends.
    Ok(numbers
        .filter_map(|number| i64::try_from(number).ok())
        .collect())
}

fn dict(state: &State, value: Option<Value>, entries: Kwargs) -> Result<Value> {
    hold_entries(state, &entries)?;
    functions::dict(value, entries)
}

fn namespace(state: &State, entries: Option<ValueOrKwargs>) -> Result<Value> {
    if let Some(entries) = &entries
        && let Ok(entries) = Kwargs::try_from(Value::clone(entries))
    {
        hold_entries(state, &entries)?;
    }
    functions::namespace(entries)
}

fn hold_entries(state: &State, entries: &Kwargs) -> Result<()> {
    let names: Vec<&str> = entries.args().collect();
    names
        .into_iter()
        .try_for_each(|name| hold(state, &entries.peek::<Value>(name)?))
}

/// Of lists it would make chains of chains.
fn sum(
    state: &State,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value> {
    let first = start.clone().or(options.peek("start").ok());
    if first.is_some_and(|first| first.as_object().is_some()) {
        return Err(invalid("sum adds numbers, not lists"));
    }
    filters::sum(state, values, attribute, start, options)
}

fn string(state: &State, value: &Value) -> Result<String> {
    paid(state, python::text(value)?)
}

/// Writing a value takes longer than copying a text of that length.
fn paid(state: &State, text: String) -> Result<String> {
    state.consume_fuel(text.len() as u64 / 16)?;
    Ok(text)
}

/// Jinja's `indent`, which keeps the line break at the end of a text.
fn indent(
    text: &str,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String> {
    let width = width.or(options.get("width")?).unwrap_or(4);
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    check_width(Some(width))?;
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    if python::is_too_long(text.len() + lines * width) {
        return Err(python::too_long());
    }
    let margin = " ".repeat(width);
    let mut indented = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let wanted = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if wanted {
            indented.push_str(&margin);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

fn check_width(indent: Option<usize>) -> Result<()> {
    if indent.is_none_or(|width| width <= MAX_INDENT) {
        return Ok(());
    }
    let problem = format!("an indent of at most {MAX_INDENT} is allowed");
    Err(invalid(problem))
}

/// `tojson` as `transformers` overrides it: Python's `json.dumps`, which does
/// not escape for HTML.
fn to_json(state: &State, value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get("indent")?,
    };
    check_width(indent)?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let separators = match separators.as_deref() {
        None => None,
        Some([item, key]) => Some([item.clone(), key.clone()]),
        Some(_) => {
            let problem = "tojson takes two separators";
            return Err(invalid(problem));
        }
    };
    let style = python::JsonStyle {
        indent,
        ascii: ascii.unwrap_or(false),
        sorted: sorted.unwrap_or(false),
        separators,
    };
    paid(state, python::json(value, &style)?)
}
