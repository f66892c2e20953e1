//! What a model answers on the way, so that one sees the style arrive.

use retune_data::{Conversation, Message, Role};
use retune_model::{KvCache, NextTokens};
use serde_json::Map;

use crate::error::Result;
use crate::trainer::Trainer;
use crate::validate::Answer;

impl Trainer {
    /// The model's most likely answer to each of `sample_prompts`.
    ///
    /// # Errors
    /// Those of the template and the model.
    pub fn answers(&self) -> Result<Vec<Answer>> {
        let prompts = self.config.sample_prompts.iter();
        let answer = |prompt: &String| {
            Ok(Answer {
                prompt: prompt.clone(),
                text: self.answer(prompt)?,
            })
        };
        prompts.map(answer).collect()
    }

    fn answer(&self, prompt: &str) -> Result<String> {
        let tokenizer = self.data.tokenizer();
        let system = self.config.system.as_deref();
        let conversation = Conversation {
            messages: vec![Message::new(Role::User, prompt)],
            tools: Vec::new(),
        }
        .with_default_system(system.filter(|_| tokenizer.has_template()));
        let prompt = tokenizer.prompt_ids(&conversation, &Map::new())?;
        let context = self.model.config().max_position_embeddings;
        let most = self.config.sample_max_new_tokens;
        let most = most.min(context.saturating_sub(prompt.len()));
        let tokens = prompt.len() + most;
        let mut cache = KvCache::new(&self.model, tokens)?;
        let Some(mut sequence) = cache.reserve(tokens) else {
            return Ok(String::new());
        };
        let stops = tokenizer.stop_ids();
        let mut answer: Vec<u32> = Vec::new();
        while answer.len() < most {
            let next = NextTokens {
                ids: match answer.last() {
                    Some(last) => std::slice::from_ref(last),
                    None => &prompt,
                },
                sequence: &mut sequence,
                adapter: None,
            };
            let logits = self.model.next_logits(&mut [next], &mut cache)?;
            // Of logits that are not finite, none is the largest.
            match self.model.largest(&logits)?[0] {
                Some(next) if !stops.contains(&next) => answer.push(next),
                _ => break,
            }
        }
        Ok(tokenizer.decode_text(&answer))
    }
}
