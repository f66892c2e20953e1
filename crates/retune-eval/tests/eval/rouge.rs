//! ROUGE, its words and its stems, against rouge-score, NLTK and jieba.

use proptest::prelude::*;
use retune_eval::Error;
use retune_eval::metrics::porter::porter_stem;
use retune_eval::metrics::rouge::{Rouge, RougeScore, RougeScores, RougeType};
use retune_eval::metrics::words::Words;
use serde_json::Value;

use crate::goldens::{Errors, GOLDENS, flag, list, number, numbers, rows, text, texts};
use crate::shared;
use crate::translation::some_text;

fn parts(score: RougeScore) -> [f64; 3] {
    [score.precision, score.recall, score.fmeasure]
}

fn compare_scores(errors: &mut Errors, scores: &RougeScores, expected: &Value, what: &str) {
    for (rouge_type, expected) in RougeType::ALL.into_iter().zip(list(expected)) {
        for (found, expected) in parts(scores.of(rouge_type))
            .into_iter()
            .zip(numbers(expected))
        {
            errors.compare(found, expected, (rouge_type, what));
        }
    }
}

#[test]
fn goldens_of_rouge() {
    let (rows, mut errors) = (rows(), Errors::default());
    for case in list(&GOLDENS["rouge"]) {
        let stemmer = flag(&case["stemmer"]);
        let words = match text(&case["words"]) {
            "rouge_score" => Words::RougeScore { stemmer },
            "characters" => Words::Characters,
            other => panic!("{other} are no words"),
        };
        assert_eq!(list(&case["rows"]).len(), rows.len());
        for (row, expected) in rows.iter().zip(list(&case["rows"])) {
            let scores = Rouge { words }.scores(row.hypothesis, &row.references);
            let scores = scores.expect("a reference");
            compare_scores(&mut errors, &scores, expected, row.hypothesis);
        }
    }
    errors.report("ROUGE");
}

#[test]
fn goldens_of_jieba() {
    let (goldens, mut errors) = (&GOLDENS["jieba"], Errors::default());
    let rouge = Rouge {
        words: Words::Jieba,
    };
    for (index, pair) in list(&goldens["pairs"]).iter().enumerate() {
        for (text, words) in texts(pair).iter().zip(list(&goldens["words"][index])) {
            assert_eq!(Words::Jieba.of(text), texts(words));
        }
        let scores = rouge.scores(text(&pair[0]), &[text(&pair[1])]);
        let scores = scores.expect("a reference");
        compare_scores(
            &mut errors,
            &scores,
            &goldens["rows"][index],
            text(&pair[0]),
        );
    }
    errors.report("ROUGE by jieba's words");
}

#[test]
fn goldens_of_stems() {
    let stems = list(&GOLDENS["stems"]);
    assert!(stems.len() > 300);
    for pair in stems {
        let (word, stem) = (text(&pair[0]), text(&pair[1]));
        assert_eq!(porter_stem(word), stem, "of {word}");
    }
}

/// The cases of rouge-score's own tests, which are not ours to give.
#[test]
fn cases_of_rouge_score() {
    let Some(path) = shared::file("conformance/rouge/rouge_vectors.json") else {
        return;
    };
    let file = std::fs::read_to_string(path).expect("a file that can be read");
    let file: Value = serde_json::from_str(&file).expect("JSON");
    let cases = list(&file["cases"]);
    assert_eq!(cases.len(), 18);
    for case in cases {
        let rouge_type = RougeType::ALL.into_iter();
        let rouge_type = rouge_type.clone().find(|t| t.name() == text(&case["type"]));
        let rouge_type = rouge_type.expect("a type of rouge-score");
        let words = Words::RougeScore {
            stemmer: flag(&case["stemmer"]),
        };
        let scores = Rouge { words }.scores(text(&case["prediction"]), &[text(&case["target"])]);
        let score = scores.expect("a reference").of(rouge_type);
        let expected = ["precision", "recall", "fmeasure"].map(|part| number(&case[part]));
        for (found, expected) in parts(score).into_iter().zip(expected) {
            // The file gives most of them with five digits.
            assert!((found - expected).abs() <= 5.1e-6, "{score:?}: {case}");
        }
    }
}

#[test]
fn words_of_each_kind() {
    let text = "Running 我们的 GPT-4o，カタカナー café 한국어 １２ 😀";
    let english = Words::RougeScore { stemmer: true };
    assert_eq!(english.of(text), ["run", "gpt", "4o", "caf"]);
    assert_eq!(
        Words::Characters.of(text),
        [
            "running",
            "我",
            "们",
            "的",
            "gpt",
            "4o",
            "カ",
            "タ",
            "カ",
            "ナ",
            "ー",
            "café",
            "한국어",
            "１２"
        ]
    );
    assert_eq!(
        Words::Jieba.of("我们学习，Python 3！"),
        ["我们", "学习", "python", "3"]
    );
    for words in [english, Words::Characters, Words::Jieba] {
        assert!(words.of("").is_empty());
        assert!(words.of(" ，…").is_empty());
    }
}

#[test]
fn without_a_reference_there_is_no_score() {
    let none: [&str; 0] = [];
    let scored = Rouge::default().scores("a", &none);
    assert!(matches!(scored, Err(Error::NoReferences)));
}

proptest! {
    #[test]
    fn an_answer_that_is_its_reference_scores_1(text in some_text()) {
        for words in [Words::default(), Words::Characters] {
            let scores = Rouge { words }.scores(&text, &[&text]).expect("a reference");
            let of_words = words.of(&text).len();
            for rouge_type in RougeType::ALL {
                let enough = of_words > usize::from(rouge_type == RougeType::Rouge2);
                let expected = if enough { [1.0; 3] } else { [0.0; 3] };
                prop_assert_eq!(parts(scores.of(rouge_type)), expected);
            }
        }
    }
}
