//! Exact match, and classes against scikit-learn.

use retune_eval::Error;
use retune_eval::metrics::labels::{ExactMatch, LabelReport, Scores};

use crate::goldens::{Errors, GOLDENS, count, list, number, numbers, texts};

fn parts(scores: &Scores) -> [f64; 3] {
    [scores.precision, scores.recall, scores.f1]
}

#[test]
fn goldens_of_labels() {
    let mut errors = Errors::default();
    for case in list(&GOLDENS["labels"]) {
        let (actual, predicted) = (texts(&case["actual"]), texts(&case["predicted"]));
        let labels = (!case["labels"].is_null()).then(|| texts(&case["labels"]));
        let report = LabelReport::new(&actual, &predicted, labels.as_deref());
        let report = report.expect("as many of both");
        let names: Vec<&str> = report.labels.iter().map(|l| l.label.as_str()).collect();
        assert_eq!(names, texts(&case["names"]));
        assert_eq!(report.rows, actual.len() as u64);
        let accuracy = report.accuracy.expect("rows");
        errors.compare(accuracy, number(&case["accuracy"]), case);
        for (name, found) in [
            ("micro", &report.micro),
            ("macro", &report.macro_average),
            ("weighted", &report.weighted),
        ] {
            for (found, expected) in parts(found).into_iter().zip(numbers(&case[name])) {
                errors.compare(found, expected, (name, case));
            }
        }
        for (index, label) in report.labels.iter().enumerate() {
            for (part, found) in parts(&label.scores).into_iter().enumerate() {
                errors.compare(found, number(&case["each"][part][index]), case);
            }
            assert_eq!(label.support, count(&case["support"][index]) as u64);
            let row = list(&case["confusion"][index])
                .iter()
                .map(|n| count(n) as u64);
            assert!(report.confusion[index].iter().copied().eq(row), "{case}");
        }
    }
    errors.report("labels");
}

#[test]
fn labels_without_rows_and_of_unlike_length() {
    let none: [&str; 0] = [];
    let report = LabelReport::new(&none, &none, None).expect("as many of both");
    assert_eq!((report.rows, report.accuracy), (0, None));
    assert_eq!(report.weighted, Scores::default());
    let found = LabelReport::new(&["a", "b"], &["a"], None).expect_err("an error");
    assert!(matches!(found, Error::Rows { .. }));
    assert_eq!(
        found.to_string(),
        "expected 2 predicted labels, one for each row, found 1"
    );
}

#[test]
fn exact_match_sees_through_form_and_whitespace() {
    let strict = ExactMatch::default();
    let matches = |rule: &ExactMatch, one: &str, other: &str| {
        rule.matches(one, &["something else", other])
            .expect("references")
    };
    assert!(matches(&strict, " Paris\n", "Paris"));
    assert!(matches(&strict, "ＡＢＣ　１２", "ABC 12"));
    assert!(matches(&strict, "e\u{301}te\u{301}", "été"));
    assert!(!matches(&strict, "paris", "Paris"));
    assert!(!matches(&strict, "Paris.", "Paris"));
    assert!(!matches(&strict, "Pa ris", "Paris"));
    let loose = ExactMatch {
        ignore_case: true,
        ignore_punctuation: true,
    };
    assert!(matches(&loose, "「巴黎」。", "巴黎"));
    assert!(matches(&loose, "PARIS !", "paris"));
    assert!(!matches(&loose, "C++", "C"));
    assert_eq!(loose.normalised("  It's\t(OK), “Yes”… "), "its ok yes");
    let none: [&str; 0] = [];
    assert!(matches!(
        strict.matches("a", &none),
        Err(Error::NoReferences)
    ));
}
