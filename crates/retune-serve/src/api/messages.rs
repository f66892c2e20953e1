//! The messages of a chat.

use retune_data::{Conversation, Message, Role};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::error::{ApiError, ApiResult};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Turn {
    role: TurnRole,
    content: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<Json>>,
    name: Option<String>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize, JsonSchema)]
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

/// What they say, as templates are given it.
///
/// # Errors
/// 400 with the message that is wrong.
pub(super) fn conversation(turns: Vec<Turn>) -> ApiResult<Conversation> {
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
        message.tool_calls = calls.into_iter().map(call).collect();
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

/// A call with its arguments as templates have them: OpenAI's clients send them as text.
fn call(mut call: Json) -> Json {
    if let Some(arguments) = call.pointer_mut("/function/arguments")
        && let Some(read) = arguments
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
    {
        *arguments = read;
    }
    call
}
