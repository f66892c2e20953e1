//! `/v1/completions`: text that goes on.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use retune_data::Tokenizer;
use retune_generate::{Assistant, Piece, Request, TokenLogprobs};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Shared;
use super::answers::{Asked, Chunks, Envelope, Usage, finish_reason, stop_reason, token_text};
use super::body::Body;
use super::fields::{Fields, MOST_LOGPROBS};
use crate::error::{ApiError, ApiResult};

/// Prompts that one request may have.
const MOST_PROMPTS: usize = 256;
/// Tokens of an answer where a request says nothing of it, as OpenAI has it.
const DEFAULT_TOKENS: usize = 16;

#[derive(Debug, Deserialize)]
struct CompletionRequest {
    prompt: Prompts,
    echo: Option<bool>,
    logprobs: Option<u32>,
    suffix: Option<String>,
}

/// Text or tokens, one prompt or several.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text, a list of tokens, or a list of either"
)]
enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Lists(Vec<Vec<u32>>),
}

/// A prompt as it is answered, and as it is echoed.
struct Prompt {
    ids: Vec<u32>,
    text: String,
}

impl Prompts {
    fn read(self, tokenizer: &Tokenizer) -> ApiResult<Vec<Prompt>> {
        let of_text = |text: String| {
            let ids = tokenizer
                .text_ids(&text)
                .map_err(retune_generate::Error::from)?;
            Ok(Prompt { ids, text })
        };
        let of_ids = |ids: Vec<u32>| {
            let text = tokenizer.decode(&ids);
            Ok(Prompt { ids, text })
        };
        let prompts: ApiResult<Vec<Prompt>> = match self {
            Self::Text(text) => of_text(text).map(|prompt| vec![prompt]),
            Self::Texts(texts) => texts.into_iter().map(of_text).collect(),
            Self::Tokens(ids) => of_ids(ids).map(|prompt| vec![prompt]),
            Self::Lists(lists) => lists.into_iter().map(of_ids).collect(),
        };
        let prompts = prompts?;
        match prompts.len() {
            1..=MOST_PROMPTS => Ok(prompts),
            count => Err(ApiError::invalid(
                "prompt",
                format!("prompt: expected 1 to {MOST_PROMPTS} prompts, found {count}"),
            )),
        }
    }
}

pub(super) async fn create(State(shared): State<Arc<Shared>>, body: Body) -> ApiResult<Response> {
    let (request, fields): (CompletionRequest, Fields) = (body.read()?, body.read()?);
    if request.suffix.is_some_and(|suffix| !suffix.is_empty()) {
        let problem = "suffix: filling in the middle is not supported";
        return Err(ApiError::invalid("suffix", problem));
    }
    let served = shared.models.find(fields.model.as_deref())?;
    let samples = fields.samples()?;
    let told = request.logprobs.map(|top| top as usize);
    if told.is_some_and(|top| top > MOST_LOGPROBS) {
        let problem = format!("logprobs: expected at most {MOST_LOGPROBS}");
        return Err(ApiError::invalid("logprobs", problem));
    }
    let echo = request.echo.unwrap_or(false);
    if echo && told.is_some() {
        let problem = "echo: probabilities of the prompt are not supported";
        return Err(ApiError::invalid("echo", problem));
    }
    let mut sampling = fields.sampling(&served.assistant.sampling, told)?;
    if !fields.says_how_long() {
        sampling.max_new_tokens = DEFAULT_TOKENS;
    }
    let prompts = request.prompt.read(&served.assistant.tokenizer)?;
    let mut requests = Vec::with_capacity(prompts.len());
    for prompt in &prompts {
        let request = Request {
            prompt: prompt.ids.clone(),
            adapter: served.assistant.adapter.clone(),
            sampling: sampling.clone(),
        };
        request.check(&served.assistant.model, usize::MAX)?;
        requests.push(request);
    }
    let asked = Asked::new(&shared, requests, samples)?;
    let mut described = Described {
        envelope: Envelope::new("cmpl", &served.name, &fields),
        assistant: Arc::clone(&served.assistant),
        echoed: prompts
            .into_iter()
            .map(|prompt| match echo {
                true => prompt.text,
                false => String::new(),
            })
            .collect(),
        samples,
        offsets: Vec::new(),
    };
    described.offsets = (0..described.echoed.len() * samples)
        .map(|choice| described.echo(choice).chars().count())
        .collect();
    if fields.streams() {
        return asked.stream(described).await;
    }
    let (found, usage) = asked.wait().await?;
    let choices: Vec<Json> = found
        .into_iter()
        .enumerate()
        .map(|(index, answer)| {
            let logprobs = told.map(|_| described.logprobs(index, &answer.logprobs));
            json!({
                "index": index,
                "text": format!("{}{}", described.echo(index), answer.text),
                "logprobs": logprobs,
                "finish_reason": finish_reason(answer.finish),
                "stop_reason": stop_reason(answer.finish),
            })
        })
        .collect();
    let mut body = described.envelope.body(OBJECT, choices.into());
    body["usage"] = usage.to_json();
    Ok(JsonBody(body).into_response())
}

/// What answers and the chunks of streams are called.
const OBJECT: &str = "text_completion";

/// What makes the chunks of an answer.
struct Described {
    envelope: Envelope,
    assistant: Arc<Assistant>,
    /// What comes before the answers to each prompt.
    echoed: Vec<String>,
    samples: usize,
    /// Characters of each answer so far.
    offsets: Vec<usize>,
}

impl Described {
    fn echo(&self, choice: usize) -> &str {
        &self.echoed[choice / self.samples]
    }

    fn chunk(&self, choice: Json) -> Json {
        self.envelope.chunk(OBJECT, json!([choice]))
    }

    /// Probabilities as completions tell them: lists, and where each token begins.
    fn logprobs(&mut self, choice: usize, told: &[TokenLogprobs]) -> Json {
        let tokenizer = &self.assistant.tokenizer;
        let (mut tokens, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
        for told in told {
            let text = token_text(tokenizer, told.token);
            let top = told.top.iter();
            let top: Map<String, Json> = top
                .map(|(token, logprob)| (token_text(tokenizer, *token), (*logprob).into()))
                .collect();
            offsets.push(self.offsets[choice]);
            self.offsets[choice] += text.chars().count();
            tokens.push(text);
            logprobs.push(told.logprob);
            tops.push(top);
        }
        json!({
            "tokens": tokens,
            "token_logprobs": logprobs,
            "top_logprobs": tops,
            "text_offset": offsets,
        })
    }

    fn entry(index: usize, text: &str) -> Json {
        json!({"index": index, "text": text, "logprobs": null, "finish_reason": null})
    }
}

impl Chunks for Described {
    fn first(&mut self, choice: usize) -> Option<Json> {
        let echo = self.echo(choice);
        (!echo.is_empty()).then(|| self.chunk(Self::entry(choice, echo)))
    }

    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Json> {
        let told = piece.logprobs.filter(|_| piece.token.is_some());
        if piece.text.is_empty() && told.is_none() && piece.finish.is_none() {
            return Vec::new();
        }
        let mut entry = Self::entry(choice, &piece.text);
        if let Some(told) = told {
            entry["logprobs"] = self.logprobs(choice, &[told]);
        }
        entry["finish_reason"] = finish_reason(piece.finish);
        if piece.finish.is_some() {
            entry["stop_reason"] = stop_reason(piece.finish);
        }
        vec![self.chunk(entry)]
    }

    fn last(&mut self, usage: Usage) -> Option<Json> {
        self.envelope.last(OBJECT, usage)
    }
}
