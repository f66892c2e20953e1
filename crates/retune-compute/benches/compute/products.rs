//! Products with frozen weights from 32 rows on: bound by arithmetic.

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
    print!("{:<24}", "");
    ROWS.iter()
        .for_each(|rows| print!("{:>16}", format!("{rows} rows")));
    println!();
    for (name, out, input) in QWEN {
        let weight = random(device, &[out, input], dtype);
        let weight = FrozenWeight::new(&weight, Packing::Both).expect("memory");
        for forward in [true, false] {
            let direction = if forward { "forward" } else { "input gradient" };
            print!("{:<24}", format!("{name} {direction}"));
            for rows in ROWS {
                let (from, to) = if forward { (input, out) } else { (out, input) };
                let x = random(device, &[rows, from], dtype);
                let mut y = Tensor::zeros(device, &[rows, to], DType::F32).expect("memory");
                let time = seconds(|_| {
                    if forward {
                        linear_forward(&x, &weight, Epilogue::default(), &mut y).expect("fits");
                    } else {
                        linear_backward(&x, &weight, Epilogue::default(), &mut y).expect("fits");
                    }
                });
                let gflops = 2e-9 * (rows * out * input) as f64 / time;
                print!(
                    "{:>16}",
                    format!("{gflops:.0} ({:.0} %)", 100.0 * gflops / limit)
                );
            }
            println!();
        }
    }
    println!("repacked on the fly, gate,up_proj:");
    for packing in [Packing::Forward, Packing::Rows] {
        for forward in [true, false] {
            let (out, input) = (4864, 896);
            let weight = random(device, &[out, input], dtype);
            let weight = FrozenWeight::new(&weight, packing).expect("memory");
            let direction = if forward { "forward" } else { "input gradient" };
            print!("{:<24}", format!("{packing:?} {direction}"));
            for rows in ROWS {
                let (from, to) = if forward { (input, out) } else { (out, input) };
                let x = random(device, &[rows, from], dtype);
                let mut y = Tensor::zeros(device, &[rows, to], DType::F32).expect("memory");
                let time = seconds(|_| {
                    if forward {
                        linear_forward(&x, &weight, Epilogue::default(), &mut y).expect("fits");
                    } else {
                        linear_backward(&x, &weight, Epilogue::default(), &mut y).expect("fits");
                    }
                });
                let gflops = 2e-9 * (rows * out * input) as f64 / time;
                print!(
                    "{:>16}",
                    format!("{gflops:.0} ({:.0} %)", 100.0 * gflops / limit)
                );
            }
            println!();
        }
    }
}

/// The same f32 products by the `gemm` crate, in turn with ours.
pub(crate) fn against_gemm(device: &Device, ceilings: &Ceilings) {
    println!("\nf32 forward products: time of the `gemm` crate over ours (above 1 is faster)");
    print!("{:<24}", "");
    ROWS.iter()
        .for_each(|rows| print!("{:>16}", format!("{rows} rows")));
    println!();
    for (name, out, input) in QWEN {
        let values = random(device, &[out, input], DType::F32);
        let weight = FrozenWeight::new(&values, Packing::Forward).expect("memory");
        let b = values.to_f32_vec();
        print!("{name:<24}");
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
