//! Beam search: the answers that are most likely as a whole.

use retune_data::Tokenizer;
use retune_model::{CachedTokens, Decoder, KvCache, NextTokens};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::generator::{Request, finite, prefill};
use crate::sampling::{History, log_softmax, setting};

/// When a search ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// As soon as there are as many answers as beams.
    Yes,
    /// When no beam is likely to become better than the worst of those answers.
    No,
    /// When none can.
    Never,
}

/// How a search is led, in Hugging Face's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BeamSearch {
    /// How many beginnings go on at a time.
    pub num_beams: usize,
    /// An answer's score is the logarithm of its probability over its length to this
    /// power: above 0, longer answers do better.
    pub length_penalty: f64,
    /// When it ends.
    pub early_stopping: EarlyStopping,
}

impl Default for BeamSearch {
    fn default() -> Self {
        Self {
            num_beams: 4,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::No,
        }
    }
}

/// An answer that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct BeamAnswer {
    /// Its tokens, without one that ends it.
    pub ids: Vec<u32>,
    /// Its text.
    pub text: String,
    /// What it was chosen by.
    pub score: f64,
    /// Whether the model ended it, and not its greatest length.
    pub ended: bool,
}

/// A beginning of an answer.
struct Beam {
    /// Prompt and answer.
    ids: Vec<u32>,
    score: f32,
    place: CachedTokens,
}

/// A beam with one more token.
struct Candidate {
    beam: usize,
    token: u32,
    score: f32,
}

impl BeamSearch {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// `Setting` for the first that does not.
    pub fn check(&self) -> Result<()> {
        if !(2..=64).contains(&self.num_beams) {
            return Err(setting("num_beams", "from 2 to 64", self.num_beams));
        }
        match self.length_penalty.is_finite() {
            true => Ok(()),
            false => Err(setting("length_penalty", "a number", self.length_penalty)),
        }
    }

    /// The best answers to `request`, best first, as many as there are beams.
    /// `on_token` is called after each pass with the number of tokens.
    ///
    /// Of the sampling, penalties, bans and ends count; nothing is drawn. Each token
    /// copies the keys and values of the beams, so time grows with the square of length.
    ///
    /// # Errors
    /// `Setting`, `EmptyPrompt`, `TooLong`, `UnknownToken`, `NothingAllowed`, `NotFinite`,
    /// `Model`.
    ///
    /// # Reference
    /// `_beam_search` in Hugging Face transformers 5
    pub fn search(
        &self,
        model: &Decoder,
        tokenizer: &Tokenizer,
        request: &Request,
        on_token: &mut dyn FnMut(usize),
    ) -> Result<Vec<BeamAnswer>> {
        self.check()?;
        let most = request.check(model, usize::MAX)?;
        let tokens = request.prompt.len() + most;
        // One place more for each beam, into which it goes on.
        let room = tokens.next_multiple_of(64) * 2 * self.num_beams;
        let mut search = Search {
            settings: self,
            model,
            tokenizer,
            request,
            stop_ids: tokenizer.stop_ids(),
            cache: KvCache::new(model, room)?,
            tokens,
            most,
            beams: Vec::new(),
            found: Vec::new(),
        };
        search
            .stop_ids
            .extend_from_slice(&request.sampling.stop_token_ids);
        search.run(on_token)
    }
}

struct Search<'a> {
    settings: &'a BeamSearch,
    model: &'a Decoder,
    tokenizer: &'a Tokenizer,
    request: &'a Request,
    stop_ids: Vec<u32>,
    cache: KvCache,
    /// Of prompt and answer, at most.
    tokens: usize,
    most: usize,
    beams: Vec<Beam>,
    /// Answers, best first.
    found: Vec<BeamAnswer>,
}

fn no_room() -> CachedTokens {
    unreachable!("the cache has two places for each beam")
}

