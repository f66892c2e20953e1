//! Bootstrap intervals, against samples that are drawn alike and scored by
//! sacreBLEU.

use proptest::prelude::*;
use retune_eval::metrics::bootstrap::Bootstrap;
use retune_eval::metrics::chrf::{Chrf, ChrfStatistics};
use retune_eval::metrics::statistics::{Statistics, mean_of_draw};

use crate::goldens::{Errors, GOLDENS, count, number, numbers, rows, texts};

#[test]
fn goldens_of_bootstrap() {
    let (goldens, mut errors) = (&GOLDENS["bootstrap"], Errors::default());
    let cut = texts(&goldens["cut"]);
    let rows = rows();
    let rows = &rows[..cut.len()];
    let of = |answers: Vec<&str>| -> Vec<ChrfStatistics> {
        let pairs = answers.iter().zip(rows);
        pairs
            .map(|(answer, row)| Chrf::default().statistics(answer, &row.references[..1]))
            .collect::<Result<_, _>>()
            .expect("references")
    };
    let (full, cut) = (of(rows.iter().map(|row| row.hypothesis).collect()), of(cut));
    let score = |rows: &[ChrfStatistics], times: &[u32]| {
        Some(Chrf::default().corpus(&ChrfStatistics::sum_of_draw(rows, times)))
    };
    let bootstrap = Bootstrap {
        replicates: count(&goldens["replicates"]) as u32,
        confidence: number(&goldens["confidence"]),
        seed: count(&goldens["seed"]) as u64,
    };
    let interval = bootstrap.interval(rows.len(), |times| score(&full, times));
    let interval = interval.expect("rows");
    let expected = numbers(&goldens["interval"]);
    errors.compare(interval.low, expected[0], "low");
    errors.compare(interval.high, expected[1], "high");
    let paired = bootstrap.paired(
        rows.len(),
        |times| score(&full, times),
        |times| score(&cut, times),
    );
    let paired = paired.expect("rows");
    let expected = numbers(&goldens["difference_interval"]);
    errors.compare(
        paired.difference,
        number(&goldens["difference"]),
        "difference",
    );
    errors.compare(paired.interval.low, expected[0], "low of the difference");
    errors.compare(paired.interval.high, expected[1], "high of the difference");
    errors.compare(paired.sign_change, number(&goldens["sign_change"]), "signs");
    errors.report("bootstrap");
}

#[test]
fn any_number_of_threads_draws_the_same() {
    let values: Vec<f64> = (0..50).map(|n| f64::from(n * n % 31)).collect();
    let with = |threads| {
        let pool = pool_of(threads);
        pool.install(|| {
            Bootstrap::default().interval(values.len(), |times| mean_of_draw(&values, times))
        })
    };
    assert_eq!(with(1), with(4));
    let other = Bootstrap {
        seed: 1,
        ..Bootstrap::default()
    };
    let other = other.interval(values.len(), |times| mean_of_draw(&values, times));
    assert_ne!(with(1), other, "another seed draws other samples");
}

fn pool_of(threads: usize) -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().expect("threads")
}

#[test]
fn systems_that_differ_in_no_row_do_not_differ() {
    let values = [1.0, 2.0, 5.0, 3.0];
    let figure = |times: &[u32]| mean_of_draw(&values, times);
    let same = Bootstrap::default()
        .paired(values.len(), figure, figure)
        .expect("rows");
    assert_eq!(
        (same.difference, same.sign_change, same.p_value),
        (0.0, 1.0, 1.0)
    );
    assert_eq!((same.interval.low, same.interval.high), (0.0, 0.0));
}

#[test]
fn a_system_that_is_better_in_every_row_is_surely_better() {
    let values: Vec<f64> = (0..20).map(f64::from).collect();
    let better: Vec<f64> = values.iter().map(|value| value + 1.0).collect();
    let of = |values: &[f64], times: &[u32]| mean_of_draw(values, times);
    let bootstrap = Bootstrap::default();
    let up = bootstrap
        .paired(20, |t| of(&better, t), |t| of(&values, t))
        .expect("rows");
    assert!((up.difference - 1.0).abs() < 1e-12);
    assert_eq!(up.sign_change, 0.0);
    assert!((up.p_value - 2.0 / 1001.0).abs() < 1e-12, "{}", up.p_value);
    let down = bootstrap
        .paired(20, |t| of(&values, t), |t| of(&better, t))
        .expect("rows");
    assert_eq!(
        (down.sign_change, down.p_value),
        (up.sign_change, up.p_value)
    );
}

#[test]
fn samples_that_define_nothing_are_counted() {
    // About 8 of 27 samples of three rows lack the first.
    let bootstrap = Bootstrap::default();
    let interval = bootstrap.interval(3, |times| (times[0] > 0).then_some(1.0));
    let interval = interval.expect("most samples have the first row");
    assert!(
        (200..400).contains(&interval.undefined_replicates),
        "{interval:?}"
    );
    // Rather more than half of the samples have it some other number of times.
    assert!(
        bootstrap
            .interval(3, |times| (times[0] == 1).then_some(1.0))
            .is_none()
    );
    assert!(bootstrap.interval(3, |_| Some(f64::NAN)).is_none());
    assert!(bootstrap.interval(0, |_| Some(1.0)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_interval_of_a_mean_holds_the_mean(
        values in prop::collection::vec(-100.0..100.0_f64, 1..20),
        seed in 0..1000_u64,
    ) {
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        let interval = bootstrap.interval(values.len(), |times| mean_of_draw(&values, times));
        let interval = interval.expect("rows");
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        prop_assert!(interval.low <= mean + 1e-9 && mean - 1e-9 <= interval.high);
    }
}
