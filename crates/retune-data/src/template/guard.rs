//! What a value costs, before an operator that is minijinja's own gets it.
//!
//! minijinja counts steps ("fuel"), but takes one step for comparing or writing a
//! value of any size, and a value that holds itself twice, sixty times over, has
//! 2⁶⁰ parts. So `compile` puts a guard before each operator that looks into its
//! operands, and what it would look at is paid for first.

use minijinja::value::{ObjectRepr, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Deeper values are no messages, and would be a danger for the stack.
pub(super) const MAX_DEPTH: usize = 200;
/// Longer lists are no conversations.
const MAX_ITEMS: usize = 1_000_000;
/// Steps that it takes to put a value into another, so that no value is nested
/// deeper than any thread's stack can drop.
const HOLDING: u64 = 16;

/// What is done with operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Each is walked through, as the operator will do.
    Walked,
    /// The first is a container of which one item is looked up, by the second.
    Indexed,
    /// Each is gone through, but not into what it holds.
    Counted,
    /// Each will be held by a new value.
    Held,
    /// The first will be held by the second, a namespace.
    Assigned,
}

impl Guard {
    const ALL: [Guard; 5] = [
        Guard::Walked,
        Guard::Indexed,
        Guard::Counted,
        Guard::Held,
        Guard::Assigned,
    ];

    /// The filter that does it; no template can write its name.
    pub(super) fn filter(self) -> &'static str {
        match self {
            Guard::Walked => "!walked",
            Guard::Indexed => "!indexed",
            Guard::Counted => "!counted",
            Guard::Held => "!held",
            Guard::Assigned => "!assigned",
        }
    }

    fn pay(self, state: &State, operands: &[Value]) -> Result<(), Error> {
        match (self, operands) {
            (Guard::Indexed, [container, key]) => {
                if let Some(text) = container.as_str() {
                    pay_for_text(state, text)?;
                }
                walk(state, key, 0)
            }
            (Guard::Assigned, [value, _]) => refuse_namespace(value),
            (Guard::Counted, all) => count(state, all),
            (Guard::Held, all) => all.iter().try_for_each(|operand| hold(state, operand)),
            (_, all) => all.iter().try_for_each(|operand| walk(state, operand, 0)),
        }
    }
}

/// The filter that makes a list of what is computed item by item: a slice of
/// slices of slices would recurse when it is gone through.
pub(super) const LISTED: &str = "!listed";

/// Adds the filters that `compile` calls.
pub(super) fn install(environment: &mut Environment<'static>) {
    for guard in Guard::ALL {
        environment.add_filter(
            guard.filter(),
            move |state: &State, operands: Rest<ValueOrKwargs>| {
                let operands = operands.into_values();
                guard.pay(state, &operands)?;
                // Unpacking puts the first on top of the stack.
                Ok::<Vec<Value>, Error>(operands.into_iter().rev().collect())
            },
        );
    }
    environment.add_filter(LISTED, listed);
}

/// Pays for every part of a value, and for its texts.
pub(super) fn walk(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return pay_for_text(state, text);
    }
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    refuse_namespace(value)?;
    let items = object.enumerator_len().unwrap_or(0);
    state.consume_fuel(1 + items as u64)?;
    if object.repr() == ObjectRepr::Map {
        for (key, item) in object.try_iter_pairs().into_iter().flatten() {
            walk(state, &key, depth + 1)?;
            walk(state, &item, depth + 1)?;
        }
        return Ok(());
    }
    for item in object.try_iter().into_iter().flatten().take(items) {
        walk(state, &item, depth + 1)?;
    }
    Ok(())
}

fn pay_for_text(state: &State, text: &str) -> Result<(), Error> {
    state.consume_fuel(text.len() as u64 / 64)
}

/// Pays for going through all of them once.
fn count(state: &State, operands: &[Value]) -> Result<(), Error> {
    let mut all = 0;
    for operand in operands {
        match operand.as_str() {
            Some(text) => pay_for_text(state, text)?,
            None => all += operand.len().unwrap_or(0),
        }
    }
    if all > MAX_ITEMS {
        return Err(too_many());
    }
    state.consume_fuel(all as u64 / 16)
}

/// Pays for holding a value in a new one.
pub(super) fn hold(state: &State, value: &Value) -> Result<(), Error> {
    if value.as_object().is_none() {
        return Ok(());
    }
    refuse_namespace(value)?;
    state.consume_fuel(HOLDING)
}

/// A namespace can be changed, so it could come to hold itself if it could be held.
fn refuse_namespace(value: &Value) -> Result<(), Error> {
    let name = value.as_object().map(|object| object.type_name());
    if name.is_some_and(|name| name.ends_with("::Namespace")) {
        let problem = "a namespace can be passed on, but not held, compared or written";
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    Ok(())
}

/// The value, as a list if it is computed item by item.
pub(super) fn listed(value: &Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Iterable {
        return Ok(value.clone());
    }
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        if items.len() == MAX_ITEMS {
            return Err(too_many());
        }
        items.push(item?);
    }
    Ok(Value::from(items))
}

pub(super) fn too_deep() -> Error {
    let problem = format!("a value is nested deeper than {MAX_DEPTH} levels");
    Error::new(ErrorKind::InvalidOperation, problem)
}

fn too_many() -> Error {
    let problem = format!("a list is longer than {MAX_ITEMS} items");
    Error::new(ErrorKind::InvalidOperation, problem)
}
