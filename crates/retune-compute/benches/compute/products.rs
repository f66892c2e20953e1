//! Products with frozen weights from 32 rows on: bound by arithmetic.

use std::fmt;

use gemm::Parallelism;
use retune_compute::ceiling::Ceilings;
use retune_compute::ops::{Epilogue, FrozenWeight, Packing, linear_backward, linear_forward};
use retune_compute::{DType, Device, Element, RandomKey, Tensor, bf16, random_uniform};

use crate::timing::{QWEN, seconds};

const ROWS: [usize; 4] = [32, 128, 265, 1024];

pub(crate) fn random(device: &Device, shape: &[usize], dtype: DType) -> Tensor {
    fn make<E: Element>(device: &Device, shape: &[usize]) -> Tensor {
        random_uniform::<E>(device, shape, RandomKey::new(1, 2), -1.0, 1.0).expect("memory")
    }
    match dtype {
        DType::F32 => make::<f32>(device, shape),
        DType::BF16 => make::<bf16>(device, shape),
    }
}

pub(crate) fn run(device: &Device, ceilings: &Ceilings, dtype: DType) {
    let limit = if dtype == DType::BF16 {
        ceilings.product_gflops()
    } else {
        ceilings.f32_gflops
    };
    println!("\nproducts in {dtype}, packed both ways: GFLOP/s (per cent of {limit:.0})");
    print_rows();
    for (name, out, input) in QWEN {
        let weight = frozen(device, [out, input], dtype, Packing::Both);
        for direction in Direction::BOTH {
            line(&format!("{name} {direction}"), &weight, direction, limit);
        }
    }
    println!("repacked on the fly, gate,up_proj:");
    for packing in [Packing::Forward, Packing::Rows] {
        let weight = frozen(device, [4864, 896], dtype, packing);
        for direction in Direction::BOTH {
            line(
                &format!("{packing:?} {direction}"),
                &weight,
                direction,
                limit,
            );
        }
    }
}

fn frozen(device: &Device, shape: [usize; 2], dtype: DType, packing: Packing) -> FrozenWeight {
    FrozenWeight::new(&random(device, &shape, dtype), packing).expect("memory")
}

/// Which of its two products a frozen weight is in.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Forward,
    InputGradient,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::Forward, Self::InputGradient];

    /// Input and output of a product of `rows` rows.
    pub(crate) fn tensors(self, weight: &FrozenWeight, rows: usize) -> (Tensor, Tensor) {
        let (from, to) = match self {
            Self::Forward => (weight.in_features(), weight.out_features()),
            Self::InputGradient => (weight.out_features(), weight.in_features()),
        };
        let device = weight.device();
        let y = Tensor::zeros(device, &[rows, to], DType::F32).expect("memory");
        (random(device, &[rows, from], weight.dtype()), y)
    }

    pub(crate) fn run(self, x: &Tensor, weight: &FrozenWeight, y: &mut Tensor) {
        match self {
            Self::Forward => linear_forward(x, weight, Epilogue::default(), y),
            Self::InputGradient => linear_backward(x, weight, Epilogue::default(), y),
        }
        .expect("shapes fit");
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
        })
    }
}

fn print_rows() {
    print!("{:<28}", "");
    for rows in ROWS {
        print!("{:>16}", format!("{rows} rows"));
    }
    println!();
}

/// One weight's product with each number of rows.
fn line(name: &str, weight: &FrozenWeight, direction: Direction, limit: f64) {
    print!("{name:<28}");
    for rows in ROWS {
        let (x, mut y) = direction.tensors(weight, rows);
        let time = seconds(|_| direction.run(&x, weight, &mut y));
        let products = rows * weight.out_features() * weight.in_features();
        let gflops = 2e-9 * products as f64 / time;
        let share = format!("{gflops:.0} ({:.0} %)", 100.0 * gflops / limit);
        print!("{share:>16}");
    }
    println!();
}

/// The same f32 products by the `gemm` crate, in turn with ours.
pub(crate) fn against_gemm(device: &Device, ceilings: &Ceilings) {
    println!("\nf32 forward products: time of the `gemm` crate over ours (above 1 is faster)");
    print_rows();
    for (name, out, input) in QWEN {
        let values = random(device, &[out, input], DType::F32);
        let weight = FrozenWeight::new(&values, Packing::Forward).expect("memory");
        let b = values.to_f32_vec();
        print!("{name:<28}");
        for rows in ROWS {
            let x = random(device, &[rows, input], DType::F32);
            let a = x.to_f32_vec();
            let mut y = Tensor::zeros(device, &[rows, out], DType::F32).expect("memory");
            let mut c = vec![0.0f32; rows * out];
            let ours = seconds(|_| {
                linear_forward(&x, &weight, Epilogue::default(), &mut y).expect("fits");
            });
            // SAFETY: the pointers and strides describe the three vectors.
            let theirs = seconds(|_| unsafe {
                gemm::gemm(
                    rows,
                    out,
                    input,
                    c.as_mut_ptr(),
                    1,
                    out as isize,
                    false,
                    a.as_ptr(),
                    1,
                    input as isize,
                    b.as_ptr(),
                    input as isize,
                    1,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::Rayon(ceilings.threads),
                );
            });
            print!("{:>16}", format!("{:.2}", theirs / ours));
        }
        println!();
    }
}
