//! `retune generate` and `chat`, on a model that has learned something.

use serde_json::Value;

use crate::program::{Folder, lines, model, row};

/// A run that learned to answer "They are few."
fn trained() -> Folder {
    trained_to("They are few.")
}

/// A run that learned to give this answer.
fn trained_to(answer: &str) -> Folder {
    let folder = Folder::new();
    let rows: Vec<Value> = (0..100)
        .map(|number| row(&format!("How many are {number}?"), answer))
        .collect();
    folder.write("data.jsonl", &lines(&rows));
    let tokenizer = model();
    let init = [
        "init",
        "model",
        "--tokenizer",
        &tokenizer,
        "--model-type",
        "qwen2",
    ];
    let shape = [
        "--hidden-size",
        "64",
        "--num-hidden-layers",
        "2",
        "--num-attention-heads",
        "4",
        "--num-key-value-heads",
        "2",
    ];
    folder.stdout(&[&init[..], &shape].concat());
    folder.stdout(&[
        "train",
        "--model",
        "model",
        "--data",
        "data.jsonl",
        "--finetuning_type",
        "full",
        "--learning_rate",
        "5e-3",
        "--max_steps",
        "60",
        "--system",
        "Count.",
        "--output_dir",
        "run",
    ]);
    folder
}

#[test]
fn a_run_answers_as_its_data_do() {
    let folder = trained();
    let said = folder.stdout(&["generate", "run", "How many are 12?"]);
    assert_eq!(said, "They are few.\n");
    let short = [
        "generate",
        "run",
        "How many are 12?",
        "--max_new_tokens",
        "4",
    ];
    let outcome = folder.outcome(&short);
    assert!(outcome.contains("\nThey\n"), "{outcome}");
    assert!(
        outcome.contains("cut off after 4 tokens; --max_new_tokens allows more"),
        "{outcome}"
    );
    let stopped = ["generate", "run", "How many are 12?", "--stop", " few"];
    assert_eq!(folder.stdout(&stopped), "They are\n");
    let drawn = |seed: &str| {
        let more = [
            "--temperature",
            "3",
            "--seed",
            seed,
            "--max_new_tokens",
            "20",
        ];
        folder.stdout(&[&["generate", "run", "How many are 12?"][..], &more].concat())
    };
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
}

#[test]
fn a_file_of_prompts_is_answered_and_gone_on_with() {
    let folder = trained();
    let prompts: Vec<Value> = (0..12)
        .map(|number| serde_json::json!({"prompt": format!("How many are {number}?")}))
        .collect();
    folder.write("prompts.jsonl", &lines(&prompts));
    let all = [
        "generate",
        "run",
        "--input",
        "prompts.jsonl",
        "--output",
        "answers.jsonl",
        "--batch-size",
        "5",
    ];
    folder.stdout(&all);
    let answers = |folder: &Folder| -> Vec<Value> {
        let text = folder.read("answers.jsonl");
        let mut rows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        rows.sort_by_key(|row| row["line"].as_u64());
        rows
    };
    let whole = answers(&folder);
    assert_eq!(whole.len(), 12);
    assert!(whole.iter().all(|row| row["answer"] == "They are few."));
    // Broken off in the middle of a line.
    let text = folder.read("answers.jsonl");
    folder.write("answers.jsonl", &text[..text.len() * 2 / 5]);
    folder.stdout(&all);
    assert_eq!(answers(&folder), whole);
    // In the middle of a character.
    let begun = [text.as_bytes(), b"{\"line\": 13, \"answer\": \"\xe4\xbd"].concat();
    std::fs::write(folder.path("answers.jsonl"), begun).expect("written");
    folder.stdout(&all);
    assert_eq!(answers(&folder), whole);
    // Answers of other models and settings are not these.
    for other in [
        &["--greedy", "--repetition_penalty", "1.5"],
        &["--system", "Be brief."][..],
    ] {
        let refused = folder.refusal(&[&all[..], other].concat());
        let problem = "holds answers of another model, or with other settings";
        assert!(refused.contains(problem), "{refused}");
    }
    assert_eq!(answers(&folder), whole);
    folder.write("prompts.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": 7}\n");
    let refused = folder.refusal(&all);
    assert!(
        refused.contains("prompts.jsonl, line 2: expected a text `prompt`"),
        "{refused}"
    );
}

