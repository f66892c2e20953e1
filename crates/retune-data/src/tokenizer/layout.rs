//! The files of a new tokenizer, as Hugging Face has them.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::error::Result;
use crate::source::write_whole;

/// The special tokens that the chat template is made of, and with which a text
/// ends or is filled up.
pub(super) const TEMPLATE_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// ChatML: each turn is written once and for all, and ends in a special token.
const CHAT_TEMPLATE: &str = "\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// The names of files that a model's tokenizer may consist of.
pub const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// Writes `tokenizer.json` and `tokenizer_config.json`; `special` tokens have ids.
pub(super) fn write_folder(folder: &Path, tokenizer: &str, special: &[(u32, &str)]) -> Result<()> {
    let config = format!("{:#}\n", config(special));
    write_whole(&folder.join("tokenizer_config.json"), &config)?;
    // Without this one, there is no tokenizer.
    write_whole(&folder.join("tokenizer.json"), &format!("{tokenizer}\n"))
}

fn config(special: &[(u32, &str)]) -> Json {
    let added: Map<String, Json> = special
        .iter()
        .map(|(id, token)| (id.to_string(), added_token(token)))
        .collect();
    let [endoftext, _, im_end] = TEMPLATE_TOKENS;
    let others = special.iter().map(|(_, token)| *token);
    let others: Vec<&str> = others
        .filter(|token| ![endoftext, im_end].contains(token))
        .collect();
    json!({
        "add_bos_token": false,
        "add_prefix_space": false,
        "added_tokens_decoder": added,
        "additional_special_tokens": others,
        "bos_token": null,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": im_end,
        "pad_token": endoftext,
        // The class that takes `tokenizer.json` as it is.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": null,
    })
}

fn added_token(content: &str) -> Json {
    json!({
        "content": content,
        "lstrip": false,
        "normalized": false,
        "rstrip": false,
        "single_word": false,
        "special": true,
    })
}
