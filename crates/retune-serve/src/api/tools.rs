//! Tools that a request offers, and how a model calls them.

use retune_data::Tokenizer;
use retune_generate::{one_line_json, spaced_json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::new_id;
use crate::error::{ApiError, ApiResult};

/// Tools that one request may offer.
const MOST_TOOLS: usize = 128;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// What a request says of tools.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct ToolFields {
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Choice>,
    parallel_tool_calls: Option<bool>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct Tool {
    r#type: String,
    function: Function,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<Map<String, Json>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected \"none\", \"auto\", \"required\" or a function"
)]
enum Choice {
    How(How),
    One(Named),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum How {
    None,
    Auto,
    Required,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    function: Name,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Name {
    name: String,
}

/// The tools that an answer may call.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    offered: Vec<Function>,
    /// Whether one has to be called.
    required: bool,
    /// Whether several may be.
    parallel: bool,
}

impl ToolFields {
    /// What is offered to a model whose template is `tokenizer`'s; none if that is nothing.
    ///
    /// # Errors
    /// 400 if a field is wrong, or the model's template has no place for tools.
    pub(super) fn read(self, tokenizer: &Tokenizer) -> ApiResult<Option<Tools>> {
        let tools = self.tools.unwrap_or_default();
        let wrong = |param: &str, problem: String| {
            Err(ApiError::invalid(param, format!("{param}: {problem}")))
        };
        if tools.len() > MOST_TOOLS {
            return wrong("tools", format!("expected at most {MOST_TOOLS}"));
        }
        let mut offered = Vec::with_capacity(tools.len());
        for tool in tools {
            if tool.r#type != "function" {
                let found = tool.r#type;
                return wrong("tools", format!("expected functions, found type {found:?}"));
            }
            let name = &tool.function.name;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
                let expected = "expected names of at most 64 letters, digits, _, - and .";
                return wrong("tools", format!("{expected}, found {name:?}"));
            }
            offered.push(tool.function);
        }
        let required = match self.tool_choice {
            None | Some(Choice::How(How::Auto)) => false,
            Some(Choice::How(How::None)) => return Ok(None),
            Some(Choice::How(How::Required)) => true,
            Some(Choice::One(Named { function })) => {
                offered.retain(|tool| tool.name == function.name);
                if offered.is_empty() {
                    let problem = format!("{:?} is none of the tools", function.name);
                    return wrong("tool_choice", problem);
                }
                true
            }
        };
        if offered.is_empty() {
            return match required {
                true => wrong(
                    "tool_choice",
                    "there are no tools to choose from".to_owned(),
                ),
                false => Ok(None),
            };
        }
        let template = tokenizer.tool_template_source().unwrap_or_default();
        if !template.contains("tools") || !template.contains(OPEN) {
            return wrong(
                "tools",
                format!(
                    "the model's chat template has no place for tools that are called between {OPEN} and {CLOSE}, as Qwen's and Hermes's are"
                ),
            );
        }
        Ok(Some(Tools {
            offered,
            required,
            parallel: self.parallel_tool_calls.unwrap_or(true),
        }))
    }
}

impl Tools {
    /// As the template is given them.
    pub(super) fn to_json(&self) -> Vec<Json> {
        let tools = self.offered.iter();
        let tool = |function: &Function| {
            let mut fields = Map::new();
            fields.insert("name".to_owned(), function.name.clone().into());
            if let Some(description) = &function.description {
                fields.insert("description".to_owned(), description.clone().into());
            }
            fields.insert("parameters".to_owned(), function.parameters().into());
            json!({"type": "function", "function": fields})
        };
        tools.map(tool).collect()
    }

    /// What an answer has to be, in Lark's language: a call if there has to be one, else a
    /// call or what `otherwise` allows; anything if neither says anything.
    pub(super) fn grammar(&self, otherwise: Option<&Json>) -> Option<String> {
        let start = match (self.required, otherwise) {
            (true, _) => "calls".to_owned(),
            (false, Some(schema)) => format!("calls | %json {}", spaced_json(schema)),
            (false, None) => return None,
        };
        let more = match self.parallel {
            true => r#" ("\n" call)*"#,
            false => "",
        };
        let names = (0..self.offered.len()).map(|index| format!("tool{index}"));
        let mut schemas = Map::new();
        let mut forms = Vec::with_capacity(self.offered.len());
        for (function, name) in self.offered.iter().zip(names) {
            let place = format!("#/$defs/{name}");
            forms.push(function.call(&place));
            let mut schema = Json::from(function.parameters());
            move_references(&mut schema, &place);
            schemas.insert(name, schema);
        }
        let form = one_line_json(&json!({"anyOf": forms, "$defs": schemas}));
        Some(format!(
            "start: {start}\ncalls: call{more}\ncall: \"{OPEN}\\n\" form \"\\n{CLOSE}\"\nform: %json {form}\n"
        ))
    }
}

impl Function {
    fn parameters(&self) -> Map<String, Json> {
        let none = || json!({"type": "object", "properties": {}});
        match &self.parameters {
            Some(parameters) => parameters.clone(),
            None => none().as_object().cloned().unwrap_or_default(),
        }
    }

