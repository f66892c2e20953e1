//! `/openapi.json`: what can be asked, made from the types that read the requests.

use std::sync::LazyLock;

use axum::Json as JsonBody;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::adapters::{LoadRequest, UnloadRequest};
use super::chat::ChatRequest;
use super::completions::CompletionRequest;
use super::data::LENGTHS;
use super::embeddings::EmbeddingRequest;
use super::fields::Fields;
use super::tokens::{DetokenizeRequest, TokenizeRequest};
use super::tools::ToolFields;

static DOCUMENT: LazyLock<Json> = LazyLock::new(document);

pub(super) async fn document_route() -> JsonBody<&'static Json> {
    JsonBody(&DOCUMENT)
}

/// Which key a route asks for, if the server has one.
#[derive(Clone, Copy)]
enum Key {
    None,
    Api,
    Admin,
}

/// A route as the document tells it.
struct Route {
    path: &'static str,
    summary: &'static str,
    key: Key,
    /// What may stand behind its `?`: names, values, and whether it has to.
    query: &'static [(&'static str, Value, bool)],
    /// What a body is, and the schemas that it has to fulfil, all of them; none for GET.
    body: Option<(&'static str, Vec<Json>)>,
    /// What the answer is, and the fields that it has in any case.
    answer: (&'static str, &'static [&'static str]),
}

/// What can be the value of something behind a `?`.
enum Value {
    Text,
    NotEmpty,
    /// From the least to the most.
    Whole(u64, u64),
}

const JSON: &str = "application/json";

/// What is said of a data file.
const NAME: (&str, Value, bool) = ("name", Value::NotEmpty, true);
const ROW: (&str, Value, bool) = ("row", Value::Whole(1, u64::MAX), true);
const MODEL: (&str, Value, bool) = ("model", Value::Text, false);
const SYSTEM: (&str, Value, bool) = ("system", Value::Text, false);
const TRAIN_ON: (&str, Value, bool) = ("train_on", Value::Text, false);
const MAX_LENGTH: (&str, Value, bool) = (
    "max_length",
    Value::Whole(*LENGTHS.start(), *LENGTHS.end()),
    false,
);

fn document() -> Json {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    let routes = routes(&mut schemas);
    let paths: Map<String, Json> = routes
        .into_iter()
        .map(|route| (route.path.to_owned(), path_item(route)))
        .collect();
    let mut definitions = schemas.take_definitions(true);
    definitions.insert("Error".to_owned(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "retune",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A model and its adapters behind OpenAI's API. Fields that are not listed are left alone.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "--api-key, if the server has one"},
                "admin": {"type": "http", "scheme": "bearer", "description": "--admin-key"},
            },
        },
    })
}

fn schema<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Json {
    schemas.subschema_for::<T>().to_value()
}

