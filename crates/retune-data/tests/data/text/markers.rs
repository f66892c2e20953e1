//! Control tokens of model families.

use retune_data::text::markers::find_markers;

fn one(text: &str) -> (&str, Option<&'static str>, Option<&'static str>) {
    let markers = find_markers(text);
    assert_eq!(markers.len(), 1, "{text}: {markers:?}");
    let marker = &markers[0];
    assert_eq!(&text[marker.range.clone()], marker.text);
    (marker.text, marker.family, marker.meant)
}

#[test]
fn known_markers_have_their_families() {
    let cases = [
        ("<|im_start|>", "ChatML (Qwen)"),
        ("<|endoftext|>", "GPT-2, Qwen"),
        ("<|eot_id|>", "Llama 3"),
        ("<|start_header_id|>", "Llama 3"),
        ("<|reserved_special_token_12|>", "Llama 3"),
        ("<s>", "Llama 2, Mistral"),
        ("</s>", "Llama 2, Mistral"),
        ("[INST]", "Llama 2, Mistral"),
        ("<</SYS>>", "Llama 2, Mistral"),
        ("<start_of_turn>", "Gemma"),
        ("<｜User｜>", "DeepSeek"),
        ("<｜end▁of▁sentence｜>", "DeepSeek"),
        ("<|user|>", "Phi, GLM, Zephyr"),
        ("[MASK]", "BERT"),
        ("<reserved_106>", "Baichuan"),
        ("<extra_id_0>", "T5"),
    ];
    for (marker, family) in cases {
        for text in [
            marker.to_owned(),
            format!("甄嬛{marker}臣妾"),
            format!("a {marker}\n"),
        ] {
            assert_eq!(one(&text), (marker, Some(family), None), "{text}");
        }
    }
}

#[test]
fn near_misses_name_what_is_meant() {
    let cases = [
        ("<|end_header_id>", "<|end_header_id|>"),
        ("<end_header_id|>", "<|end_header_id|>"),
        ("<|im_strat|>", "<|im_start|>"),
        ("<|im_end>", "<|im_end|>"),
        ("<|im_end|", "<|im_end|>"),
        ("|im_end|>", "<|im_end|>"),
        ("<im_end>", "<|im_end|>"),
        ("<|im_endd|>", "<|im_end|>"),
        ("<| im_start |>", "<|im_start|>"),
        ("<|IM_START|>", "<|im_start|>"),
        ("<|eotid|>", "<|eot_id|>"),
        ("<|assistent|>", "<|assistant|>"),
        ("<|begin_of_text>", "<|begin_of_text|>"),
        ("<｜user｜>", "<｜User｜>"),
        ("[INST", "[INST]"),
        ("[/INST", "[/INST]"),
        ("<SYS>", "<<SYS>>"),
    ];
    for (miss, meant) in cases {
        let text = format!("你是{miss}谁");
        let (found, family, what) = one(&text);
        assert_eq!((found, what), (miss, Some(meant)));
        assert!(family.is_some());
    }
}

#[test]
fn unknown_markers_count_by_their_shape() {
    assert_eq!(one("a<|my_token|>b"), ("<|my_token|>", None, None));
    assert_eq!(one("<｜工具｜>"), ("<｜工具｜>", None, None));
}

#[test]
fn a_whole_prompt_is_taken_apart() {
    let text = "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n";
    let markers = find_markers(text);
    let texts: Vec<&str> = markers.iter().map(|m| m.text).collect();
    assert_eq!(texts, ["<|im_start|>", "<|im_end|>", "<|im_start|>"]);
    assert_eq!(find_markers("<s>[INST]<<SYS>>").len(), 3);
}

#[test]
fn operators_types_and_brackets_are_left_alone() {
    let cases = [
        "a <| b |> c",
        "list |> map |> filter",
        "x < y and y > z; 1<2 | 3>2",
        "Vec<String>, Option<User>, Map<user, system>",
        "| user | system |\n|------|--------|",
        "|user|assistant|",
        "[user] [end] [inst] [INSTALL] [SYS] [mask]",
        "<div> <user> <end> <start> <p>",
        "《<红楼梦>》",
        "INST im_start im_end 和 eot_id",
        "<|>, <||>, <|-|>, <| |>",
        "im_start|",
        "[CLS 和 [SEPARATOR]",
        "f(x) = |x| > 0",
        "<think>好</think>",
    ];
    for text in cases {
        assert_eq!(find_markers(text), [], "{text}");
    }
}
