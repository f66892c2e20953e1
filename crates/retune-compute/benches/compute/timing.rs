//! Measuring one call.

use std::time::Instant;

/// Seconds of one call of `body`: the median of many samples, each long enough
/// for the clock. `body` gets the number of the call.
pub(crate) fn seconds(mut body: impl FnMut(usize)) -> f64 {
    const SAMPLE: f64 = 2e-4;
    const TOTAL: f64 = 0.4;
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
    let samples = ((TOTAL / (first * calls as f64)) as usize).clamp(7, 500);
    let mut times: Vec<f64> = (0..samples).map(|_| once(calls)).collect();
    times.sort_by(f64::total_cmp);
    times[samples / 2]
}

/// The layers of Qwen2.5-0.5B as `(name, out_features, in_features)`.
pub(crate) const QWEN: [(&str, usize, usize); 5] = [
    ("k,v_proj", 128, 896),
    ("q,o_proj", 896, 896),
    ("gate,up_proj", 4864, 896),
    ("down_proj", 896, 4864),
    ("lm_head", 151_936, 896),
];
