//! Strings that look like the control tokens of model families.
//!
//! In a data file they are either text that was exported with its template, or
//! a template written by hand for another model. Near-misses count: a marker
//! with a character missing is plain text to every tokenizer, and looks right to every
//! reader.

use std::ops::Range;

/// A string that looks like a control token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker<'a> {
    /// Where it stands, in bytes.
    pub range: Range<usize>,
    /// The text there.
    pub text: &'a str,
    /// The model family that uses it, or the marker that is meant; none for
    /// an unknown `<|…|>`.
    pub family: Option<&'static str>,
    /// For a near-miss, the marker that is meant.
    pub meant: Option<&'static str>,
}

const CHATML: &str = "ChatML (Qwen)";
const QWEN: &str = "Qwen";
const GPT: &str = "GPT-2, Qwen";
const LLAMA_2: &str = "Llama 2, Mistral";
const LLAMA_3: &str = "Llama 3";
const LLAMA_4: &str = "Llama 4";
const MISTRAL: &str = "Mistral";
const GEMMA: &str = "Gemma";
const DEEPSEEK: &str = "DeepSeek";
const PHI: &str = "Phi, GLM, Zephyr";
const GLM: &str = "GLM";
const HARMONY: &str = "gpt-oss";
const COMMAND: &str = "Command R";
const BERT: &str = "BERT";
const BART: &str = "BART, RoBERTa";
const MINICPM: &str = "MiniCPM";
const INTERNLM: &str = "InternLM";

/// The markers that are known, each with the family to name.
const KNOWN: &[(&str, &str)] = &[
    ("<|im_start|>", CHATML),
    ("<|im_end|>", CHATML),
    ("<|im_sep|>", "Phi 4"),
    ("<|endoftext|>", GPT),
    ("<|vision_start|>", QWEN),
    ("<|vision_end|>", QWEN),
    ("<|vision_pad|>", QWEN),
    ("<|image_pad|>", QWEN),
    ("<|video_pad|>", QWEN),
    ("<|object_ref_start|>", QWEN),
    ("<|object_ref_end|>", QWEN),
    ("<|box_start|>", QWEN),
    ("<|box_end|>", QWEN),
    ("<|fim_prefix|>", QWEN),
    ("<|fim_middle|>", QWEN),
    ("<|fim_suffix|>", QWEN),
    ("<|begin_of_text|>", LLAMA_3),
    ("<|end_of_text|>", LLAMA_3),
    ("<|start_header_id|>", LLAMA_3),
    ("<|end_header_id|>", LLAMA_3),
    ("<|eot_id|>", LLAMA_3),
    ("<|eom_id|>", LLAMA_3),
    ("<|python_tag|>", LLAMA_3),
    ("<|finetune_right_pad_id|>", LLAMA_3),
    ("<|header_start|>", LLAMA_4),
    ("<|header_end|>", LLAMA_4),
    ("<|eot|>", LLAMA_4),
    ("<s>", LLAMA_2),
    ("</s>", LLAMA_2),
    ("[INST]", LLAMA_2),
    ("[/INST]", LLAMA_2),
    ("<<SYS>>", LLAMA_2),
    ("<</SYS>>", LLAMA_2),
    ("[AVAILABLE_TOOLS]", MISTRAL),
    ("[/AVAILABLE_TOOLS]", MISTRAL),
    ("[TOOL_CALLS]", MISTRAL),
    ("[TOOL_RESULTS]", MISTRAL),
    ("[/TOOL_RESULTS]", MISTRAL),
    ("[SYSTEM_PROMPT]", MISTRAL),
    ("[/SYSTEM_PROMPT]", MISTRAL),
    ("<start_of_turn>", GEMMA),
    ("<end_of_turn>", GEMMA),
    ("<bos>", GEMMA),
    ("<eos>", GEMMA),
    ("<｜User｜>", DEEPSEEK),
    ("<｜Assistant｜>", DEEPSEEK),
    ("<｜begin▁of▁sentence｜>", DEEPSEEK),
    ("<｜end▁of▁sentence｜>", DEEPSEEK),
    ("<|user|>", PHI),
    ("<|assistant|>", PHI),
    ("<|system|>", PHI),
    ("<|end|>", PHI),
    ("<|observation|>", GLM),
    ("[gMASK]", GLM),
    ("<sop>", GLM),
    ("<|start|>", HARMONY),
    ("<|message|>", HARMONY),
    ("<|channel|>", HARMONY),
    ("<|return|>", HARMONY),
    ("<|call|>", HARMONY),
    ("<|START_OF_TURN_TOKEN|>", COMMAND),
    ("<|END_OF_TURN_TOKEN|>", COMMAND),
    ("<|USER_TOKEN|>", COMMAND),
    ("<|CHATBOT_TOKEN|>", COMMAND),
    ("<|SYSTEM_TOKEN|>", COMMAND),
    ("<BOS_TOKEN>", COMMAND),
    ("[CLS]", BERT),
    ("[SEP]", BERT),
    ("[MASK]", BERT),
    ("[PAD]", BERT),
    ("[UNK]", BERT),
    ("<mask>", BART),
    ("<pad>", BART),
    ("<unk>", BART),
    ("<用户>", MINICPM),
    ("<AI>", MINICPM),
    ("<eoh>", INTERNLM),
    ("<eoa>", INTERNLM),
];

