//! Measuring one call.

use std::time::{Duration, Instant};

use retune_compute::ceiling::MemoryReader;

/// Seconds of one call of `body`: the median of many samples, each long enough
/// for the clock. `body` gets the number of the call.
pub(crate) fn seconds(body: impl FnMut(usize)) -> f64 {
    seconds_within(0.4, body)
}

/// [`seconds`] with samples of about `total` seconds in all.
fn seconds_within(total: f64, mut body: impl FnMut(usize)) -> f64 {
    const SAMPLE: f64 = 2e-4;
    let mut call = 0;
    let mut once = |calls: usize| {
        let start = Instant::now();
        for _ in 0..calls {
            body(call);
            call += 1;
        }
        start.elapsed().as_secs_f64() / calls as f64
    };
    once(1);
    let first = once(1);
    let calls = (SAMPLE / first).ceil().max(1.0) as usize;
    let samples = ((total / (first * calls as f64)) as usize).clamp(3, 500);
    median((0..samples).map(|_| once(calls)).collect())
}

/// How fast `body` moves `bytes` a call, as `rate of limit (share)` with the
/// rate at which a plain loop reads memory.
///
/// The rate of memory wanders on machines that others share, so both are
/// measured in turn; all three numbers are medians.
pub(crate) fn share_of_reads(
    reader: &MemoryReader,
    bytes: usize,
    mut body: impl FnMut(usize),
) -> String {
    const ROUNDS: usize = 9;
    let (mut rates, mut limits, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = reader.gb_per_s(Duration::from_millis(10));
        let rate = bytes as f64 / seconds_within(0.04, &mut body) / 1e9;
        let limit = (before + reader.gb_per_s(Duration::from_millis(10))) / 2.0;
        rates.push(rate);
        limits.push(limit);
        shares.push(100.0 * rate / limit);
    }
    let [rate, limit, share] = [rates, limits, shares].map(median);
    format!("{rate:.1} of {limit:.1} ({share:.0} %)")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The layers of Qwen2.5-0.5B as `(name, out_features, in_features)`.
pub(crate) const QWEN: [(&str, usize, usize); 5] = [
    ("k,v_proj", 128, 896),
    ("q,o_proj", 896, 896),
    ("gate,up_proj", 4864, 896),
    ("down_proj", 896, 4864),
    ("lm_head", 151_936, 896),
];