    /// The schema of a call with arguments whose schema stands at `place`.
    fn call(&self, place: &str) -> Json {
        json!({
            "type": "object",
            "properties": {"name": {"const": self.name}, "arguments": {"$ref": place}},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    }
}

/// References of a schema begin at its root, which now stands at `place`.
fn move_references(schema: &mut Json, place: &str) {
    match schema {
        Json::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Json::String(text) if name == "$ref" && text.starts_with('#') => {
                        text.replace_range(..1, place);
                    }
                    other => move_references(other, place),
                }
            }
        }
        Json::Array(items) => items
            .iter_mut()
            .for_each(|item| move_references(item, place)),
        _ => {}
    }
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Text(String),
    Call(Json),
}

/// Finds calls in an answer as it comes.
#[derive(Debug, Clone, Default)]
pub(super) struct CallReader {
    /// What is not told yet: it may be the beginning of a call.
    held: String,
    calls: usize,
    /// Whether there was nothing but white space since the last call.
    after_call: bool,
}

impl CallReader {
    /// Whether there were calls.
    pub(super) fn has_called(&self) -> bool {
        self.calls > 0
    }

    /// Takes more of the answer; `ends` with the last of it. Text between two calls is
    /// told unless it is white space; what is no call although it is written like
    /// one is text.
    pub(super) fn push(&mut self, text: &str, ends: bool) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while let Some(at) = self.held.find(OPEN) {
            let body = at + OPEN.len();
            let Some(length) = self.held[body..].find(CLOSE) else {
                self.tell(at, &mut parts);
                break;
            };
            let end = body + length + CLOSE.len();
            match self.read(&self.held[body..body + length]) {
                Some(call) => {
                    self.tell(at, &mut parts);
                    self.held.drain(..end - at);
                    self.calls += 1;
                    self.after_call = true;
                    parts.push(Part::Call(call));
                }
                None => self.tell(end, &mut parts),
            }
        }
        let rest = match () {
            () if ends => self.held.len(),
            () if self.held.starts_with(OPEN) => 0,
            () => self.held.len() - begun(&self.held),
        };
        self.tell(rest, &mut parts);
        parts
    }

    /// The first `length` bytes of what is held are text.
    fn tell(&mut self, length: usize, parts: &mut Vec<Part>) {
        let text: String = self.held.drain(..length).collect();
        self.after_call &= text.trim().is_empty();
        if !text.is_empty() && !self.after_call {
            parts.push(Part::Text(text));
        }
    }

    fn read(&self, text: &str) -> Option<Json> {
        let call: Map<String, Json> = serde_json::from_str(text.trim()).ok()?;
        let name = call.get("name")?.as_str()?;
        let arguments = call.get("arguments").or(call.get("parameters"));
        let arguments = match arguments {
            None => "{}".to_owned(),
            Some(Json::String(text)) => text.clone(),
            Some(arguments) => arguments.to_string(),
        };
        Some(json!({
            "index": self.calls,
            "id": new_id("call"),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }))
    }
}

/// How many bytes at the end of `text` may be the beginning of a call.
fn begun(text: &str) -> usize {
    let lengths = (1..OPEN.len()).rev();
    let mut begun = lengths.filter(|length| text.ends_with(&OPEN[..*length]));
    begun.next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> (String, Vec<(String, String)>) {
        let mut reader = CallReader::default();
        let (mut text, mut calls) = (String::new(), Vec::new());
        for (index, piece) in pieces.iter().enumerate() {
            for part in reader.push(piece, index + 1 == pieces.len()) {
                match part {
                    Part::Text(more) => text.push_str(&more),
                    Part::Call(call) => {
                        assert_eq!(call["index"], calls.len());
                        let field = |name: &str| {
                            let value = call["function"][name].as_str();
                            value.expect("a text").to_owned()
                        };
                        calls.push((field("name"), field("arguments")));
                    }
                }
            }
        }
        (text, calls)
    }

    #[test]
    fn calls_are_found_however_the_answer_is_cut() {
        let whole = "Let me see. <tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"京\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"time\"}\n</tool_call>";
        let expected = (
            "Let me see. ".to_owned(),
            vec![
                ("weather".to_owned(), "{\"city\":\"京\"}".to_owned()),
                ("time".to_owned(), "{}".to_owned()),
            ],
        );
        assert_eq!(read(&[whole]), expected);
        let letters: Vec<String> = whole.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(read(&letters), expected);
    }

    #[test]
    fn what_only_looks_like_a_call_stays_text() {
        for text in [
            "1 < 2 and <tool",
            "<tool_call>not JSON</tool_call> and on",
            "<tool_call>{\"name\": \"never closed\"",
            "<tool_call>{\"arguments\": {}}</tool_call>",
        ] {
            assert_eq!(read(&[text]), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn text_is_told_as_soon_as_it_can_be_no_call() {
        let mut reader = CallReader::default();
        assert_eq!(reader.push("a <to", false), [Part::Text("a ".to_owned())]);
        assert_eq!(reader.push("p", false), [Part::Text("<top".to_owned())]);
    }
}
