//! Matrix products: cuBLASLt's, and our own for a few rows.
//!
//! The library counts columns first. So it is asked for `outᵀ = bᵀ · aᵀ`, for
//! which row-major factors lie as it wants them. A product's other terms are
//! written to `out` before, and the product is added to them.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::{result, sys};

use super::Cuda;
use super::kernels::{Args, Source, pair};
use crate::backend::Product;
use crate::ops::{LowRank, Weight};
use crate::{DType, Tensor};

/// Working memory of the library. Its own advice for Hopper.
pub(super) const WORKSPACE_BYTES: usize = 32 << 20;
/// Up to so many rows, reading the weight is all that takes time.
const FEW_ROWS: usize = 8;
/// From so many terms on, a column of `few_rows` is shared by four warps.
const SPLIT_FROM: usize = 2048;
/// How many forms of products are remembered.
const REMEMBERED: usize = 8192;

type Algorithm = sys::cublasLtMatmulAlgo_t;

type Outcome<T> = std::result::Result<T, result::CublasError>;

/// What decides how the library goes about a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    m: usize,
    k: usize,
    n: usize,
    a_transposed: bool,
    b_transposed: bool,
    factors: DType,
    out: DType,
}

impl Form {
    /// The form that stands for this one where the library is asked how to go about
    /// it, which takes it a millisecond: the number of tokens, which changes from step
    /// to step, is rounded up to an eighth of the power of two below it.
    fn representative(self) -> Self {
        let rounded = |tokens: usize| match tokens {
            0..=16 => tokens,
            _ => tokens.next_multiple_of(1 << (tokens.ilog2() - 3)),
        };
        // In the gradient of a weight, the tokens are summed over.
        match self.a_transposed {
            true => Self {
                k: rounded(self.k),
                ..self
            },
            false => Self {
                m: rounded(self.m),
                ..self
            },
        }
    }
}

/// A product as the library was told of it.
struct Plan {
    operation: sys::cublasLtMatmulDesc_t,
    a: sys::cublasLtMatrixLayout_t,
    b: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    /// `None` where the library has no kernel.
    algorithm: Option<Algorithm>,
}

// SAFETY: descriptions are plain memory that the library only reads after they
// are made.
unsafe impl Send for Plan {}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once; the library copies what a launched
        // product needs of them.
        unsafe {
            let _ = result::destroy_matmul_desc(self.operation);
            for layout in [self.a, self.b, self.out] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

/// The library, and the products that it has been asked for.
pub(super) struct Library {
    handle: sys::cublasLtHandle_t,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    plans: HashMap<Form, Plan>,
    /// By representatives.
    algorithms: HashMap<Form, Option<Algorithm>>,
}

// SAFETY: the library says that a handle may be used by several threads.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

fn data_type(dtype: DType) -> sys::cudaDataType {
    match dtype {
        DType::F32 => sys::cudaDataType_t::CUDA_R_32F,
        DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
    }
}

impl Library {
    pub(super) fn new() -> std::result::Result<Self, String> {
        Ok(Self {
            handle: result::create_handle().map_err(|e| e.to_string())?,
            known: Mutex::default(),
        })
    }

    /// Tells the library of a product, and has it choose an algorithm if there is none
    /// for it yet.
    fn plan(&self, form: Form, known: &mut Known) -> Outcome<Plan> {
        let representative = form.representative();
        let algorithm = match known.algorithms.get(&representative) {
            Some(algorithm) => *algorithm,
            None => {
                let description = Self::describe(representative)?;
                let algorithm = self.choose(&description)?;
                known.algorithms.insert(representative, algorithm);
                algorithm
            }
        };
        let mut plan = Self::describe(form)?;
        plan.algorithm = algorithm;
        Ok(plan)
    }

    fn describe(form: Form) -> Outcome<Plan> {
        let Form { m, k, n, .. } = form;
        // Products of f32 are in full precision, not in that of the matrix units.
        let operation = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        )?;
        let layout = |rows: usize, columns: usize, dtype: DType| {
            result::create_matrix_layout(data_type(dtype), rows as u64, columns as u64, rows as i64)
        };
        // As the library sees them: its first factor is our second.
        let [b_rows, b_columns] = if form.b_transposed { [k, n] } else { [n, k] };
        let [a_rows, a_columns] = if form.a_transposed { [m, k] } else { [k, m] };
        for (attribute, transposed) in [
            (
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                form.b_transposed,
            ),
            (
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB,
                form.a_transposed,
            ),
        ] {
            let transposed = i32::from(transposed);
            // SAFETY: made above; the attribute is given in its own type.
            unsafe {
                result::set_matmul_desc_attribute(
                    operation,
                    attribute,
                    ptr::from_ref(&transposed).cast(),
                    size_of_val(&transposed),
                )?;
            }
        }
        Ok(Plan {
            operation,
            b: layout(b_rows, b_columns, form.factors)?,
            a: layout(a_rows, a_columns, form.factors)?,
            out: layout(n, m, form.out)?,
            algorithm: None,
        })
    }

    /// The library's first choice for a product; `None` if it has no kernel for it.
    fn choose(&self, plan: &Plan) -> Outcome<Option<Algorithm>> {
        let preference = result::create_matmul_pref()?;
        // Partial sums are f32 and added in one order.
        let reductions = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        // SAFETY: all are living; each attribute is given in its own type.
        let found = unsafe {
            result::set_matmul_pref_attribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                ptr::from_ref(&WORKSPACE_BYTES).cast(),
                size_of::<usize>(),
            )?;
            result::set_matmul_pref_attribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                ptr::from_ref(&reductions).cast(),
                size_of_val(&reductions),
            )?;
            let found = result::get_matmul_algo_heuristic(
                self.handle,
                plan.operation,
                plan.b,
                plan.a,
                plan.out,
                plan.out,
                preference,
            );
            let _ = result::destroy_matmul_pref(preference);
            found
        };
        Ok(found.ok().map(|found| found.algo))
    }
}

