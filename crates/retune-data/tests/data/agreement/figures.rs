//! Figures against those of scikit-learn, statsmodels and krippendorff, which
//! `scripts/golden/make_agreement_goldens.py` writes.

use std::path::Path;

use retune_data::Error;
use retune_data::agreement::{
    Annotations, Bootstrap, Estimate, Figure, Level, Options, Ratings, Report, Span, SpanRatings,
    Undefined, Weights, cohen_kappa, fleiss_kappa, krippendorff_alpha, span_f1,
};
use serde_json::Value;

use super::{annotator, table};

/// Sums are taken in another order. The largest difference seen is 9e-16.
const TOLERANCE: f64 = 1e-14;

const LEVELS: [(&str, Level); 3] = [
    ("nominal", Level::Nominal),
    ("ordinal", Level::Ordinal),
    ("interval", Level::Interval),
];
const WEIGHTS: [(&str, Weights); 3] = [
    ("none", Weights::None),
    ("linear", Weights::Linear),
    ("quadratic", Weights::Quadratic),
];

fn goldens() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/agreement.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What was compared, and how far it was off at most.
#[derive(Default)]
struct Differences {
    compared: usize,
    largest: f64,
}

impl Differences {
    /// A figure against the golden, which is `null` where it is not defined.
    fn hold(&mut self, what: &str, found: Figure, expected: &Value) {
        match (found, expected.as_f64()) {
            (Ok(found), Some(expected)) => {
                let difference = (found - expected).abs() / expected.abs().max(1.0);
                assert!(difference <= TOLERANCE, "{what}: {found} is not {expected}");
                self.compared += 1;
                self.largest = self.largest.max(difference);
            }
            (Err(_), None) => self.compared += 1,
            (found, expected) => panic!("{what}: {found:?} is not {expected:?}"),
        }
    }

    fn hold_interval(&mut self, what: &str, found: Estimate, expected: &Value) {
        let interval = found
            .interval
            .unwrap_or_else(|| panic!("{what}: no interval"));
        self.hold(what, Ok(interval.low), &expected["low"]);
        self.hold(what, Ok(interval.high), &expected["high"]);
        let undefined = expected["undefined_replicates"].as_u64().unwrap();
        assert_eq!(interval.undefined_replicates as u64, undefined, "{what}");
    }

    fn finish(self, at_least: usize) {
        assert!(self.compared >= at_least, "only {} compared", self.compared);
        println!(
            "{} figures, largest difference {:e}",
            self.compared, self.largest
        );
    }
}

fn ratings_of(case: &Value) -> Ratings {
    let rows: Vec<Vec<Option<String>>> = serde_json::from_value(case["table"].clone()).unwrap();
    let order: Vec<String> = serde_json::from_value(case["values"].clone()).unwrap();
    table(&rows, &order)
}

#[test]
fn kappas_and_alphas_are_those_of_other_programs() {
    let goldens = goldens();
    let mut differences = Differences::default();
    for case in goldens["cases"].as_array().unwrap() {
        let ratings = ratings_of(case);
        let name = case["name"].as_str().unwrap();
        for pair in case["pairs"].as_array().unwrap() {
            let index = |key: &str| annotator(&ratings, &pair[key].to_string());
            for (key, weights) in WEIGHTS {
                let kappa = cohen_kappa(&ratings, index("first"), index("second"), weights);
                differences.hold(name, kappa, &pair["kappa"][key]);
                let turned = cohen_kappa(&ratings, index("second"), index("first"), weights);
                differences.hold(name, turned, &pair["kappa"][key]);
            }
        }
        let fleiss = fleiss_kappa(&ratings);
        differences.hold(name, fleiss.kappa, &case["fleiss"]["value"]);
        let counts = (fleiss.items, fleiss.ratings_per_item);
        let expected =
            ["items", "ratings_per_item"].map(|key| case["fleiss"][key].as_u64().unwrap() as usize);
        assert_eq!(counts, (expected[0], expected[1]), "{name}");
        for (key, expected) in case["alpha"].as_object().unwrap() {
            let (_, level) = LEVELS.iter().find(|(name, _)| name == key).unwrap();
            let alpha = krippendorff_alpha(&ratings, *level).unwrap();
            differences.hold(name, alpha, expected);
        }
    }
    differences.finish(150);
}

#[test]
fn intervals_are_those_of_other_programs_on_the_same_draws() {
    let goldens = goldens();
    let bootstrap = Bootstrap {
        replicates: goldens["replicates"].as_u64().unwrap() as u32,
        confidence: goldens["confidence"].as_f64().unwrap(),
        seed: goldens["seed"].as_u64().unwrap(),
    };
    let mut differences = Differences::default();
    for case in goldens["cases"].as_array().unwrap() {
        let annotations = Annotations::Labels(ratings_of(case));
        let name = case["name"].as_str().unwrap();
        for (key, expected) in case["alpha_interval"].as_object().unwrap() {
            let (_, level) = *LEVELS.iter().find(|(name, _)| name == key).unwrap();
            let options = Options {
                level,
                bootstrap,
                ..Options::default()
            };
            let report = Report::of(&annotations, &options).unwrap();
            differences.hold_interval(name, report.krippendorff_alpha, expected);
            for pair in case["pairs"].as_array().unwrap() {
                let (first, second) = (pair["first"].to_string(), pair["second"].to_string());
                let same =
                    |a: &str, b: &str| (a == first && b == second) || (a == second && b == first);
                let row = report
                    .pairs
                    .iter()
                    .find(|row| same(&row.first, &row.second))
                    .unwrap();
                assert_eq!(
                    row.shared_items as u64,
                    pair["shared"].as_u64().unwrap(),
                    "{name}"
                );
                differences.hold_interval(name, row.cohen_kappa, &pair["interval"]);
            }
        }
    }
    differences.finish(70);
}

