//! Tokens on their own.

use std::path::Path;

use retune_data::Tokenizer;

use crate::shared;

fn join_again(folder: &Path) {
    let tokenizer = Tokenizer::open(folder).unwrap();
    for text in ["宫里的月亮", "naïve 🌙\n\tx", "  two  spaces", "a"] {
        let ids = tokenizer.text_ids(text).unwrap();
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|id| tokenizer.token_bytes(*id))
            .collect();
        let found = String::from_utf8(bytes).unwrap();
        // SentencePiece puts a space before a text, and some put a token there.
        assert!(
            found == text || found.trim_start_matches("<s>").strip_prefix(' ') == Some(text),
            "{}: {found:?} of {text:?}",
            folder.display()
        );
    }
    assert!(tokenizer.token_bytes(u32::MAX).is_empty());
}

#[test]
fn the_bytes_of_tokens_join_to_the_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    join_again(&root.join("tests/models/bytes"));
    join_again(&root.join("../retune/builtin"));
    if let Some(folder) = shared::file("tokenizers/qwen2.5") {
        join_again(&folder);
    }
}
