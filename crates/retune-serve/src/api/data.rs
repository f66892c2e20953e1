//! `/data/lint` and `/data/row`: what is wrong with a data file, and what becomes of a row.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json as JsonBody;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use retune_data::lint::{self, LintOptions};
use retune_data::source::ReadOptions;
use retune_data::{
    Content, DataOptions, Encoder, Error, LabelOptions, Learn, Message, OverLong, Role, Sample,
    Samples, TokenView, conversation_of, inspect,
};
use serde_json::{Value as Json, json};

use super::Shared;
use super::query::Query;
use crate::desk::{FileName, OpenFile, too_large};
use crate::error::{ApiError, ApiResult};

/// Rows of a file; each takes about 1 KB while near-duplicates are looked for.
const MOST_ROWS: u64 = 200_000;
/// Rows that are told of each finding.
const MOST_FOUND: usize = 1000;
/// Bytes and turns of a row that is shown.
const MOST_ROW_BYTES: usize = 256 << 10;
const MOST_TURNS: usize = 500;
/// Tokens of it.
const MOST_TOKENS: usize = 10_000;
/// What `max_length` can be.
pub(super) const LENGTHS: RangeInclusive<u64> = 2..=1 << 24;

pub(super) async fn lint(
    State(shared): State<Arc<Shared>>,
    query: Query,
    request: Request,
) -> ApiResult<Response> {
    let name = FileName::new(query.text("name"))?;
    let encoder = encoder(&shared, &query)?;
    let work = move |file: &OpenFile| linted(file, &encoder);
    let report = shared.desk.look_at(name, request, work).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], report).into_response())
}

pub(super) async fn row(
    State(shared): State<Arc<Shared>>,
    query: Query,
    request: Request,
) -> ApiResult<JsonBody<Json>> {
    let name = FileName::new(query.text("name"))?;
    let encoder = encoder(&shared, &query)?;
    let wanted = query.number("row", 1..=u64::MAX)?;
    let wanted = wanted.ok_or_else(|| {
        ApiError::invalid(
            "row",
            "row: expected the number of a row, from 1; found none",
        )
    })?;
    let work = move |file: &OpenFile| shown(file, wanted, &encoder);
    let row = shared.desk.look_at(name, request, work).await?;
    Ok(JsonBody(row))
}

/// How the model that `query` names gets samples.
fn encoder(shared: &Shared, query: &Query) -> ApiResult<Encoder> {
    let served = shared.models.find(query.text("model"))?;
    let own = served.assistant.source.system.clone();
    let system = query.text("system").map(str::to_owned).or(own);
    let max_length = query.number("max_length", LENGTHS)?;
    Ok(Encoder {
        tokenizer: Arc::clone(&served.assistant.tokenizer),
        labels: LabelOptions {
            learn: query.named("train_on", &Learn::NAMES)?.unwrap_or_default(),
            // Whoever says that there is none wants none, nor that of the training.
            system: system.filter(|system| !system.is_empty()),
        },
        max_length: max_length.map_or(Encoder::DEFAULT_MAX_LENGTH, |length| length as usize),
        over_long: OverLong::Drop,
    })
}

fn data_options(file: &OpenFile) -> DataOptions {
    DataOptions {
        read: ReadOptions {
            format: Some(file.name.format),
            stop: Some(Arc::clone(&file.stop)),
            ..ReadOptions::default()
        },
        ..DataOptions::default()
    }
}

/// What `retune data lint --json` says of a file.
fn linted(file: &OpenFile, encoder: &Encoder) -> ApiResult<String> {
    let options = LintOptions {
        encoder: Some(encoder),
        near_duplicates: Some(LintOptions::DEFAULT_NEAR_DUPLICATES),
        examples: LintOptions::DEFAULT_EXAMPLES,
        ..LintOptions::default()
    };
    let mut too_many = false;
    let mut progress = |rows: u64| {
        if rows > MOST_ROWS {
            too_many = true;
            file.stop.store(true, Ordering::Relaxed);
        }
    };
    let paths: [PathBuf; 1] = [file.path().to_path_buf()];
    let report = lint::lint(&paths, &data_options(file), &options, &mut progress);
    if too_many {
        return Err(too_large(format!(
            "the file has more than {MOST_ROWS} rows; retune data lint has no such limit"
        )));
    }
    let mut report = report.map_err(|error| unusable(file, "unusable_file", &error))?;
    for finding in &mut report.findings {
        finding.rows.truncate(MOST_FOUND);
    }
    let report = serde_json::to_string(&report)
        .map_err(|error| ApiError::internal(format!("the report is no JSON: {error}")))?;
    Ok(file.in_clients_json(&report))
}

