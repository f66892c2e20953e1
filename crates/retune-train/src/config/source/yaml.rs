//! YAML, read by serde-saphyr, with its places.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};

use super::{Entry, Mark, Node, Value};

/// One value in YAML; what is wrong with it, and where.
pub(in super::super) fn yaml(text: &str) -> Result<Node, (String, Option<Mark>)> {
    // `yes` and `off` are texts, duplicate keys are for us to report, and
    // `.inf` shall be refused by the setting that it is given to.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let tree: Result<serde_saphyr::Spanned<Value>, _> =
        serde_saphyr::from_str_with_options(text, options);
    match tree {
        Ok(tree) => Ok(tree.into()),
        // A file of comments alone.
        Err(serde_saphyr::Error::Eof { .. }) => Ok(Node {
            value: Value::Null,
            mark: (1, 1),
        }),
        Err(error) => {
            let mark = error.location().map(mark);
            let options = serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter);
            let problem = error.without_snippet().render_with_options(options);
            // The place is told apart.
            let place = mark.map(|(line, column)| format!(" at line {line}, column {column}"));
            let place = place.unwrap_or_default();
            let problem = problem.strip_suffix(&place).unwrap_or(&problem).to_owned();
            Err((problem, mark))
        }
    }
}

fn mark(location: serde_saphyr::Location) -> Mark {
    (location.line() as usize, location.column() as usize)
}

impl From<serde_saphyr::Spanned<Value>> for Node {
    fn from(tree: serde_saphyr::Spanned<Value>) -> Self {
        Self {
            mark: mark(tree.referenced),
            value: tree.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<serde_saphyr::Spanned<Value>>()? {
            items.push(item.into());
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<serde_saphyr::Spanned<String>>()? {
            let node = map.next_value::<serde_saphyr::Spanned<Value>>()?;
            entries.push(Entry {
                key: key.value,
                mark: mark(key.referenced),
                node: node.into(),
            });
        }
        Ok(Value::Map(entries))
    }
}
