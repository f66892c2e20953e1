//! Products: all forms, packings and epilogues against the reference.

use proptest::prelude::*;
use retune_compute::ops::*;
use retune_compute::{DType, Device, Tensor, Tier};

use crate::cases::Numbers;
use crate::devices::{FAST, REFERENCE, cpu, tensor};
use crate::tolerance::{EXACT, PRODUCT_BF16_TWICE, PRODUCT_F32, VALUE_BF16, assert_close};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    m: usize,
    k: usize,
    n: usize,
    rank: usize,
    dtype: DType,
    out_dtype: DType,
    accumulate: bool,
}

impl Shape {
    /// All forms of the product of one pair of matrices.
    pub(crate) fn run(self, device: &Device, seed: u64) -> Vec<(String, Vec<f32>)> {
        let Self { m, k, n, rank, .. } = self;
        let numbers = Numbers::new(device, self.dtype, seed);
        let (a, b) = (numbers.tensor(&[m, k]), numbers.tensor(&[k, n]));
        let transposed = |t: &Tensor| {
            let (rows, columns) = (t.shape()[0], t.shape()[1]);
            let from = t.to_f32_vec();
            let to: Vec<f32> = (0..rows * columns)
                .map(|i| from[i % rows * columns + i / rows])
                .collect();
            tensor(device, &[columns, rows], &to, self.dtype)
        };
        let (a_t, b_t) = (transposed(&a), transposed(&b));
        let bias = numbers.wide(&[n]);
        let u = numbers.tensor(&[m, rank.max(1)]);
        let low = numbers.tensor(&[rank.max(1), n]);
        let low_t = transposed(&low);
        // As an adapter that is not trained has it.
        let low_frozen = FrozenWeight::new(&low_t, Packing::Forward).unwrap();
        let start = numbers.values(m * n);
        let row_scales: Vec<f32> = (0..m).map(|row| row as f32 / 8.0).collect();
        let mut results = Vec::new();
        let mut product =
            |name: &str, low_transposed: bool, run: &dyn Fn(Epilogue<'_>, &mut Tensor)| {
                let mut out = tensor(device, &[m, n], &start, self.out_dtype);
                let b: Weight<'_> = match (low_transposed, name) {
                    (true, "forward") => (&low_frozen).into(),
                    (true, _) => (&low_t).into(),
                    _ => (&low).into(),
                };
                let term = LowRank {
                    u: &u,
                    b,
                    transposed: low_transposed,
                    scale: 0.25,
                    row_scales: (rank % 2 == 0).then_some(&row_scales[..]),
                };
                let mut epilogue = Epilogue::default();
                if rank > 0 {
                    epilogue = epilogue.low_rank(Some(term)).bias(Some(&bias)).scale(1.5);
                }
                if self.accumulate {
                    epilogue = epilogue.accumulate();
                }
                run(epilogue, &mut out);
                results.push((name.to_owned(), out.to_f32_vec()));
            };
        product("nn", false, &|e, out| matmul_nn(&a, &b, e, out).unwrap());
        product("nt", true, &|e, out| matmul_nt(&a, &b_t, e, out).unwrap());
        product("tn", false, &|e, out| matmul_tn(&a_t, &b, e, out).unwrap());
        product("linear", true, &|e, out| {
            linear_forward(&a, &b_t, e, out).unwrap()
        });
        for packing in [Packing::Rows, Packing::Forward, Packing::Both] {
            let forward = FrozenWeight::new(&b_t, packing).unwrap();
            let backward = FrozenWeight::new(&b, packing).unwrap();
            product("forward", true, &|e, out| {
                linear_forward(&a, &forward, e, out).unwrap()
            });
            product("backward", false, &|e, out| {
                linear_backward(&a, &backward, e, out).unwrap()
            });
        }
        results
    }
}

