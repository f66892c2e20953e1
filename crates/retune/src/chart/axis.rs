//! What an axis reaches over, and where its ticks stand.

use crate::output::thousands;

/// A stretch of numbers with ticks at round ones.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Ticks are counted in units of `10^exponent`, so that each is exactly
    /// the decimal number that its label says.
    exponent: i32,
    units: Vec<i64>,
}

impl Axis {
    /// For optimizer steps up to `last`: from zero, with about `count` ticks at whole steps.
    pub(super) fn of_steps(last: f64, count: usize) -> Self {
        let last = if last > 0.0 { last } else { 1.0 };
        let (unit, exponent) = round_step(last / count.max(1) as f64);
        // There is no half step.
        let (unit, exponent) = if exponent < 0 {
            (1, 0)
        } else {
            (unit, exponent)
        };
        Self::with_ticks(0.0, last, unit, exponent)
    }

    /// For values from `low` to `high`: widened to round numbers, with about
    /// `count` ticks.
    pub(super) fn of_values(low: f64, high: f64, count: usize) -> Self {
        let most = low.abs().max(high.abs());
        // What differs by less than rounding is one value, in the middle of its axis.
        let (low, high) = match high - low <= 1e-9 * most {
            true if most == 0.0 => (-1.0, 1.0),
            true => (low - 0.1 * most, high + 0.1 * most),
            false => (low, high),
        };
        let (unit, exponent) = round_step((high - low) / count.max(1) as f64);
        let step = decimal(unit, exponent);
        // A curve that ends on a round number up to rounding ends there.
        let first = (low / step + 1e-6).floor() as i64 * unit;
        let last = (high / step - 1e-6).ceil() as i64 * unit;
        Self::with_ticks(
            decimal(first, exponent),
            decimal(last, exponent),
            unit,
            exponent,
        )
    }

    fn with_ticks(low: f64, high: f64, unit: i64, exponent: i32) -> Self {
        let step = decimal(unit, exponent);
        let first = (low / step - 1e-6).ceil() as i64;
        let last = (high / step + 1e-6).floor() as i64;
        Self {
            low,
            high,
            exponent,
            units: (first..=last).map(|index| index * unit).collect(),
        }
    }

    /// Where a value stands: 0 at the low end, 1 at the high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// The place of each tick, and its label.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let most = self.low.abs().max(self.high.abs());
        let label = match most {
            1e-3..1e9 => plain_label,
            _ => scientific_label,
        };
        let tick = |&units: &i64| {
            let value = decimal(units, self.exponent);
            (self.place(value), label(units, self.exponent))
        };
        self.units.iter().map(tick).collect()
    }
}

/// The round number nearest above `rough`: 1, 2 or 5, and a power of ten.
fn round_step(rough: f64) -> (i64, i32) {
    let exponent = rough.log10().floor() as i32;
    let fraction = rough / decimal(1, exponent);
    match fraction {
        f if f <= 1.0 => (1, exponent),
        f if f <= 2.0 => (2, exponent),
        f if f <= 5.0 => (5, exponent),
        _ => (1, exponent + 1),
    }
}

/// `units · 10^exponent`, rounded once.
fn decimal(units: i64, exponent: i32) -> f64 {
    let power = 10_f64.powi(exponent.abs());
    if exponent < 0 {
        units as f64 / power
    } else {
        units as f64 * power
    }
}

/// `units · 10^exponent` with as many places as the exponent asks for.
fn plain_label(units: i64, exponent: i32) -> String {
    if exponent < 0 {
        let places = exponent.unsigned_abs() as usize;
        return format!("{:.places$}", decimal(units, exponent));
    }
    let sign = if units < 0 { "-" } else { "" };
    let whole = units.unsigned_abs() * 10_u64.pow(exponent as u32);
    format!("{sign}{}", thousands(whole))
}

/// `units · 10^exponent` with its first digit before the point.
fn scientific_label(units: i64, exponent: i32) -> String {
    if units == 0 {
        return "0".to_owned();
    }
    let sign = if units < 0 { "-" } else { "" };
    let digits = units.unsigned_abs().to_string();
    let exponent = exponent + digits.len() as i32 - 1;
    let (first, rest) = digits.split_at(1);
    let rest = rest.trim_end_matches('0');
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}e{exponent}")
}