#[test]
fn a_conversation_remembers_and_obeys() {
    let folder = trained();
    let typed = "How many are 3?\n/set top_k 1\n/retry\n/save one.json\n/system\n\"\"\"\nHow many\nare 4?\n\"\"\"\n/save two.json\n/set top_p 7\n/what\n/exit\nnever\n";
    let outcome = folder.outcome_of(&["chat", "run"], typed);
    assert!(outcome.starts_with("exit 0\n"), "{outcome}");
    for part in [
        "system Count.",
        "top_p: expected a number above 0 and at most 1, found 7",
        "there is no /what",
    ] {
        assert!(outcome.contains(part), "{part}: {outcome}");
    }
    let saved = |name: &str| -> Value { serde_json::from_str(&folder.read(name)).expect("JSON") };
    let one = saved("one.json");
    let turns = one["messages"].as_array().expect("turns");
    // The system prompt, the question, the second answer to it.
    assert_eq!(turns.len(), 3, "{one}");
    assert_eq!(turns[0]["content"], "Count.");
    assert_eq!(turns[2]["content"], "They are few.");
    let two = saved("two.json");
    assert_eq!(two["messages"][0]["content"], "How many\nare 4?");
}

#[test]
fn what_cannot_be_asked_is_a_clear_error() {
    let folder = trained();
    let long = "x".repeat(3000);
    for (arguments, part) in [
        (
            vec!["generate", "nowhere", "a"],
            "nowhere is not there\nhint: name a model's",
        ),
        (
            vec!["generate", ".", "a"],
            "it holds cache, data.jsonl, model, run",
        ),
        (vec!["generate", "run", ""], "the prompt is empty"),
        (
            vec!["generate", "run", &long],
            "tokens, and with the answer there is room for 2048",
        ),
        (
            vec!["generate", "run", "a", "--top_p", "2"],
            "top_p: expected a number above 0 and at most 1, found 2",
        ),
        (
            vec!["chat", "run", "--model", "model"],
            "is a whole model, which needs no base",
        ),
    ] {
        let refused = folder.refusal(&arguments);
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

/// An adapter for the trained model in the folder `lora`, which teaches it another word.
/// Its letters are those that the model has learned to say: others it finds unlikely, and
/// which of them comes first is a matter of rounding.
pub(crate) fn tuned() -> Folder {
    let folder = trained();
    let data = folder.read("data.jsonl").replace("few", "free");
    folder.write("data.jsonl", &data);
    let train = [
        "train",
        "--model",
        // Its best checkpoint.
        "run",
        "--data",
        "data.jsonl",
        "--output_dir",
        "lora",
    ];
    let settings = [
        "--learning_rate",
        "1e-2",
        "--max_steps",
        "120",
        "--lora_dropout",
        "0",
    ];
    folder.stdout(&[&train[..], &settings].concat());
    folder
}

#[test]
fn several_answers_beams_and_probabilities() {
    let folder = trained();
    let ask = |more: &[&str]| {
        folder.stdout(&[&["generate", "run", "How many are 12?"][..], more].concat())
    };
    assert_eq!(ask(&["-n", "2"]), "1. They are few.\n2. They are few.\n");
    let beams = ask(&["--num_beams", "3", "-n", "2", "--json"]);
    let beams: Vec<Value> = beams
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(beams.len(), 2);
    assert_eq!(beams[0]["answer"], "They are few.");
    assert_eq!(beams[0]["finish_reason"], "stop");
    let score = |beam: &Value| beam["score"].as_f64().expect("a score");
    assert!(score(&beams[0]) > score(&beams[1]), "{beams:?}");
    let told: Value = serde_json::from_str(&ask(&["--logprobs", "2"])).expect("JSON");
    let first = &told["logprobs"][0];
    assert_eq!((&first["token"], &first["id"]), (&"T".into(), &84.into()));
    assert_eq!(first["top_logprobs"].as_array().map(Vec::len), Some(2));
    assert!(
        first["logprob"].as_f64().expect("a number") > -0.1,
        "{first}"
    );
    // In a file, with those of its samples that are there already.
    folder.write("prompts.jsonl", "{\"prompt\": \"How many are 3?\"}\n");
    let all = [
        "generate",
        "run",
        "--input",
        "prompts.jsonl",
        "--output",
        "out.jsonl",
    ];
    folder.stdout(&[&all[..], &["-n", "3"]].concat());
    let whole = folder.read("out.jsonl");
    assert_eq!(whole.lines().count(), 3);
    let first_two: String = whole.split_inclusive('\n').take(2).collect();
    folder.write("out.jsonl", &first_two);
    folder.stdout(&[&all[..], &["-n", "3"]].concat());
    assert_eq!(folder.read("out.jsonl"), whole);
    for (more, part) in [
        (
            vec!["--num_beams", "2", "-n", "3"],
            "expected at most 2, the beams",
        ),
        (
            vec!["--num_beams", "99"],
            "num_beams: expected from 2 to 64, found 99",
        ),
        (
            vec!["--stop_token_ids", "999"],
            "stop_token_ids: expected tokens below 258",
        ),
        (
            vec!["--logit_bias", "7"],
            "expected a token's number, a colon and a number",
        ),
    ] {
        let refused = folder.refusal(&[&["generate", "run", "a"][..], &more].concat());
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[test]
fn chat_goes_from_a_model_to_its_adapter() {
    let folder = tuned();
    let base = folder.read("run/best");
    let base = format!("run/{base}");
    let typed =
        "How many are 3?\n/clear\n/adapter lora\nHow many are 3?\n/adapter nowhere\n/exit\n";
    let outcome = folder.outcome_of(&["chat", &base], typed);
    let said = outcome.split("--- stderr").next().unwrap_or_default();
    assert!(
        said.ends_with("They are few.\nThey are free.\n"),
        "{outcome}"
    );
    assert!(outcome.contains("nowhere is not there"), "{outcome}");
}

#[test]
fn chat_says_why_an_answer_ends_and_what_was_changed() {
    let folder = trained();
    let typed = "How many are 3?\n/set max_new_tokens 2\nHow many are 4?\n/system Be brief.\n/save talk.json\n/exit\n";
    let outcome = folder.outcome_of(&["chat", "run", "--greedy"], typed);
    let (said, told) = outcome.split_once("--- stderr").expect("both");
    assert!(said.contains("They are few.\n"), "{outcome}");
    assert!(
        told.contains("max_new_tokens is 2\ncut here: max_new_tokens is 2; /set max_new_tokens 8 allows more\n"),
        "{outcome}"
    );
    assert!(
        told.contains("system Be brief.; the conversation begins anew\n"),
        "{outcome}"
    );
    assert!(told.contains("0 turns are in talk.json\n"), "{outcome}");
    assert_eq!(told.matches("cut here").count(), 1, "{outcome}");
}

#[test]
fn data_are_looked_at_with_the_tokenizer_of_an_adapters_base() {
    let folder = tuned();
    let stats = |model: &str| {
        let told = folder.stdout(&["data", "stats", "data.jsonl", "--model", model]);
        told.replace(", from the cache", "")
    };
    assert_eq!(stats("lora"), stats("run"));
    assert_eq!(stats("run"), stats("model"));
    let refused = folder.refusal(&["data", "lint", "data.jsonl", "--model", "Qwen/Qwen3-0.6B"]);
    assert!(
        refused.contains("hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B"),
        "{refused}"
    );
}

#[test]
fn chat_takes_another_model_with_its_own_sampling_and_what_was_set() {
    let folder = trained();
    let typed = "/set seed 9\n/set\n/adapter builtin\n/set\n/exit\n";
    let outcome = folder.outcome_of(&["chat", "run", "--max_new_tokens", "5"], typed);
    let shown: Vec<&str> = outcome.split("\"temperature\": ").skip(1).collect();
    let [own, other] = shown[..] else {
        panic!("{outcome}");
    };
    assert!(
        own.starts_with("1.0") && other.starts_with("0.6"),
        "{outcome}"
    );
    for settings in [own, other] {
        assert!(settings.contains("\"seed\": 9"), "{settings}");
        assert!(settings.contains("\"max_new_tokens\": 5"), "{settings}");
    }
}

#[test]
fn an_adapter_of_others_answers_under_the_template_in_its_folder() {
    let folder = tuned();
    let checkpoint = format!("lora/{}", folder.read("lora/best"));
    std::fs::remove_file(folder.path(&format!("{checkpoint}/retune.json"))).expect("removed");
    let ask = [
        "generate",
        &checkpoint,
        "How many are 3?",
        "--greedy",
        "--timings",
    ];
    let tokens = || {
        let outcome = folder.outcome(&ask);
        let told = outcome
            .split("prompt: ")
            .nth(1)
            .expect("timings")
            .to_owned();
        told.split(' ')
            .next()
            .and_then(|count| count.parse::<u64>().ok())
            .expect("a number")
    };
    let before = tokens();
    let template = "{% for m in messages %}{{ m.content }}{% endfor %} and so on and so forth: ";
    folder.write(&format!("{checkpoint}/chat_template.jinja"), template);
    assert!(tokens() > before);
}

#[test]
fn an_adapter_is_merged_and_proves_itself() {
    let folder = tuned();
    let said = folder.stdout(&["generate", "lora", "How many are 12?"]);
    assert_eq!(said, "They are free.\n");
    let said = folder.stdout(&["merge", "lora", "merged", "--prompt", "How many are 3?"]);
    assert!(said.starts_with("14 weights changed\n"), "{said}");
    assert!(said.contains("1 greedy answer equal"), "{said}");
    assert!(said.ends_with("written to merged\n"), "{said}");
    let said = folder.stdout(&["generate", "merged", "How many are 12?"]);
    assert_eq!(said, "They are free.\n");
    // Into no folder that holds something.
    let refused = folder.refusal(&["merge", "lora", "merged"]);
    assert!(refused.contains("merged is not empty"), "{refused}");
    // A whole model is written in another type, and still knows its base.
    folder.stdout(&["merge", "merged", "small", "--dtype", "bf16"]);
    let bytes = |name: &str| {
        let file = folder.path(name).join("model.safetensors");
        std::fs::metadata(file).expect("a file").len()
    };
    assert!(bytes("small") < bytes("merged") * 6 / 10);
    assert!(folder.read("small/config.json").contains("bfloat16"));
    let about: Value = serde_json::from_str(&folder.read("small/retune.json")).expect("JSON");
    let merged: Value = serde_json::from_str(&folder.read("merged/retune.json")).expect("JSON");
    assert_eq!(about["base_model"], merged["base_model"]);
    let said = folder.stdout(&["generate", "small", "How many are 12?"]);
    assert_eq!(said, "They are free.\n");
    let refused = folder.refusal(&["merge", "lora", "again", "--model", "model"]);
    assert!(
        refused.contains("was trained on another base model"),
        "{refused}"
    );
    assert!(!folder.path("again").exists());
    let refused = folder.refusal(&["generate", "lora", "a", "--model", "model"]);
    assert!(
        refused.contains("was trained on another base model"),
        "{refused}"
    );
}

#[test]
fn a_merge_that_cannot_be_proved_leaves_nothing() {
    let folder = tuned();
    let adapter = format!("lora/{}", folder.read("lora/last"));
    let config = format!("{adapter}/adapter_config.json");
    let whole = folder.read(&config);
    let merge = ["merge", &adapter, "merged"];
    // Other ranks than the tensors have; a factor that is none in f32.
    for (field, value, part) in [
        ("r", serde_json::json!(4), "lora_A"),
        ("lora_alpha", serde_json::json!(1e300), "lora_alpha"),
    ] {
        let mut changed: Value = serde_json::from_str(&whole).expect("JSON");
        changed[field] = value;
        folder.write(&config, &changed.to_string());
        let refused = folder.refusal(&merge);
        assert!(refused.contains(part), "{refused}");
    }
    folder.write(&config, &whole);
    let long = "x".repeat(3000);
    let refused = folder.refusal(&[&merge[..], &["--prompt", &long]].concat());
    assert!(
        refused.contains("tokens, and with the answer there is room"),
        "{refused}"
    );
    // What stands beside an adapter is damaged.
    let about = format!("{adapter}/retune.json");
    let text = folder.read(&about);
    folder.write(&about, &text[..text.len() / 2]);
    let refused = folder.refusal(&merge);
    assert!(refused.contains("retune.json is damaged"), "{refused}");
    assert!(!folder.path("merged").exists());
    let left = std::fs::read_dir(folder.path(".")).expect("a folder");
    let left = left
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(!left.into_iter().any(|name| name.starts_with("merging-")));
}

#[test]
fn a_file_that_is_not_one_of_answers_is_left_alone() {
    let folder = trained();
    folder.write(
        "prompts.jsonl",
        "\u{feff}{\"prompt\": \"a\"}\r\n\n{\"prompt\": \"b\"}\n",
    );
    let all = |output: &str| {
        [
            "generate",
            "run",
            "--input",
            "prompts.jsonl",
            "--max_new_tokens",
            "4",
            "--output",
            output,
        ]
        .map(str::to_owned)
    };
    let refused = |output: &str| {
        let all = all(output);
        folder.refusal(&all.each_ref().map(String::as_str))
    };
    // A text without a line's end, such as a tokenizer; the prompts themselves.
    for (name, text) in [
        ("note.txt", "no line's end"),
        ("other.json", "{\"a\": 1}\n{\"b\""),
    ] {
        folder.write(name, text);
        let said = refused(name);
        assert!(said.contains("is no file of answers"), "{said}");
        assert_eq!(folder.read(name), text);
    }
    let said = refused("prompts.jsonl");
    assert!(said.contains("is read and would be overwritten"), "{said}");
    // Answers to other prompts.
    let answers = all("answers.jsonl");
    folder.stdout(&answers.each_ref().map(String::as_str));
    let before = folder.read("answers.jsonl");
    assert_eq!(before.lines().count(), 2);
    folder.write(
        "prompts.jsonl",
        "{\"prompt\": \"new\"}\n\n{\"prompt\": \"b\"}\n",
    );
    let said = refused("answers.jsonl");
    assert!(
        said.contains("holds an answer to another prompt in line 1"),
        "{said}"
    );
    assert_eq!(folder.read("answers.jsonl"), before);
}

#[test]
fn settings_that_no_logit_survives_are_refused() {
    let folder = trained();
    let ask = |more: &[&str]| folder.refusal(&[&["generate", "run", "a"][..], more].concat());
    for (more, part) in [
        (vec!["--temperature", "nan"], "expected a number"),
        (
            vec!["--temperature", "1e-40"],
            "temperature: expected a number of at least 0",
        ),
        (
            vec!["--repetition_penalty", "1e-46"],
            "repetition_penalty: expected",
        ),
        (
            vec!["--frequency_penalty=-1e300"],
            "frequency_penalty: expected a number",
        ),
        (
            vec!["--logit_bias", "84:1e39"],
            "logit_bias: expected a number",
        ),
        (vec!["--logit_bias", "84:inf"], "expected a token's number"),
        (
            vec!["--min_new_tokens", "10", "--max_new_tokens", "5"],
            "min_new_tokens: expected at most max_new_tokens, 5, found 10",
        ),
        (
            vec![
                "--no_repeat_ngram_size",
                "1",
                "--min_new_tokens",
                "400",
                "--max_new_tokens",
                "400",
            ],
            "no token is left to choose from",
        ),
        (
            vec!["--num_beams", "3", "--temperature", "2"],
            "nothing is drawn with --num_beams",
        ),
        (vec!["--num_beams", "0"], "num_beams: expected from 2 to 64"),
    ] {
        let refused = ask(&more);
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // The context bounds what is taken, whatever is asked for.
    let outcome = folder.outcome(&["generate", "run", "a", "--max_new_tokens", "99999999999"]);
    assert!(outcome.starts_with("exit 0"), "{outcome}");
}

#[test]
fn pointers_that_lead_nowhere_are_named() {
    let folder = trained();
    for (text, part) in [
        ("", "best names \"\", which is none"),
        (".", "best names \".\", which is none"),
        ("../run", "best names \"../run\", which is none"),
        (
            "checkpoint-9999",
            "best names \"checkpoint-9999\", which is none",
        ),
    ] {
        folder.write("run/best", text);
        folder.write("run/last", text);
        let refused = folder.refusal(&["generate", "run", "a"]);
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[test]
fn answers_in_a_file_are_as_the_model_gave_them() {
    let answer = "all:\n\techo\u{200b} few";
    let said = trained_to(answer).stdout(&["generate", "run", "How many are 12?"]);
    assert_eq!(said, format!("{answer}\n"));
}
