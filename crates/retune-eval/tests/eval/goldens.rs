//! Figures of the public packages, made by `scripts/golden/make_eval_goldens.py`.

use std::sync::LazyLock;

use serde_json::Value;

/// How far a figure may be from the public one. All are made of the same counts
/// by the same steps: over 15000 drawn rows the largest error seen was 9e-15, of
/// a mean that numpy adds up in another order, and all others were equal. The
/// rest is left to other machines' `exp` and `ln`.
pub(crate) const TOLERANCE: f64 = 1e-9;

/// The stored figures, or those of the file that `RETUNE_EVAL_GOLDENS` names.
pub(crate) static GOLDENS: LazyLock<Value> = LazyLock::new(|| {
    let text = match std::env::var_os("RETUNE_EVAL_GOLDENS") {
        Some(path) => std::fs::read_to_string(path).expect("a file of figures"),
        None => include_str!("../goldens/metrics.json").to_owned(),
    };
    serde_json::from_str(&text).expect("figures in JSON")
});

/// An answer and its references.
pub(crate) struct Row {
    pub(crate) hypothesis: &'static str,
    pub(crate) references: Vec<&'static str>,
}

pub(crate) fn rows() -> Vec<Row> {
    let row = |row: &'static Value| Row {
        hypothesis: text(&row["hypothesis"]),
        references: texts(&row["references"]),
    };
    list(&GOLDENS["rows"]).iter().map(row).collect()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

pub(crate) fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

pub(crate) fn count(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

pub(crate) fn flag(value: &Value) -> bool {
    value.as_bool().expect("a flag")
}

/// The largest error of figures that belong together.
#[derive(Default)]
pub(crate) struct Errors {
    largest: f64,
    compared: usize,
}

impl Errors {
    /// Compares two figures; `what` says which.
    #[track_caller]
    pub(crate) fn compare(&mut self, found: f64, expected: f64, what: impl std::fmt::Debug) {
        let error = (found - expected).abs();
        assert!(
            error <= TOLERANCE,
            "found {found}, expected {expected}: {what:?}"
        );
        self.largest = self.largest.max(error);
        self.compared += 1;
    }

    /// Says how near all were. That none was compared is an error.
    #[track_caller]
    pub(crate) fn report(self, figures: &str) {
        assert!(self.compared > 0, "no {figures} compared");
        let Self { largest, compared } = self;
        println!("{figures}: {compared} compared, largest error {largest:e}");
    }
}
