//! The fields of the settings as a table, made of the schema.

use std::sync::LazyLock;

use serde_json::Value;

use super::choices::{DEVICES, device};
use super::memory::MemorySize;
use super::schema;

/// The groups of the settings: a heading, and the field with which it begins.
const GROUPS: [(&str, &str); 7] = [
    ("Model", "model"),
    ("LoRA", "finetuning_type"),
    ("Data", "format"),
    ("Validation", "validation_split"),
    ("Training", "replay_data"),
    ("Computing", "device"),
    ("Logs", "logging_steps"),
];

static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(table);

/// One setting, as files, the command line and help need to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name, as in the struct.
    pub name: String,
    /// The same with hyphens, as command lines like it.
    pub kebab_name: String,
    /// What it is, in a sentence without a full stop.
    pub description: String,
    /// The heading under which it stands.
    pub group: &'static str,
    /// What holds without it; null where that is decided later.
    pub default: Value,
    /// Which values it takes.
    pub kind: Kind,
}

impl Field {
    /// Whether it is a list of prose, whose elements may hold commas.
    pub fn is_prose(&self) -> bool {
        self.name == "sample_prompts"
    }
}

/// Which values a field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// A whole number.
    Whole {
        /// The least.
        min: u64,
        /// The most.
        max: Option<u64>,
    },
    /// A finite number.
    Number(Range),
    /// Any text, also a path.
    Text,
    /// An amount of memory.
    Size,
    /// Where to compute.
    Device,
    /// One of some names.
    Choice(Vec<String>),
    /// Texts, or a single one.
    List,
    /// Texts by name.
    Texts,
    /// Numbers by name.
    Numbers(Range),
}

/// Between what a number has to lie.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Range {
    /// At least this.
    pub min: Option<f64>,
    /// More than this.
    pub above: Option<f64>,
    /// At most this.
    pub max: Option<f64>,
    /// Less than this.
    pub below: Option<f64>,
}

/// All settings, in the struct's order.
pub fn fields() -> &'static [Field] {
    &FIELDS
}

/// The field of that name.
pub(super) fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

fn table() -> Vec<Field> {
    let mut group = "";
    let properties = schema::properties().into_iter();
    let field = |(name, schema): (String, Value)| {
        if let Some((heading, _)) = GROUPS.iter().find(|(_, first)| *first == name) {
            group = heading;
        }
        let description = schema["description"].as_str().unwrap_or_default();
        Field {
            kebab_name: name.replace('_', "-"),
            description: description.split_whitespace().collect::<Vec<_>>().join(" "),
            group,
            default: schema.get("default").cloned().unwrap_or(Value::Null),
            kind: kind(&schema),
            name,
        }
    };
    properties.map(field).collect()
}

fn kind(schema: &Value) -> Kind {
    // What may be null is `anyOf` itself and null, or has two types.
    if let Some(variants) = schema["anyOf"].as_array() {
        return kind(&variants[0]);
    }
    if let Some(names) = choices(schema) {
        return Kind::Choice(names);
    }
    let mut types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    };
    types.retain(|name| *name != "null");
    match types.first().copied().unwrap_or_default() {
        "boolean" => Kind::Bool,
        "integer" => Kind::Whole {
            min: schema["minimum"].as_u64().unwrap_or(0),
            max: schema["maximum"].as_u64(),
        },
        "number" => Kind::Number(range(schema)),
        "array" => Kind::List,
        "object" => match &schema["additionalProperties"] {
            inner if inner["type"] == "number" => Kind::Numbers(range(inner)),
            _ => Kind::Texts,
        },
        _ if schema["format"] == "memory-size" => Kind::Size,
        _ if schema["pattern"] == device::PATTERN => Kind::Device,
        _ => Kind::Text,
    }
}

fn choices(schema: &Value) -> Option<Vec<String>> {
    let names = |values: &mut dyn Iterator<Item = &Value>| -> Vec<String> {
        values
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    if let Some(values) = schema["enum"].as_array() {
        return Some(names(&mut values.iter()));
    }
    let variants = schema["oneOf"].as_array()?;
    Some(names(&mut variants.iter().map(|variant| &variant["const"])))
}

fn range(schema: &Value) -> Range {
    Range {
        min: schema["minimum"].as_f64(),
        above: schema["exclusiveMinimum"].as_f64(),
        max: schema["maximum"].as_f64(),
        below: schema["exclusiveMaximum"].as_f64(),
    }
}

impl Range {
    /// Whether the number is finite and lies in it.
    pub fn contains(&self, number: f64) -> bool {
        number.is_finite()
            && self.min.is_none_or(|min| number >= min)
            && self.above.is_none_or(|above| number > above)
            && self.max.is_none_or(|max| number <= max)
            && self.below.is_none_or(|below| number < below)
    }

    fn in_words(&self) -> String {
        let low = match (self.min, self.above) {
            (Some(min), _) => format!("of at least {min}"),
            (_, Some(above)) => format!("above {above}"),
            _ => String::new(),
        };
        let high = match (self.max, self.below) {
            (Some(max), _) => format!("at most {max}"),
            (_, Some(below)) => format!("below {below}"),
            _ => String::new(),
        };
        let bounds: Vec<String> = [low, high]
            .into_iter()
            .filter(|side| !side.is_empty())
            .collect();
        match &bounds[..] {
            [] => "a number".to_owned(),
            bounds => format!("a number {}", bounds.join(" and ")),
        }
    }
}

impl Kind {
    /// What is expected, in words.
    pub fn expected(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Whole {
                min,
                max: Some(max),
            } => format!("a whole number from {min} to {max}"),
            Self::Whole { min, max: None } => format!("a whole number of at least {min}"),
            Self::Number(range) => range.in_words(),
            Self::Text => "a text".to_owned(),
            Self::Size => MemorySize::EXPECTED.to_owned(),
            Self::Device => DEVICES.to_owned(),
            Self::Choice(names) => match names.split_last() {
                Some((last, [])) => last.clone(),
                Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
                None => "a name".to_owned(),
            },
            Self::List => "a text, or a list of texts".to_owned(),
            Self::Texts => "texts by name, such as {instruction: question}".to_owned(),
            Self::Numbers(_) => "numbers by name, such as {lora_B: 1e-3}".to_owned(),
        }
    }
}
