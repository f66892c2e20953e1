//! What an answer has to be, what is told of prompts, and texts as vectors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::{Server, read};
use super::{CHAT, asked};
use crate::program::Folder;

const COMPLETIONS: &str = "/v1/completions";

fn choices(body: &Value) -> &[Value] {
    body["choices"].as_array().expect("choices")
}

#[test]
fn an_answer_follows_the_schema_that_is_asked_for() {
    let server = Server::start(&[]);
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "rank": {"enum": ["妃", "嫔", "贵人"]},
        },
        "required": ["name", "age", "rank"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "lady", "schema": schema}});
    let more =
        json!({"response_format": format, "n": 4, "temperature": 1, "seed": 3, "max_tokens": 400});
    let (status, body) = server.ask(CHAT, &asked("你是谁？", more.clone()));
    assert_eq!(status, 200, "{body}");
    for choice in choices(&body) {
        let text = choice["message"]["content"].as_str().expect("a text");
        assert_eq!(choice["finish_reason"], "stop", "{text}");
        let lady: Value = serde_json::from_str(text).expect("JSON");
        assert!(lady["name"].as_str().expect("a name").chars().count() <= 12);
        assert!(lady["age"].as_u64().expect("an age") <= 120);
        assert!(["妃", "嫔", "贵人"].contains(&lady["rank"].as_str().expect("a rank")));
        assert_eq!(lady.as_object().expect("an object").len(), 3);
    }
    let mut streamed = more.clone();
    streamed["stream"] = true.into();
    let events = server.events(CHAT, &asked("你是谁？", streamed));
    let first = |event: &&Value| event["choices"][0]["index"] == 0;
    let parts = events.iter().filter(first);
    let text: String = parts
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, choices(&body)[0]["message"]["content"]);
    let any = json!({"response_format": {"type": "json_object"}, "max_tokens": 300, "temperature": 1, "seed": 1});
    let (_, body) = server.ask(CHAT, &asked("你是谁？", any));
    let text = choices(&body)[0]["message"]["content"].as_str();
    let text = text.expect("a text");
    assert!(text.trim_start().starts_with('{'), "{text}");
    match serde_json::from_str::<Value>(text) {
        Ok(found) => assert!(found.is_object(), "{text}"),
        // An object may be longer than the answer.
        Err(error) => assert!(error.is_eof(), "{error}: {text}"),
    }
}

#[test]
fn a_schema_that_cannot_be_followed_is_a_typed_error() {
    let server = Server::start(&[]);
    let formats = [
        json!({"type": "json_schema", "json_schema": {"schema": {"type": "strange"}}}),
        json!({"type": "json_schema", "json_schema": {"schema": 5}}),
        json!({"type": "json_schema", "json_schema": {"schema": {"$ref": "https://example.com/x"}}}),
        json!({"type": "json_schema", "json_schema": {"schema": {"pattern": "(", "type": "string"}}}),
        json!({"type": "json_schema"}),
        json!({"type": "poem"}),
    ];
    for format in formats {
        let more = json!({"response_format": format});
        let (status, body) = server.ask(CHAT, &asked("你好", more));
        assert_eq!(status, 400, "{format}: {body}");
        assert_eq!(
            body["error"]["param"], "response_format",
            "{format}: {body}"
        );
    }
    assert_eq!(server.ask(CHAT, &asked("你好", json!({}))).0, 200);
}

/// A template that tells of tools as Qwen's does.
const TOOL_TEMPLATE: &str = "{% if tools %}<|im_start|>system
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
Call with <tool_call>
{\"name\": …, \"arguments\": …}
</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}
<tool_call>
{{ {\"name\": call.function.name, \"arguments\": call.function.arguments} | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}";

fn weather(choice: &Value, more: &Value) -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"enum": ["京城", "江南"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "description": "天气", "parameters": parameters}});
    let mut body = json!({
        "tools": [tool("weather"), tool("almanac")], "tool_choice": choice, "max_tokens": 200,
        "temperature": 1, "seed": 5,
    });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    asked("京城明日下雨吗？", body)
}

