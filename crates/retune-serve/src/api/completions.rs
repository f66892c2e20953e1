//! `/v1/completions`: text that goes on.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use retune_data::Tokenizer;
use retune_generate::{Assistant, Finish, Piece, Request, Sampling, TokenLogprobs};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Shared;
use super::answers::{
    Answer, Asked, Chunks, Envelope, Usage, finish_reason, stop_reason, token_text,
};
use super::body::Body;
use super::fields::{Fields, MOST_LOGPROBS};
use super::prompts::{Prompt, Prompts};
use crate::engine::Slot;
use crate::error::{ApiError, ApiResult};

/// Prompts that one request may have.
const MOST_PROMPTS: usize = 256;
/// Answers that one request may get.
const MOST_ANSWERS: usize = 512;
/// Tokens of an answer where a request says nothing of it, as OpenAI has it.
const DEFAULT_TOKENS: usize = 16;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CompletionRequest {
    prompt: Prompts,
    echo: Option<bool>,
    logprobs: Option<u32>,
    suffix: Option<String>,
}

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(slot): Extension<Arc<Slot>>,
    body: Body,
) -> ApiResult<Response> {
    let (request, fields): (CompletionRequest, Fields) = (body.read()?, body.read()?);
    let bytes = body.into_length();
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
    let mut sampling = fields.sampling(&served.assistant.sampling, told)?;
    if !fields.says_how_long() {
        sampling.max_new_tokens = DEFAULT_TOKENS.max(sampling.min_new_tokens);
    }
    // Who wants the prompt alone gets that: one token is made, and not told.
    let nothing_new = echo && sampling.max_new_tokens == 0;
    if nothing_new {
        sampling.max_new_tokens = 1;
    }
    let assistant = Arc::clone(&served.assistant);
    let prompt_logprobs = told.filter(|_| echo);
    let context = shared.engine.context();
    let read = move || {
        let prompts = request.prompt;
        if prompts.count() * samples > MOST_ANSWERS {
            let problem =
                format!("n: expected at most {MOST_ANSWERS} answers to all prompts together");
            return Err(ApiError::invalid("n", problem));
        }
        let prompts = prompts.read(&assistant, "prompt", MOST_PROMPTS)?;
        let asked: ApiResult<Vec<Request>> = prompts
            .iter()
            .map(|prompt| asked(&assistant, context, prompt, &sampling, prompt_logprobs))
            .collect();
        let echoed = prompts.into_iter().map(|prompt| match echo {
            true => Echo::of(prompt, &assistant.tokenizer),
            false => Echo::default(),
        });
        Ok((echoed.collect::<Vec<Echo>>(), asked?))
    };
    let (echoed, requests) = shared.readers.run(bytes, read).await?;
    let asked = Asked::new(&shared, &slot, &served.name, requests, samples)?;
    let mut chunks = CompletionChunks {
        envelope: Envelope::new("cmpl", &served.name, &fields),
        assistant: Arc::clone(&served.assistant),
        offsets: vec![0; echoed.len() * samples],
        echoed,
        samples,
        told: told.is_some(),
        nothing_new,
    };
    if fields.streams() {
        return asked.stream(chunks).await;
    }
    let (found, usage) = asked.wait().await?;
    let choices = found.into_iter().enumerate();
    let choices: Vec<Json> = choices
        .map(|(index, answer)| chunks.whole(index, answer))
        .collect();
    let mut body = chunks.envelope.body(OBJECT, choices.into());
    body["usage"] = chunks.used(usage).to_json();
    Ok(JsonBody(body).into_response())
}

fn asked(
    assistant: &Assistant,
    context: usize,
    prompt: &Prompt,
    sampling: &Sampling,
    prompt_logprobs: Option<usize>,
) -> ApiResult<Request> {
    let request = Request {
        prompt: prompt.ids.clone(),
        adapter: assistant.adapter.clone(),
        sampling: sampling.clone(),
        grammar: None,
        prompt_logprobs,
    };
    match request.check(&assistant.model, context) {
        Ok(_) => Ok(request),
        Err(error @ retune_generate::Error::TooLong { .. }) => Err(ApiError {
            param: Some("prompt".to_owned()),
            ..error.into()
        }),
        Err(error) => Err(error.into()),
    }
}

/// What answers and the chunks of streams are called.
const OBJECT: &str = "text_completion";

/// What comes before the answers to a prompt.
#[derive(Default)]
struct Echo {
    text: String,
    first: Option<u32>,
    /// What is told of its other tokens, as far as that is known.
    told: Vec<TokenLogprobs>,
}

impl Echo {
    fn of(prompt: Prompt, tokenizer: &Tokenizer) -> Self {
        Self {
            first: prompt.ids.first().copied(),
            text: prompt.into_text(tokenizer),
            told: Vec::new(),
        }
    }
}

/// What makes answers, and the chunks of streams.
struct CompletionChunks {
    envelope: Envelope,
    assistant: Arc<Assistant>,
    /// What comes before the answers to each prompt.
    echoed: Vec<Echo>,
    samples: usize,
    /// Whether probabilities are told.
    told: bool,
    /// Whether the echo is all.
    nothing_new: bool,
    /// Characters of each choice that have begun.
    offsets: Vec<usize>,
}

