//! From the engine's pieces to answers, whole or as a stream of events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use retune_data::Tokenizer;
use retune_generate::{Finish, Piece, Request, TokenLogprobs};
use serde_json::{Value as Json, json};
use tokio::time::Sleep;

use super::fields::Fields;
use super::{Shared, new_id, now};
use crate::engine::{Job, Slot};
use crate::error::{ApiError, ApiResult};

/// A whole answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Its tokens, one that ends it included.
    pub(super) tokens: usize,
    pub(super) logprobs: Vec<TokenLogprobs>,
    /// Of the token that ended it, which only some tell.
    pub(super) end_logprobs: Option<TokenLogprobs>,
    /// What is told of the prompt's tokens, with the first of its answers.
    pub(super) prompt: Vec<TokenLogprobs>,
    /// Tokens of the prompt that did not have to be computed.
    cached: usize,
    pub(super) finish: Option<Finish>,
}

impl Answer {
    fn take(&mut self, piece: Piece) {
        self.text.push_str(&piece.text);
        self.tokens += usize::from(piece.is_of_token());
        match piece.token {
            Some(_) => self.logprobs.extend(piece.logprobs),
            None => self.end_logprobs = piece.logprobs,
        }
        self.prompt.extend(piece.prompt);
        self.cached += piece.cached;
        self.finish = piece.finish.or(self.finish);
    }
}

/// Tokens that were read and written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) prompt: usize,
    /// Those of them that did not have to be computed.
    pub(super) cached: usize,
    pub(super) completion: usize,
}

