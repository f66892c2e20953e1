//! Charts, looked at.

use anstream::adapter::strip_str;
use insta::assert_snapshot;

use super::axis::Axis;
use super::{Chart, Point, curve, svg, terminal};

const GAP: f64 = f64::NAN;

/// A chart in the terminal, with its colours.
fn coloured(chart: &Chart, width: usize, rows: usize) -> String {
    let mut out = Vec::new();
    terminal::draw(&mut out, chart, width, rows).expect("drawn");
    String::from_utf8(out).expect("UTF-8")
}

fn drawn(chart: &Chart, width: usize, rows: usize) -> String {
    strip_str(&coloured(chart, width, rows)).to_string()
}

/// The rows of characters right of the axis.
fn curves(drawn: &str) -> Vec<Vec<char>> {
    let rows = drawn.lines().filter_map(|line| line.split_once(['┤', '│']));
    rows.map(|(_, row)| row.chars().collect()).collect()
}

/// The dots of a chart, column and row from the left and the top.
fn dots(drawn: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (row, line) in curves(drawn).iter().enumerate() {
        for (column, c) in line.iter().enumerate() {
            let bits = (*c as u32).saturating_sub(0x2800);
            // As Unicode numbers them: down the left, down the right, and the
            // lowest two after that.
            let places = [
                (0, 0),
                (0, 1),
                (0, 2),
                (1, 0),
                (1, 1),
                (1, 2),
                (0, 3),
                (1, 3),
            ];
            for (bit, (right, down)) in places.iter().enumerate() {
                if bits >> bit & 1 == 1 {
                    found.push((2 * column + right, 4 * row + down));
                }
            }
        }
    }
    found
}

/// A falling loss, with noise that is the same each time.
fn falling(count: u64) -> Vec<Point> {
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(u32::MAX) - 0.5
    };
    let loss = |step: u64| {
        let part = step as f64 / count as f64;
        (step as f64, 0.8 + 2.0 * (-6.0 * part).exp() + 0.6 * noise())
    };
    (1..=count).map(loss).collect()
}

/// A loss that rises in the end.
fn validation(count: u64, steps: u64) -> Vec<Point> {
    let loss = |index: u64| {
        let part = index as f64 / count as f64;
        let loss = 0.95 + 1.6 * (-6.0 * part).exp() + 0.25 * (part - 0.5).max(0.0);
        ((index * steps / count) as f64, loss)
    };
    (1..=count).map(loss).collect()
}

