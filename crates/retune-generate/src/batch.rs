//! Many requests, answered several at a time.

use retune_data::Tokenizer;
use retune_model::Decoder;

use crate::error::{Error, Result};
use crate::generator::{Finish, Generator, Piece, Request};
use crate::logprobs::TokenLogprobs;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its tokens, without one that ends it.
    pub ids: Vec<u32>,
    /// Those of each token, and of one that ends it, if they are asked for.
    pub logprobs: Vec<TokenLogprobs>,
    /// Why it ended.
    pub finish: Finish,
}

/// Which answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The request's place among all.
    pub request: usize,
    /// The answer's place among those to the request.
    pub sample: usize,
}

/// An answer on its way.
struct Open {
    number: u64,
    place: Place,
    text: String,
    ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
}

/// Answers `requests`, each with `samples` answers, `at_once` answers at a time.
/// `on_answer` gets each as it ends; an error of its own ends all.
///
/// # Errors
/// `Setting`, `EmptyPrompt`, `TooLong`, `UnknownToken`, before anything is computed;
/// `Model`.
pub fn answer_all<E: From<Error>>(
    model: &Decoder,
    tokenizer: &Tokenizer,
    requests: Vec<Request>,
    (samples, at_once): (usize, usize),
    mut on_answer: impl FnMut(Place, Answer) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let tokens = |request: &Request| -> Result<usize> {
        Ok(request.prompt.len() + request.check(model, usize::MAX)?)
    };
    let count = requests.len() * samples.max(1);
    let tokens: Result<Vec<usize>> = requests.iter().map(tokens).collect();
    let longest = tokens?.into_iter().max().unwrap_or(1);
    let at_once = at_once.clamp(1, count.max(1));
    let room = longest.next_multiple_of(64) * at_once;
    let mut generator = Generator::new(model, tokenizer, room)?;
    let mut waiting = requests.into_iter().enumerate();
    let mut open: Vec<Open> = Vec::new();
    loop {
        while open.len() < at_once {
            let Some((request, asked)) = waiting.next() else {
                break;
            };
            let numbers = generator.add_samples(asked, samples, 0)?;
            open.extend(
                numbers
                    .into_iter()
                    .enumerate()
                    .map(|(sample, number)| Open {
                        number,
                        place: Place { request, sample },
                        text: String::new(),
                        ids: Vec::new(),
                        logprobs: Vec::new(),
                    }),
            );
        }
        if generator.is_idle() {
            return Ok(());
        }
        for piece in generator.step()? {
            if let Some((place, answer)) = take(&mut open, piece) {
                on_answer(place, answer)?;
            }
        }
    }
}

/// Adds a piece to its answer; returned is the answer if that ends it.
fn take(open: &mut Vec<Open>, piece: Piece) -> Option<(Place, Answer)> {
    let index = open.iter().position(|open| open.number == piece.request)?;
    let answer = &mut open[index];
    answer.text.push_str(&piece.text);
    answer.ids.extend(piece.token);
    answer.logprobs.extend(piece.logprobs);
    let finish = piece.finish?;
    let Open {
        place,
        text,
        ids,
        logprobs,
        ..
    } = open.swap_remove(index);
    let answer = Answer {
        text,
        ids,
        logprobs,
        finish,
    };
    Some((place, answer))
}
