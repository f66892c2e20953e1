//! What must hold of agreement whatever the ratings.

use proptest::prelude::*;
use retune_data::agreement::{
    Annotations, Bootstrap, Confusion, Level, Options, Ratings, Report, Span, SpanRatings, Weights,
    carefulness, cohen_kappa, fleiss_kappa, krippendorff_alpha, relabel_first, span_f1,
};

use super::{annotator, table};

type Rows = Vec<Vec<Option<String>>>;

const LEVELS: [Level; 3] = [Level::Nominal, Level::Ordinal, Level::Interval];
const WEIGHTS: [Weights; 3] = [Weights::None, Weights::Linear, Weights::Quadratic];

/// Items × annotators, with digits for labels and a share of them missing.
fn rows(annotators: usize) -> impl Strategy<Value = Rows> {
    let cell =
        prop_oneof![1 => Just(None), 4 => (0..4u8).prop_map(|label| Some(label.to_string()))];
    prop::collection::vec(prop::collection::vec(cell, annotators), 1..20)
}

fn complete(annotators: usize) -> impl Strategy<Value = Rows> {
    let cell = (0..3u8).prop_map(|label| Some(label.to_string()));
    prop::collection::vec(prop::collection::vec(cell, annotators), 2..20)
}

/// All figures of a table in one list; those of pairs by the annotators' names.
fn figures(ratings: &Ratings, annotators: usize) -> Vec<Option<f64>> {
    let mut figures = vec![fleiss_kappa(ratings).kappa.ok()];
    figures.extend(LEVELS.map(|level| krippendorff_alpha(ratings, level).unwrap().ok()));
    for first in 0..annotators {
        for second in 0..annotators {
            let known = |name: usize| ratings.annotators().contains(&name.to_string());
            if first != second && known(first) && known(second) {
                let index = |name: usize| annotator(ratings, &name.to_string());
                let kappa =
                    |weights| cohen_kappa(ratings, index(first), index(second), weights).ok();
                figures.extend(WEIGHTS.map(kappa));
            }
        }
    }
    figures
}

fn same(found: &[Option<f64>], expected: &[Option<f64>]) -> bool {
    let near = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-12,
        (a, b) => a == b,
    };
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

proptest! {
    #[test]
    fn order_of_items_and_annotators_changes_nothing(rows in rows(4), turn in 0..20usize) {
        let order: Vec<String> = (0..4).map(|label: u8| label.to_string()).collect();
        let expected = figures(&table(&rows, &order), 4);
        let mut turned = rows.clone();
        let items = turned.len();
        turned.rotate_left(turn % items);
        turned.reverse();
        prop_assert!(same(&figures(&table(&turned, &order), 4), &expected));
        // The same names in another order of appearance.
        let mut builder = Ratings::builder();
        for (item, row) in rows.iter().enumerate() {
            for (annotator, label) in row.iter().enumerate().rev() {
                if let Some(label) = label {
                    builder.rate(&item.to_string(), &annotator.to_string(), label);
                }
            }
        }
        prop_assert!(same(&figures(&builder.build(&order).unwrap(), 4), &expected));
    }

    #[test]
    fn no_figure_is_above_one_or_no_number(rows in rows(5)) {
        for figure in figures(&table(&rows, &[]), 5).into_iter().flatten() {
            prop_assert!(figure <= 1.0 && figure.is_finite(), "{}", figure);
        }
    }

    #[test]
    fn who_agrees_on_everything_has_one(truth in prop::collection::vec(0..5u8, 2..30)) {
        prop_assume!(truth.iter().any(|label| *label != truth[0]));
        let rows: Rows = truth.iter().map(|label| vec![Some(label.to_string()); 3]).collect();
        let ratings = table(&rows, &[]);
        for figure in figures(&ratings, 3) {
            prop_assert_eq!(figure, Some(1.0));
        }
        prop_assert!(relabel_first(&ratings).is_empty());
        prop_assert!(Confusion::of(&ratings).most_confused().is_empty());
        prop_assert!(carefulness(&ratings).iter().all(|careful| careful.agreement == Ok(1.0)));
    }

    /// Scott's pi is Fleiss' kappa of two, and alpha corrects it for small
    /// samples: 1 − α = (1 − π)(n − 1)/n for n ratings (Krippendorff 2004).
    #[test]
    fn alpha_of_two_complete_annotators_follows_from_scotts_pi(rows in complete(2)) {
        let ratings = table(&rows, &[]);
        let n = ratings.len() as f64;
        let alpha = krippendorff_alpha(&ratings, Level::Nominal).unwrap();
        match fleiss_kappa(&ratings).kappa {
            Ok(pi) => prop_assert!((1.0 - alpha.unwrap() - (1.0 - pi) * (n - 1.0) / n).abs() < 1e-12),
            Err(why) => prop_assert_eq!(alpha, Err(why)),
        }
    }

    #[test]
    fn with_two_labels_all_weights_and_levels_are_the_same(rows in rows(2)) {
        let two = |label: &Option<String>| label.as_ref().map(|label| (label.as_str() > "1").to_string());
        let numbers = |label: &Option<String>| label.as_ref().map(|label| u8::from(label.as_str() > "1").to_string());
        let named: Rows = rows.iter().map(|row| row.iter().map(two).collect()).collect();
        let numbered: Rows = rows.iter().map(|row| row.iter().map(numbers).collect()).collect();
        let (named, numbered) = (table(&named, &[]), table(&numbered, &[]));
        let nominal = krippendorff_alpha(&named, Level::Nominal).unwrap().ok();
        for level in LEVELS {
            let found = krippendorff_alpha(&numbered, level).unwrap().ok();
            prop_assert!(same(&[found], &[nominal]), "{:?} {:?}", found, nominal);
        }
        if named.annotators().len() == 2 {
            let unweighted = cohen_kappa(&named, 0, 1, Weights::None).ok();
            for weights in WEIGHTS {
                prop_assert!(same(&[cohen_kappa(&numbered, 0, 1, weights).ok()], &[unweighted]));
            }
        }
    }

    /// Taking characters one by one, as the definition has it.
    #[test]
    fn runs_of_characters_are_characters(
        marked in prop::collection::vec(prop::collection::vec((0..12u32, 0..6u32, 0..3usize), 0..4), 2..4)
    ) {
        let mut builder = SpanRatings::builder();
        builder.describe("text", "twelve chars");
        let mut rows: Rows = vec![Vec::new(); 18];
        for (annotator, spans) in marked.iter().enumerate() {
            let span = |&(start, length, label): &(u32, u32, usize)| Span {
                start, end: start + length, label: ["a", "b", "c"][label].to_owned(),
            };
            let spans: Vec<Span> = spans.iter().map(span).collect();
            for (at, row) in (0..).zip(&mut rows) {
                let mut labels: Vec<&str> = spans.iter().filter(|span| span.start <= at && at < span.end)
                    .map(|span| span.label.as_str()).collect();
                labels.sort_unstable();
                labels.dedup();
                row.push(Some(if labels.is_empty() { "O".to_owned() } else { labels.join("+") }));
            }
            builder.mark("text", &annotator.to_string(), spans);
        }
        let last = marked.iter().flatten().filter(|(_, length, _)| *length > 0).map(|(start, length, _)| start + length).max();
        rows.truncate(last.unwrap_or(0).max(12) as usize);
        let spans = builder.build();
        let (runs, characters) = (spans.characters().unwrap(), table(&rows, &[]));
        let alpha = |ratings: &Ratings| krippendorff_alpha(ratings, Level::Nominal).unwrap().ok();
        prop_assert!(same(&[alpha(&runs)], &[alpha(&characters)]));
        let kappa = |ratings: &Ratings| cohen_kappa(ratings, 0, 1, Weights::None).ok();
        prop_assert!(same(&[kappa(&runs)], &[kappa(&characters)]));
        prop_assert!(same(&[fleiss_kappa(&runs).kappa.ok()], &[fleiss_kappa(&characters).kappa.ok()]));
        prop_assert_eq!(span_f1(&spans, 0, 1), span_f1(&spans, 1, 0));
    }
}

