//! How a command ends: what is printed, and the exit code.

use std::io::Write as _;
use std::num::{IntErrorKind, ParseIntError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use crate::output::plain;

/// The user's input: arguments, files, values.
const INPUT: u8 = 1;
/// Something that retune should have done better.
const OURS: u8 = 2;

/// Help and version are a success; anything else is a fault in the arguments.
pub(crate) fn of_arguments(error: &clap::Error) -> ExitCode {
    // If even the terminal is gone, the code still tells.
    let _ = match wrong_value(error) {
        Some(fault) => writeln!(std::io::stderr(), "error: {fault}"),
        None => error.print(),
    };
    if error.use_stderr() {
        ExitCode::from(INPUT)
    } else {
        ExitCode::SUCCESS
    }
}

/// What is wrong with an option's value, in the words of all other errors, where it was no
/// number or its parser says what it expected.
fn wrong_value(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.as_str()),
        _ => None,
    };
    let option = text(ContextKind::InvalidArg)?;
    let found = text(ContextKind::InvalidValue).filter(|found| !found.is_empty())?;
    let name = option.split(' ').next()?;
    let cause = std::error::Error::source(error)?;
    let said = cause.to_string();
    let cause = cause.downcast_ref::<ParseIntError>();
    let expected = match cause.map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow) => "a smaller number",
        Some(IntErrorKind::Zero) => "a whole number from 1",
        Some(_) => "a whole number from 0",
        None => said.strip_prefix("expected ")?,
    };
    // Behind it a parser may say more.
    let parts = [": ", "; "].map(|mark| expected.split_once(mark));
    let (expected, more) = parts.into_iter().flatten().next().unwrap_or((expected, ""));
    let hint = match more {
        "" => String::new(),
        more => format!("\nhint: {more}"),
    };
    Some(plain(&format!(
        "{name}: expected {expected}, found {found}{hint}"
    )))
}

/// A command that did its work and has said all there is to say, but found
/// something for which its exit code is not 0.
#[derive(Debug, thiserror::Error)]
#[error("the findings are above")]
pub(crate) struct Found;

/// A command that was stopped by a signal and ended in good order.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal")]
pub(crate) struct Stopped {
    /// Its number.
    pub signal: i32,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct InputFault(String);

/// An error in what the user gave.
pub(crate) fn input_fault(message: impl Into<String>) -> anyhow::Error {
    InputFault(message.into()).into()
}

pub(crate) fn of_command(command: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    // What panicked has said so; the code tells that it is a fault of ours.
    let Ok(result) = catch_unwind(AssertUnwindSafe(command)) else {
        return ExitCode::from(OURS);
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Found>() => ExitCode::from(INPUT),
        Err(error) => {
            if let Some(stopped) = error.downcast_ref::<Stopped>() {
                // As a shell has it.
                return ExitCode::from(128 + stopped.signal as u8);
            }
            // Where nobody listens any more, the code still tells.
            let text = plain(&format!("{error:#}"));
            let _ = writeln!(std::io::stderr(), "error: {text}");
            ExitCode::from(code(&error))
        }
    }
}

fn code(error: &anyhow::Error) -> u8 {
    use retune_compute::Error as Compute;
    use retune_eval::Error as Eval;
    use retune_export::Error as Export;
    use retune_generate::Error as Generate;
    use retune_model::Error as Model;
    use retune_serve::Error as Serve;
    use retune_train::Error as Train;
    let train = error.downcast_ref::<Train>();
    let eval = error.downcast_ref::<Eval>();
    let serve = error.downcast_ref::<Serve>();
    let export = error.downcast_ref::<Export>();
    let generate = match (eval, serve) {
        (Some(Eval::Generate(error)), _) | (_, Some(Serve::Generate(error))) => Some(error),
        _ => error.downcast_ref::<Generate>(),
    };
    let model = match (train, generate, eval, export) {
        (Some(Train::Model(error)), ..)
        | (_, Some(Generate::Model(error)), ..)
        | (_, _, Some(Eval::Model(error)), _)
        | (.., Some(Export::Model(error))) => Some(error),
        _ => error.downcast_ref::<Model>(),
    };
    let compute = match (train, model, export) {
        (Some(Train::Compute(error)), ..)
        | (_, Some(Model::Compute(error)), _)
        | (.., Some(Export::Compute(error))) => Some(error),
        _ => error.downcast_ref::<Compute>(),
    };
    if matches!(serve, Some(Serve::Engine)) {
        return OURS;
    }
    match compute {
        Some(
            Compute::DeviceUnavailable { .. }
            | Compute::TierUnavailable { .. }
            | Compute::InvalidArgument { .. }
            | Compute::OutOfMemory { .. },
        ) => INPUT,
        Some(_) => OURS,
        None if train.is_some() || generate.is_some() || eval.is_some() => INPUT,
        None if model.is_some() || serve.is_some() || export.is_some() => INPUT,
        // A disk that is full, standard output that cannot be written.
        None if error.is::<std::io::Error>() => INPUT,
        None if error.is::<InputFault>() || error.is::<retune_data::Error>() => INPUT,
        None => OURS,
    }
}

/// Whether the reader of our output has gone, as `head` does.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_ends_as_a_fault_of_ours() {
        let code = |code: ExitCode| format!("{code:?}");
        let panics = || -> anyhow::Result<()> { panic!("made for the test") };
        assert_eq!(code(of_command(panics)), code(ExitCode::from(OURS)));
        let refused = of_command(|| Err(input_fault("made for the test")));
        assert_eq!(code(refused), code(ExitCode::from(INPUT)));
        assert_eq!(code(of_command(|| Ok(()))), code(ExitCode::SUCCESS));
    }
}
