//! Settings by their names.

use serde_json::{Map, Value as Json};

use super::{Sampling, setting};
use crate::error::Result;

impl Sampling {
    /// These settings, with those that `changed` names changed. Where it names
    /// something that only matters to drawing and does not say `do_sample`, tokens
    /// are drawn.
    ///
    /// # Errors
    /// `Setting`: a name that there is not, a value of another kind, one that makes no
    /// sense.
    pub fn with(&self, changed: &Map<String, Json>) -> Result<Self> {
        let Ok(Json::Object(mut all)) = serde_json::to_value(self) else {
            unreachable!("the settings are a record");
        };
        for (name, value) in changed {
            let Some(place) = all.get_mut(name) else {
                let names: Vec<&str> = all.keys().map(String::as_str).collect();
                return Err(setting("settings", &names.join(", "), name));
            };
            // Each by itself, so that the one that is wrong is named.
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(Json::Object(alone))
                .map_err(|_| setting(name, kind(name, place), value))?;
            *place = value.clone();
        }
        let draws = ["temperature", "top_k", "top_p", "min_p"];
        if !changed.contains_key("do_sample")
            && draws.iter().any(|name| changed.contains_key(*name))
        {
            all.insert("do_sample".to_owned(), true.into());
        }
        let new: Self = serde_json::from_value(Json::Object(all))
            .map_err(|error| setting("settings", "values that fit", error))?;
        new.check_values()?;
        Ok(new)
    }

    /// One setting for [`Sampling::with`], whose value is a text.
    pub fn named_text(name: &str, text: &str) -> Map<String, Json> {
        let value = match name {
            // In quotation marks it may hold a line's end.
            "stop" => vec![serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())].into(),
            _ => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        Map::from_iter([(name.to_owned(), value)])
    }
}

/// What a setting takes, in words.
fn kind(name: &str, now: &Json) -> &'static str {
    match now {
        Json::Bool(_) => "true or false",
        Json::Number(number) if number.is_f64() => "a number",
        Json::Number(_) | Json::Null => "a whole number of at least 0",
        Json::Array(_) if name == "stop" => "texts",
        Json::Array(_) => "tokens",
        _ => "tokens with numbers",
    }
}