#[track_caller]
fn assert_is_call(call: &Value, names: &[&str]) {
    assert_eq!(call["type"], "function");
    assert!(call["id"].as_str().expect("an id").starts_with("call-"));
    let function = &call["function"];
    assert!(
        names.contains(&function["name"].as_str().expect("a name")),
        "{call}"
    );
    let arguments = function["arguments"].as_str().expect("a text");
    let arguments: Value = serde_json::from_str(arguments).expect("JSON");
    assert!(["京城", "江南"].contains(&arguments["city"].as_str().expect("a city")));
    assert!((1..=9).contains(&arguments["days"].as_u64().expect("days")));
}

#[test]
fn tools_are_called_as_asked_and_their_results_are_read() {
    let folder = Folder::new();
    folder.stdout(&["builtin", "model"]);
    folder.write("model/chat_template.jinja", TOOL_TEMPLATE);
    let server = Server::start_with(folder, "model", &[]);
    let (status, body) = server.ask(CHAT, &weather(&json!("required"), &json!({})));
    assert_eq!(status, 200, "{body}");
    let choice = &choices(&body)[0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{body}");
    assert!(choice["message"]["content"].is_null());
    let calls = choice["message"]["tool_calls"]
        .as_array()
        .expect("calls")
        .clone();
    for call in &calls {
        assert_is_call(call, &["weather", "almanac"]);
        assert!(call["index"].is_null());
    }
    let one = json!({"type": "function", "function": {"name": "almanac"}});
    let alone = json!({"parallel_tool_calls": false});
    let (_, body) = server.ask(CHAT, &weather(&one, &alone));
    let made = choices(&body)[0]["message"]["tool_calls"].as_array();
    let [made] = made.expect("calls").as_slice() else {
        panic!("one call: {body}");
    };
    assert_is_call(made, &["almanac"]);
    let events = server.events(CHAT, &weather(&json!("required"), &json!({"stream": true})));
    let deltas = events.iter().map(|event| &event["choices"][0]["delta"]);
    let streamed: Vec<&Value> = deltas
        .filter_map(|delta| delta["tool_calls"].as_array())
        .flatten()
        .collect();
    assert_eq!(streamed.len(), calls.len());
    for (index, (streamed, call)) in streamed.iter().zip(&calls).enumerate() {
        assert_eq!(streamed["index"], index);
        assert_eq!(streamed["function"], call["function"]);
    }
    let last = events.last().expect("a chunk");
    assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    // Schemas whose parts refer to each other, as those of nested classes do.
    let nested = json!({
        "type": "object",
        "properties": {"where": {"$ref": "#/$defs/Place"}},
        "required": ["where"],
        "additionalProperties": false,
        "$defs": {"Place": {
            "type": "object",
            "properties": {"city": {"enum": ["京城", "江南"]}},
            "required": ["city"],
            "additionalProperties": false,
        }},
    });
    let travel = json!({"type": "function", "function": {"name": "travel", "parameters": nested}});
    let more = json!({"tools": [travel]});
    let (status, body) = server.ask(CHAT, &weather(&json!("required"), &more));
    assert_eq!(status, 200, "{body}");
    let made = &choices(&body)[0]["message"]["tool_calls"][0]["function"];
    let arguments = made["arguments"].as_str().expect("a text");
    let arguments: Value = serde_json::from_str(arguments).expect("JSON");
    assert!(["京城", "江南"].contains(&arguments["where"]["city"].as_str().expect("a city")));
    // What was called and what came of it goes back into the conversation.
    let (id, function) = (&calls[0]["id"], &calls[0]["function"]);
    let messages = json!([
        {"role": "user", "content": "京城明日下雨吗？"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": id, "content": "大雨"},
    ]);
    let (status, body) = server.ask(CHAT, &json!({"messages": messages, "max_tokens": 4}));
    assert_eq!(status, 200, "{body}");
    // Who may not call does not.
    let (_, body) = server.ask(CHAT, &weather(&json!("none"), &json!({})));
    assert!(choices(&body)[0]["message"]["tool_calls"].is_null());
    let wrong = [
        (
            json!({"type": "function", "function": {"name": "poem"}}),
            json!({}),
            "tool_choice",
        ),
        (json!("maybe"), json!({}), "tool_choice"),
        (
            json!("auto"),
            json!({"tools": [{"type": "browser"}]}),
            "tools[0].function",
        ),
        (json!("required"), json!({"tools": []}), "tool_choice"),
    ];
    for (choice, more, param) in wrong {
        let (status, body) = server.ask(CHAT, &weather(&choice, &more));
        assert_eq!(status, 400, "{choice} {more}: {body}");
        let found = body["error"]["param"].as_str().unwrap_or_default();
        assert!(
            found.starts_with(param.split('.').next().unwrap_or(param)),
            "{body}"
        );
    }
}

#[test]
fn settings_of_sampling_have_the_names_and_the_meaning_that_they_have_elsewhere() {
    let server = Server::start(&[]);
    let text = |more: Value| {
        let (status, body) = server.ask(CHAT, &asked("你是谁？", more.clone()));
        assert_eq!(status, 200, "{more}: {body}");
        choices(&body)[0].clone()
    };
    let greedy = text(json!({}))["message"]["content"].clone();
    let unset = json!({"temperature": null, "do_sample": false, "top_p": null});
    assert_eq!(text(unset)["message"]["content"], greedy);
    let no_limit = text(json!({"max_tokens": -1}));
    assert_eq!(no_limit["finish_reason"], "stop");
    // Who asks for several answers wants different ones.
    let several = json!({"temperature": null, "n": 4, "seed": 5, "min_tokens": 8});
    let (_, body) = server.ask(CHAT, &asked("你是谁？", several));
    let answers: Vec<&Value> = choices(&body)
        .iter()
        .map(|choice| &choice["message"]["content"])
        .collect();
    assert!(answers.iter().any(|answer| *answer != answers[0]), "{body}");
    let least = json!({"prompt": "我", "min_tokens": 20, "logit_bias": {"100": 100}});
    let (status, body) = server.ask(COMPLETIONS, &least);
    assert_eq!(
        (status, &body["usage"]["completion_tokens"]),
        (200, &json!(20)),
        "{body}"
    );
    let first = json!({"logprobs": true});
    let told = text(first)["logprobs"]["content"][0]["token"].clone();
    let ids = json!({"content": told});
    let (_, ids) = server.ask("/tokenize", &ids);
    let stopped = text(json!({"stop_token_ids": [ids["tokens"][0]]}));
    assert_eq!(stopped["message"]["content"], "", "{told} {ids}");
    assert_eq!(stopped["finish_reason"], "stop");
    let looped = json!({"logit_bias": {"100": 100}, "max_phrase_repeats": 3, "max_tokens": 64});
    assert_eq!(text(looped)["stop_reason"], "repetition");
    for (field, value) in [
        ("max_tokens", json!(-2)),
        ("stop_token_ids", json!([99_999_999])),
        ("dry_base", json!(0.5)),
        ("max_phrase_repeats", json!(1)),
    ] {
        let (status, body) = server.ask(CHAT, &asked("你好", json!({ field: value })));
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!(field)),
            "{body}"
        );
    }
}

