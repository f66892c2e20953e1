//! Calls into crates that panic on hostile input.
//!
//! The reader of Parquet and that of `tokenizer.json` have paths on which a
//! damaged file ends in a panic. A user's file has to be an error of that file,
//! so these calls, and no others, are caught. What was being worked on is thrown
//! away afterwards, so nothing half done is ever used.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns, or the message of its panic, which is not printed.
pub(crate) fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                before(info);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    CONTAINED.set(outer);
    result.map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_default();
    // The first line says enough, and some print the bytes that they read.
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::contained;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(contained(|| 1), Ok(1));
        let broken = contained(|| -> u8 { panic!("index {} is out of bounds\nand more", 3) });
        assert_eq!(broken, Err("index 3 is out of bounds".to_owned()));
        let outside = std::panic::catch_unwind(|| panic!("not contained"));
        assert!(outside.is_err());
    }
}
