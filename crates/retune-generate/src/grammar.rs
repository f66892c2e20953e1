//! What an answer may be: JSON of a schema, or whatever a grammar says.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, TokenParser};
use retune_data::Tokenizer;
use serde_json::{Value as Json, json};

use crate::error::{Error, Result};

/// White space between the parts of JSON: a space, or a new line that is indented. With more,
/// a small model may go on for ever.
const WHITE_SPACE: &str = r"(\x20|\x0A\x20{0,24})?";

/// Makes grammars for the tokens of one tokenizer.
pub struct Grammars {
    factory: ParserFactory,
}

impl Grammars {
    /// For `tokenizer`, of which a model knows `vocabulary` tokens.
    ///
    /// # Errors
    /// `Grammar` if the tokenizer has no token that ends an answer.
    pub fn new(tokenizer: &Tokenizer, vocabulary: usize) -> Result<Self> {
        let stops = tokenizer.stop_ids();
        let [first, ..] = stops[..] else {
            return Err(refused("the model has no token that ends an answer"));
        };
        let specials = tokenizer.special_tokens().iter();
        let specials: Vec<u32> = specials
            .filter_map(|text| tokenizer.token_id(text))
            .collect();
        let word = |id: u32| {
            let mut bytes = tokenizer.token_bytes(id);
            // So that no text can be spelled with them.
            if !bytes.is_empty() && (specials.contains(&id) || stops.contains(&id)) {
                bytes.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
            bytes
        };
        let words: Vec<Vec<u8>> = (0..vocabulary as u32).map(word).collect();
        contained(|| -> std::result::Result<_, String> {
            let trie = TokTrie::from(&TokRxInfo::new(vocabulary as u32, first), &words);
            let trie = trie.with_eos_tokens(&stops);
            let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let factory = ParserFactory::new_simple(&environment);
            let mut factory = factory.map_err(|error| error.to_string())?;
            factory.quiet();
            factory.limits_mut().verbose_errors = false;
            Ok(Self { factory })
        })
    }

    /// JSON that `schema` allows (JSON Schema; what of it is not supported is an error).
    ///
    /// # Errors
    /// `Grammar`.
    pub fn json_schema(&self, schema: &Json) -> Result<Grammar> {
        self.compile(TopLevelGrammar::from_json_schema(spaced_json(schema)))
    }

    /// Any JSON object.
    ///
    /// # Errors
    /// `Grammar`.
    pub fn json_object(&self) -> Result<Grammar> {
        self.json_schema(&json!({"type": "object"}))
    }

    /// What a grammar in llguidance's variant of Lark's language allows.
    ///
    /// # Errors
    /// `Grammar`.
    pub fn lark(&self, grammar: &str) -> Result<Grammar> {
        self.compile(TopLevelGrammar::from_lark(grammar.to_owned()))
    }

    fn compile(&self, grammar: TopLevelGrammar) -> Result<Grammar> {
        let parser: TokenParser = contained(|| self.factory.create_parser(grammar))?;
        let matcher = Matcher::new(Ok(parser));
        match matcher.get_error() {
            None => Ok(Grammar { matcher }),
            Some(problem) => Err(refused(problem)),
        }
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grammars").finish_non_exhaustive()
    }
}

/// `schema`, for a grammar in which its JSON may have white space as people write it.
pub fn spaced_json(schema: &Json) -> Json {
    written(
        schema,
        json!({"whitespace_flexible": true, "whitespace_pattern": WHITE_SPACE}),
    )
}

/// `schema`, for a grammar in which its JSON is on one line, as Python writes it.
pub fn one_line_json(schema: &Json) -> Json {
    written(
        schema,
        json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
    )
}

fn written(schema: &Json, options: Json) -> Json {
    let mut schema = match schema {
        // "Anything" and "nothing" are schemas too.
        Json::Bool(true) => json!({}),
        Json::Bool(false) => json!({"not": {}}),
        other => other.clone(),
    };
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("x-guidance".to_owned(), options);
    }
    schema
}

/// A grammar, and how far into it an answer is. A copy goes on apart.
pub struct Grammar {
    matcher: Matcher,
}

impl Grammar {
    /// Leaves of `logits` (`[V]`) those of tokens that may come next; the others become
    /// minus infinity.
    pub(crate) fn restrict(&mut self, logits: &mut [f32]) -> Result<()> {
        let mask = self.matcher.compute_mask_or_eos().map_err(refused)?;
        for (id, logit) in logits.iter_mut().enumerate() {
            if id >= mask.len() || !mask.is_allowed(id as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes a token. Returned is whether nothing can come behind it.
    pub(crate) fn take(&mut self, token: u32) -> Result<bool> {
        self.matcher.consume_token(token).map_err(refused)?;
        Ok(self.matcher.is_stopped())
    }
}

impl Clone for Grammar {
    fn clone(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
        }
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grammar").finish_non_exhaustive()
    }
}

fn refused(problem: impl ToString) -> Error {
    Error::Grammar {
        problem: problem.to_string(),
    }
}

/// Schemas are written by strangers: what panics on one is an error of its request.
fn contained<T, E: fmt::Display>(make: impl FnOnce() -> std::result::Result<T, E>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(make)) {
        Ok(made) => made.map_err(|error| refused(format!("{error:#}"))),
        Err(_) => Err(refused("it is more than the grammar compiler bears")),
    }
}