/// A template that may be told to think.
const THINKING_TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}我姓{% endif %}{% endif %}";

#[test]
fn chat_templates_get_arguments_of_the_server_and_of_requests() {
    let folder = Folder::new();
    folder.stdout(&["builtin", "model"]);
    folder.write("model/chat_template.jinja", THINKING_TEMPLATE);
    let off = "{\"enable_thinking\": false}";
    let quiet = ["generate", "model", "你是谁？", "--greedy", "--timings"];
    let prompt = |more: &[&str]| folder.outcome(&[&quiet[..], more].concat());
    let tokens = |outcome: String| {
        let rest = outcome
            .split("prompt: ")
            .nth(1)
            .expect("timings")
            .to_owned();
        rest.split(' ')
            .next()
            .expect("a number")
            .parse::<u64>()
            .expect("a number")
    };
    let (thinks, does_not) = (
        tokens(prompt(&[])),
        tokens(prompt(&["--chat_template_kwargs", off])),
    );
    assert!(does_not > thinks, "{does_not} {thinks}");
    let server = Server::start_with(folder, "model", &["--chat_template_kwargs", off]);
    let used = |more: Value| {
        let (status, body) = server.ask(CHAT, &asked("你是谁？", more));
        assert_eq!(status, 200, "{body}");
        body["usage"]["prompt_tokens"].as_u64().expect("a number")
    };
    assert_eq!(used(json!({})), does_not);
    let on = json!({"chat_template_kwargs": {"enable_thinking": true}});
    assert_eq!(used(on), thinks);
}