#[test]
fn labels_by_chance_agree_by_chance() {
    let label = |item: u64, annotator: u64| {
        // A congruential generator; the high bits are good enough here.
        let mixed = (item * 3 + annotator + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Some(((mixed >> 33) % 4).to_string())
    };
    let rows: Rows = (0..4000)
        .map(|item| (0..3).map(|annotator| label(item, annotator)).collect())
        .collect();
    for figure in figures(&table(&rows, &[]), 3) {
        assert!(figure.unwrap().abs() < 0.06, "{figure:?}");
    }
}

#[test]
fn a_report_is_the_same_on_any_number_of_threads() {
    let label = |item: usize, annotator: usize| {
        Some(((item * 7 + item * item * annotator) % 5 / 2).to_string())
    };
    let rows: Rows = (0..50)
        .map(|item| (0..4).map(|annotator| label(item, annotator)).collect())
        .collect();
    let annotations = Annotations::Labels(table(&rows, &[]));
    let report = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let bootstrap = Bootstrap {
            seed,
            replicates: 300,
            ..Bootstrap::default()
        };
        let options = Options {
            bootstrap,
            ..Options::default()
        };
        pool.install(|| Report::of(&annotations, &options).unwrap())
    };
    let one = report(1, 0);
    assert_eq!(one, report(3, 0));
    assert_eq!(one, report(8, 0));
    assert_ne!(
        one.krippendorff_alpha.interval,
        report(1, 1).krippendorff_alpha.interval
    );
    let interval = one.krippendorff_alpha.interval.unwrap();
    let value = one.krippendorff_alpha.value.unwrap();
    assert!(
        interval.low < value && value < interval.high,
        "{interval:?}"
    );
}

/// Of two items with the same split, the one comes first on which a careful
/// annotator is against the rest.
#[test]
fn careful_annotators_decide_which_item_comes_first() {
    let mut builder = Ratings::builder();
    for item in 0..10 {
        let truth = if item % 2 == 0 { "x" } else { "y" };
        let careless = if item % 3 == 0 { "x" } else { "y" };
        for name in ["anna", "ben", "carl"] {
            builder.rate(&format!("easy {item}"), name, truth);
        }
        builder.rate(&format!("easy {item}"), "dora", careless);
    }
    for (item, dissenter) in [("careless", "dora"), ("careful", "anna")] {
        for name in ["anna", "ben", "carl", "dora"] {
            builder.rate(item, name, if name == dissenter { "x" } else { "y" });
        }
    }
    let half = ["anna", "ben", "carl", "dora"];
    for (index, name) in half.iter().enumerate() {
        builder.rate("split", name, if index < 2 { "x" } else { "y" });
    }
    let ratings = builder.build(&[]).unwrap();
    let first: Vec<&str> = relabel_first(&ratings)
        .iter()
        .map(|candidate| ratings.items()[candidate.item].id.as_str())
        .collect();
    assert_eq!(first[..2], ["split", "careful"], "{first:?}");
    assert!(first.contains(&"careless"));
    let candidates = relabel_first(&ratings);
    assert!((candidates[0].entropy - 1.0).abs() < 1e-12);
    let confusion = Confusion::of(&ratings);
    assert_eq!(confusion.labels, ["x", "y"]);
    assert_eq!(confusion.counts[0][1], confusion.counts[1][0]);
}