impl Search<'_> {
    fn run(mut self, on_token: &mut dyn FnMut(usize)) -> Result<Vec<BeamAnswer>> {
        let place = self.cache.reserve(self.tokens).unwrap_or_else(no_room);
        self.beams.push(Beam {
            ids: self.request.prompt.clone(),
            score: 0.0,
            place,
        });
        for length in 1..=self.most {
            let logits = self.pass()?;
            let candidates = self.candidates(&logits);
            if candidates.is_empty() {
                return Err(Error::NothingAllowed);
            }
            let going_on = self.sort_out(candidates, length);
            on_token(length);
            if going_on.is_empty() {
                break;
            }
            self.extend(going_on)?;
            if !self.can_improve(length) {
                break;
            }
        }
        Ok(self.found)
    }

    /// The logits behind each beam.
    fn pass(&mut self) -> Result<Vec<f32>> {
        let most = prefill(self.model.device(), false);
        loop {
            let mut whole = true;
            let mut next: Vec<NextTokens<'_>> = Vec::with_capacity(self.beams.len());
            for Beam { ids, place, .. } in &mut self.beams {
                let done = place.len();
                let end = ids.len().min(done + most);
                whole &= end == ids.len();
                next.push(NextTokens {
                    ids: &ids[done..end],
                    sequence: place,
                    adapter: self.request.adapter.clone(),
                });
            }
            let logits = self.model.next_logits(&mut next, &mut self.cache)?;
            if whole {
                let logits = logits.to_f32_vec();
                finite(&logits)?;
                return Ok(logits);
            }
        }
    }

    /// The most likely continuations, likeliest first; so many that enough are left
    /// when all that can end do.
    fn candidates(&self, logits: &[f32]) -> Vec<Candidate> {
        let width = self.model.config().vocab_size;
        let mut all: Vec<Candidate> = Vec::with_capacity(logits.len());
        for (beam, (logits, Beam { ids, score, .. })) in
            logits.chunks_exact(width).zip(&self.beams).enumerate()
        {
            let mut scores = log_softmax(logits);
            let history = History {
                all: ids,
                prompt: self.request.prompt.len(),
                stop_ids: &self.stop_ids,
            };
            self.request.sampling.process(&mut scores, history);
            let candidates = (0..).zip(scores).map(|(token, own)| Candidate {
                beam,
                token,
                score: score + own,
            });
            all.extend(candidates);
        }
        let kept = (1 + self.stop_ids.len()).max(2) * self.settings.num_beams;
        let likelier = |a: &Candidate, b: &Candidate| {
            let place = |candidate: &Candidate| (candidate.beam, candidate.token);
            b.score.total_cmp(&a.score).then(place(a).cmp(&place(b)))
        };
        if kept < all.len() {
            all.select_nth_unstable_by(kept - 1, likelier);
            all.truncate(kept);
        }
        all.sort_by(likelier);
        all.retain(|candidate| candidate.score > f32::NEG_INFINITY);
        all
    }

    /// Puts aside what ended; returned is what goes on.
    fn sort_out(&mut self, candidates: Vec<Candidate>, length: usize) -> Vec<Candidate> {
        let beams = self.settings.num_beams;
        let mut going_on = Vec::new();
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let ended = self.stop_ids.contains(&candidate.token);
            let prompt = self.request.prompt.len();
            let mut ids = self.beams[candidate.beam].ids[prompt..].to_vec();
            if !ended {
                ids.push(candidate.token);
            }
            let stopped = self.stopped(&ids);
            if !ended && stopped.is_none() && length < self.most {
                if going_on.len() < beams {
                    going_on.push(candidate);
                }
                continue;
            }
            // What is behind the first ones was only kept to go on with.
            if rank < beams {
                let power = (length as f64).powf(self.settings.length_penalty);
                self.found.push(BeamAnswer {
                    ended: ended || stopped.is_some() || length < self.most,
                    text: stopped.unwrap_or_else(|| self.tokenizer.decode_text(&ids)),
                    score: f64::from(candidate.score) / power,
                    ids,
                });
            }
        }
        self.found.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.found.truncate(beams);
        going_on
    }

    /// The text of `ids` up to a stop text, if there is one in it.
    fn stopped(&self, ids: &[u32]) -> Option<String> {
        let stops = &self.request.sampling.stop;
        if stops.is_empty() {
            return None;
        }
        let mut text = self.tokenizer.decode_text(ids);
        let at = stops.iter().filter_map(|stop| text.find(stop)).min()?;
        text.truncate(at);
        Some(text)
    }

    /// The beams become `candidates`.
    fn extend(&mut self, candidates: Vec<Candidate>) -> Result<()> {
        let mut beams = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let beam = &self.beams[candidate.beam];
            let place = self.cache.fork(&beam.place, self.tokens)?;
            let place = place.unwrap_or_else(no_room);
            let mut ids = beam.ids.clone();
            ids.push(candidate.token);
            beams.push(Beam {
                ids,
                score: candidate.score,
                place,
            });
        }
        for beam in std::mem::replace(&mut self.beams, beams) {
            self.cache.release(beam.place);
        }
        Ok(())
    }

    /// Whether a beam may still become one of the best answers.
    fn can_improve(&self, length: usize) -> bool {
        if self.found.len() < self.settings.num_beams {
            return true;
        }
        let BeamSearch {
            length_penalty,
            early_stopping,
            ..
        } = *self.settings;
        if early_stopping == EarlyStopping::Yes {
            return false;
        }
        let longest = match early_stopping == EarlyStopping::Never && length_penalty > 0.0 {
            true => self.most,
            false => length,
        };
        let best = self.beams.iter().map(|beam| beam.score);
        let best = best.fold(f32::NEG_INFINITY, f32::max);
        let worst = self
            .found
            .last()
            .map_or(f64::NEG_INFINITY, |answer| answer.score);
        f64::from(best) / (longest as f64).powf(length_penalty) > worst
    }
}
