//! Jinja as `transformers` sets it up: whitespace, functions, filters.

use std::error::Error as _;
use std::fmt;

use jiff::ZonedDateTime;
use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::python;
use crate::error::{Error, Result};

const NAME: &str = "chat_template";
/// Steps that a template may take. A conversation of a thousand turns needs a
/// tenth of that.
const FUEL: u64 = 2_000_000;
/// Steps for which any thread's stack suffices: a value that is nested once in
/// each few steps takes half a kilobyte a level when it is written or dropped.
const SMALL_FUEL: u64 = 12_000;
/// The stack for more steps than that; only what is used of it takes memory.
const STACK_BYTES: usize = 512 << 20;
/// Templates of models have some tens of KiB at most.
const MAX_SOURCE: usize = 512 << 10;
/// Numbers in formats, which ask for widths, have fewer digits.
const MAX_DIGITS: usize = 5;
/// Wider margins are no text but an attack.
const MAX_INDENT: usize = 1000;

/// With `now` for the present time, or the clock's.
pub(super) fn with_template(source: &str, now: Option<DateTime>) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(syntax_error)?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(SMALL_FUEL));
    environment.set_formatter(write_as_python);
    environment.set_unknown_method_callback(bounded_method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| {
        strftime(
            format,
            now.unwrap_or_else(|| ZonedDateTime::now().datetime()),
        )
    });
    environment.add_filter("tojson", to_json);
    environment.add_filter("indent", indent);
    environment.add_filter("string", |value: &Value| python::text(value));
    environment.add_filter("format", bounded_format);
    // They write values without a bound, and no template of a model asks for them.
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    if source.len() > MAX_SOURCE {
        return Err(Error::TemplateSyntax {
            line: 0,
            problem: format!("it is longer than {} KiB", MAX_SOURCE >> 10),
        });
    }
    // The parser nests as deep as the source does.
    on_large_stack(|| {
        let source = without_generation_marks(source);
        let added = environment.add_template_owned(NAME, source);
        added.map_err(syntax_error).map(|()| environment)
    })
}

/// Runs on a thread with a large stack.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let failed = |problem: &str| Error::TemplateFailed {
            line: 0,
            problem: problem.to_owned(),
        };
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|_| failed("there is no memory for a thread"))?;
        thread
            .join()
            .map_err(|_| failed("it stopped the thread that worked on it"))?
    })
}

/// Renders on the calling thread if a few steps suffice, else once more on a
/// thread with a large stack.
pub(super) fn render(environment: &Environment<'static>, variables: &Value) -> Result<String> {
    match render_here(environment, variables) {
        Err(error) if error.kind() == ErrorKind::OutOfFuel => {}
        rendered => return rendered.map_err(|error| failure(&error)),
    }
    let mut large = environment.clone();
    large.set_fuel(Some(FUEL));
    on_large_stack(|| render_here(&large, variables).map_err(|error| failure(&error)))
}

fn render_here(
    environment: &Environment<'static>,
    variables: &Value,
) -> std::result::Result<String, minijinja::Error> {
    environment.get_template(NAME)?.render(variables)
}

fn failure(error: &minijinja::Error) -> Error {
    if let Some(Raised(message)) = raised(error) {
        return Error::TemplateRefused {
            message: message.clone(),
        };
    }
    Error::TemplateFailed {
        line: error.line().unwrap_or_default(),
        problem: problem(error),
    }
}

fn syntax_error(error: minijinja::Error) -> Error {
    Error::TemplateSyntax {
        line: error.line().unwrap_or_default(),
        problem: problem(&error),
    }
}

fn problem(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// What a template says when it refuses a conversation.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// The refusal behind an error, however many calls deep.
fn raised(error: &minijinja::Error) -> Option<&Raised> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(raised) = error.downcast_ref() {
            return Some(raised);
        }
        cause = error.source();
    }
    None
}

fn raise_exception(message: &Value) -> std::result::Result<Value, minijinja::Error> {
    let raised = Raised(python::text(message)?);
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "refused").with_source(raised))
}

/// A local time in C's notation.
fn strftime(format: &str, time: DateTime) -> std::result::Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, time).map_err(|error| {
        let problem = format!("strftime_now('{format}'): {error}");
        minijinja::Error::new(ErrorKind::InvalidOperation, problem)
    })
}

/// Python's methods, of which `format` may not ask for any width.
fn bounded_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> std::result::Result<Value, minijinja::Error> {
    if let ("format", Some(text)) = (method, value.as_str()) {
        check_digits(text)?;
    }
    unknown_method_callback(state, value, method, arguments)
}

/// The filter `format`, likewise.
fn bounded_format(
    format: &str,
    arguments: Rest<Value>,
) -> std::result::Result<Value, minijinja::Error> {
    check_digits(format)?;
    let mut all = vec![Value::from(format)];
    all.extend(arguments.0);
    Environment::new()
        .empty_state()
        .apply_filter("format", &all)
}

fn check_digits(format: &str) -> std::result::Result<(), minijinja::Error> {
    let longest = format
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max();
    if longest.unwrap_or(0) < MAX_DIGITS {
        return Ok(());
    }
    let problem = format!("a format with a number of {MAX_DIGITS} digits or more");
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, problem))
}

/// Jinja's `indent`, which keeps the line break at the end of a text.
fn indent(
    text: &str,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> std::result::Result<String, minijinja::Error> {
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

fn check_width(indent: Option<usize>) -> std::result::Result<(), minijinja::Error> {
    if indent.is_none_or(|width| width <= MAX_INDENT) {
        return Ok(());
    }
    let problem = format!("an indent of at most {MAX_INDENT} is allowed");
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, problem))
}

/// `tojson` as `transformers` overrides it: Python's `json.dumps`, which does
/// not escape for HTML.
fn to_json(
    value: &Value,
    indent: Option<usize>,
    options: Kwargs,
) -> std::result::Result<String, minijinja::Error> {
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
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, problem));
        }
    };
    let style = python::JsonStyle {
        indent,
        ascii: ascii.unwrap_or(false),
        sorted: sorted.unwrap_or(false),
        separators,
    };
    python::json(value, &style)
}

/// What `{{ value }}` writes.
fn write_as_python(
    out: &mut Output,
    state: &mut State,
    value: &Value,
) -> std::result::Result<(), minijinja::Error> {
    let printed = if value.as_str().is_some() || value.is_undefined() {
        value.clone()
    } else {
        Value::from(python::text(value)?)
    };
    minijinja::escape_formatter(out, state, &printed)
}

/// `{% generation %}` marks what the assistant said, for masks; what is rendered
/// does not depend on it. Jinja knows no such tag, so it becomes an `if`.
fn without_generation_marks(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        plain.push_str(before);
        let Some(len) = tag[2..].find("%}").map(|end| end + 4) else {
            rest = tag;
            break;
        };
        let (tag, behind) = tag.split_at(len);
        let word = tag[2..len - 2].trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        match word {
            "generation" => plain.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => plain.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => plain.push_str(tag),
        }
        rest = behind;
    }
    plain.push_str(rest);
    plain
}
