//! Norms, activations, optimizer: bound by memory on buffers larger than the
//! cache.

use retune_compute::ceiling::MemoryReader;
use retune_compute::ops::{
    AdamW, GeluKind, NormGradients, RopeAngles, RopeConfig, RopeScaling, adamw_step, add_assign,
    cast, gelu_backward, gelu_forward, layer_norm_backward, layer_norm_forward, norm,
    rms_norm_backward, rms_norm_forward, rope_forward, swiglu_backward, swiglu_forward,
};
use retune_compute::{DType, Device, Tensor};

use crate::products::random;
use crate::timing::share_of_reads;

/// Rows of the hidden size and of the feed-forward size.
const TOKENS: usize = 32_768;
const HIDDEN: usize = 896;

pub(crate) fn run(device: &Device, reader: &MemoryReader) {
    println!("\nbound by memory: GB/s read and written, of GB/s read by a plain loop in turn");
    let (f32, bf16) = (DType::F32, DType::BF16);
    let cells = TOKENS * HIDDEN;
    let x = random(device, &[TOKENS, HIDDEN], f32);
    let z = random(device, &[TOKENS, HIDDEN], f32);
    let narrow = [(); 3].map(|()| random(device, &[TOKENS, HIDDEN], bf16));
    let [gate, up, d_y] = &narrow;
    let weight = random(device, &[HIDDEN], f32);
    let print = |name: &str, bytes_per_cell: usize, body: &mut dyn FnMut()| {
        let share = share_of_reads(reader, cells * bytes_per_cell, |_| body());
        println!("{name:<44}{share:>24}");
    };

    print("rms_norm_forward f32 → bf16", 6, &mut || {
        drop(rms_norm_forward(&x, &weight, 1e-6, bf16).expect("fits"));
    });
    let saved = rms_norm_forward(&x, &weight, 1e-6, f32).expect("fits");
    let mut d_x = Tensor::zeros(device, &[TOKENS, HIDDEN], f32).expect("memory");
    print("rms_norm_backward f32, frozen weight", 16, &mut || {
        let none = NormGradients::default();
        rms_norm_backward(&z, &x, &weight, &saved.rstd, &mut d_x, none).expect("fits");
    });
    let mut d_weight = Tensor::zeros(device, &[HIDDEN], f32).expect("memory");
    print("rms_norm_backward f32, with weight", 16, &mut || {
        let wanted = NormGradients {
            d_weight: Some(&mut d_weight),
            d_bias: None,
        };
        rms_norm_backward(&z, &x, &weight, &saved.rstd, &mut d_x, wanted).expect("fits");
    });
    print("layer_norm_forward f32 → bf16", 6, &mut || {
        drop(layer_norm_forward(&x, &weight, &weight, 1e-6, bf16).expect("fits"));
    });
    let saved = layer_norm_forward(&x, &weight, &weight, 1e-6, bf16)
        .expect("fits")
        .saved;
    let mut d_bias = Tensor::zeros(device, &[HIDDEN], f32).expect("memory");
    print(
        "layer_norm_backward f32, with weight, bias",
        16,
        &mut || {
            let wanted = NormGradients {
                d_weight: Some(&mut d_weight),
                d_bias: Some(&mut d_bias),
            };
            layer_norm_backward(&z, &x, &weight, &saved, &mut d_x, wanted).expect("fits");
        },
    );
    print("swiglu_forward bf16", 6, &mut || {
        drop(swiglu_forward(gate, up, bf16).expect("fits"));
    });
    print("swiglu_backward bf16", 10, &mut || {
        drop(swiglu_backward(d_y, gate, up, bf16).expect("fits"));
    });
    print("swiglu_forward f32", 12, &mut || {
        drop(swiglu_forward(&x, &z, f32).expect("fits"));
    });
    for kind in [GeluKind::Exact, GeluKind::Tanh] {
        print(&format!("gelu_forward {kind:?} f32"), 8, &mut || {
            drop(gelu_forward(&x, kind, f32).expect("fits"));
        });
        print(&format!("gelu_backward {kind:?} f32"), 12, &mut || {
            drop(gelu_backward(&z, &x, kind, f32).expect("fits"));
        });
    }
    print("add_assign f32", 12, &mut || {
        add_assign(&mut d_x, &x).expect("fits");
    });
    print("cast f32 → bf16", 6, &mut || {
        drop(cast(&x, bf16).expect("fits"));
    });
    print("norm f32", 4, &mut || {
        norm([&x]);
    });
    let heads = random(device, &[TOKENS, HIDDEN / 64, 64], f32);
    let config = RopeConfig {
        head_dim: 64,
        rope_theta: 1e6,
        scaling: RopeScaling::Default,
    };
    let positions: Vec<u32> = (0..TOKENS as u32).collect();
    let angles = RopeAngles::new(device, &config, &positions).expect("memory");
    print("rope_forward f32 → bf16", 6, &mut || {
        drop(rope_forward(&heads, &angles, bf16).expect("fits"));
    });

    let mut param = random(device, &[TOKENS, HIDDEN], f32);
    let mut m = Tensor::zeros(device, &[TOKENS, HIDDEN], f32).expect("memory");
    let mut v = Tensor::zeros(device, &[TOKENS, HIDDEN], f32).expect("memory");
    let step = AdamW::new(1e-4, 3);
    print("adamw_step f32", 28, &mut || {
        adamw_step(&mut param, &x, &mut m, &mut v, None, &step).expect("fits");
    });
    let mut copy = cast(&param, bf16).expect("memory");
    print("adamw_step f32 with a bf16 copy", 30, &mut || {
        adamw_step(&mut param, &x, &mut m, &mut v, Some(&mut copy), &step).expect("fits");
    });
}
