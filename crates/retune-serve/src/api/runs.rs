//! `/runs` and `/runs/{id}/metrics`: trainings, while they run and afterwards.

use std::io;
use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::Shared;
use super::query::Query;
use crate::error::{ApiError, ApiResult};
use crate::runs::{Run, Runs, Summary};

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> ApiResult<JsonBody<Json>> {
    reading(shared, |runs| {
        let mut all: Vec<(Run, Summary)> = runs
            .all()?
            .into_iter()
            // One that has just been taken away is not there.
            .filter_map(|run| run.summary().ok().map(|summary| (run, summary)))
            .collect();
        all.sort_by(|(a, of_a), (b, of_b)| {
            let changed = of_b.changed.total_cmp(&of_a.changed);
            changed.then_with(|| a.id.cmp(&b.id))
        });
        let told: Vec<Json> = all
            .iter()
            .map(|(run, summary)| told(run, summary))
            .collect();
        Ok(JsonBody(
            json!({"folder": runs.folder.display().to_string(), "runs": told}),
        ))
    })
    .await
}

pub(super) async fn metrics(
    State(shared): State<Arc<Shared>>,
    id: Result<Path<String>, PathRejection>,
    query: Query,
) -> ApiResult<JsonBody<Json>> {
    let after = query.number("after", 0..=u64::MAX)?.unwrap_or(0);
    // What is no text is no run's name.
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let name = id.clone();
    let found = reading(shared, move |runs| {
        let Some(run) = runs.find(&name)? else {
            return Ok(None);
        };
        // Before the events: what ends meanwhile ends the next time.
        let state = run.state()?;
        let piece = run.read(after)?;
        Ok(Some(json!({
            "state": state.name(),
            "events": piece.events,
            "next": piece.next,
            "more": piece.more,
            "from_start": piece.from_start,
        })))
    });
    let unknown = || {
        let problem = format!("there is no run {id:?}; /runs lists those that there are");
        ApiError::new(StatusCode::NOT_FOUND, "run_not_found", problem)
    };
    found.await?.map(JsonBody).ok_or_else(unknown)
}

/// Reads files where that holds up nobody.
async fn reading<T: Send + 'static>(
    shared: Arc<Shared>,
    read: impl FnOnce(&Runs) -> io::Result<T> + Send + 'static,
) -> ApiResult<T> {
    let read = tokio::task::spawn_blocking(move || {
        let problem = |error: io::Error| {
            let folder = shared.runs.folder.display();
            ApiError::internal(format!("{folder} cannot be read: {error}"))
        };
        read(&shared.runs).map_err(problem)
    });
    let ended = |_| ApiError::internal("the reading of runs broke off");
    read.await.map_err(ended)?
}

fn told(run: &Run, summary: &Summary) -> Json {
    json!({
        "id": run.id,
        "state": summary.state.name(),
        "started": summary.started,
        "changed": summary.changed,
        "step": summary.step,
        "max_steps": summary.max_steps,
        "loss": summary.loss,
        "eval_loss": summary.eval_loss,
    })
}