/// Probabilities as completions tell them: lists, and where each token begins.
#[derive(Default)]
struct Lists {
    tokens: Vec<String>,
    logprobs: Vec<Option<f32>>,
    top: Vec<Option<Map<String, Json>>>,
    offsets: Vec<usize>,
}

impl CompletionChunks {
    fn echo(&self, choice: usize) -> &Echo {
        &self.echoed[choice / self.samples]
    }

    fn used(&self, usage: Usage) -> Usage {
        match self.nothing_new {
            true => Usage {
                completion: 0,
                ..usage
            },
            false => usage,
        }
    }

    fn whole(&mut self, choice: usize, mut answer: Answer) -> Json {
        if choice.is_multiple_of(self.samples) {
            self.echoed[choice / self.samples].told = std::mem::take(&mut answer.prompt);
        }
        if self.nothing_new {
            answer.text.clear();
            answer.logprobs.clear();
            answer.end_logprobs = None;
            answer.finish = Some(Finish::Length);
        }
        let text = format!("{}{}", self.echo(choice).text, answer.text);
        let mut entry = entry(choice, &text);
        if self.told {
            let mut lists = Lists::default();
            self.add_echo(choice, &mut lists);
            answer.logprobs.extend(answer.end_logprobs);
            self.add(choice, &answer.logprobs, &mut lists);
            entry["logprobs"] = lists.to_json();
        }
        end(&mut entry, answer.finish);
        entry
    }

    /// Adds what is known of the prompt.
    fn add_echo(&mut self, choice: usize, lists: &mut Lists) {
        if let Some(first) = self.echo(choice).first {
            self.place(choice, first, lists);
            lists.logprobs.push(None);
            lists.top.push(None);
        }
        let told = self.echo(choice).told.clone();
        self.add(choice, &told, lists);
    }

    fn add(&mut self, choice: usize, told: &[TokenLogprobs], lists: &mut Lists) {
        let assistant = Arc::clone(&self.assistant);
        let text = |token| token_text(&assistant.tokenizer, token);
        for told in told {
            self.place(choice, told.token, lists);
            lists.logprobs.push(Some(told.logprob));
            let top = told.top.iter();
            let top = top.map(|(token, logprob)| (text(*token), (*logprob).into()));
            let mut top: Map<String, Json> = top.collect();
            // The token itself is among them, be it likely or not.
            top.entry(text(told.token)).or_insert(told.logprob.into());
            lists.top.push(Some(top));
        }
    }

    /// Adds a token, which stands where the character does that it begins in.
    fn place(&mut self, choice: usize, token: u32, lists: &mut Lists) {
        let tokenizer = &self.assistant.tokenizer;
        let goes_on = |byte: &u8| byte & 0xc0 == 0x80;
        let bytes = tokenizer.token_bytes(token);
        let offset = &mut self.offsets[choice];
        let within = usize::from(bytes.first().is_some_and(goes_on));
        lists.offsets.push(offset.saturating_sub(within));
        *offset += bytes.iter().filter(|byte| !goes_on(byte)).count();
        lists.tokens.push(token_text(tokenizer, token));
    }

    fn chunk(&self, choice: Json) -> Json {
        self.envelope.chunk(OBJECT, json!([choice]))
    }
}

impl Lists {
    fn to_json(&self) -> Json {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.logprobs,
            "top_logprobs": self.top,
            "text_offset": self.offsets,
        })
    }
}

fn entry(index: usize, text: &str) -> Json {
    json!({"index": index, "text": text, "logprobs": null, "finish_reason": null})
}

fn end(entry: &mut Json, finish: Option<Finish>) {
    entry["finish_reason"] = finish_reason(finish);
    if finish.is_some() {
        entry["stop_reason"] = stop_reason(finish);
    }
}

impl Chunks for CompletionChunks {
    fn first(&mut self, choice: usize) -> Option<Json> {
        let echo = self.echo(choice);
        if echo.text.is_empty() {
            return None;
        }
        let mut entry = entry(choice, &echo.text);
        if self.told {
            let mut lists = Lists::default();
            self.add_echo(choice, &mut lists);
            entry["logprobs"] = lists.to_json();
        }
        Some(self.chunk(entry))
    }

    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Json> {
        let mut told = piece.prompt;
        self.echoed[choice / self.samples]
            .told
            .extend_from_slice(&told);
        let (mut text, mut finish) = (piece.text, piece.finish);
        if self.nothing_new {
            text.clear();
            finish = finish.map(|_| Finish::Length);
        } else {
            // Other than in chat, the token that ends the answer is told as well: who asks
            // for one token, to be told of the prompt, relies on it.
            told.extend(piece.logprobs);
        }
        if text.is_empty() && told.is_empty() && finish.is_none() {
            return Vec::new();
        }
        let mut entry = entry(choice, &text);
        if !told.is_empty() {
            let mut lists = Lists::default();
            self.add(choice, &told, &mut lists);
            entry["logprobs"] = lists.to_json();
        }
        end(&mut entry, finish);
        vec![self.chunk(entry)]
    }

    fn last(&mut self, usage: Usage) -> Option<Json> {
        self.envelope.last(OBJECT, self.used(usage))
    }
}