/// Markers with a number: what stands before it, behind it, and the family.
const NUMBERED: &[(&str, &str, &str)] = &[
    ("<|reserved_special_token_", "|>", LLAMA_3),
    ("<reserved_", ">", "Baichuan"),
    ("<unused", ">", GEMMA),
    ("<extra_id_", ">", "T5"),
];

/// The longest core in bytes; a longer one is no marker.
const CORE: usize = 64;

/// Everything in `text` that looks like a control token, in order and without
/// overlaps.
///
/// Known markers count as they are. A near-miss is a marker whose inside is
/// one edit away (a character missing, surplus, other, or two swapped), or whose
/// fence is not the right one (`<|end_header_id>`, `<im_end>`,
/// `<| im_start |>`); it must have enough characters not to be a word. `<|…|>`
/// with letters, digits and `_` inside counts without a family.
#[must_use]
pub fn find_markers(text: &str) -> Vec<Marker<'_>> {
    let mut markers = Vec::new();
    let mut rest = 0;
    while let Some(start) = next_fence(text, rest) {
        let candidate = Candidate::at(text, start);
        rest = start + 1;
        if let Some(marker) = candidate.marker(text) {
            rest = marker.range.end;
            markers.push(marker);
        }
        while !text.is_char_boundary(rest) {
            rest += 1;
        }
    }
    markers
}

/// Where the next character stands that a marker can begin with.
fn next_fence(text: &str, from: usize) -> Option<usize> {
    // The full-width bar is EF BD 9C in UTF-8.
    let bytes = &text.as_bytes()[from..];
    let is_fence = |(at, byte): (usize, &u8)| {
        matches!(byte, b'<' | b'[' | b'|')
            || *byte == 0xef && bytes[at..].starts_with("｜".as_bytes())
    };
    bytes
        .iter()
        .enumerate()
        .position(is_fence)
        .map(|at| from + at)
}

/// A span with the shape of a marker: a fence, a core, a fence.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate<'a> {
    start: usize,
    open: &'a str,
    core: &'a str,
    close: &'a str,
    /// Spaces between fence and core, in bytes.
    spaces: [usize; 2],
}

impl<'a> Candidate<'a> {
    /// The candidate at `start`, where a fence begins. It looks at a bounded
    /// number of bytes.
    fn at(text: &'a str, start: usize) -> Self {
        let rest = &text[start..];
        let open = fence(rest, &['<', '[', '|', '｜']);
        let rest = &rest[open.len()..];
        let before = usize::from(rest.starts_with(' '));
        let rest = &rest[before..];
        let core_len: usize = rest
            .chars()
            .map_while(|c| (is_core(c) && (c.is_ascii() || open != "[")).then(|| c.len_utf8()))
            .take(CORE)
            .sum();
        let (core, rest) = rest.split_at(core_len);
        let behind = usize::from(rest.starts_with(' '));
        let close = fence(&rest[behind..], &['>', ']', '|', '｜']);
        // A space without a fence behind it belongs to the text.
        let behind = if close.is_empty() { 0 } else { behind };
        Self {
            start,
            open,
            core,
            close,
            spaces: [before, behind],
        }
    }

