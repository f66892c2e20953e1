//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use retune_data::Message;
use retune_generate::{Assistant, Finish, Grammar, Piece};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Shared;
use super::answers::{Asked, Chunks, Envelope, Usage, chat_logprobs, finish_reason, stop_reason};
use super::body::Body;
use super::fields::{Fields, MOST_LOGPROBS};
use super::messages::{Turn, conversation};
use super::prompts::check_bytes;
use super::tools::{CallReader, Part, ToolFields, Tools};
use crate::engine::Slot;
use crate::error::{ApiError, ApiResult};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ChatRequest {
    messages: Vec<Turn>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    response_format: Option<ResponseFormat>,
    /// What the chat template gets beside the messages, such as Qwen3's `enable_thinking`
    chat_template_kwargs: Option<Map<String, Json>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ResponseFormat {
    r#type: String,
    json_schema: Option<NamedSchema>,
    /// llama.cpp's place for it.
    schema: Option<Json>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NamedSchema {
    schema: Option<Json>,
}

impl ChatRequest {
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

    /// The schema that an answer has to follow, if there is one.
    fn schema(&self) -> ApiResult<Option<Json>> {
        let wrong = |problem: String| ApiError::invalid("response_format", problem);
        let Some(format) = &self.response_format else {
            return Ok(None);
        };
        match format.r#type.as_str() {
            "text" => Ok(None),
            "json_object" => {
                let any = || json!({"type": "object"});
                Ok(Some(format.schema.clone().unwrap_or_else(any)))
            }
            "json_schema" => {
                let schema = format.json_schema.as_ref().and_then(|it| it.schema.clone());
                schema.map(Some).ok_or_else(|| {
                    wrong("response_format: expected json_schema.schema, found none".to_owned())
                })
            }
            other => Err(wrong(format!(
                "response_format: expected text, json_object or json_schema, found {other:?}"
            ))),
        }
    }
}

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(slot): Extension<Arc<Slot>>,
    body: Body,
) -> ApiResult<Response> {
    let (request, fields): (ChatRequest, Fields) = (body.read()?, body.read()?);
    let tools: ToolFields = body.read()?;
    let bytes = body.into_length();
    let served = shared.models.find(fields.model.as_deref())?;
    let samples = fields.samples()?;
    let told = request.told()?;
    let sampling = fields.sampling(&served.assistant.sampling, told)?;
    let assistant = Arc::clone(&served.assistant);
    let context = shared.engine.context();
    let length_field = fields.length_field();
    let read = move || {
        let tools = tools.read(&assistant.tokenizer)?;
        let schema = request.schema()?;
        let mut conversation = conversation(request.messages)?;
        conversation.tools = tools.as_ref().map(Tools::to_json).unwrap_or_default();
        let offered = conversation.tools.iter();
        let offered = offered.map(|tool| tool.to_string().len()).sum();
        check_bytes(&assistant, offered, "tools")?;
        check_bytes(&assistant, bytes_of(&conversation.messages), "messages")?;
        let arguments = request.chat_template_kwargs.unwrap_or_default();
        let mut asked = assistant.request_with(conversation, &arguments, sampling)?;
        let checked = asked.check(&assistant.model, context);
        checked.map_err(|error| in_words_of_chat(error, length_field))?;
        asked.grammar = grammar(&assistant, tools.as_ref(), schema)?;
        Ok((asked, tools))
    };
    let (asked, tools) = shared.readers.run(bytes, read).await?;
    let asked = Asked::new(&shared, &slot, &served.name, vec![asked], samples)?;
    let mut answers = ChatChunks {
        envelope: Envelope::new("chatcmpl", &served.name, &fields),
        assistant: Arc::clone(&served.assistant),
        told: told.is_some(),
        calls: tools.map(|_| vec![CallReader::default(); samples]),
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
                "message": answers.message(index, &answer.text),
                "logprobs": logprobs,
                "finish_reason": answers.finish_reason(index, answer.finish),
                "stop_reason": stop_reason(answer.finish),
            })
        })
        .collect();
    let mut body = answers.envelope.body("chat.completion", choices.into());
    body["usage"] = usage.to_json();
    Ok(JsonBody(body).into_response())
}

/// An error with the fields that a chat has, where `length_field` says how long answers
/// may be.
fn in_words_of_chat(error: retune_generate::Error, length_field: &str) -> ApiError {
    let is_empty = matches!(error, retune_generate::Error::EmptyPrompt);
    let mut error = ApiError::from(error);
    if is_empty {
        error.param = Some("messages".to_owned());
    }
    if error.param.as_deref() == Some("max_tokens") {
        error.param = Some(length_field.to_owned());
        error.message = error.message.replace("max_tokens", length_field);
    }
    error
}

