//! Attention beside the products of the block that it belongs to.

use retune_compute::ceiling::Ceilings;
use retune_compute::ops::{
    AttentionConfig, CachedSequence, Epilogue, FrozenWeight, Packing, Segments, attention_backward,
    attention_cached, attention_forward, linear_backward, linear_forward,
};
use retune_compute::{DType, Device, Tensor};

use crate::products::random;
use crate::timing::seconds;

const HEADS: usize = 14;
const KV_HEADS: usize = 2;
const DIM: usize = 64;

pub(crate) fn run(device: &Device, ceilings: &Ceilings) {
    println!("\nattention of Qwen2.5-0.5B (14 heads, 2 key/value heads, head size 64)");
    for dtype in [DType::BF16, DType::F32] {
        let block = block_seconds(device, dtype, 265);
        println!(
            "products of one block, 265 tokens, {dtype}: {:.2} ms",
            block * 1e3
        );
        for (name, offsets) in [
            ("265 tokens in 4 segments", vec![0, 66, 132, 198, 265]),
            ("1024 tokens in 1 segment", vec![0, 1024]),
            ("4096 tokens in 1 segment", vec![0, 4096]),
        ] {
            let segments = Segments::new(&offsets).expect("in order");
            let tokens = segments.tokens();
            let q = random(device, &[tokens, HEADS, DIM], dtype);
            let k = random(device, &[tokens, KV_HEADS, DIM], dtype);
            let config = AttentionConfig::causal(DIM);
            let forward = seconds(|_| {
                drop(attention_forward(&q, &k, &k, &segments, &config).expect("fits"));
            });
            let saved = attention_forward(&q, &k, &k, &segments, &config).expect("fits");
            let backward = seconds(|_| {
                drop(
                    attention_backward(&q, [&q, &k, &k], &saved, &segments, &config).expect("fits"),
                );
            });
            let pairs: f64 = offsets
                .windows(2)
                .map(|pair| (pair[1] - pair[0]) as f64)
                .map(|len| len * (len + 1.0) / 2.0)
                .sum();
            let gflops = 14.0e-9 * pairs * (HEADS * DIM) as f64 / (forward + backward);
            let share = if tokens == 265 {
                format!(
                    ", {:.1} % of the block",
                    100.0 * (forward + backward) / block
                )
            } else {
                String::new()
            };
            println!(
                "  {name}: forward {:.3} ms, backward {:.3} ms, {gflops:.0} GFLOP/s needed{share}",
                forward * 1e3,
                backward * 1e3
            );
        }
        cached(device, ceilings, dtype);
    }
}

/// Seconds of all frozen products of one block, forward and input gradient.
fn block_seconds(device: &Device, dtype: DType, rows: usize) -> f64 {
    let shapes = [
        (896, 896),
        (128, 896),
        (128, 896),
        (896, 896),
        (4864, 896),
        (4864, 896),
        (896, 4864),
    ];
    let layers: Vec<(FrozenWeight, [Tensor; 2], [Tensor; 2])> = shapes
        .iter()
        .map(|&(out, input)| {
            let weight = random(device, &[out, input], dtype);
            let weight = FrozenWeight::new(&weight, Packing::Both).expect("memory");
            let inputs = [[rows, input], [rows, out]].map(|shape| random(device, &shape, dtype));
            let outputs = [[rows, out], [rows, input]]
                .map(|shape| Tensor::zeros(device, &shape, DType::F32).expect("memory"));
            (weight, inputs, outputs)
        })
        .collect();
    let mut layers = layers;
    seconds(|_| {
        for (weight, [x, d_y], [y, d_x]) in &mut layers {
            linear_forward(x, &*weight, Epilogue::default(), y).expect("fits");
            linear_backward(d_y, &*weight, Epilogue::default(), d_x).expect("fits");
        }
    })
}

fn cached(device: &Device, ceilings: &Ceilings, dtype: DType) {
    const LENGTH: usize = 8192;
    let blocks = LENGTH / 64;
    let cache = random(device, &[blocks, 64, KV_HEADS, DIM], dtype);
    let values = random(device, &[blocks, 64, KV_HEADS, DIM], dtype);
    let config = AttentionConfig::causal(DIM);
    let sequence = CachedSequence {
        queries: 1,
        length: LENGTH,
        blocks: (0..blocks as u32).collect(),
    };
    let q = random(device, &[1, HEADS, DIM], dtype);
    let time = seconds(|_| {
        let sequences = std::slice::from_ref(&sequence);
        drop(attention_cached(&q, &cache, &values, sequences, &config).expect("fits"));
    });
    let rate = 2.0 * cache.size_in_bytes() as f64 / time / 1e9;
    println!(
        "  one query against {LENGTH} cached tokens: {:.3} ms, {rate:.1} GB/s of {:.1}",
        time * 1e3,
        ceilings.read_gb_per_s
    );
}
