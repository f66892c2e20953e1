//! Sizes of memory, as people write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units of a thousand and of 1024, the largest first. A bare `8G` is refused,
/// since programs do not agree on which of the two it is.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// An amount of memory: `8GB`, `512MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize {
    /// The same in bytes, more than none.
    bytes: u64,
}

impl MemorySize {
    /// What a value has to look like, in words.
    pub(super) const EXPECTED: &'static str = "a size such as 8GB or 512MiB";

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for MemorySize {
    type Err = String;

    /// A number, which may have a fraction, and a unit in letters of any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected {}, found {text:?}", Self::EXPECTED);
        let text = text.trim();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[digits.len()..];
        let unit = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let (_, unit) = unit.ok_or_else(expected)?;
        let digits = digits.trim_end();
        let bytes = match digits.parse::<u64>() {
            Ok(whole) => whole.checked_mul(*unit).ok_or_else(expected)?,
            Err(_) if !digits.starts_with(|c: char| c.is_ascii_digit()) => return Err(expected()),
            Err(_) => {
                let amount = digits.parse::<f64>().map_err(|_| expected())? * *unit as f64;
                // From here on u64 is full.
                if amount >= u64::MAX as f64 {
                    return Err(expected());
                }
                amount as u64
            }
        };
        match bytes {
            0 => Err(expected()),
            _ => Ok(Self { bytes }),
        }
    }
}

impl fmt::Display for MemorySize {
    /// In the largest unit of which it is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, unit)| self.bytes.is_multiple_of(*unit));
        let (name, unit) = unit.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.bytes / unit)
    }
}

impl Serialize for MemorySize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Cow<'de, str> = Cow::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MemorySize {
    fn schema_name() -> Cow<'static, str> {
        "MemorySize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "memory-size", "examples": ["8GB", "512MiB"]})
    }
}
