//! The JSON schema of [`TrainConfig`]: for editors, and for everything here
//! that has to know a field's type, bounds and description.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::TrainConfig;
use super::foreign::{self, foreign_names};
use super::names::ALIASES;

/// A list of texts, of which a single one may be written without brackets.
pub(super) fn one_or_many(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["array", "string"], "items": {"type": "string"}})
}

/// A [`Switch`](super::Switch), whose `on` and `off` may be true and false.
pub(super) fn switch(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": ["auto", "on", "off", true, false]})
}

/// Rates by name.
pub(super) fn rates(_: &mut SchemaGenerator) -> Schema {
    let rate = json!({"type": "number", "exclusiveMinimum": 0.0});
    json_schema!({"type": "object", "additionalProperties": rate})
}

/// The fields of the settings, in the struct's order, each with its schema.
pub(super) fn properties() -> Map<String, Value> {
    match schema().remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    }
}

fn schema() -> Map<String, Value> {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let schema = settings
        .into_generator()
        .into_root_schema_for::<TrainConfig>();
    let mut schema = schema.to_value();
    without_number_formats(&mut schema);
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// `uint` and the like are formats of schemars' own, of which editors warn.
fn without_number_formats(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            let number = |format: &Value| {
                let format = format.as_str().unwrap_or_default();
                format.starts_with("uint") || format == "double"
            };
            if entries.get("format").is_some_and(number) {
                entries.remove("format");
            }
            entries.values_mut().for_each(without_number_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(without_number_formats),
        _ => {}
    }
}

/// The JSON schema of a run's settings, for editors. Other programs' names that
/// are understood stand in it as deprecated.
pub fn json_schema() -> String {
    let mut schema = schema();
    schema.insert("title".into(), json!("Settings of retune train"));
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (alias, name) in ALIASES {
            let alias_of = json!({
                "allOf": [{"$ref": format!("#/properties/{name}")}],
                "description": format!("Another name of {name}"),
                "deprecated": true,
            });
            properties.insert((*alias).to_owned(), alias_of);
        }
        for name in foreign_names() {
            let hint = foreign::hint(name);
            let foreign = json!({"description": hint, "deprecated": true});
            properties.entry(name).or_insert(foreign);
        }
    }
    let mut text = serde_json::to_string_pretty(&Value::Object(schema)).unwrap_or_default();
    text.push('\n');
    text
}