#[test]
fn a_model_without_a_template_takes_single_messages_and_refuses_to_forget_others() {
    let folder = Folder::new();
    folder.stdout(&["builtin", "model"]);
    let path = "model/tokenizer_config.json";
    let mut config: Value = serde_json::from_str(&folder.read(path)).expect("JSON");
    config
        .as_object_mut()
        .expect("an object")
        .remove("chat_template");
    folder.write(path, &config.to_string());
    let refused = folder.refusal(&["generate", "model", "你好", "--system", "x"]);
    assert!(refused.contains("has no chat template"), "{refused}");
    let server = Server::start_with(folder, "model", &[]);
    assert_eq!(server.ask(CHAT, &asked("你好", json!({}))).0, 200);
    let messages = json!([{"role": "system", "content": "x"}, {"role": "user", "content": "你好"}]);
    let (status, body) = server.ask(CHAT, &json!({"messages": messages}));
    assert_eq!(status, 400, "{body}");
    assert!(body.to_string().contains("has no chat template"), "{body}");
}

#[test]
fn a_template_without_tools_says_so() {
    let server = Server::start(&[]);
    let (status, body) = server.ask(CHAT, &weather(&json!("auto"), &json!({})));
    assert_eq!(
        (status, &body["error"]["param"]),
        (400, &json!("tools")),
        "{body}"
    );
}