pub(crate) fn any_shape() -> impl Strategy<Value = Shape> {
    // Two panels, and two blocks of K, even for Miri.
    let (most_m, most_k, most_n) = if cfg!(miri) {
        (10, 530, 70usize)
    } else {
        (241, 1100, 150)
    };
    let m = prop_oneof![1..8usize, 1..70usize, Just(241usize)].prop_map(move |m| m.min(most_m));
    let k =
        prop_oneof![1..70usize, 500..530usize, 1000..1100usize].prop_map(move |k| k.min(most_k));
    let n = prop_oneof![1..20usize, 1..most_n];
    let rank = prop_oneof![Just(0usize), 1..20usize];
    (m, k, n, rank, any::<[bool; 3]>()).prop_map(|(m, k, n, rank, [wide, wide_out, accumulate])| {
        let dtype = |wide| if wide { DType::F32 } else { DType::BF16 };
        Shape {
            m,
            k,
            n,
            rank,
            dtype: dtype(wide),
            out_dtype: dtype(wide_out),
            accumulate,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// In bf16, every tier gives the bits of the reference, but for AMX, whose
    /// instruction has an order of its own; all forms of one product give the
    /// same bits on one CPU.
    #[test]
    fn products_equal_the_reference(shape in any_shape(), seed: u64) {
        let expected = shape.run(&REFERENCE, seed);
        let tolerance = match (shape.dtype, shape.out_dtype) {
            (DType::BF16, DType::F32) if shape.rank == 0 => &EXACT,
            (_, DType::F32) => &PRODUCT_F32,
            (_, DType::BF16) => &VALUE_BF16,
        };
        for device in FAST.iter() {
            let found = shape.run(device, seed);
            // AMX and a GPU's matrix units have orders of their own.
            let tolerance = match (device.name().contains("amx"), device.is_cuda()) {
                (true, _) | (_, true) if shape.out_dtype == DType::F32 => &PRODUCT_F32,
                (_, true) if shape.rank > 0 => &PRODUCT_BF16_TWICE,
                _ => tolerance,
            };
            for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                let what = format!("{name} of {shape:?} on {}", device.name());
                assert_close(tolerance, &what, found, expected);
            }
            // There, the library chooses by the form.
            if device.is_cuda() {
                continue;
            }
            for (name, values) in &found {
                prop_assert_eq!(values, &found[0].1, "{} of {:?} on {}", name, shape, device.name());
            }
        }
    }
}

/// `vdpbf16ps` takes denormal numbers for zero; other tiers may keep them, and
/// the difference is below any number that matters.
#[test]
fn denormals_infinities_and_nan_do_not_spread() {
    let devices = std::iter::once(&*REFERENCE).chain(FAST.iter());
    // Few rows and many, which go other ways.
    for (device, times) in devices.flat_map(|device| [(device, 1), (device, 3)]) {
        let a = [1e-39, 2.0, f32::INFINITY, 1.0, f32::NAN, 1.0, 3.0, 4.0].repeat(times);
        let a = tensor(device, &[4 * times, 2], &a, DType::BF16);
        let b = tensor(device, &[1, 2], &[1e10, 0.5], DType::BF16);
        let mut out = Tensor::zeros(device, &[4 * times, 1], DType::F32).unwrap();
        matmul_nt(&a, &b, Epilogue::default(), &mut out).unwrap();
        let large = b.to_f32_vec()[0];
        for out in out.to_f32_vec().chunks_exact(4) {
            assert!((out[0] - 1.0).abs() < 1e-20, "{out:?} on {}", device.name());
            assert_eq!(out[1], f32::INFINITY);
            assert!(out[2].is_nan());
            assert_eq!(out[3], 3.0f32.mul_add(large, 2.0));
        }
    }
}

#[test]
fn products_without_rows_are_nothing() {
    for device in std::iter::once(&*REFERENCE).chain(FAST.iter()) {
        let none = Tensor::zeros(device, &[0, 5], DType::F32).unwrap();
        let weight = Tensor::zeros(device, &[70, 5], DType::F32).unwrap();
        let mut out = Tensor::zeros(device, &[0, 70], DType::F32).unwrap();
        matmul_nt(&none, &weight, Epilogue::default(), &mut out).unwrap();
    }
}

/// So many numbers that working memory holds a part of the rows at a time.
#[test]
#[cfg_attr(miri, ignore = "too many numbers")]
fn rows_that_are_multiplied_in_several_parts_equal_those_alone() {
    let (m, k, n) = (301, 17_600, 70);
    // A GPU's library chooses by the number of rows.
    for device in FAST.iter().filter(|device| !device.is_cuda()) {
        let numbers = Numbers::new(device, DType::BF16, 7);
        let (a, b) = (numbers.tensor(&[m, k]), numbers.tensor(&[n, k]));
        let rows = a.to_f32_vec();
        let product = |rows: &[f32]| {
            let m = rows.len() / k;
            let a = tensor(device, &[m, k], rows, DType::BF16);
            let mut out = Tensor::zeros(device, &[m, n], DType::F32).unwrap();
            matmul_nt(&a, &b, Epilogue::default(), &mut out).unwrap();
            out.to_f32_vec()
        };
        let all = product(&rows);
        for row in [0, 150, 151, 239, 240, 300] {
            let alone = product(&rows[row * k..][..k]);
            assert_eq!(all[row * n..][..n], alone, "row {row} on {}", device.name());
        }
    }
}

/// `aᵀ·b` with a narrow `b`, which is transposed in place of `a`.
#[test]
fn a_narrow_factor_is_transposed_in_place_of_a_wide_one() {
    let reference = &*REFERENCE;
    for (m, k, n, dtype) in [
        (300, 37, 8, DType::F32),
        (300, 600, 8, DType::BF16),
        (64, 5, 64, DType::BF16),
        (70, 90, 1, DType::F32),
        (9, 90, 70, DType::F32),
    ] {
        let run = |device: &Device, out_dtype: DType| {
            let numbers = Numbers::new(device, dtype, 5);
            let (a, b) = (numbers.tensor(&[k, m]), numbers.tensor(&[k, n]));
            let mut out = tensor(device, &[m, n], &numbers.values(m * n), out_dtype);
            matmul_tn(&a, &b, Epilogue::default().scale(1.5), &mut out).unwrap();
            let first = out.to_f32_vec();
            matmul_tn(
                &a,
                &b,
                Epilogue::default().scale(1.5).accumulate(),
                &mut out,
            )
            .unwrap();
            [first, out.to_f32_vec()]
        };
        for out_dtype in [DType::F32, DType::BF16] {
            let expected = run(reference, out_dtype);
            for device in FAST.iter() {
                for (found, expected) in run(device, out_dtype).iter().zip(&expected) {
                    for (found, expected) in found.iter().zip(expected) {
                        let most = if out_dtype == DType::F32 { 1e-4 } else { 2e-2 };
                        let error = (found - expected).abs() / expected.abs().max(1.0);
                        assert!(error <= most, "{found} for {expected}, {}", device.name());
                    }
                }
            }
        }
    }
}

/// The narrow one is all that is copied.
#[test]
fn the_gradient_of_a_narrow_weight_takes_little_memory() {
    for device in Tier::available().map(|tier| cpu(tier, 2)) {
        let zeros = |shape: &[usize]| Tensor::zeros(&device, shape, DType::BF16).unwrap();
        let (d_y, u) = (zeros(&[512, 4096]), zeros(&[512, 8]));
        let mut out = Tensor::zeros(&device, &[4096, 8], DType::F32).unwrap();
        device.reset_peak_memory();
        let before = device.memory().in_use;
        matmul_tn(&d_y, &u, Epilogue::default().accumulate(), &mut out).unwrap();
        let taken = device.memory().peak - before;
        assert!(taken <= 64 << 10, "{taken} bytes on {}", device.name());
    }
}

/// A sum of no terms is zero, and still gets its bias.
#[test]
fn sums_of_no_terms_are_zero() {
    const N: usize = 70;
    for device in std::iter::once(&*REFERENCE).chain(FAST.iter()) {
        for dtype in [DType::F32, DType::BF16] {
            let bias: Vec<f32> = (0..N).map(|n| n as f32).collect();
            let bias = tensor(device, &[N], &bias, DType::F32);
            let zeros = |shape: [usize; 2]| Tensor::zeros(device, &shape, dtype).unwrap();
            // Few rows and many, which go other ways.
            for (rows, accumulate) in [(3, false), (3, true), (9, false), (9, true)] {
                let start = 9.0;
                let held = if accumulate { start } else { 0.0 };
                let expected: Vec<f32> = (0..rows * N).map(|i| held + (i % N) as f32).collect();
                let run = |name: &str, product: &dyn Fn(Epilogue<'_>, &mut Tensor)| {
                    let mut out = tensor(device, &[rows, N], &vec![start; rows * N], DType::F32);
                    let mut epilogue = Epilogue::default().bias(Some(&bias));
                    if accumulate {
                        epilogue = epilogue.accumulate();
                    }
                    product(epilogue, &mut out);
                    assert_eq!(out.to_f32_vec(), expected, "{name} on {}", device.name());
                };
                let (a, b) = (zeros([rows, 0]), zeros([0, N]));
                run("nn", &|e, out| matmul_nn(&a, &b, e, out).unwrap());
                run("tn", &|e, out| {
                    matmul_tn(&zeros([0, rows]), &b, e, out).unwrap()
                });
                run("nt", &|e, out| {
                    matmul_nt(&a, &zeros([N, 0]), e, out).unwrap()
                });
                for packing in [Packing::Rows, Packing::Forward, Packing::Both] {
                    let forward = FrozenWeight::new(&zeros([N, 0]), packing).unwrap();
                    run("linear_forward", &|e, out| {
                        linear_forward(&a, &forward, e, out).unwrap()
                    });
                    let backward = FrozenWeight::new(&b, packing).unwrap();
                    run("linear_backward", &|e, out| {
                        linear_backward(&a, &backward, e, out).unwrap();
                    });
                    let rows = embedding_forward(&forward, &[0, 69], DType::F32).unwrap();
                    assert_eq!(rows.shape(), [2, 0]);
                }
            }
        }
    }
}

#[test]
fn packing_costs_what_it_says() {
    const SHAPE: [usize; 2] = if cfg!(miri) { [90, 31] } else { [900, 301] };
    // Devices of its own: other tests allocate on the common ones.
    for device in Tier::available().map(|tier| cpu(tier, 3)) {
        let device = &device;
        for dtype in [DType::F32, DType::BF16] {
            let weight = Tensor::zeros(device, &SHAPE, dtype).unwrap();
            for packing in [Packing::Rows, Packing::Forward, Packing::Both] {
                let said = FrozenWeight::packed_bytes(device, SHAPE, dtype, packing);
                let before = device.memory().in_use;
                let frozen = FrozenWeight::new(&weight, packing).unwrap();
                let taken = device.memory().in_use - before;
                // Buffers are rounded up to size classes.
                assert!(
                    taken >= said && taken <= said + said / 4,
                    "{packing:?}: {said}, {taken}"
                );
                drop(frozen);
                assert_eq!(device.memory().in_use, before);
            }
        }
    }
}