#[test]
fn a_short_run() {
    let chart = Chart::loss(&falling(10), &validation(2, 10));
    assert_snapshot!(drawn(&chart, 60, 8), @r#"
    Loss by optimizer step
     2.0 ┤
         │     ⠐⢄
     1.5 ┤       ⠑⠤⡀
         │         ⠈⠢⢄⣀
         │             ⠉⠒⠢⠤⠤⠤⣀⣀⣀                  ⢀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀o
     1.0 ┤                      ⠑⠢⡀  o⠉⠉⠉⠉⠉⠉⢉⡩⠭⠛⠫⠭⢅⣀⡀          ⢀
         │                        ⠈⠢⢄ ⣀⣀⠤⠔⠒⠉⠁       ⠈⠑⠢⡀    ⢀⡠⠊⠁
     0.5 ┤                           ⠉                 ⠈⠑⠤⡠⠔⠁
         └┬──────────────────────────┬─────────────────────────┬
          0                          5                        10
      ─── train  ─o─ validation
    "#);
}

#[test]
fn a_run_of_some_hundred_steps() {
    let chart = Chart::loss(&falling(300), &validation(10, 300));
    assert_snapshot!(drawn(&chart, 72, 10), @r#"
    Loss by optimizer step
     3.0 ┤
         │⠴⢦⡀
     2.5 ┤  ⠙⠒⢄
         │    ⠈⢆⡀⡀
     2.0 ┤      o⢟⡖⢢⡀
     1.5 ┤        ⠈⠑⠻⢦⡄
         │            ⠈o⠶⠶⠶⣤⣀⡀⡀
     1.0 ┤                  ⠈o⠙⠓⢲⣖⣢⢤o⣤⠤⢄⣀⣀⣀o⣀⣀⣀⣀⣀o⣀⣀⣀⣀⣀⣀o⣀⣀⣀⣀⣀o⣀⣀⣀⠤⠤⠤o⠤⠤⠤⠤⠤o
         │                       ⠈⠁  ⠈⠉⠛⠉⠁⠛⠖⠴⠔⠦⠖⠲⠚⠑⢤⠶⠦⣄⣤⢤⠴⠢⠦⡠⠤⠤⠤⠔⠙⠦⠤⢤⠤⠴⠴⠖⠒⠖⢢
     0.5 ┤
         └┬─────────────────────┬────────────────────┬─────────────────────┬
          0                    100                  200                  300
      ─── train, smoothed over 12 points  ─o─ validation
    "#);
}

#[test]
fn the_schedule_of_a_run() {
    let rate = |step: f64| (step, 1e-4 * (step / 10.0).min((100.0 - step) / 90.0));
    let rates: Vec<Point> = (0..=100).map(|step| rate(f64::from(step))).collect();
    assert_snapshot!(drawn(&Chart::schedule(&rates), 60, 8), @r#"
    Learning rate by optimizer step
     1e-4 ┤    ⢀⠎⠑⠒⠤⢄⣀
          │    ⡎      ⠉⠑⠢⠤⣀⣀
          │   ⡸             ⠉⠑⠒⠤⢄⣀
          │  ⢀⠇                   ⠉⠑⠒⠤⠤⣀
     5e-5 ┤  ⡜                          ⠉⠑⠒⠤⢄⣀
          │ ⢰⠁                                ⠉⠑⠒⠢⠤⣀⡀
          │⢀⠇                                       ⠈⠉⠒⠢⢄⣀
        0 ┤⡜                                              ⠉⠉⠒⠢⠤⣀
          └┬─────────────────────────┬─────────────────────────┬
           0                        50                       100
      ─── learning rate
    "#);
}

#[test]
fn a_curve_stands_where_its_values_are() {
    // 40 characters are 80 dots, 10 rows are 40, and the axis ends at 800.
    let line: Vec<Point> = (0..=790)
        .map(|step| (f64::from(step), f64::from(step)))
        .collect();
    let drawn = drawn(&Chart::schedule(&line), 46, 10);
    let mut dots = dots(&drawn);
    dots.sort_unstable();
    let expected = |column: usize| 39.0 - 39.0 * (column as f64 / 79.0) * 790.0 / 800.0;
    for column in 0..80 {
        let rows: Vec<usize> = dots
            .iter()
            .filter(|dot| dot.0 == column)
            .map(|dot| dot.1)
            .collect();
        assert!(!rows.is_empty(), "column {column} of\n{drawn}");
        for row in rows {
            assert!(
                (row as f64 - expected(column)).abs() <= 1.0,
                "{column} {row} of\n{drawn}"
            );
        }
    }
}

#[test]
fn a_hundred_thousand_points_fill_their_columns_and_no_more() {
    let chart = Chart::loss(&falling(100_000), &validation(100, 100_000));
    for (width, rows) in [(80, 12), (200, 50), (40, 5)] {
        let drawn = drawn(&chart, width, rows);
        assert_eq!(curves(&drawn).len(), rows);
        let columns = curves(&drawn).iter().map(Vec::len).max().unwrap_or(0);
        for column in 0..columns {
            let used = curves(&drawn)
                .iter()
                .any(|row| row.get(column).is_some_and(|c| *c != ' '));
            assert!(used, "column {column} of\n{drawn}");
        }
        for line in drawn.lines() {
            assert!(line.chars().count() <= width, "{line}");
        }
        assert!(
            drawn.contains("train, smoothed over 4,000 points"),
            "{drawn}"
        );
        let marked = curves(&drawn).iter().flatten().any(|c| *c == 'o');
        assert!(
            !marked,
            "marks would hide the line:
{drawn}"
        );
    }
}

#[test]
fn a_gap_is_left_open() {
    for gap in [GAP, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e200] {
        let points = [
            (0.0, 1.0),
            (10.0, 1.0),
            (20.0, gap),
            (30.0, 2.0),
            (40.0, 2.0),
        ];
        let drawn = drawn(&Chart::loss(&points, &[]), 66, 10);
        // 60 characters, of which 0 to 15 and 45 to 60 are covered.
        let columns: Vec<usize> = dots(&drawn).iter().map(|dot| dot.0).collect();
        assert!(
            columns.contains(&29) && columns.contains(&90),
            "{gap}:\n{drawn}"
        );
        assert!(
            columns.iter().all(|column| *column < 32 || *column > 88),
            "{gap}:\n{drawn}"
        );
    }
}

#[test]
fn what_is_hardly_a_curve() {
    let one = drawn(&Chart::loss(&[(10.0, 2.5)], &[]), 40, 9);
    assert_eq!(
        one.matches('o').count() - "Loss by optimizer step".matches('o').count(),
        1
    );
    assert!(curves(&one)[4].contains(&'o'), "in the middle of\n{one}");

    let constant: Vec<Point> = (0..5).map(|step| (f64::from(step), -2.0)).collect();
    let constant = drawn(&Chart::loss(&constant, &[]), 40, 9);
    assert!(
        curves(&constant)[4].contains(&'⠤') || curves(&constant)[4].contains(&'⠒'),
        "{constant}"
    );
    assert!(constant.contains("-2.0 ┤"), "{constant}");

    let zero = drawn(&Chart::loss(&[(0.0, 0.0)], &[]), 40, 9);
    assert!(zero.contains("0.0 ┤o"), "{zero}");

    let nothing = [(1.0, GAP), (2.0, f64::INFINITY)];
    let none = drawn(&Chart::loss(&nothing, &[]), 40, 9);
    assert_eq!(none, "Loss by optimizer step\n  no points to draw\n");
    assert!(svg::render(&Chart::loss(&nothing, &[])).contains("no points to draw"));

    // Too narrow for anything: it is wider then, and still whole.
    let narrow = drawn(&Chart::loss(&falling(10), &[]), 0, 0);
    assert_eq!(curves(&narrow).len(), 4, "{narrow}");
}

#[test]
fn validation_has_a_colour_of_its_own() {
    let with = |eval: &[Point]| coloured(&Chart::loss(&falling(10), eval), 60, 8);
    let (cyan, magenta) = ("\u{1b}[36m", "\u{1b}[35m");
    assert!(with(&[]).contains(cyan) && !with(&[]).contains(magenta));
    assert!(with(&[(5.0, 1.0)]).contains(&format!("{magenta}o")));
    let titled = Chart::loss(&falling(10), &[]).titled("a\u{1b}[2Jb");
    assert!(
        coloured(&titled, 60, 8).contains("a\u{fffd}[2Jb"),
        "a title does not steer the terminal"
    );
}

#[test]
fn ticks_are_round_and_their_labels_are_what_they_stand_for() {
    let labels = |axis: Axis| -> String {
        let labels = axis.ticks().into_iter().map(|tick| tick.1);
        labels.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(labels(Axis::of_values(0.52, 1.9, 4)), "0.5 1.0 1.5 2.0");
    assert_eq!(
        labels(Axis::of_values(0.0, 1e-4, 5)),
        "0 2e-5 4e-5 6e-5 8e-5 1e-4"
    );
    assert_eq!(labels(Axis::of_values(0.0, 1.1e-4, 2)), "0 1e-4 2e-4");
    assert_eq!(
        labels(Axis::of_values(0.0, 1.2e-4, 12)),
        "0 1e-5 2e-5 3e-5 4e-5 5e-5 6e-5 7e-5 8e-5 9e-5 1e-4 1.1e-4 1.2e-4"
    );
    assert_eq!(
        labels(Axis::of_values(2.5, 2.5004, 4)),
        "2.5000 2.5001 2.5002 2.5003 2.5004"
    );
    assert_eq!(
        labels(Axis::of_values(-30.0, 12_000.0, 3)),
        "-5,000 0 5,000 10,000 15,000"
    );
    assert_eq!(
        labels(Axis::of_values(-3e12, 1e12, 2)),
        "-4e12 -2e12 0 2e12"
    );
    assert_eq!(labels(Axis::of_values(7.0, 7.0, 3)), "6.0 6.5 7.0 7.5 8.0");
    assert_eq!(labels(Axis::of_steps(7.0, 4)), "0 2 4 6");
    assert_eq!(labels(Axis::of_steps(2.0, 8)), "0 1 2");
    assert_eq!(labels(Axis::of_steps(100_000.0, 3)), "0 50,000 100,000");
    assert_eq!(labels(Axis::of_steps(0.0, 3)), "0 1");
}

#[test]
fn any_axis_has_ticks_and_holds_its_values() {
    let mut state = 7_u64;
    let mut number = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let part = (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
        let exponent = (state >> 3) % 160;
        part * 10_f64.powi(exponent as i32 - 80)
    };
    for count in 1..4000 {
        let (a, b) = (number(), number());
        let (low, high) = (a.min(b), a.max(b));
        let axis = Axis::of_values(low, high, count % 20);
        for value in [low, high] {
            let place = axis.place(value);
            assert!((-1e-6..=1.000_001).contains(&place), "{value} in {axis:?}");
        }
        let ticks = axis.ticks();
        assert!((2..=count % 20 + 5).contains(&ticks.len()), "{axis:?}");
        for (place, label) in ticks {
            let value: f64 = label.replace(',', "").parse().expect("a number");
            assert!(
                (axis.place(value) - place).abs() < 1e-6,
                "{label} in {axis:?}"
            );
        }
    }
}

#[test]
fn an_average_starts_without_a_bias_and_passes_over_gaps() {
    let points = [(1.0, 1.0), (2.0, 3.0), (3.0, GAP), (4.0, 3.0)];
    let smoothed = curve::smoothed(&points, 3);
    assert_eq!(smoothed[..2], [(1.0, 1.0), (2.0, 3.5 / 1.5)]);
    assert!(smoothed[2].0 == 3.0 && smoothed[2].1.is_nan());
    assert_eq!(smoothed[3], (4.0, 4.75 / 1.75));
    assert_eq!(curve::smoothed(&points[..2], 1), points[..2]);
    assert_eq!(curve::smoothing_span(&falling(49)), 1);
    assert_eq!(curve::smoothing_span(&falling(100)), 4);
    assert_eq!(curve::smoothing_span(&[(1.0, GAP); 100]), 1);
}

#[test]
fn what_is_thinned_looks_the_same() {
    let points = falling(10_000);
    let thinned = curve::thinned(&points, 100.0);
    assert!(thinned.len() <= 4 * 101, "{}", thinned.len());
    assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
    let extremes = |points: &[Point], column: f64| {
        let inside = points
            .iter()
            .filter(|point| (point.0 / 100.0).floor() == column);
        let values: Vec<f64> = inside.map(|point| point.1).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        (
            low,
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    };
    for column in 0..=100 {
        let column = f64::from(column);
        assert_eq!(extremes(&thinned, column), extremes(&points, column));
    }
    assert_eq!(curve::thinned(&points, 1.0), points);
}

#[test]
fn a_few_wild_steps_do_not_press_the_rest_together() {
    let mut train = falling(400);
    train[200].1 = 1e6;
    let range = curve::range(&[], &[&train]).expect("a range");
    assert!(range.1 < 3.1, "{range:?}");
    let range = curve::range(&[&train], &[]).expect("a range");
    assert_eq!(range.1, 1e6, "a line in front is shown whole");
}

#[test]
fn a_figure() {
    let mut train = falling(10);
    train[6].1 = GAP;
    train[8].1 = GAP;
    let chart = Chart::loss(&train, &validation(2, 10)).titled("\"R&D\" <script>\u{7}\u{ffff}");
    insta::with_settings!({
        snapshot_path => "../../tests/retune/snapshots",
        prepend_module_to_snapshot => false,
    }, {
        assert_snapshot!("chart__a_figure.svg", svg::render(&chart));
    });
}

#[test]
fn a_figure_of_a_long_run_is_no_large_file() {
    let chart = Chart::loss(&falling(100_000), &validation(1000, 100_000));
    let figure = svg::render(&chart);
    assert!(figure.len() < 100_000, "{}", figure.len());
    assert_eq!(figure.matches("<circle").count(), 1, "that of the legend");
    assert!(figure.contains("train, smoothed over 4,000 points"));
    assert!(!figure.contains("NaN") && !figure.contains("inf"));
}
