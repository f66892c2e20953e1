//! Tokens stay within a length, and lose nothing but what was asked.

use proptest::prelude::*;
use retune_data::source::Place;
use retune_data::{
    Content, Conversation, Encoded, Error, Fate, LabelOptions, Labelled, Learn, Message, OverLong,
    Role, Sample, label,
};
use std::path::Path;
use std::sync::Arc;

use super::encoder;

fn sample(content: Content) -> Sample {
    let place = Place {
        file: Arc::from(Path::new("f")),
        row: 1,
        line: None,
    };
    Sample {
        place,
        fields: serde_json::Map::new(),
        content,
    }
}

fn any_conversation() -> impl Strategy<Value = Conversation> {
    let role = proptest::sample::select(vec![
        Role::System,
        Role::User,
        Role::User,
        Role::Assistant,
        Role::Assistant,
    ]);
    let text = "([a-c甄\n ]|<\\|im_end\\|>){0,12}";
    let message =
        (role, text, proptest::bool::weighted(0.8)).prop_map(|(role, text, learn)| Message {
            learn,
            ..Message::new(role, text)
        });
    let messages = proptest::collection::vec(message, 1..6);
    messages.prop_map(|messages| Conversation {
        messages,
        tools: Vec::new(),
    })
}

fn check(encoded: &Encoded, whole: &Labelled, max_length: usize) -> Result<(), TestCaseError> {
    for sample in &encoded.samples {
        prop_assert!(sample.input_ids.len() <= max_length);
        prop_assert_eq!(sample.input_ids.len(), sample.scored.len());
        prop_assert!(sample.scored_tokens() > 0 && !sample.scored[0]);
    }
    let tokens = whole.input_ids.len();
    match encoded.fate {
        Fate::Kept => prop_assert_eq!(&encoded.samples[..], std::slice::from_ref(whole)),
        Fate::Cut { tokens: before } => {
            prop_assert!(before == tokens && tokens > max_length && !encoded.samples.is_empty());
        }
        Fate::Dropped { tokens: before } => {
            prop_assert!(before == tokens && tokens > max_length && encoded.samples.is_empty());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn conversations_stay_within_the_length(
        conversation in any_conversation(),
        max_length in 0..120usize,
        learn in proptest::sample::select(Learn::NAMES.map(|(_, learn)| learn).to_vec()),
    ) {
        let mut encoder = encoder(max_length, OverLong::Drop);
        encoder.labels = LabelOptions { learn, system: None };
        let content = Content::Conversation(conversation);
        let whole = label(&encoder.tokenizer, &content, &encoder.labels);
        for (name, policy) in OverLong::NAMES {
            encoder.over_long = policy;
            let (whole, encoded) = match (&whole, encoder.encode(&sample(content.clone()))) {
                (Ok(whole), Ok(encoded)) => (whole, encoded),
                (Ok(whole), Err(error)) => {
                    let Error::Sample { problem, .. } = error else { panic!("{error}") };
                    let expected = Error::OverLong { tokens: whole.input_ids.len(), max_length };
                    prop_assert_eq!((policy, *problem), (OverLong::Error, expected));
                    continue;
                }
                (Err(_), Err(_)) => continue,
                (Err(error), Ok(_)) => panic!("{name}: {error}"),
            };
            check(&encoded, whole, max_length)?;
            match policy {
                OverLong::Drop | OverLong::Error => {
                    let cut = matches!(encoded.fate, Fate::Cut { .. });
                    prop_assert!(!cut);
                }
                OverLong::TruncateAnswer => {
                    for sample in &encoded.samples {
                        prop_assert!(whole.input_ids.starts_with(&sample.input_ids));
                        prop_assert!(whole.scored.starts_with(&sample.scored));
                    }
                }
                // What is learned stays, and no character more than needed goes.
                OverLong::TruncatePrompt if learn != Learn::WholeText => {
                    for sample in &encoded.samples {
                        prop_assert_eq!(sample.scored_tokens(), whole.scored_tokens());
                        let spare = max_length - sample.input_ids.len();
                        prop_assert!(encoded.fate == Fate::Kept || spare < 10, "{} tokens to spare", spare);
                    }
                }
                OverLong::TruncatePrompt => {}
            }
        }
    }

    #[test]
    fn pieces_of_a_text_are_the_text(text in "[a-c甄\n]{0,60}", max_length in 0..12usize) {
        let encoder = encoder(max_length, OverLong::Error);
        let content = Content::Text(text);
        let Ok(whole) = label(&encoder.tokenizer, &content, &encoder.labels) else {
            return Ok(());
        };
        let encoded = encoder.encode(&sample(content)).unwrap();
        check(&encoded, &whole, max_length)?;
        let joined: Vec<u32> = encoded.samples.iter().flat_map(|piece| piece.input_ids.clone()).collect();
        match max_length {
            0 | 1 => prop_assert!(joined.is_empty()),
            // Pieces of two cannot give one of one a token.
            2 => prop_assert!(whole.input_ids.starts_with(&joined) && joined.len() + 1 >= whole.input_ids.len()),
            _ => prop_assert_eq!(joined, whole.input_ids),
        }
    }
}
