//! Aligned columns in a terminal, for text that others wrote.

use std::io::{Result, Write};

/// Wider cells are cut.
const WIDEST: usize = 60;

/// Where a column's cells stand.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Writes rows with each column as wide as its widest cell, indented by two.
pub(super) fn write(out: &mut impl Write, align: &[Align], rows: &[Vec<String>]) -> Result<()> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| shortened(cell, WIDEST)).collect())
        .collect();
    let mut widths = vec![0; align.len()];
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[column] - width(cell));
            line.push_str("  ");
            match align[column] {
                Align::Left => line.extend([cell.as_str(), &space]),
                Align::Right => line.extend([space.as_str(), cell]),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A text on one line, without what would steer a terminal, and cut to a width.
pub(super) fn shortened(text: &str, widest: usize) -> String {
    let mut short = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let shown = if c.is_control() || crate::output::is_invisible(c) {
            '\u{fffd}'
        } else {
            c
        };
        taken += columns(shown);
        if taken >= widest && width(text) > widest {
            short.push('…');
            break;
        }
        short.push(shown);
    }
    short
}

/// How many columns of a terminal a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Two for the scripts of East Asia and for pictures, which fixed-width fonts
/// draw twice as wide (Unicode's East Asian Width: wide and fullwidth).
fn columns(c: char) -> usize {
    match c {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}
