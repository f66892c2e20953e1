//! A chart in characters. A braille character is two dots wide and four high.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::axis::Axis;
use super::{Chart, Ink, Look, Point, Series, curve};
use crate::output::plain;

const HEAD: Style = Style::new().bold();
/// A letter and not a bullet, which is two columns wide in some terminals.
const MARK: char = 'o';
/// Which bit of a braille character each of its dots is, row by row.
const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
const FEWEST_COLUMNS: usize = 16;
const FEWEST_ROWS: usize = 4;

impl Ink {
    /// Colours that can be read on black and on white.
    fn style(self) -> Style {
        match self {
            Self::First => AnsiColor::Cyan.on_default(),
            Self::Second => AnsiColor::Magenta.on_default(),
        }
    }
}

/// Draws a chart `width` characters wide (more if that is too few for labels),
/// with `rows` of characters for the curves.
pub(crate) fn draw(
    out: &mut impl Write,
    chart: &Chart,
    width: usize,
    rows: usize,
) -> io::Result<()> {
    let drawn = chart
        .series
        .iter()
        .filter(|series| series.look != Look::Faint);
    let drawn: Vec<&Series> = drawn.collect();
    writeln!(out, "{HEAD}{}{HEAD:#}", plain(&chart.title))?;
    let points: Vec<&[Point]> = drawn.iter().map(|series| &series.points[..]).collect();
    let Some((low, high)) = curve::range(&points, &[]) else {
        return writeln!(out, "  no points to draw");
    };
    let rows = rows.max(FEWEST_ROWS);
    let y = Axis::of_values(low, high, rows / 2);
    let labels = labels_by_row(&y, rows);
    let gutter = labels.iter().map(String::len).max().unwrap_or(0);
    let columns = width.saturating_sub(gutter + 3).max(FEWEST_COLUMNS);
    let x = Axis::of_steps(last_step(&drawn), columns / 12);

    let mut canvas = Canvas::new(columns, rows);
    for series in &drawn {
        canvas.series(series, &x, &y);
    }
    for (row, label) in labels.iter().enumerate() {
        let edge = if label.is_empty() { '│' } else { '┤' };
        write!(out, " {label:>gutter$} {edge}")?;
        canvas.write_row(out, row)?;
        writeln!(out)?;
    }
    write_x_axis(out, &x, gutter, columns)?;
    write_legend(out, &drawn, width)
}

fn last_step(series: &[&Series]) -> f64 {
    let points = series.iter().flat_map(|series| &series.points);
    let steps = points.filter(|point| super::is_drawable(**point));
    steps.map(|point| point.0).fold(0.0, f64::max)
}

/// The nearest of `count` dots or characters for a place on an axis.
fn nearest(place: f64, count: usize) -> usize {
    let last = (count - 1) as f64;
    (place * last).round().clamp(0.0, last) as usize
}

/// The label of each row, from the top; empty where it has none.
fn labels_by_row(y: &Axis, rows: usize) -> Vec<String> {
    let mut labels = vec![String::new(); rows];
    for (place, label) in y.ticks() {
        labels[nearest(1.0 - place, 4 * rows) / 4] = label;
    }
    labels
}

fn write_x_axis(out: &mut impl Write, x: &Axis, gutter: usize, columns: usize) -> io::Result<()> {
    let mut line: Vec<char> = vec!['─'; columns];
    let mut labels = String::new();
    for (place, label) in x.ticks() {
        let column = nearest(place, 2 * columns) / 2;
        // In the middle under its tick, but not over the edges.
        let start = column.saturating_sub(label.len() / 2);
        let start = start.min(columns.saturating_sub(label.len()));
        if labels.is_empty() || start > labels.len() + 1 {
            line[column] = '┬';
            labels.push_str(&" ".repeat(start - labels.len()));
            labels.push_str(&label);
        }
    }
    let line: String = line.into_iter().collect();
    writeln!(out, " {:>gutter$} └{line}", "")?;
    writeln!(out, " {:>gutter$}  {labels}", "")
}

/// What the curves are, in one line if they fit.
fn write_legend(out: &mut impl Write, series: &[&Series], width: usize) -> io::Result<()> {
    let names = series.iter().map(|series| series.name.chars().count() + 6);
    let between = if names.sum::<usize>() <= width {
        ""
    } else {
        "\n"
    };
    for (index, series) in series.iter().enumerate() {
        let style = series.ink.style();
        let sign = match series.look {
            Look::Marks => "─o─",
            Look::Line | Look::Faint => "───",
        };
        let between = if index == 0 { "" } else { between };
        write!(out, "{between}  {style}{sign}{style:#} {}", series.name)?;
    }
    writeln!(out)
}

/// Dots, marks, and whose they are.
struct Canvas {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    dots: u8,
    marked: bool,
    ink: Option<Ink>,
}

impl Cell {
    fn character(self) -> char {
        match (self.marked, self.dots) {
            (true, _) => MARK,
            (false, 0) => ' ',
            (false, dots) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
        }
    }
}

impl Canvas {
    fn new(columns: usize, rows: usize) -> Self {
        Self {
            columns,
            rows,
            cells: vec![Cell::default(); columns * rows],
        }
    }

    /// The cell of a dot, which takes the colour of who asked last.
    fn cell(&mut self, (column, row): (usize, usize), ink: Ink) -> &mut Cell {
        let cell = &mut self.cells[row / 4 * self.columns + column / 2];
        // A curve that was there before leaves its dots, in the new colour,
        // but no mark.
        cell.marked &= cell.ink == Some(ink);
        cell.ink = Some(ink);
        cell
    }

    fn series(&mut self, series: &Series, x: &Axis, y: &Axis) {
        let (columns, rows) = (2 * self.columns, 4 * self.rows);
        let dot = |&(step, value): &Point| {
            let column = nearest(x.place(step), columns);
            (column, nearest(1.0 - y.place(value), rows))
        };
        for stretch in curve::stretches(&series.points) {
            let mut from = dot(&stretch[0]);
            for point in stretch {
                let to = dot(point);
                self.line(from, to, series.ink);
                from = to;
            }
        }
        // Marks that touch would hide the line.
        if series.points.len() > self.columns / 3 {
            return;
        }
        for stretch in curve::stretches(&series.points) {
            // A dot to itself is hardly seen.
            if series.look == Look::Marks || stretch.len() == 1 {
                for point in stretch {
                    self.cell(dot(point), series.ink).marked = true;
                }
            }
        }
    }

    /// The dots from one to another, both included.
    fn line(&mut self, from: (usize, usize), to: (usize, usize), ink: Ink) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1));
        let between = |from: usize, to: usize, step: usize| {
            let part = step as f64 / steps.max(1) as f64;
            (from as f64 + part * (to as f64 - from as f64)).round() as usize
        };
        for step in 0..=steps {
            let (column, row) = (between(from.0, to.0, step), between(from.1, to.1, step));
            self.cell((column, row), ink).dots |= BITS[row % 4][column % 2];
        }
    }

    fn write_row(&self, out: &mut impl Write, row: usize) -> io::Result<()> {
        let cells = &self.cells[row * self.columns..(row + 1) * self.columns];
        let end = cells.iter().rposition(|cell| cell.ink.is_some());
        let cells = &cells[..end.map_or(0, |last| last + 1)];
        for run in cells.chunk_by(|a, b| a.ink == b.ink) {
            let text: String = run.iter().map(|cell| cell.character()).collect();
            match run[0].ink.map(Ink::style) {
                Some(style) => write!(out, "{style}{text}{style:#}")?,
                None => write!(out, "{text}")?,
            }
        }
        Ok(())
    }
}