    fn marker(&self, text: &'a str) -> Option<Marker<'a>> {
        if self.core.is_empty() {
            return None;
        }
        let len = self.open.len() + self.core.len() + self.close.len();
        let range = self.start..self.start + len + self.spaces[0] + self.spaces[1];
        let text = &text[range.clone()];
        let marker = |family, meant| Marker {
            range,
            text,
            family,
            meant,
        };
        if let Some((_, family)) = KNOWN.iter().find(|(known, _)| *known == text) {
            return Some(marker(Some(family), None));
        }
        if let Some(family) = numbered(text) {
            return Some(marker(Some(family), None));
        }
        if let Some((known, family)) = KNOWN.iter().find(|(known, _)| self.is_near(known)) {
            return Some(marker(Some(family), Some(known)));
        }
        let general = self.spaces == [0, 0]
            && matches!((self.open, self.close), ("<|", "|>") | ("<｜", "｜>"))
            && self.core.chars().any(char::is_alphabetic)
            && !self.core.contains('/');
        general.then(|| marker(None, None))
    }

    /// Whether `known` is what was meant.
    fn is_near(&self, known: &str) -> bool {
        let meant = Candidate::at(known, 0);
        let same_fence = (self.open, self.close) == (meant.open, meant.close);
        if self.core.eq_ignore_ascii_case(meant.core) {
            // The core is right; it, the fences, or both must be too special
            // for prose and code.
            let special = meant.core.contains(['_', '▁']) || meant.core == "endoftext";
            let angle = self.open.starts_with('<') || self.close.ends_with('>');
            let system = meant.core.trim_start_matches('/') == "SYS" && self.core == meant.core;
            return if meant.open == "[" {
                // `[INST` and `[/INST`, and no word in brackets.
                self.core == meant.core && self.core.contains("INST") && self.open == "["
            } else if same_fence {
                self.open.len() > 1
            } else {
                (special && angle && self.encloses(meant.core)) || (system && angle)
            };
        }
        same_fence
            && self.spaces == [0, 0]
            && self.open.len() > 1
            && meant.core.len() >= 5
            && is_one_edit(self.core, meant.core)
    }

    /// Whether the fences are those of a marker rather than of a type or a
    /// table: two at least, but for cores of three words or more.
    fn encloses(&self, core: &str) -> bool {
        let fences = self.open.chars().count() + self.close.chars().count();
        fences >= 2 || core.matches('_').count() >= 2
    }
}

/// Up to three characters of a fence.
fn fence<'a>(text: &'a str, of: &[char]) -> &'a str {
    let chars = text.chars().take_while(|c| of.contains(c)).take(3);
    &text[..chars.map(char::len_utf8).sum()]
}

fn is_core(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '▁' | '/')
}

/// The family of a marker with a number.
fn numbered(text: &str) -> Option<&'static str> {
    let found = NUMBERED.iter().find(|(before, behind, _)| {
        let number = text.strip_prefix(before);
        let number = number.and_then(|text| text.strip_suffix(behind));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    found.map(|(_, _, family)| *family)
}

/// Whether one edit makes `a` of `b`: a character missing, surplus or other, or
/// two neighbours swapped (Damerau 1964).
fn is_one_edit(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Less => a == &b[1..],
        std::cmp::Ordering::Greater => &a[1..] == b,
        std::cmp::Ordering::Equal => match (a, b) {
            ([a, a_rest @ ..], [b, b_rest @ ..]) => {
                let swapped = match (a_rest, b_rest) {
                    ([a2, a_rest @ ..], [b2, b_rest @ ..]) => {
                        a == b2 && b == a2 && a_rest == b_rest
                    }
                    _ => false,
                };
                a_rest == b_rest || swapped
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits() {
        for other in [
            "im_strt",
            "im_starrt",
            "im_stort",
            "im_satrt",
            "m_start",
            "im_star",
        ] {
            assert!(is_one_edit(other, "im_start"), "{other}");
        }
        for other in ["im_start", "im_str", "mi_satrt", "im_end", ""] {
            assert!(!is_one_edit(other, "im_start"), "{other}");
        }
        assert!(!is_one_edit("", "") && is_one_edit("", "a") && is_one_edit("a", ""));
    }

    #[test]
    fn known_markers_have_the_shape_that_is_looked_for() {
        for (known, _) in KNOWN {
            let candidate = Candidate::at(known, 0);
            let len = candidate.open.len() + candidate.core.len() + candidate.close.len();
            assert_eq!(len, known.len(), "{known}");
            assert_eq!(KNOWN.iter().filter(|(other, _)| other == known).count(), 1);
        }
    }
}
