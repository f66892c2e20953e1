//! A chart as a file of its own: no script, nothing fetched, readable on black
//! and on white.

use std::fmt::Write as _;

use super::axis::Axis;
use super::{Chart, Ink, Look, Point, Series, curve};
use crate::html::escape;
use crate::output::plain;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const TOP: f64 = 66.0;
const RIGHT: f64 = 34.0;
const BOTTOM: f64 = 52.0;
/// About what a character of a label takes.
const CHARACTER: f64 = 6.8;
/// More marks than these would hide their line.
const MOST_MARKS: usize = 60;

/// Colours stand in rules of classes and not in variables, which viewers other
/// than browsers do not know. Those show the colours for white.
const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #374151 } .title { font-size: 15px; font-weight: 600 }
.paper { fill: #ffffff } .grid { stroke: #e5e7eb } .axis { stroke: #6b7280 } .axis, .grid { fill: none }
.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round } .faint { stroke-width: 1; opacity: .4 }
.first { stroke: #2563eb } .second { stroke: #c2410c } circle.first, rect.first { fill: #2563eb } circle.second, rect.second { fill: #c2410c }
rect.bar { stroke: none; opacity: .75 }
@media (prefers-color-scheme: dark) {
text { fill: #d1d5db } .paper { fill: #111827 } .grid { stroke: #374151 } .axis { stroke: #9ca3af }
.first { stroke: #60a5fa } .second { stroke: #fb923c } circle.first, rect.first { fill: #60a5fa } circle.second, rect.second { fill: #fb923c }
}
";

/// The chart as an SVG document.
pub(crate) fn render(chart: &Chart) -> String {
    let mut body = String::new();
    match Frame::of(chart) {
        Some(frame) => {
            frame.legend(&mut body, &chart.series);
            frame.axes(&mut body, chart);
            for series in &chart.series {
                frame.curve(&mut body, series);
            }
        }
        None => body.push_str("<text x=\"16\" y=\"52\">no points to draw</text>\n"),
    }
    document(&chart.title, (WIDTH, HEIGHT), &body)
}

/// A figure's paper and title, with `body` on it.
pub(super) fn document(title: &str, (width, height): (f64, f64), body: &str) -> String {
    let title = text(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"16\" y=\"26\">{title}</text>\n{body}</svg>\n"
    )
}

/// Text as it may stand in XML, which has no place for two characters that are
/// no characters.
pub(super) fn text(text: &str) -> String {
    escape(&plain(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}

impl Ink {
    fn class(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// The axes, and where they stand on the paper.
struct Frame {
    x: Axis,
    y: Axis,
    left: f64,
}

impl Frame {
    fn of(chart: &Chart) -> Option<Self> {
        let points = |faint: bool| -> Vec<&[Point]> {
            let series = chart.series.iter();
            let series = series.filter(|series| (series.look == Look::Faint) == faint);
            series.map(|series| &series.points[..]).collect()
        };
        let (low, high) = curve::range(&points(false), &points(true))?;
        let all = chart.series.iter().flat_map(|series| &series.points);
        let steps = all.filter(|point| super::is_drawable(**point));
        let last = steps.map(|point| point.0).fold(0.0, f64::max);
        let y = Axis::of_values(low, high, 6);
        let widest = y.ticks().iter().map(|tick| tick.1.len()).max();
        Some(Self {
            x: Axis::of_steps(last, 8),
            y,
            left: 44.0 + CHARACTER * widest.unwrap_or(0) as f64,
        })
    }

    fn column(&self, place: f64) -> f64 {
        self.left + place * (WIDTH - RIGHT - self.left)
    }

    fn row(&self, place: f64) -> f64 {
        HEIGHT - BOTTOM - place * (HEIGHT - BOTTOM - TOP)
    }

    fn legend(&self, svg: &mut String, series: &[Series]) {
        let mut left = self.left;
        for series in series {
            let (class, name) = (classes(series), text(&series.name));
            let _ = writeln!(
                svg,
                "<path class=\"{class}\" d=\"M{left:.1} 46h24\"/>{}<text x=\"{:.1}\" y=\"50\">{name}</text>",
                match series.look {
                    Look::Marks => mark(left + 12.0, 46.0, series.ink),
                    Look::Line | Look::Faint => String::new(),
                },
                left + 30.0
            );
            left += 52.0 + CHARACTER * series.name.chars().count() as f64;
        }
    }

    fn axes(&self, svg: &mut String, chart: &Chart) {
        let (left, right) = (self.column(0.0), self.column(1.0));
        let (bottom, top) = (self.row(0.0), self.row(1.0));
        for (place, label) in self.y.ticks() {
            let y = self.row(place);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 8.0,
                y + 4.0
            );
        }
        for (place, label) in self.x.ticks() {
            let x = self.column(place);
            let _ = writeln!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {bottom:.1}v5\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 19.0
            );
        }
        let (middle, center) = ((left + right) / 2.0, (top + bottom) / 2.0);
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>\n\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(20 {center:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n\
             <clipPath id=\"frame\"><path d=\"M{left:.1} {top:.1}H{right:.1}V{bottom:.1}H{left:.1}Z\"/></clipPath>",
            HEIGHT - 12.0,
            text(chart.x_name),
            text(chart.y_name)
        );
    }

    fn curve(&self, svg: &mut String, series: &Series) {
        let on_paper = |&(step, value): &Point| {
            let column = self.column(self.x.place(step));
            (column, self.row(self.y.place(value)))
        };
        let mut path = String::new();
        let mut marks = String::new();
        for stretch in curve::stretches(&series.points) {
            let stretch: Vec<Point> = stretch.iter().map(on_paper).collect();
            for (index, (x, y)) in curve::thinned(&stretch, 1.0).iter().enumerate() {
                let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
            }
            if stretch.len() == 1 {
                // A line to itself, whose round ends are a dot.
                path.push_str("h0");
            }
            let alone = series.look == Look::Line && stretch.len() == 1;
            let marked = series.look == Look::Marks || alone;
            if marked && series.points.len() <= MOST_MARKS {
                marks.extend(stretch.iter().map(|(x, y)| mark(*x, *y, series.ink)));
            }
        }
        let clip = match series.look {
            Look::Faint => " clip-path=\"url(#frame)\"",
            Look::Line | Look::Marks => "",
        };
        let class = classes(series);
        let _ = writeln!(svg, "<path class=\"{class}\"{clip} d=\"{path}\"/>{marks}");
    }
}

fn classes(series: &Series) -> String {
    let faint = match series.look {
        Look::Faint => " faint",
        Look::Line | Look::Marks => "",
    };
    format!("curve {}{faint}", series.ink.class())
}

fn mark(x: f64, y: f64, ink: Ink) -> String {
    let class = ink.class();
    format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>")
}
