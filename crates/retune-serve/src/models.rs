//! What is served under which name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use retune_generate::Assistant;

use crate::error::{ApiError, ApiResult, Error};
use axum::http::StatusCode;

/// A base model or one of its adapters, with the template, the system prompt and the
/// sampling that belong to it.
#[derive(Debug, Clone)]
pub struct Served {
    /// What requests call it.
    pub name: String,
    /// Model, adapter, template. All that a server serves have the same base.
    pub assistant: Arc<Assistant>,
}

/// All that is served. Requests keep what they were begun with, whatever comes or goes.
#[derive(Debug)]
pub struct Models {
    by_name: RwLock<BTreeMap<String, Served>>,
    /// The one for requests that name none.
    first: String,
}

impl Models {
    /// Serves `first` alone.
    pub fn new(first: Served) -> Self {
        Self {
            first: first.name.clone(),
            by_name: RwLock::new(BTreeMap::from([(first.name.clone(), first)])),
        }
    }

    /// Serves `served` too.
    ///
    /// # Errors
    /// `Setting` if its name is taken.
    pub fn add(&self, served: Served) -> Result<(), Error> {
        let mut all = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(&served.name) {
            return Err(Error::Setting {
                name: "adapter",
                problem: format!(
                    "{:?} is the name of something else that is served\nhint: give it another, as in --adapter NAME=FOLDER",
                    served.name
                ),
            });
        }
        all.insert(served.name.clone(), served);
        Ok(())
    }

    /// Whether an adapter may be served as `name`: nothing else has that name.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn check_place(&self, name: &str) -> ApiResult<()> {
        let all = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        self.may_go(all.get(name))
    }

    /// Serves `served` too, in the place of the adapter that has its name; returned is
    /// whether there was one.
    ///
    /// # Errors
    /// As for `check_place`.
    pub(crate) fn put(&self, served: Served) -> ApiResult<bool> {
        let mut all = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        self.may_go(all.get(&served.name))?;
        Ok(all.insert(served.name.clone(), served).is_some())
    }

    /// Serves the adapter `name` no longer.
    ///
    /// # Errors
    /// 404 if there is none, 400 if it has to stay.
    pub(crate) fn remove(&self, name: &str) -> ApiResult<()> {
        let mut all = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        match all.get(name) {
            None => Err(unknown(name, &all)),
            found => self.may_go(found).map(|()| drop(all.remove(name))),
        }
    }

    fn may_go(&self, served: Option<&Served>) -> ApiResult<()> {
        let Some(served) = served else {
            return Ok(());
        };
        let name = &served.name;
        let problem = match served.assistant.adapter {
            None => format!("lora_name: {name:?} is the base model"),
            Some(_) if *name == self.first => {
                format!("lora_name: {name:?} answers requests that name no model, and stays")
            }
            Some(_) => return Ok(()),
        };
        Err(ApiError::invalid("lora_name", problem))
    }

    /// All, the first first.
    pub fn all(&self) -> Vec<Served> {
        let all = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Served> = all.values().cloned().collect();
        found.sort_by_key(|served| served.name != self.first);
        found
    }

    pub(crate) fn find(&self, name: Option<&str>) -> ApiResult<Served> {
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&self.first);
        let all = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned().ok_or_else(|| unknown(name, &all))
    }
}

fn unknown(name: &str, all: &BTreeMap<String, Served>) -> ApiError {
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    ApiError {
        param: Some("model".to_owned()),
        ..ApiError::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            format!("there is no model {name:?}; there are {}", names.join(", ")),
        )
    }
}
