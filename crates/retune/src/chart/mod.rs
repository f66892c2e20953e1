//! Curves of a run, for the terminal and for a file, and bars for pages.
//!
//! A [`Chart`] says what is shown. [`terminal::draw`] shows it in characters,
//! [`svg::render`] as a figure; both take their axes from `axis.rs`.

mod axis;
pub(crate) mod bars;
mod curve;
pub(crate) mod svg;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;

use crate::output::thousands;

/// Where a curve is at an optimizer step. A value that is not finite is a gap.
pub(crate) type Point = (f64, f64);

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    title: String,
    x_name: &'static str,
    y_name: &'static str,
    series: Vec<Series>,
}

#[derive(Debug, Clone, PartialEq)]
struct Series {
    name: String,
    points: Vec<Point>,
    look: Look,
    ink: Ink,
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// A pale line behind the others, where there are shades; it may leave the frame.
    Faint,
    Line,
    /// A line with a mark at each point, as long as they can be told apart.
    Marks,
}

/// What tells curves apart by colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    First,
    Second,
}

impl Chart {
    /// The losses of a run. Those of training are smoothed as far as their
    /// number asks for it, and the name of the curve says how far.
    pub(crate) fn loss(train: &[Point], eval: &[Point]) -> Self {
        let mut series = Vec::new();
        let mut add = |name: &str, points: Vec<Point>, look, ink| {
            if points.iter().any(|point| is_drawable(*point)) {
                let name = name.to_owned();
                series.push(Series {
                    name,
                    points,
                    look,
                    ink,
                });
            }
        };
        let span = curve::smoothing_span(train);
        if span > 1 {
            add("train", train.to_vec(), Look::Faint, Ink::First);
            let name = format!("train, smoothed over {} points", thousands(span as u64));
            add(&name, curve::smoothed(train, span), Look::Line, Ink::First);
        } else {
            add("train", train.to_vec(), Look::Line, Ink::First);
        }
        add("validation", eval.to_vec(), Look::Marks, Ink::Second);
        Self {
            title: "Loss by optimizer step".to_owned(),
            x_name: "step",
            y_name: "loss",
            series,
        }
    }

    /// The learning rate of each step of a run.
    pub(crate) fn schedule(rates: &[Point]) -> Self {
        Self {
            title: "Learning rate by optimizer step".to_owned(),
            x_name: "step",
            y_name: "learning rate",
            series: vec![Series {
                name: "learning rate".to_owned(),
                points: rates.to_vec(),
                look: Look::Line,
                ink: Ink::First,
            }],
        }
    }

    /// The same figure under another title.
    pub(crate) fn titled(self, title: &str) -> Self {
        let title = title.to_owned();
        Self { title, ..self }
    }
}

/// Whether a point has a place on an axis. Beyond what is tested here, the
/// width of an axis would overflow.
fn is_drawable((x, y): Point) -> bool {
    const MOST: f64 = 1e100;
    x.abs() < MOST && y.abs() < MOST
}
