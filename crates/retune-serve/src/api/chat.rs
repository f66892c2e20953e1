//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use retune_data::{Conversation, Message, Role};
use retune_generate::{Assistant, Piece};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Shared;
use super::answers::{Asked, Chunks, Envelope, Usage, chat_logprobs, finish_reason, stop_reason};
use super::body::Body;
use super::fields::{Fields, MOST_LOGPROBS};
use crate::error::{ApiError, ApiResult};

#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    messages: Vec<Turn>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    response_format: Option<ResponseFormat>,
    tools: Option<Vec<Json>>,
}

#[derive(Debug, Deserialize)]
struct ResponseFormat {
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct Turn {
    role: TurnRole,
    content: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<Json>>,
    name: Option<String>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TurnRole {
    System,
    /// What newer models of OpenAI call the system.
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

impl Content {
    fn into_text(self, place: &str) -> ApiResult<String> {
        let parts = match self {
            Self::Text(text) => return Ok(text),
            Self::Parts(parts) => parts,
        };
        let text = |part: Part| match (part.r#type.as_str(), part.text) {
            ("text" | "input_text", Some(text)) => Ok(text),
            (kind, _) => Err(ApiError::invalid(
                place,
                format!("{place}: expected parts of text, found one of type {kind:?}"),
            )),
        };
        let texts: ApiResult<Vec<String>> = parts.into_iter().map(text).collect();
        Ok(texts?.join("\n"))
    }
}

impl ChatRequest {
    fn conversation(turns: Vec<Turn>) -> ApiResult<Conversation> {
        if turns.is_empty() {
            let problem = "messages: expected at least one";
            return Err(ApiError::invalid("messages", problem));
        }
        let mut messages = Vec::with_capacity(turns.len());
        for (index, turn) in turns.into_iter().enumerate() {
            let place = format!("messages[{index}].content");
            let role = match turn.role {
                TurnRole::System | TurnRole::Developer => Role::System,
                TurnRole::User => Role::User,
                TurnRole::Assistant => Role::Assistant,
                TurnRole::Tool | TurnRole::Function => Role::Tool,
            };
            let calls = turn.tool_calls.unwrap_or_default();
            let content = match turn.content {
                Some(content) => content.into_text(&place)?,
                None if matches!(role, Role::Assistant) && !calls.is_empty() => String::new(),
                None => {
                    let problem = format!("{place}: expected text, found none");
                    return Err(ApiError::invalid(place, problem));
                }
            };
            let mut message = Message::new(role, content);
            message.tool_calls = calls;
            let extra = [
                ("name", turn.name),
                ("tool_call_id", turn.tool_call_id),
                ("reasoning_content", turn.reasoning_content),
            ];
            let named = extra
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
            message.extra = named.collect::<Map<String, Json>>();
            messages.push(message);
        }
        Ok(Conversation {
            messages,
            tools: Vec::new(),
        })
    }

    /// How many probabilities are to be told, if any.
    fn told(&self) -> ApiResult<Option<usize>> {
        let top = self.top_logprobs.unwrap_or(0) as usize;
        if top > MOST_LOGPROBS {
            return Err(ApiError::invalid(
                "top_logprobs",
                format!("top_logprobs: expected at most {MOST_LOGPROBS}, found {top}"),
            ));
        }
        match self.logprobs.unwrap_or(false) {
            true => Ok(Some(top)),
            false if top > 0 => Err(ApiError::invalid(
                "top_logprobs",
                "top_logprobs: expected logprobs to be true as well",
            )),
            false => Ok(None),
        }
    }

    fn check_what_is_not_there_yet(&self) -> ApiResult<()> {
        if let Some(format) = &self.response_format
            && format.r#type != "text"
        {
            return Err(ApiError::invalid(
                "response_format",
                format!(
                    "response_format: {:?} is not supported; there is \"text\"",
                    format.r#type
                ),
            ));
        }
        match &self.tools {
            Some(tools) if !tools.is_empty() => Err(ApiError::invalid(
                "tools",
                "tools: calling tools is not supported",
            )),
            _ => Ok(()),
        }
    }
}

pub(super) async fn create(State(shared): State<Arc<Shared>>, body: Body) -> ApiResult<Response> {
    let (request, fields): (ChatRequest, Fields) = (body.read()?, body.read()?);
    request.check_what_is_not_there_yet()?;
    let served = shared.models.find(fields.model.as_deref())?;
    let samples = fields.samples()?;
    let told = request.told()?;
    let sampling = fields.sampling(&served.assistant.sampling, told)?;
    let conversation = ChatRequest::conversation(request.messages)?;
    let asked = served.assistant.request(conversation, sampling)?;
    asked.check(&served.assistant.model, usize::MAX)?;
    let asked = Asked::new(&shared, vec![asked], samples)?;
    let answers = Described {
        envelope: Envelope::new("chatcmpl", &served.name, &fields),
        assistant: Arc::clone(&served.assistant),
        told: told.is_some(),
    };
    if fields.streams() {
        return asked.stream(answers).await;
    }
    let (found, usage) = asked.wait().await?;
    let choices: Vec<Json> = found
        .into_iter()
        .enumerate()
        .map(|(index, answer)| {
            let logprobs = answers
                .told
                .then(|| chat_logprobs(&answers.assistant.tokenizer, &answer.logprobs));
            json!({
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": null},
                "logprobs": logprobs,
                "finish_reason": finish_reason(answer.finish),
                "stop_reason": stop_reason(answer.finish),
            })
        })
        .collect();
    let mut body = answers.envelope.body("chat.completion", choices.into());
    body["usage"] = usage.to_json();
    Ok(JsonBody(body).into_response())
}

/// What the object of a stream's chunk is called.
const CHUNK: &str = "chat.completion.chunk";

/// What makes the chunks of an answer.
struct Described {
    envelope: Envelope,
    assistant: Arc<Assistant>,
    told: bool,
}

impl Described {
    fn chunk(&self, choice: Json) -> Json {
        self.envelope.chunk(CHUNK, json!([choice]))
    }

    fn choice(&self, index: usize, delta: Json) -> Json {
        json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null})
    }
}

impl Chunks for Described {
    /// The role, which stands in no other.
    fn first(&mut self, choice: usize) -> Option<Json> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        Some(self.chunk(self.choice(choice, delta)))
    }

    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Json> {
        let mut chunks = Vec::new();
        let told = piece.logprobs.filter(|_| piece.token.is_some());
        if !piece.text.is_empty() || told.is_some() {
            let mut entry = self.choice(choice, json!({"content": piece.text}));
            if let Some(told) = told {
                entry["logprobs"] = chat_logprobs(&self.assistant.tokenizer, &[told]);
            }
            chunks.push(self.chunk(entry));
        }
        if piece.finish.is_some() {
            let mut entry = self.choice(choice, json!({}));
            entry["finish_reason"] = finish_reason(piece.finish);
            entry["stop_reason"] = stop_reason(piece.finish);
            chunks.push(self.chunk(entry));
        }
        chunks
    }

    fn last(&mut self, usage: Usage) -> Option<Json> {
        self.envelope.last(CHUNK, usage)
    }
}