/// The terms of an output beside the product itself, as `products.cu` takes them.
struct Terms {
    words: [u64; 8],
}

impl Terms {
    fn new(cuda: &Cuda, product: &Product<'_>) -> Self {
        let epilogue = &product.epilogue;
        let mut words = [0; 8];
        let (mut rank, mut scale) = (0, 0.0);
        if let Some(term) = &epilogue.low_rank {
            let LowRank {
                u,
                b,
                transposed,
                row_scales,
                ..
            } = term;
            rank = u.rows_by_width().1;
            scale = term.scale;
            let strides = if *transposed {
                [1, rank]
            } else {
                [product.n, 1]
            };
            words[0] = cuda.address(u);
            words[1] = weight_address(cuda, *b);
            words[2] = row_scales.map_or(0, |scales| {
                cuda.upload(
                    &scales
                        .iter()
                        .map(|scale| scale.to_bits())
                        .collect::<Vec<_>>(),
                )
            });
            words[4] = strides[0] as u64;
            words[5] = strides[1] as u64;
        }
        words[3] = epilogue.bias.map_or(0, |bias| cuda.address(bias));
        words[6] = pair(rank as u32, f32::to_bits(scale));
        words[7] = pair(u32::from(epilogue.accumulate), 0);
        Self { words }
    }
}

/// Where `[out, in]` lies, row by row.
pub(super) fn weight_address(cuda: &Cuda, weight: Weight<'_>) -> u64 {
    match weight {
        Weight::Dense(tensor) => cuda.address(tensor),
        Weight::Frozen(weight) => {
            let rows = weight.packed().rows.as_ref();
            rows.expect("a GPU keeps rows").cuda()
        }
    }
}

pub(super) fn matmul(cuda: &Cuda, product: &Product<'_>, out: &mut Tensor) {
    let &Product {
        m, k, ref epilogue, ..
    } = product;
    let factors = product.a.dtype();
    let in_piece = 16 / factors.size();
    let by_rows = product.b.transposed && !product.a_transposed;
    if by_rows && m <= FEW_ROWS && k > 0 && k.is_multiple_of(in_piece) {
        return few_rows(cuda, product, out);
    }
    let has_terms = epilogue.bias.is_some() || epilogue.low_rank.is_some();
    if has_terms || (k == 0 && !epilogue.accumulate) {
        start(cuda, product, out);
    }
    if k > 0 {
        let added = has_terms || epilogue.accumulate;
        if !by_library(cuda, product, added, out) {
            any_layout(cuda, product, added, out);
        }
    }
}

/// Whether the library has a kernel for the product.
fn by_library(cuda: &Cuda, product: &Product<'_>, added: bool, out: &mut Tensor) -> bool {
    let form = Form {
        m: product.m,
        k: product.k,
        n: product.n,
        a_transposed: product.a_transposed,
        b_transposed: product.b.transposed,
        factors: product.a.dtype(),
        out: out.dtype(),
    };
    cuda.bind();
    let library = &cuda.library;
    let mut known = library.known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.plans.len() >= REMEMBERED {
        known.plans.clear();
    }
    if !known.plans.contains_key(&form) {
        let plan = cuda.sure("a product's description", library.plan(form, &mut known));
        known.plans.insert(form, plan);
    }
    let plan = known.plans.get_mut(&form).expect("it was put there");
    let Some(algorithm) = plan.algorithm else {
        return false;
    };
    let operands = Operands {
        a: cuda.address(product.a),
        b: weight_address(cuda, product.b.weight),
        out: cuda.address(out),
        scale: product.epilogue.scale,
        added,
    };
    if launch(cuda, plan, &algorithm, &operands).is_ok() {
        return true;
    }
    // What is right for the representative need not be for this one.
    plan.algorithm = cuda.sure("a product's algorithm", library.choose(plan));
    let Some(algorithm) = plan.algorithm else {
        return false;
    };
    cuda.sure("a product", launch(cuda, plan, &algorithm, &operands));
    true
}