/// The row with the number `wanted`, token by token.
fn shown(file: &OpenFile, wanted: u64, encoder: &Encoder) -> ApiResult<Json> {
    let sample = found(file, wanted)?;
    let conversation = conversation_of(&sample.content);
    let bytes = Json::from(sample.fields.clone()).to_string().len();
    let turns = conversation.messages.len();
    if bytes > MOST_ROW_BYTES || turns > MOST_TURNS {
        return Err(ApiError::invalid(
            "row",
            format!(
                "row {wanted} has {bytes} bytes and {turns} turns; shown are rows of at most {MOST_ROW_BYTES} and {MOST_TURNS}, and by retune data inspect any"
            ),
        ));
    }
    let inspection = inspect(&encoder.tokenizer, &sample.content, &encoder.labels)
        .map_err(|error| unusable(file, "unusable_row", &error))?;
    let length = inspection.tokens.len();
    let scored = inspection.tokens.iter().filter(|token| token.scored);
    let scored = scored.count();
    let tokens: Vec<Json> = inspection
        .tokens
        .iter()
        .take(MOST_TOKENS)
        .map(token)
        .collect();
    let turns: Vec<Json> = match &sample.content {
        Content::Text(text) => vec![json!({"role": null, "text": text})],
        _ => {
            let system = encoder.labels.system.as_deref();
            let conversation = conversation.into_owned().with_default_system(system);
            conversation.messages.iter().map(turn).collect()
        }
    };
    Ok(json!({
        "row": wanted,
        "line": sample.place.line.unwrap_or(0),
        "length": length,
        "scored": scored,
        "tokens": tokens,
        "turns": turns,
        "cut": length > MOST_TOKENS,
        "over_long": length > encoder.max_length,
    }))
}

/// The row with the number `wanted`.
fn found(file: &OpenFile, wanted: u64) -> ApiResult<Sample> {
    let paths = [file.path().to_path_buf()];
    let unusable_file = |error: Error| unusable(file, "unusable_file", &error);
    let mut rows = 0;
    for sample in Samples::open(&paths, data_options(file)).map_err(unusable_file)? {
        match sample {
            Ok(sample) if sample.place.row == wanted => return Ok(sample),
            Ok(sample) => rows = sample.place.row,
            Err(Error::Row(error)) if error.place.row == wanted => {
                return Err(unusable(file, "unusable_row", &error));
            }
            // Another row's fault is not asked for.
            Err(Error::Row(error)) => rows = error.place.row,
            Err(error) => return Err(unusable_file(error)),
        }
    }
    Err(ApiError {
        param: Some("row".to_owned()),
        ..ApiError::new(
            StatusCode::NOT_FOUND,
            "row_not_found",
            format!("there is no row {wanted}; there are {rows}"),
        )
    })
}

/// A file or row that cannot be used, for the reason that the program gives.
fn unusable(file: &OpenFile, code: &'static str, error: &dyn std::error::Error) -> ApiError {
    let problem = file.in_clients_words(&error.to_string());
    ApiError::new(StatusCode::BAD_REQUEST, code, problem)
}

fn token(token: &TokenView) -> Json {
    json!({
        "id": token.id,
        "text": token.text,
        "role": token.role.map(Role::name),
        "scored": token.scored,
    })
}

/// What is said in a turn, and the tools that are called.
fn turn(message: &Message) -> Json {
    let calls = message.tool_calls.iter().map(Json::to_string);
    let parts: Vec<String> = std::iter::once(message.content.clone())
        .chain(calls)
        .filter(|part| !part.is_empty())
        .collect();
    json!({"role": message.role.name(), "text": parts.join("\n")})
}