#[test]
fn spans_agree_as_other_programs_say() {
    let goldens = &goldens()["spans"];
    let mut builder = SpanRatings::builder();
    let length = goldens["length"].as_u64().unwrap() as usize;
    for (text, marked) in goldens["marked"].as_array().unwrap().iter().enumerate() {
        builder.describe(&text.to_string(), &"x".repeat(length));
        for (annotator, spans) in marked.as_array().unwrap().iter().enumerate() {
            let spans: Vec<(u32, u32, String)> = serde_json::from_value(spans.clone()).unwrap();
            let spans = spans
                .into_iter()
                .map(|(start, end, label)| Span { start, end, label });
            builder.mark(&text.to_string(), &annotator.to_string(), spans.collect());
        }
    }
    let spans = builder.build();
    let characters = spans.characters().unwrap();
    assert_eq!(characters.labels(), ["O", "LOC", "ORG", "PER"]);
    let mut differences = Differences::default();
    for pair in goldens["pairs"].as_array().unwrap() {
        let [first, second] =
            ["first", "second"].map(|key| annotator(&characters, &pair[key].to_string()));
        let kappa = cohen_kappa(&characters, first, second, Weights::None);
        differences.hold("characters", kappa, &pair["kappa"]);
        differences.hold("spans", span_f1(&spans, first, second), &pair["f1"]);
    }
    let alpha = krippendorff_alpha(&characters, Level::Nominal).unwrap();
    differences.hold("characters", alpha, &goldens["alpha"]);
    differences.finish(7);
}

/// The example of Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
/// section C: four observers, twelve units, missing data.
#[test]
fn the_textbook_example_has_the_textbook_figures() {
    let rows = [
        "11.1", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", ".555", "..11",
        ".3..",
    ];
    let cell = |c: char| (c != '.').then(|| c.to_string());
    let rows: Vec<Vec<Option<String>>> = rows
        .iter()
        .map(|row| row.chars().map(cell).collect())
        .collect();
    let ratings = table(&rows, &[]);
    let rounded = |level| {
        let alpha = krippendorff_alpha(&ratings, level).unwrap().unwrap();
        (alpha * 1000.0).round() / 1000.0
    };
    assert_eq!(rounded(Level::Nominal), 0.743);
    assert_eq!(rounded(Level::Ordinal), 0.815);
    assert_eq!(rounded(Level::Interval), 0.849);
}

#[test]
fn what_is_not_defined_says_why() {
    let cell = |label: &str| (!label.is_empty()).then(|| label.to_owned());
    let ratings = |rows: &[[&str; 2]]| {
        let rows: Vec<_> = rows.iter().map(|row| row.map(cell).to_vec()).collect();
        table(&rows, &[])
    };
    let apart = ratings(&[["a", ""], ["", "b"]]);
    let alike = ratings(&[["a", "a"], ["a", "a"], ["b", ""]]);
    for (ratings, why) in [(apart, Undefined::NoOverlap), (alike, Undefined::OneLabel)] {
        for (_, weights) in WEIGHTS {
            assert_eq!(cohen_kappa(&ratings, 0, 1, weights), Err(why));
        }
        assert_eq!(fleiss_kappa(&ratings).kappa, Err(why));
        assert_eq!(
            krippendorff_alpha(&ratings, Level::Nominal).unwrap(),
            Err(why)
        );
        let error = krippendorff_alpha(&ratings, Level::Interval).unwrap_err();
        assert!(matches!(error, Error::LabelScale { .. }), "{error}");
        let report = Report::of(&Annotations::Labels(ratings), &Options::default()).unwrap();
        assert_eq!(report.krippendorff_alpha.undefined, Some(why));
        assert_eq!(report.krippendorff_alpha.interval, None);
        assert!(!serde_json::to_string(&report).unwrap().contains("NaN"));
    }
    let alone = Ratings::builder().build(&[]).unwrap();
    let error = Report::of(&Annotations::Labels(alone), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NothingToCompare { .. }), "{error}");
}

#[test]
fn large_numbers_on_an_interval_scale_stay_finite() {
    let rows = [
        ["1e308", "-1e308"],
        ["1e308", "1e308"],
        ["-1e308", "0"],
        ["5e-324", "0"],
    ];
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.map(|label| Some(label.to_owned())).to_vec())
        .collect();
    let alpha = krippendorff_alpha(&table(&rows, &[]), Level::Interval).unwrap();
    assert!(alpha.unwrap().is_finite());
}
