//! What a tokenizer's normalizer may ask for.
//!
//! The crate `tokenizers` allocates what a file says, and a failed allocation ends
//! the program, so that is looked at first.

use base64::Engine as _;
use serde_json::Value as Json;

/// How many times longer than itself a text may become. Metaspace makes three
/// bytes of one, and NFKD a few of some.
const MAX_GROWTH: f64 = 1000.0;

/// What is wrong with the normalizer and the pre-tokenizer of a `tokenizer.json`,
/// if anything is.
pub(super) fn fault(parts: [&Json; 2]) -> Option<String> {
    let mut growth = 1.0;
    for part in parts {
        if let Some(problem) = look(part, &mut growth, 0) {
            return Some(problem);
        }
    }
    (growth > MAX_GROWTH).then(|| {
        format!("its normalizer makes a text up to {growth:.0} times as long; at most {MAX_GROWTH} is allowed")
    })
}

fn look(step: &Json, growth: &mut f64, depth: usize) -> Option<String> {
    if depth > 16 {
        return Some("its normalizers are nested more than 16 deep".to_owned());
    }
    let length = |value: &Json| value.as_str().map_or(0, str::len);
    match step["type"].as_str() {
        Some("Replace") => {
            let pattern = length(&step["pattern"]["String"]).max(1);
            *growth *= (length(&step["content"]) as f64 / pattern as f64).max(1.0);
        }
        Some("Prepend") => *growth *= 1.0 + length(&step["prepend"]) as f64,
        Some("Precompiled") => return charsmap(&step["precompiled_charsmap"]),
        _ => {}
    }
    for list in ["normalizers", "pretokenizers"] {
        for inner in step[list].as_array().into_iter().flatten() {
            if let Some(problem) = look(inner, growth, depth + 1) {
                return Some(problem);
            }
        }
    }
    None
}

/// SentencePiece's table begins with the bytes of its trie, which have to be
/// there.
fn charsmap(map: &Json) -> Option<String> {
    let problem = || Some("its precompiled_charsmap is cut off or damaged".to_owned());
    let Some(text) = map.as_str() else {
        return problem();
    };
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text) else {
        return problem();
    };
    match bytes.split_first_chunk::<4>() {
        Some((size, rest)) if u32::from_le_bytes(*size) as usize <= rest.len() => None,
        _ => problem(),
    }
}
