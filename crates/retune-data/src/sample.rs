//! What a row of any layout becomes: the one internal type.

use serde_json::{Map, Value as Json, json};

use crate::source::Place;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// Answers; the model.
    Assistant,
    /// The result of a tool that the assistant called.
    Tool,
}

impl Role {
    /// The name that chat templates know.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said. Empty where the assistant only calls tools.
    pub content: String,
    /// The assistant's calls, `{"type": "function", "function": {"name": …,
    /// "arguments": {…}}}` each.
    pub tool_calls: Vec<Json>,
    /// Whether an assistant's turn may be learned from (`weight` of OpenAI,
    /// `loss_weight` of LLaMA-Factory).
    pub learn: bool,
    /// What else templates ask for: `name`, `tool_call_id`,
    /// `reasoning_content`.
    pub extra: Map<String, Json>,
}

impl Message {
    /// A turn of text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            tool_calls: Vec::new(),
            learn: true,
            extra: Map::new(),
        }
    }

    /// Whether the assistant says it.
    fn is_answer(&self) -> bool {
        self.role == Role::Assistant
    }

    /// The object that chat templates get.
    pub fn to_json(&self) -> Json {
        let mut message = Map::new();
        message.insert("role".into(), self.role.name().into());
        message.insert("content".into(), self.content.as_str().into());
        if !self.tool_calls.is_empty() {
            message.insert("tool_calls".into(), self.tool_calls.clone().into());
        }
        message.extend(self.extra.clone());
        Json::Object(message)
    }
}

/// Turns between a user and the assistant, and the tools that the assistant
/// may call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// The turns, in order.
    pub messages: Vec<Message>,
    /// The tools' JSON schemas; empty if there are none.
    pub tools: Vec<Json>,
}

impl Conversation {
    /// A question and its answer.
    pub fn of_turn(prompt: impl Into<String>, answer: impl Into<String>) -> Self {
        Self {
            messages: vec![
                Message::new(Role::User, prompt),
                Message::new(Role::Assistant, answer),
            ],
            tools: Vec::new(),
        }
    }

    /// The system prompt, if the conversation begins with one.
    pub fn system(&self) -> Option<&str> {
        let first = self.messages.first()?;
        (first.role == Role::System).then_some(first.content.as_str())
    }

    /// The same, beginning with the system prompt `system` unless it has one.
    #[must_use]
    pub fn with_default_system(mut self, system: Option<&str>) -> Self {
        if let (None, Some(system)) = (self.system(), system) {
            self.messages.insert(0, Message::new(Role::System, system));
        }
        self
    }

    /// The assistant's turns.
    pub fn answers(&self) -> impl Iterator<Item = &Message> {
        let answers = self.messages.iter();
        answers.filter(|message| message.is_answer())
    }

    /// All that stands before the last assistant's turn, system prompt apart:
    /// what two rows have to share to ask the same.
    pub fn prompt(&self) -> String {
        said(self.before(self.messages.iter().rposition(Message::is_answer)))
    }

    /// All that stands before the first assistant's turn, system prompt apart.
    pub fn opening(&self) -> String {
        said(self.before(self.messages.iter().position(Message::is_answer)))
    }

    /// The turns before one; all of them if there is none.
    fn before(&self, turn: Option<usize>) -> &[Message] {
        &self.messages[..turn.unwrap_or(self.messages.len())]
    }

    /// The last thing that the assistant says, with its calls as JSON.
    pub fn answer(&self) -> String {
        let Some(last) = self.answers().last() else {
            return String::new();
        };
        let calls = last.tool_calls.iter().map(Json::to_string);
        std::iter::once(last.content.clone())
            .chain(calls)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// What is said in turns, system prompts apart.
fn said(turns: &[Message]) -> String {
    let turns = turns.iter().filter(|turn| turn.role != Role::System);
    let texts: Vec<&str> = turns.map(|turn| turn.content.as_str()).collect();
    texts.join("\n")
}

/// What there is to learn from a row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// Turns, of which the assistant's are learned from.
    Conversation(Conversation),
    /// Text to continue, all of it learned from.
    Text(String),
    /// A text and the class that it belongs to.
    Classification {
        /// The text.
        text: String,
        /// The class's name.
        label: String,
    },
    /// A better and a worse answer to the same.
    Preference(Box<Preference>),
}

/// A better and a worse answer to the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    /// What both answer.
    pub prompt: Conversation,
    /// The better answer.
    pub chosen: Message,
    /// The worse answer.
    pub rejected: Message,
}

impl Preference {
    /// The conversation that ends in the better answer.
    pub fn preferred(&self) -> Conversation {
        let mut conversation = self.prompt.clone();
        conversation.messages.push(self.chosen.clone());
        conversation
    }
}

impl Content {
    /// What is asked: the prompt of a conversation, the text to classify.
    pub fn prompt(&self) -> String {
        match self {
            Content::Conversation(conversation) => conversation.prompt(),
            Content::Text(_) => String::new(),
            Content::Classification { text, .. } => text.clone(),
            Content::Preference(preference) => preference.prompt.prompt(),
        }
    }

    /// What two rows have to share so that one gives away what the other is asked: what
    /// stands before the first answer, as all answers may be learned from; all of a row that
    /// asks nothing.
    pub fn opening(&self) -> String {
        let opening = match self {
            Content::Conversation(conversation) => conversation.opening(),
            Content::Preference(preference) => preference.prompt.opening(),
            Content::Text(_) | Content::Classification { .. } => self.prompt(),
        };
        if !opening.trim().is_empty() {
            return opening;
        }
        let texts = self.texts().into_iter();
        let texts = texts.filter(|(role, _)| *role != Some(Role::System));
        texts.map(|(_, text)| text).collect::<Vec<_>>().join("\n")
    }

    /// What is learned: the last answer, the text, the class's name.
    pub fn answer(&self) -> String {
        match self {
            Content::Conversation(conversation) => conversation.answer(),
            Content::Text(text) => text.clone(),
            Content::Classification { label, .. } => label.clone(),
            Content::Preference(preference) => preference.chosen.content.clone(),
        }
    }

    /// Every text of a user's data in it, with whose it is.
    pub fn texts(&self) -> Vec<(Option<Role>, &str)> {
        fn of(messages: &[Message]) -> impl Iterator<Item = (Option<Role>, &str)> {
            messages
                .iter()
                .map(|message| (Some(message.role), message.content.as_str()))
        }
        match self {
            Content::Conversation(conversation) => of(&conversation.messages).collect(),
            Content::Text(text) => vec![(None, text)],
            Content::Classification { text, .. } => vec![(None, text)],
            Content::Preference(preference) => of(&preference.prompt.messages)
                .chain(of(std::slice::from_ref(&preference.chosen)))
                .chain(of(std::slice::from_ref(&preference.rejected)))
                .collect(),
        }
    }
}

/// A row, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Where it stands.
    pub place: Place,
    /// The row as it was read.
    pub fields: Map<String, Json>,
    /// What it means.
    pub content: Content,
}

/// A call of the function `name`, as templates want it.
pub(crate) fn tool_call(name: &str, arguments: Json) -> Json {
    json!({"type": "function", "function": {"name": name, "arguments": arguments}})
}
