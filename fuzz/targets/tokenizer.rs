#![no_main]

use libfuzzer_sys::fuzz_target;
use retune_data::{Content, Conversation, LabelOptions, Tokenizer, label};
use tempfile::TempDir;

const CONFIG: &str = r#"{"eos_token": "<|im_end|>", "chat_template":
    "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|im_end|>' }}{% endfor %}{{ '<|im_start|>' if add_generation_prompt }}"}"#;

fuzz_target!(|bytes: &[u8]| {
    let folder = TempDir::new().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("a temporary file");
    };
    write("tokenizer.json", bytes);
    write("tokenizer_config.json", CONFIG.as_bytes());
    let Ok(tokenizer) = Tokenizer::open(folder.path()) else {
        return;
    };
    let turn = Conversation::of_turn("甄嬛 <|im_end|> a1", " b\n");
    for content in [Content::Conversation(turn), Content::Text("甄嬛 a1".into())] {
        if let Ok(labelled) = label(&tokenizer, &content, &LabelOptions::default()) {
            tokenizer.decode(&labelled.input_ids);
        }
    }
});