#[test]
fn prompts_are_told_as_likely_as_they_were_when_they_were_written() {
    let server = Server::start(&[]);
    let complete = |prompt: &Value, more: Value| {
        let mut body =
            json!({"prompt": prompt, "temperature": 0, "repetition_penalty": 1, "logprobs": 1});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        server.ask(COMPLETIONS, &body)
    };
    // Longer than what goes through the model at a time.
    let text = "宝玉笑道：“你只管放心，我自有道理。”".repeat(16);
    let (_, tokens) = server.ask("/tokenize", &json!({"content": text}));
    let prompt = tokens["tokens"].as_array().expect("tokens").clone();
    assert!(prompt.len() > 130, "{}", prompt.len());
    let (status, written) = complete(&json!(prompt), json!({"max_tokens": 6, "min_tokens": 6}));
    assert_eq!(status, 200, "{written}");
    let list = |body: &Value, name: &str| {
        let list = body["choices"][0]["logprobs"][name].as_array();
        list.expect("a list").clone()
    };
    let words: String = list(&written, "tokens")
        .iter()
        .map(|token| token.as_str().expect("a text"))
        .collect();
    let (_, more) = server.ask("/tokenize", &json!({"content": words}));
    let mut whole = prompt.clone();
    whole.extend(more["tokens"].as_array().expect("tokens").iter().cloned());
    let (status, told) = complete(&json!(whole), json!({"max_tokens": 0, "echo": true}));
    assert_eq!(status, 200, "{told}");
    let logprobs = list(&told, "token_logprobs");
    assert_eq!(logprobs.len(), whole.len());
    assert!(logprobs[0].is_null());
    assert!(
        logprobs[1..]
            .iter()
            .all(|logprob| logprob.as_f64().expect("a number") <= 0.0)
    );
    assert_eq!(
        logprobs[prompt.len()..],
        list(&written, "token_logprobs")[..]
    );
    assert_eq!(told["usage"]["completion_tokens"], 0);
    assert_eq!(told["choices"][0]["finish_reason"], "length");
    // Offsets point at the tokens' texts.
    let echoed: Vec<char> = told["choices"][0]["text"]
        .as_str()
        .expect("a text")
        .chars()
        .collect();
    let (tokens, offsets) = (list(&told, "tokens"), list(&told, "text_offset"));
    let at = |index: usize| offsets[index].as_u64().expect("an offset") as usize;
    let token: Vec<char> = tokens[1].as_str().expect("a text").chars().collect();
    assert_eq!(echoed[at(1)..at(2)], token);
    // A part of a character stands where the character does.
    let (_, split) = complete(&json!("甲😀乙"), json!({"max_tokens": 0, "echo": true}));
    let (tokens, offsets) = (list(&split, "tokens"), list(&split, "text_offset"));
    let parts = tokens.iter().zip(&offsets);
    let parts: Vec<&Value> = parts
        .filter(|(token, _)| {
            token
                .as_str()
                .is_some_and(|text| text.starts_with("bytes:"))
        })
        .map(|(_, offset)| offset)
        .collect();
    assert!(parts.len() > 1, "{tokens:?}");
    assert!(parts.iter().all(|offset| **offset == 1), "{offsets:?}");
    assert_eq!(offsets.last(), Some(&json!(2)), "{tokens:?}");
    // Each token is among those of its place, be it likely or not.
    for (token, top) in tokens.iter().zip(list(&split, "top_logprobs")).skip(1) {
        assert!(top.get(token.as_str().expect("a text")).is_some(), "{top}");
    }
    // The token that ends an answer is told too: who asks for one gets one more than the
    // prompt has.
    let own = include_str!("../../../builtin/generation_config.json");
    let own: Value = serde_json::from_str(own).expect("JSON");
    let end = own["eos_token_id"].to_string();
    let ends = "林黛玉冷笑道，说完便走了。";
    let more = json!({"max_tokens": 1, "echo": true, "logit_bias": {(end): 100}});
    let (_, ended) = complete(&json!(ends), more);
    assert_eq!(ended["choices"][0]["finish_reason"], "stop", "{ended}");
    let (_, tokens) = server.ask("/tokenize", &json!({"content": ends}));
    let prompt = tokens["count"].as_u64().expect("a count") as usize;
    assert_eq!(list(&ended, "token_logprobs").len(), prompt + 1);
    assert_eq!(ended["usage"]["completion_tokens"], 1);
    // Both answers to a prompt, and streams, tell the same.
    let (_, two) = complete(
        &json!("宝玉笑道"),
        json!({"max_tokens": 2, "echo": true, "n": 2}),
    );
    assert_eq!(two["choices"][0]["logprobs"], two["choices"][1]["logprobs"]);
    let body = json!({
        "prompt": "宝玉笑道", "temperature": 0, "logprobs": 1, "max_tokens": 2, "echo": true, "stream": true,
    });
    let events = server.events(COMPLETIONS, &body);
    let streamed: Vec<Value> = events
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["token_logprobs"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(streamed, list(&two, "token_logprobs"));
}

#[test]
fn embeddings_are_vectors_of_length_one_that_nothing_beside_them_changes() {
    let server = Server::start(&[]);
    let long = "话说宝玉举目见北静王水溶头上戴着洁白簪缨银翅王帽。".repeat(30);
    let texts = ["宝玉笑道", "孙悟空打妖怪", &long, "宝玉笑道"];
    let embed = |input: Value, more: Value| {
        let mut body = json!({"input": input});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let (status, body) = server.ask("/v1/embeddings", &body);
        assert_eq!(status, 200, "{body}");
        assert_eq!(
            body["usage"]["prompt_tokens"],
            body["usage"]["total_tokens"]
        );
        body["data"].as_array().expect("vectors").clone()
    };
    let numbers = |entry: &Value| -> Vec<f32> {
        let list = entry["embedding"].as_array().expect("a vector");
        list.iter()
            .map(|value| value.as_f64().expect("a number") as f32)
            .collect()
    };
    let together = embed(json!(texts), json!({}));
    for (index, entry) in together.iter().enumerate() {
        assert_eq!(entry["index"], index);
        let vector = numbers(entry);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        let alone = embed(json!(texts[index]), json!({}));
        assert_eq!(numbers(&alone[0]), vector, "{index}");
    }
    assert_eq!(numbers(&together[0]), numbers(&together[3]));
    let last = embed(json!(texts[0]), json!({"pooling": "last"}));
    assert_ne!(numbers(&last[0]), numbers(&together[0]));
    let encoded = embed(json!(texts[0]), json!({"encoding_format": "base64"}));
    let encoded = encoded[0]["embedding"].as_str().expect("a text");
    let bytes = STANDARD.decode(encoded).expect("base64");
    let decoded = bytes.as_chunks::<4>().0.iter();
    let decoded: Vec<f32> = decoded.map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(decoded, numbers(&together[0]));
    for (body, param) in [
        (json!({"input": []}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": [999_999]}), "input"),
        (json!({"input": "a", "dimensions": 7}), "dimensions"),
        (
            json!({"input": "a", "encoding_format": "hex"}),
            "encoding_format",
        ),
        (json!({"input": "长".repeat(2000)}), "input"),
    ] {
        let (status, error) = server.ask("/v1/embeddings", &body);
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{error}"
        );
    }
}

#[test]
fn an_answer_that_takes_too_long_ends_in_an_error_and_frees_its_place() {
    let server = Server::start(&["--request-timeout", "1"]);
    let more = json!({"n": 64, "max_tokens": 900, "min_tokens": 900, "temperature": 1});
    let (status, body) = server.ask(CHAT, &asked("讲个故事", more.clone()));
    assert_eq!(
        (status, &body["error"]["code"]),
        (504, &json!("deadline")),
        "{body}"
    );
    let mut streamed = more;
    streamed["stream"] = true.into();
    let mut response = server.post(CHAT, &asked("讲个故事", streamed));
    let text = response.body_mut().read_to_string().expect("events");
    assert!(
        text.trim_end()
            .lines()
            .last()
            .is_some_and(|line| line.contains("deadline")),
        "{text}"
    );
    server.wait_for(0);
}

#[test]
fn figures_and_the_description_of_the_api_are_there() {
    let server = Server::start(&[]);
    for _ in 0..3 {
        server.ask(CHAT, &asked("你好", json!({})));
    }
    // An answer is there a moment before the engine has looked around.
    let figures = || {
        let text = server.get("/metrics").body_mut().read_to_string();
        text.expect("a text")
    };
    let idle = |figures: &String| {
        figures
            .lines()
            .any(|line| line == "retune_requests_running 0")
    };
    let mut asked = (0..1000).map(|_| figures());
    let figures = asked.find(idle).expect("the engine comes to rest");
    for line in [
        "retune_requests_total{model=\"builtin\"} 3",
        "retune_first_token_seconds_count{model=\"builtin\"} 3",
        "retune_http_responses_total{path=\"/v1/chat/completions\",status=\"200\"} 3",
    ] {
        assert!(figures.lines().any(|own| own == line), "{line}\n{figures}");
    }
    let (_, document) = read(server.get("/openapi.json"));
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 12);
    for (path, operations) in paths {
        let path = path.replace("{name}", "builtin").replace("{id}", "none");
        for method in operations.as_object().expect("operations").keys() {
            let (status, code) = match method.as_str() {
                "get" => {
                    let mut response = server.get(&path);
                    let status = response.status().as_u16();
                    let body = response.body_mut().read_json::<Value>();
                    (
                        status,
                        body.map(|body| body["error"]["code"].clone())
                            .unwrap_or_default(),
                    )
                }
                _ => {
                    let (status, body) = server.ask(&path, &json!([]));
                    (status, body["error"]["code"].clone())
                }
            };
            assert_ne!(status, 405, "{method} {path}");
            assert_ne!(code, "unknown_url", "{method} {path}");
        }
    }
}
