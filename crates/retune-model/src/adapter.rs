//! Adapters beside one frozen model: each sequence of a batch may go through its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use retune_compute::Tensor;
use retune_compute::ops::{
    Epilogue, FrozenWeight, LowRank, Packing, Weight, cast, gather_rows, linear_forward,
    scatter_rows,
};

use crate::cache::NextTokens;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::layers::Pass;
use crate::lora_config::LoraConfig;
use crate::open::{LinearShape, Tuning, linears, lora_name};
use crate::weights::Weights;

/// A LoRA adapter that is used and not trained.
///
/// A row gives the same bytes with it alone and in company of rows with other
/// adapters, and the same as with [`Decoder::load_adapter`].
#[derive(Debug)]
pub struct Adapter {
    /// For each linear layer of the model, if it is one that the adapter changes.
    linears: Vec<Option<LowRankPair>>,
    rank: usize,
    scale: f32,
    number: u64,
}

/// `[r, in_features]` and `[out_features, r]`, of the type of products.
#[derive(Debug)]
struct LowRankPair {
    a: FrozenWeight,
    b: FrozenWeight,
    /// The values, for stacks; packed ones are not read back.
    values: [Tensor; 2],
}

impl Adapter {
    /// Opens PEFT's folder of an adapter of `model`.
    ///
    /// # Errors
    /// `File`, `Config`; `Tensors` with all that does not fit the model or the rank
    /// that the configuration names.
    pub fn open(folder: &Path, model: &Decoder) -> Result<Self> {
        let config = LoraConfig::open(folder)?;
        let weights = Weights::open_adapter(folder)?;
        let shapes: Vec<LinearShape> = linears(model.config()).collect();
        let meant = |shape: &&LinearShape| config.target_modules.contains(&shape.name);
        let wanted = Tuning::Lora(config.clone()).trained(model.config());
        weights.check_adapter(&wanted)?;
        let device = model.device();
        let read =
            |name: String| -> Result<Tensor> { weights.finite(device, &name, model.dtype()) };
        let pair = |shape: &LinearShape| -> Result<Option<LowRankPair>> {
            if !meant(&shape) {
                return Ok(None);
            }
            let a = read(lora_name(&shape.name, "lora_A"))?;
            let b = read(lora_name(&shape.name, "lora_B"))?;
            Ok(Some(LowRankPair {
                a: packed(&a)?,
                b: packed(&b)?,
                values: [a, b],
            }))
        };
        Ok(Self {
            linears: shapes.iter().map(pair).collect::<Result<_>>()?,
            rank: config.r,
            scale: config.scale(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// What tells it from all others that this process has opened.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// Which adapter each row of a pass goes through.
#[derive(Debug)]
pub(crate) enum RowAdapters {
    /// All rows through the same.
    One(Arc<Adapter>),
    /// Rows through different ones, or through none.
    Several {
        stack: Arc<Stack>,
        /// Of the slots of all rows, `[T · slots]`, those of the adapters that the rows
        /// go through.
        slots: Vec<u32>,
        /// The factor of each row's term.
        scales: Vec<f32>,
    },
}

/// Several adapters as one of a larger rank. Each has a slot of the same width, which
/// keeps the order of summation: even, as products in bf16 take pairs, and a power of
/// two, so that none lies across two blocks of a sum.
#[derive(Debug)]
pub(crate) struct Stack {
    adapters: Vec<Arc<Adapter>>,
    width: usize,
    linears: Vec<Option<StackedLinear>>,
}

#[derive(Debug)]
struct StackedLinear {
    /// `[slots · width, in_features]`.
    a: FrozenWeight,
    /// `[out_features, slots · width]`.
    b: FrozenWeight,
}

fn packed(weight: &Tensor) -> Result<FrozenWeight> {
    Ok(FrozenWeight::new(weight, Packing::Forward)?)
}

/// So many adapters may be in a stack though fewer are used.
const FEW: usize = 4;

/// The stack of the adapters that were used last.
#[derive(Debug, Default)]
pub(crate) struct AdapterStack(Option<Arc<Stack>>);

/// What is added to a product.
pub(crate) struct AdapterTerm<'a> {
    u: Tensor,
    b: &'a FrozenWeight,
    scale: f32,
    row_scales: Option<&'a [f32]>,
}

impl AdapterTerm<'_> {
    pub(crate) fn term(&self) -> LowRank<'_> {
        LowRank {
            u: &self.u,
            b: Weight::Frozen(self.b),
            transposed: true,
            scale: self.scale,
            row_scales: self.row_scales,
        }
    }
}

impl AdapterStack {
    /// The adapters of the rows of `next`.
    pub(crate) fn rows(&mut self, next: &[NextTokens<'_>]) -> Result<Option<RowAdapters>> {
        let mut used: Vec<&Arc<Adapter>> = Vec::new();
        for adapter in next.iter().filter_map(|next| next.adapter.as_ref()) {
            if !used.iter().any(|known| Arc::ptr_eq(known, adapter)) {
                used.push(adapter);
            }
        }
        let Some(first) = used.first() else {
            return Ok(None);
        };
        if used.len() == 1 && next.iter().all(|next| next.adapter.is_some()) {
            return Ok(RowAdapters::one(Some(first)));
        }
        let stack = self.of(&used)?;
        let count = stack.adapters.len();
        let (mut slots, mut scales) = (Vec::new(), Vec::new());
        for NextTokens { ids, adapter, .. } in next {
            let slot = adapter.as_ref().and_then(|adapter| stack.slot(adapter));
            let first = scales.len();
            let scale = adapter.as_ref().map_or(0.0, |adapter| adapter.scale);
            scales.resize(first + ids.len(), scale);
            if let Some(slot) = slot {
                slots.extend((first..scales.len()).map(|row| (row * count + slot) as u32));
            }
        }
        Ok(Some(RowAdapters::Several {
            stack,
            slots,
            scales,
        }))
    }

    /// A stack with `used` in it. Making one takes as long as some passes, so others may
    /// be in it that were used before and come again, though each costs a pass its bytes.
    fn of(&mut self, used: &[&Arc<Adapter>]) -> Result<Arc<Stack>> {
        let most = FEW.max(2 * used.len());
        let fits = |stack: &&Arc<Stack>| {
            stack.adapters.len() <= most && used.iter().all(|adapter| stack.slot(adapter).is_some())
        };
        if let Some(stack) = self.0.as_ref().filter(fits) {
            return Ok(Arc::clone(stack));
        }
        let before = self.0.take();
        let before = before.iter().flat_map(|stack| &stack.adapters);
        let comes_again = |adapter: &&Arc<Adapter>| {
            // Else nobody but the stack has it any more.
            Arc::strong_count(adapter) > 1 && !used.iter().any(|known| Arc::ptr_eq(known, adapter))
        };
        let kept = before.filter(comes_again).take(most - used.len());
        let adapters: Vec<&Arc<Adapter>> = used.iter().copied().chain(kept).collect();
        let stack = Arc::new(Stack::new(&adapters)?);
        self.0 = Some(Arc::clone(&stack));
        Ok(stack)
    }
}

impl Stack {
    fn new(used: &[&Arc<Adapter>]) -> Result<Self> {
        let rank = used.iter().map(|adapter| adapter.rank).max().unwrap_or(1);
        let width = rank.next_power_of_two().max(2);
        let count = used.first().map_or(0, |adapter| adapter.linears.len());
        let linears = (0..count).map(|number| {
            let pairs = used.iter().map(|adapter| adapter.linears[number].as_ref());
            StackedLinear::new(&pairs.collect::<Vec<_>>(), width)
        });
        Ok(Self {
            linears: linears.collect::<Result<_>>()?,
            adapters: used.iter().copied().map(Arc::clone).collect(),
            width,
        })
    }

    fn slot(&self, adapter: &Arc<Adapter>) -> Option<usize> {
        let mut slots = self.adapters.iter();
        slots.position(|known| Arc::ptr_eq(known, adapter))
    }
}

impl StackedLinear {
    fn new(pairs: &[Option<&LowRankPair>], width: usize) -> Result<Option<Self>> {
        let Some(first) = pairs.iter().flatten().next() else {
            return Ok(None);
        };
        let (device, dtype) = (first.b.device(), first.b.dtype());
        let (out, columns) = (first.b.out_features(), pairs.len() * width);
        let input = first.values[0].shape()[1];
        let mut a = vec![0.0_f32; columns * input];
        let mut b = vec![0.0_f32; out * columns];
        for (slot, pair) in pairs.iter().enumerate() {
            // The slot of one that does not change this layer stays zero.
            let Some(LowRankPair { values, .. }) = pair else {
                continue;
            };
            let [own_a, own_b] = values;
            let rank = own_a.shape()[0];
            a[slot * width * input..][..rank * input].copy_from_slice(&own_a.to_f32_vec());
            let own_b = own_b.to_f32_vec();
            for (row, own) in b.chunks_exact_mut(columns).zip(own_b.chunks_exact(rank)) {
                row[slot * width..][..rank].copy_from_slice(own);
            }
        }
        let frozen = |shape: &[usize], values: &[f32]| -> Result<FrozenWeight> {
            packed(&cast(&Tensor::from_slice(device, shape, values)?, dtype)?)
        };
        Ok(Some(Self {
            a: frozen(&[columns, input], &a)?,
            b: frozen(&[out, columns], &b)?,
        }))
    }
}

impl RowAdapters {
    pub(crate) fn one(adapter: Option<&Arc<Adapter>>) -> Option<Self> {
        adapter.map(|adapter| Self::One(Arc::clone(adapter)))
    }

    /// What the linear layer `number` adds to its product with `x`, if anything.
    pub(crate) fn forward(
        &self,
        number: usize,
        x: &Tensor,
        pass: &Pass<'_>,
    ) -> Result<Option<AdapterTerm<'_>>> {
        match self {
            Self::One(adapter) => {
                let Some(LowRankPair { a, b, .. }) = &adapter.linears[number] else {
                    return Ok(None);
                };
                let mut u = pass.rows(x, a.out_features(), pass.dtype)?;
                linear_forward(x, a, Epilogue::default(), &mut u)?;
                Ok(Some(AdapterTerm {
                    u,
                    b,
                    scale: adapter.scale,
                    row_scales: None,
                }))
            }
            Self::Several {
                stack,
                slots,
                scales,
            } => {
                let Some(StackedLinear { a, b }) = &stack.linears[number] else {
                    return Ok(None);
                };
                // Each row through all adapters, which reads them once; of that it keeps
                // what stands in the slot of its own, and the rest is zero.
                let (tokens, count) = (x.shape()[0], stack.adapters.len());
                let mut all = pass.rows(x, count * stack.width, pass.dtype)?;
                linear_forward(x, a, Epilogue::default(), &mut all)?;
                let by_slot = [tokens * count, stack.width];
                let own = gather_rows(&all.reshape(&by_slot)?, slots)?;
                let mut u = Tensor::zeros(x.device(), &by_slot, pass.dtype)?;
                scatter_rows(&own, slots, &mut u)?;
                Ok(Some(AdapterTerm {
                    u: u.reshape(&[tokens, count * stack.width])?,
                    b,
                    scale: 1.0,
                    row_scales: Some(scales),
                }))
            }
        }
    }
}