impl Usage {
    pub(super) fn to_json(self) -> Json {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

/// What an answer and all chunks of its stream have in common.
pub(super) struct Envelope {
    id: String,
    created: u64,
    model: String,
    /// Whether a stream tells what was used.
    tells_usage: bool,
}

impl Envelope {
    pub(super) fn new(prefix: &str, model: &str, fields: &Fields) -> Self {
        Self {
            id: new_id(prefix),
            created: now(),
            model: model.to_owned(),
            tells_usage: fields.includes_usage(),
        }
    }

    pub(super) fn body(&self, object: &str, choices: Json) -> Json {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// A chunk of a stream. Where usage is told, it is null in all but the last.
    pub(super) fn chunk(&self, object: &str, choices: Json) -> Json {
        let mut chunk = self.body(object, choices);
        if self.tells_usage {
            chunk["usage"] = Json::Null;
        }
        chunk
    }

    /// The chunk behind all answers, if there is one.
    pub(super) fn last(&self, object: &str, usage: Usage) -> Option<Json> {
        self.tells_usage.then(|| {
            let mut chunk = self.body(object, json!([]));
            chunk["usage"] = usage.to_json();
            chunk
        })
    }
}

/// Why an answer ended, as OpenAI has it, whose clients know no other reasons.
pub(super) fn finish_reason(finish: Option<Finish>) -> Json {
    match finish {
        None => Json::Null,
        Some(Finish::Length) => "length".into(),
        Some(Finish::Stop | Finish::Repetition) => "stop".into(),
    }
}

/// What OpenAI has no reason for, in the field that vLLM has for such.
pub(super) fn stop_reason(finish: Option<Finish>) -> Json {
    match finish {
        Some(Finish::Repetition) => Finish::Repetition.name().into(),
        _ => Json::Null,
    }
}

/// What was asked of the engine, and what comes back.
pub(super) struct Asked {
    job: Job,
    /// Answers to each prompt.
    samples: usize,
    /// Answers to all prompts, those to the first one first.
    choices: usize,
    /// Those of which the last piece has not come.
    open: usize,
    /// Tokens of all prompts.
    prompt: usize,
    /// When there must be an end of it.
    deadline: Pin<Box<Sleep>>,
    time: Duration,
}

impl Asked {
    /// Gives prompts to the engine, for what is served as `model`. The time that they have
    /// runs since their `slot` was taken.
    pub(super) fn new(
        shared: &Shared,
        slot: &Arc<Slot>,
        model: &str,
        requests: Vec<Request>,
        samples: usize,
    ) -> ApiResult<Self> {
        let prompt = requests.iter().map(|request| request.prompt.len()).sum();
        let choices = requests.len() * samples;
        Ok(Self {
            job: shared.engine.answer(slot, model, requests, samples)?,
            samples,
            choices,
            open: choices,
            prompt,
            deadline: Box::pin(tokio::time::sleep_until(
                (slot.since + shared.request_time).into(),
            )),
            time: shared.request_time,
        })
    }

    /// The next piece with the number of its answer; none when all have ended.
    async fn next(&mut self) -> Option<ApiResult<(usize, Piece)>> {
        if self.open == 0 {
            return None;
        }
        let event = tokio::select! {
            // First, as one who reads slowly always has a piece that is ready.
            biased;
            () = &mut self.deadline => return Some(Err(ApiError::too_late(self.time))),
            event = self.job.events.recv() => event,
        };
        // There is none where the engine has ended before an answer did.
        let broke_off = || {
            Err(ApiError::internal(
                "the model stopped before the answer's end",
            ))
        };
        let event = event.unwrap_or_else(broke_off);
        if let Ok((_, piece)) = &event {
            self.open -= usize::from(piece.finish.is_some());
        }
        Some(event)
    }

    /// All answers, those to the first prompt first.
    pub(super) async fn wait(mut self) -> ApiResult<(Vec<Answer>, Usage)> {
        let mut answers = vec![Answer::default(); self.choices];
        while let Some(piece) = self.next().await {
            let (choice, piece) = piece?;
            answers[choice].take(piece);
        }
        let firsts = answers.iter().step_by(self.samples);
        let usage = Usage {
            prompt: self.prompt,
            cached: firsts.map(|answer| answer.cached).sum(),
            completion: answers.iter().map(|answer| answer.tokens).sum(),
        };
        Ok((answers, usage))
    }

    /// A stream of events: what `chunks` makes of each piece, and at the end `[DONE]`.
    ///
    /// # Errors
    /// Those with which answering begins, as long as a client can still be told with a
    /// status; later ones stand in the stream.
    pub(super) async fn stream<C>(mut self, chunks: C) -> ApiResult<Response>
    where
        C: Chunks + Send + 'static,
    {
        let first = self.next().await;
        if let Some(Err(error)) = first {
            return Err(error);
        }
        let mut events = Events {
            opened: vec![false; self.choices],
            usage: Usage {
                prompt: self.prompt,
                ..Usage::default()
            },
            asked: self,
            chunks,
            made: VecDeque::new(),
            done: false,
        };
        events.take(first);
        let sse = Sse::new(stream::unfold(events, Events::next)).keep_alive(KeepAlive::default());
        Ok(([("x-accel-buffering", "no")], sse).into_response())
    }
}

/// A stream on its way.
struct Events<C> {
    asked: Asked,
    chunks: C,
    usage: Usage,
    /// The answers of which something was told.
    opened: Vec<bool>,
    /// What is to be sent next.
    made: VecDeque<Sent>,
    /// Whether nothing comes behind that.
    done: bool,
}

impl<C: Chunks> Events<C> {
    async fn next(mut self) -> Option<(Result<Sent, Infallible>, Self)> {
        loop {
            if let Some(event) = self.made.pop_front() {
                return Some((Ok(event), self));
            }
            if self.done {
                return None;
            }
            let piece = self.asked.next().await;
            self.take(piece);
        }
    }

    fn take(&mut self, piece: Option<ApiResult<(usize, Piece)>>) {
        match piece {
            Some(Ok((choice, piece))) => {
                self.usage.completion += usize::from(piece.is_of_token());
                if choice.is_multiple_of(self.asked.samples) {
                    self.usage.cached += piece.cached;
                }
                if !std::mem::replace(&mut self.opened[choice], true) {
                    self.made.extend(self.chunks.first(choice).map(sent));
                }
                let chunks = self.chunks.piece(choice, piece);
                self.made.extend(chunks.into_iter().map(sent));
            }
            Some(Err(error)) => {
                self.made.push_back(sent(error.body()));
                self.done = true;
            }
            None => {
                self.made.extend(self.chunks.last(self.usage).map(sent));
                self.made.push_back(Sent::default().data("[DONE]"));
                self.done = true;
            }
        }
    }
}

fn sent(json: Json) -> Sent {
    Sent::default().data(json.to_string())
}

/// What a stream's events hold.
pub(super) trait Chunks {
    /// What comes before the first piece of an answer.
    fn first(&mut self, choice: usize) -> Option<Json>;
    /// What a piece becomes.
    fn piece(&mut self, choice: usize, piece: Piece) -> Vec<Json>;
    /// What comes behind all answers.
    fn last(&mut self, usage: Usage) -> Option<Json>;
}

/// A token's text as it stands in answers that tell probabilities. What is a part of a
/// character has no text of its own and is written as OpenAI does, by its bytes.
pub(super) fn token_text(tokenizer: &Tokenizer, token: u32) -> String {
    match String::from_utf8(tokenizer.token_bytes(token)) {
        Ok(text) => text,
        Err(error) => {
            let bytes = error.as_bytes().iter();
            let escaped: String = bytes.map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{escaped}")
        }
    }
}

/// Probabilities of tokens as chat tells them.
pub(super) fn chat_logprobs(tokenizer: &Tokenizer, told: &[TokenLogprobs]) -> Json {
    let one = |token: u32, logprob: f32| {
        json!({
            "token": token_text(tokenizer, token),
            "logprob": logprob,
            "bytes": tokenizer.token_bytes(token),
        })
    };
    let content: Vec<Json> = told
        .iter()
        .map(|told| {
            let mut entry = one(told.token, told.logprob);
            let top = told
                .top
                .iter()
                .map(|(token, logprob)| one(*token, *logprob));
            entry["top_logprobs"] = top.collect::<Vec<Json>>().into();
            entry
        })
        .collect();
    json!({"content": content, "refusal": null})
}
