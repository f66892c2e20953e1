//! Jinja as `transformers` sets it up, and what a template may take.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;

use jiff::civil::DateTime;
use minijinja::machinery::{Instructions, eval, make_string_output};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, Value};

use super::compile::compile;
use super::{functions, guard, python};
use crate::error::{Error, Result};

/// Steps that a template may take. A conversation of a thousand turns needs a
/// tenth of that.
const FUEL: u64 = 2_000_000;
/// Steps for which any thread's stack suffices: a value that is nested once in
/// each twenty steps takes a third of a kilobyte a level when it is dropped.
const SMALL_FUEL: u64 = 24_000;
/// The stack for more steps than that; only what is used of it takes memory.
const STACK_BYTES: usize = 256 << 20;

/// A template, ready to be rendered.
pub(super) struct Compiled {
    /// Filters, tests and functions. There are no templates in it.
    environment: Environment<'static>,
    instructions: Instructions<'static>,
}

impl Compiled {
    /// With `now` for the present time, or the clock's.
    pub(super) fn new(source: &str, now: Option<DateTime>) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(write_as_python);
        // Errors name what is undefined.
        environment.set_debug(true);
        guard::install(&mut environment);
        functions::install(&mut environment, now);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| syntax_error(&error))?;
        // The parser nests as deep as the source does.
        let instructions = on_large_stack(|| compile(source, &syntax))?;
        Ok(Self {
            environment,
            instructions,
        })
    }

    /// Renders on the calling thread if a few steps suffice, else once more on a
    /// thread with a large stack.
    pub(super) fn render(&self, variables: &Value) -> Result<String> {
        match self.run(SMALL_FUEL, variables) {
            Err(error) if error.kind() == ErrorKind::OutOfFuel => {}
            rendered => return rendered.map_err(|error| failure(&error)),
        }
        on_large_stack(|| self.run(FUEL, variables).map_err(|error| failure(&error)))
    }

    fn run(&self, fuel: u64, variables: &Value) -> std::result::Result<String, minijinja::Error> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let mut text = String::new();
        let mut out = make_string_output(&mut text);
        let (root, blocks) = (variables.clone(), BTreeMap::new());
        let all = &self.instructions;
        eval(&environment, all, root, &blocks, &mut out, AutoEscape::None)?;
        Ok(text)
    }
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

pub(super) fn syntax_error(error: &minijinja::Error) -> Error {
    Error::TemplateSyntax {
        line: error.line().unwrap_or_default(),
        problem: problem(error),
    }
}

fn problem(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return format!("it runs, or its values grow, beyond {FUEL} steps");
    }
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// What a template says when it refuses a conversation.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

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
