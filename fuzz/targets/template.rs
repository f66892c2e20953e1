#![no_main]

use libfuzzer_sys::fuzz_target;
use retune_data::ChatTemplate;
use serde_json::json;

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source) else {
        return;
    };
    let variables = json!({
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "甄嬛 <|im_end|>"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": {"x": [1, null, 0.5]}}}
            ]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "add_generation_prompt": true,
        "eos_token": "<|im_end|>",
    });
    let _ = template.render(variables.as_object().expect("an object"));
});
