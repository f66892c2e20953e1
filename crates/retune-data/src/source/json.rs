//! JSON: an array of objects, objects one after the other, objects by line.

use serde_json::Value as Json;

use super::lines::{self, Text};
use super::{MAX_ROW_BYTES, Place, Row, file_error, strict};
use crate::error::{Error, Result, RowError};

/// Rows of a file with one JSON object a line; empty lines count for nothing.
pub(super) struct LineRows {
    text: Text,
    row: u64,
    done: bool,
}

impl LineRows {
    pub(super) fn new(text: Text) -> Self {
        Self {
            text,
            row: 0,
            done: false,
        }
    }
}

impl Iterator for LineRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let line = match self.text.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            };
            if line.bytes.iter().all(u8::is_ascii_whitespace) && !line.too_long {
                continue;
            }
            self.row += 1;
            let place = self.text.place(self.row, line.number);
            if line.too_long {
                return Some(Err(lines::too_long(place)));
            }
            return Some(object(&line.bytes, place));
        }
        None
    }
}

/// How values follow each other in a file.
#[derive(PartialEq)]
enum Shape {
    Array,
    Values,
}

/// Rows of a JSON array, or of objects one after the other.
pub(super) struct JsonRows {
    text: Text,
    shape: Shape,
    row: u64,
    done: bool,
}

impl JsonRows {
    pub(super) fn new(mut text: Text) -> Result<Self> {
        let shape = match text.skip_space()? {
            Some(b'[') => {
                text.consume(1);
                Shape::Array
            }
            Some(b'{') => Shape::Values,
            None => return Err(file_error(text.path(), "holds nothing but white space")),
            Some(_) => {
                let problem = format!(
                    "line {}: expected `[` with rows behind it, or an object a line",
                    text.line()
                );
                return Err(file_error(text.path(), problem));
            }
        };
        Ok(Self {
            text,
            shape,
            row: 0,
            done: false,
        })
    }

    fn advance(&mut self) -> Result<Option<Result<Row>>> {
        let next = self.text.skip_space()?;
        let next = match (&self.shape, next) {
            (Shape::Values, None) => return Ok(None),
            (Shape::Values, Some(byte)) => byte,
            (Shape::Array, Some(b']')) if self.row == 0 => return self.end_of_array(),
            (Shape::Array, Some(byte)) if self.row == 0 => byte,
            (Shape::Array, Some(b']')) => return self.end_of_array(),
            (Shape::Array, Some(b',')) => {
                self.text.consume(1);
                match self.text.skip_space()? {
                    Some(b']') | None => return Err(self.broken("a comma without a row behind it")),
                    Some(byte) => byte,
                }
            }
            (Shape::Array, Some(_)) => {
                return Err(self.broken("expected `,` or `]` behind the row"));
            }
            (Shape::Array, None) => {
                return Err(self.broken("the file ends without `]`: it may be cut off"));
            }
        };
        self.row += 1;
        let place = self.text.place(self.row, self.text.line());
        let bytes = self.value(next, &place)?;
        Ok(Some(match bytes {
            Some(bytes) => object(&bytes, place),
            None => Err(lines::too_long(place)),
        }))
    }

    fn end_of_array(&mut self) -> Result<Option<Result<Row>>> {
        self.text.consume(1);
        if self.row == 0 {
            return Err(file_error(self.text.path(), "holds an empty list"));
        }
        match self.text.skip_space()? {
            None => Ok(None),
            Some(_) => Err(self.broken("text behind the end of the list")),
        }
    }

    /// The bytes of a value that begins with `first`; none if they are too many.
    fn value(&mut self, first: u8, place: &Place) -> Result<Option<Vec<u8>>> {
        let mut scan = Scan::new(first);
        let mut bytes = Vec::new();
        let mut too_long = false;
        loop {
            let chunk = self.text.chunk()?;
            if chunk.is_empty() {
                if scan.is_bare {
                    break;
                }
                let began = place.line.unwrap_or_default();
                return Err(self.broken(&format!(
                    "the file ends in the middle of the row that begins on line {began}: it may be cut off"
                )));
            }
            let (count, ended) = scan.advance(chunk);
            if bytes.len() + count > MAX_ROW_BYTES {
                too_long = true;
            } else {
                bytes.extend_from_slice(&chunk[..count]);
            }
            self.text.consume(count);
            if ended {
                break;
            }
        }
        if bytes.is_empty() && !too_long {
            return Err(self.broken("expected a row"));
        }
        Ok((!too_long).then_some(bytes))
    }

    fn broken(&self, problem: &str) -> Error {
        let at = format!("line {} (row {}): {problem}", self.text.line(), self.row);
        file_error(self.text.path(), at)
    }
}

impl Iterator for JsonRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.advance() {
            Ok(Some(row)) => Some(row),
            Ok(None) => {
                self.done = true;
                None
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        }
    }
}

/// Finds where a JSON value ends, without reading what is in it.
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Neither object, list nor string: ends at a comma or bracket.
    is_bare: bool,
}

impl Scan {
    fn new(first: u8) -> Self {
        Self {
            depth: 0,
            in_string: false,
            escaped: false,
            is_bare: !matches!(first, b'{' | b'[' | b'"'),
        }
    }

    /// How many bytes of `chunk` belong to the value, and whether it ends there.
    fn advance(&mut self, chunk: &[u8]) -> (usize, bool) {
        for (index, byte) in chunk.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return (index + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (index + 1, true);
                    }
                }
                b',' | b']' | b'}' if self.is_bare => return (index, true),
                space if self.is_bare && space.is_ascii_whitespace() => return (index, true),
                _ => {}
            }
        }
        (chunk.len(), false)
    }
}

/// A row from the bytes of one JSON value.
fn object(bytes: &[u8], place: Place) -> Result<Row> {
    let text = lines::valid_text(bytes, &place)?;
    let value = strict::parse(text).map_err(|fault| {
        let mut place = place.clone();
        let first = fault.line <= 1;
        place.line = place
            .line
            .map(|line| line + fault.line as u64 - u64::from(fault.line > 0));
        let column = if first {
            ", from the row's beginning"
        } else {
            ""
        };
        let problem = format!("{} (column {}{column})", fault.problem, fault.column);
        RowError::new(place, problem)
    })?;
    match value {
        Json::Object(fields) => Ok(Row { place, fields }),
        other => {
            let problem = format!("expected an object with fields, found {}", kind(&other));
            Err(RowError::new(place, problem).into())
        }
    }
}

/// What a JSON value is, in words.
pub(crate) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// The value of a field that holds JSON as text, as tools write it.
pub(crate) fn parse_text(text: &str) -> std::result::Result<Json, String> {
    strict::parse(text).map_err(|fault| fault.problem)
}