fn routes(schemas: &mut SchemaGenerator) -> Vec<Route> {
    let fields = schema::<Fields>(schemas);
    let asks = |path, summary, key, body, answer| Route {
        path,
        summary,
        key,
        query: &[],
        body: Some((JSON, body)),
        answer,
    };
    let looks_at = |path, summary, query, answer| Route {
        path,
        summary,
        key: Key::Api,
        query,
        body: Some(("application/octet-stream", Vec::new())),
        answer,
    };
    let tells = |path, summary, key, answer| Route {
        path,
        summary,
        key,
        query: &[],
        body: None,
        answer,
    };
    let answer: (_, &[_]) = (JSON, &["id", "object", "created", "model", "choices"]);
    vec![
        asks(
            "/v1/chat/completions",
            "The next message of a conversation",
            Key::Api,
            vec![
                schema::<ChatRequest>(schemas),
                fields.clone(),
                schema::<ToolFields>(schemas),
            ],
            answer,
        ),
        asks(
            "/v1/completions",
            "How a text goes on",
            Key::Api,
            vec![schema::<CompletionRequest>(schemas), fields],
            answer,
        ),
        asks(
            "/v1/embeddings",
            "Texts as vectors",
            Key::Api,
            vec![schema::<EmbeddingRequest>(schemas)],
            (JSON, &["object", "model", "data", "usage"]),
        ),
        tells(
            "/v1/models",
            "What is served",
            Key::Api,
            (JSON, &["object", "data"]),
        ),
        tells(
            "/v1/models/{name}",
            "One of the models",
            Key::Api,
            (JSON, &["id", "object", "created", "owned_by"]),
        ),
        asks(
            "/tokenize",
            "The tokens of a text",
            Key::Api,
            vec![schema::<TokenizeRequest>(schemas)],
            (JSON, &["tokens", "count"]),
        ),
        asks(
            "/detokenize",
            "The text of tokens",
            Key::Api,
            vec![schema::<DetokenizeRequest>(schemas)],
            (JSON, &["content", "prompt"]),
        ),
        asks(
            "/v1/load_lora_adapter",
            "Serve an adapter from the adapter folder",
            Key::Admin,
            vec![schema::<LoadRequest>(schemas)],
            (JSON, &["object", "id", "status"]),
        ),
        asks(
            "/v1/unload_lora_adapter",
            "Serve an adapter no longer",
            Key::Admin,
            vec![schema::<UnloadRequest>(schemas)],
            (JSON, &["object", "id", "status"]),
        ),
        tells(
            "/runs",
            "The trainings that are followed",
            Key::Api,
            (JSON, &["folder", "runs"]),
        ),
        Route {
            query: &[("after", Value::Whole(0, u64::MAX), false)],
            ..tells(
                "/runs/{id}/metrics",
                "What a training has told since",
                Key::Api,
                (JSON, &["state", "events", "next", "more", "from_start"]),
            )
        },
        looks_at(
            "/data/lint",
            "What is wrong with a data file",
            &[NAME, MODEL, SYSTEM, TRAIN_ON, MAX_LENGTH],
            (JSON, &["rows", "files", "findings"]),
        ),
        looks_at(
            "/data/row",
            "A row of a data file, token by token",
            &[NAME, ROW, MODEL, SYSTEM, TRAIN_ON, MAX_LENGTH],
            (JSON, &["row", "length", "scored", "tokens", "turns"]),
        ),
        tells(
            "/metrics",
            "Figures of the work, for Prometheus",
            Key::Api,
            ("text/plain", &[]),
        ),
        tells(
            "/health",
            "Whether the model answers, and how much it has to do",
            Key::None,
            (JSON, &["status", "open", "running", "waiting"]),
        ),
        tells(
            "/openapi.json",
            "This document",
            Key::None,
            (JSON, &["openapi", "info", "paths"]),
        ),
    ]
}

fn path_item(route: Route) -> Json {
    let (kind, required) = route.answer;
    let content = match kind {
        JSON => json!({"type": "object", "required": required}),
        _ => json!({"type": "string"}),
    };
    let mut ok = json!({"description": route.summary, "content": {(kind): {"schema": content}}});
    let streams = route.path.ends_with("completions");
    if streams {
        ok["content"]["text/event-stream"] =
            json!({"schema": {"type": "string", "description": "with stream: true"}});
    }
    let error = json!({
        "description": "What is wrong",
        "content": {(JSON): {"schema": {"$ref": "#/components/schemas/Error"}}},
    });
    let security = match route.key {
        Key::None => json!([]),
        Key::Api => json!([{"key": []}, {}]),
        Key::Admin => json!([{"admin": []}]),
    };
    let mut operation = json!({
        "summary": route.summary,
        "security": security,
        "responses": {"200": ok, "4XX": error, "5XX": error},
    });
    let parameters = parameters(&route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    let method = match route.body {
        None => "get",
        Some((kind, body)) => {
            let schema = match body.as_slice() {
                [] => json!({}),
                [one] => one.clone(),
                all => json!({"allOf": all}),
            };
            operation["requestBody"] =
                json!({"required": true, "content": {(kind): {"schema": schema}}});
            "post"
        }
    };
    json!({(method): operation})
}

/// What stands in the path of a route, and behind its `?`.
fn parameters(route: &Route) -> Vec<Json> {
    let parameter = |name: &str, place: &str, value: &Value, required: bool| {
        let schema = match value {
            Value::Text => json!({"type": "string"}),
            Value::NotEmpty => json!({"type": "string", "minLength": 1}),
            Value::Whole(least, u64::MAX) => json!({"type": "integer", "minimum": least}),
            Value::Whole(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
        };
        json!({"name": name, "in": place, "required": required, "schema": schema})
    };
    let in_path = route.path.split(['{', '}']).nth(1);
    let in_path = in_path.map(|name| parameter(name, "path", &Value::Text, true));
    let in_query = route.query.iter();
    let in_query = in_query.map(|(name, value, must)| parameter(name, "query", value, *must));
    in_path.into_iter().chain(in_query).collect()
}

fn error_schema() -> Json {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field that is wrong"},
                "code": {"type": ["string", "null"]},
            },
        }},
    })
}