/// Where a product's matrices lie, and its factor.
struct Operands {
    a: u64,
    b: u64,
    out: u64,
    scale: f32,
    /// Whether the product is added to what `out` holds.
    added: bool,
}

fn launch(cuda: &Cuda, plan: &Plan, algorithm: &Algorithm, operands: &Operands) -> Outcome<()> {
    let (alpha, beta) = (operands.scale, if operands.added { 1.0f32 } else { 0.0 });
    let pointer = |address: u64| address as *const c_void;
    // SAFETY: the layouts are those of the tensors, whose memory is there until
    // what the stream does next; the workspace belongs to this stream.
    unsafe {
        result::matmul(
            cuda.library.handle,
            plan.operation,
            ptr::from_ref(&alpha).cast(),
            ptr::from_ref(&beta).cast(),
            pointer(operands.b),
            plan.b,
            pointer(operands.a),
            plan.a,
            pointer(operands.out),
            plan.out,
            operands.out as *mut c_void,
            plan.out,
            algorithm,
            cuda.workspace.address() as *mut c_void,
            WORKSPACE_BYTES,
            cuda.stream.cu_stream().cast(),
        )
    }
}

/// `out = [out +] low_rank + bias`.
fn start(cuda: &Cuda, product: &Product<'_>, out: &mut Tensor) {
    const THREADS: usize = 128;
    const ROWS: usize = 16;
    let columns = product.n.div_ceil(4 * THREADS) as u32;
    let args = Args::new()
        .address(cuda.address(out))
        .long(product.m)
        .long(product.n)
        .structure(&Terms::new(cuda, product).words);
    let kernel = Source::Products
        .kernel("start")
        .of([product.a.dtype(), out.dtype()]);
    let rows = product.m.div_ceil(ROWS) as u32;
    cuda.launch(kernel, [rows, columns, 1], THREADS as u32, 0, args);
}

fn few_rows(cuda: &Cuda, product: &Product<'_>, out: &mut Tensor) {
    const COLUMNS: usize = 2;
    const WARPS: usize = 4;
    let split = product.k >= SPLIT_FROM;
    let name = if split { "few_rows_split" } else { "few_rows" };
    let rows = product.m.next_power_of_two() as u8;
    let in_block = if split { COLUMNS } else { COLUMNS * WARPS };
    let args = Args::new()
        .address(cuda.address(product.a))
        .address(weight_address(cuda, product.b.weight))
        .address(cuda.address(out))
        .int(product.m as i32)
        .long(product.k)
        .long(product.n)
        .float(product.epilogue.scale)
        .int(i32::from(out.dtype() == DType::BF16))
        .structure(&Terms::new(cuda, product).words);
    let kernel = Source::Products
        .kernel(name)
        .of([product.a.dtype()])
        .with(rows);
    let blocks = product.n.div_ceil(in_block) as u32;
    cuda.launch(kernel, [blocks, 1, 1], 32 * WARPS as u32, 0, args);
}

fn any_layout(cuda: &Cuda, product: &Product<'_>, added: bool, out: &mut Tensor) {
    const TILE: usize = 32;
    let &Product { m, k, n, .. } = product;
    let [a_row, a_k] = if product.a_transposed { [1, m] } else { [k, 1] };
    let [b_k, b_column] = if product.b.transposed { [1, k] } else { [n, 1] };
    let flag = |dtype: DType| i32::from(dtype == DType::BF16);
    let args = Args::new()
        .address(cuda.address(product.a))
        .address(weight_address(cuda, product.b.weight))
        .address(cuda.address(out))
        .long(m)
        .long(k)
        .long(n)
        .long(a_row)
        .long(a_k)
        .long(b_k)
        .long(b_column)
        .float(product.epilogue.scale)
        .int(i32::from(added))
        .int(flag(product.a.dtype()))
        .int(flag(out.dtype()));
    let kernel = Source::Products.kernel("any_layout");
    let grid = [n.div_ceil(TILE) as u32, m.div_ceil(TILE) as u32, 1];
    cuda.launch(kernel, grid, 256, 0, args);
}