/// About how many bytes a template makes of `messages`.
fn bytes_of(messages: &[Message]) -> usize {
    let json = |value: &Json| value.to_string().len();
    let said = messages.iter().map(|message| {
        let calls = message.tool_calls.iter().map(json);
        let extra = message.extra.values().map(json);
        message.content.len() + calls.chain(extra).sum::<usize>()
    });
    said.sum()
}

/// What an answer has to be, if not anything: a call of `tools`, or what `schema` allows.
fn grammar(
    assistant: &Assistant,
    tools: Option<&Tools>,
    schema: Option<Json>,
) -> ApiResult<Option<Grammar>> {
    let lark = tools.and_then(|tools| tools.grammar(schema.as_ref()));
    if lark.is_none() && schema.is_none() {
        return Ok(None);
    }
    let wrong = |param| move |error| ApiError::invalid(param, format!("{param}: {error}"));
    let first = if schema.is_some() {
        "response_format"
    } else {
        "tools"
    };
    let grammars = assistant.grammars().map_err(wrong(first))?;
    // By itself too, so that what is wrong with it is not said of the tools.
    let schema = schema.map(|schema| grammars.json_schema(&schema));
    let schema = schema.transpose().map_err(wrong("response_format"))?;
    match lark {
        Some(lark) => grammars.lark(&lark).map(Some).map_err(wrong("tools")),
        None => Ok(schema),
    }
}

/// What the object of a stream's chunk is called.
const CHUNK: &str = "chat.completion.chunk";

/// What makes the chunks of an answer.
struct ChatChunks {
    envelope: Envelope,
    assistant: Arc<Assistant>,
    told: bool,
    /// What finds the calls in each answer, if there may be some.
    calls: Option<Vec<CallReader>>,
}

impl ChatChunks {
    /// The parts of an answer's next text.
    fn parts(&mut self, choice: usize, text: String, ends: bool) -> Vec<Part> {
        match &mut self.calls {
            Some(calls) => calls[choice].push(&text, ends),
            None if text.is_empty() => Vec::new(),
            None => vec![Part::Text(text)],
        }
    }

    fn finish_reason(&self, choice: usize, finish: Option<Finish>) -> Json {
        let calls = self
            .calls
            .as_ref()
            .is_some_and(|calls| calls[choice].has_called());
        match finish {
            Some(Finish::Stop) if calls => "tool_calls".into(),
            finish => finish_reason(finish),
        }
    }

    /// A whole answer.
    fn message(&mut self, choice: usize, text: &str) -> Json {
        let (mut content, mut calls) = (String::new(), Vec::new());
        for part in self.parts(choice, text.to_owned(), true) {
            match part {
                Part::Text(text) => content.push_str(&text),
                Part::Call(mut call) => {
                    if let Some(fields) = call.as_object_mut() {
                        fields.shift_remove("index");
                    }
                    calls.push(call);
                }
            }
        }
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !calls.is_empty() {
            if content.is_empty() {
                message["content"] = Json::Null;
            }
            message["tool_calls"] = calls.into();
        }
        message
    }

    fn chunk(&self, choice: Json) -> Json {
        self.envelope.chunk(CHUNK, json!([choice]))
    }

    fn choice(&self, index: usize, delta: Json) -> Json {
        json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null})
    }
}

impl Chunks for ChatChunks {
    /// The role, which stands in no other.
    fn first(&mut self, choice: usize) -> Option<Json> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        Some(self.chunk(self.choice(choice, delta)))
    }

    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Json> {
        let told = piece.logprobs.filter(|_| piece.token.is_some());
        let told = told.map(|told| chat_logprobs(&self.assistant.tokenizer, &[told]));
        let parts = self.parts(choice, piece.text, piece.finish.is_some());
        let deltas = parts.into_iter().map(|part| match part {
            Part::Text(text) => json!({"content": text}),
            Part::Call(call) => json!({"tool_calls": [call]}),
        });
        let mut entries: Vec<Json> = deltas.map(|delta| self.choice(choice, delta)).collect();
        if let Some(told) = told {
            if entries.is_empty() {
                entries.push(self.choice(choice, json!({"content": ""})));
            }
            entries[0]["logprobs"] = told;
        }
        if piece.finish.is_some() {
            let mut entry = self.choice(choice, json!({}));
            entry["finish_reason"] = self.finish_reason(choice, piece.finish);
            entry["stop_reason"] = stop_reason(piece.finish);
            entries.push(entry);
        }
        entries.into_iter().map(|entry| self.chunk(entry)).collect()
    }

    fn last(&mut self, usage: Usage) -> Option<Json> {
        self.envelope.last(CHUNK, usage)
    }
}
