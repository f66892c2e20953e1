//! What stands behind the `?` of an address.

use std::convert::Infallible;
use std::ops::RangeInclusive;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::error::{ApiError, ApiResult};

/// Names and values. Names that nobody asks for are left alone.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        Ok(Self(pairs.collect()))
    }
}

impl Query {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 if it is none, or none of `range`.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<u64>) -> ApiResult<Option<u64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (first, last) = (range.start(), range.end());
        let expected = match *last {
            u64::MAX => format!("a whole number from {first} on"),
            _ => format!("a whole number from {first} to {last}"),
        };
        let problem =
            || ApiError::invalid(name, format!("{name}: expected {expected}, found {text:?}"));
        number.ok_or_else(problem).map(Some)
    }

    /// One of the values that have names.
    ///
    /// # Errors
    /// 400 if it is none of them.
    pub(crate) fn named<T: Copy>(&self, name: &str, values: &[(&str, T)]) -> ApiResult<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let found = values.iter().find(|(own, _)| *own == text);
        let problem = || {
            let names: Vec<&str> = values.iter().map(|(own, _)| *own).collect();
            let names = names.join(", ");
            ApiError::invalid(
                name,
                format!("{name}: expected one of {names}, found {text:?}"),
            )
        };
        found.map(|(_, value)| *value).ok_or_else(problem).map(Some)
    }
}
