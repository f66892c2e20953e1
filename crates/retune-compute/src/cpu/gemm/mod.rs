//! Matrix products on the CPU.
//!
//! The second factor is read in packed panels of 64 columns (`panels`), the
//! first row by row; `kernel` and its neighbours multiply a few rows with one
//! panel in registers. A task is one panel and a block of rows, so that a
//! piece of the panel stays in the second-level cache while the rows go by.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(super) mod compressed;
pub(super) mod few_rows;
mod finish;
pub(super) mod kernel;
pub(super) mod panels;
mod portable;
mod product;
mod task;
pub(super) mod transpose;

use half::bf16;

#[cfg(target_arch = "x86_64")]
pub(crate) use self::amx::products_in_amx_registers;
use self::kernel::{Factor, PANEL};
use self::panels::{Matrix, Source, packed_len, panel_width};
pub(super) use self::product::{matmul, workspace_bytes};
use super::Cpu;
use crate::backend::{PackedWeight, Storage};
use crate::dtype::Element as _;
use crate::error::Result;
use crate::host::held_bytes;
use crate::ops::{FrozenWeight, K_BLOCK, Packing};
use crate::tensor::with_element;
use crate::{DType, Tensor};

/// Bytes of a packed `[out, input]` weight.
pub(super) fn packed_bytes(out: usize, input: usize, dtype: DType, packing: Packing) -> usize {
    with_element!(dtype, E => {
        let forward = packed_len::<E>(input, out);
        let backward = packed_len::<E>(out, input);
        let held = |elements: usize| held_bytes(elements.saturating_mul(size_of::<E>()));
        match packing {
            Packing::Rows => held(out.saturating_mul(input)),
            Packing::Forward | Packing::Compressed => held(forward),
            Packing::Both => held(forward).saturating_add(held(backward)),
        }
    })
}

pub(super) fn pack(cpu: &Cpu, weight: &Tensor, packing: Packing) -> Result<PackedWeight> {
    with_element!(weight.dtype(), E => {
        let (out, input) = weight.rows_by_width();
        let values = weight.as_slice::<E>();
        let panels = |source, k, n| -> Result<Option<Storage>> {
            let len = packed_len::<E>(k, n);
            let mut storage = cpu.weight_memory(len.saturating_mul(size_of::<E>()))?;
            let matrix = Matrix { source, k, n };
            matrix.pack_all(cpu, storage.host_mut().slice_mut(len));
            Ok(Some(storage))
        };
        let mut packed = PackedWeight::default();
        if packing == Packing::Rows {
            let mut storage = cpu.weight_memory(size_of_val(values))?;
            storage.host_mut().slice_mut(values.len()).copy_from_slice(values);
            packed.rows = Some(storage);
        } else if packing == Packing::Compressed {
            let matrix = Matrix { source: Source::Columns(values), k: input, n: out };
            packed.compressed = E::compressed(cpu, &matrix)?;
            if packed.compressed.is_none() {
                packed.forward = panels(Source::Columns(values), input, out)?;
            }
        } else {
            packed.forward = panels(Source::Columns(values), input, out)?;
        }
        if packing == Packing::Both {
            packed.backward = panels(Source::Rows(values), out, input)?;
        }
        Ok(packed)
    })
}

fn frozen_source<E: Factor>(weight: &FrozenWeight, transposed: bool) -> Source<'_, E> {
    let (out, input) = (weight.out_features(), weight.in_features());
    let packed = weight.packed();
    let forward_len = packed_len::<E>(input, out);
    let backward_len = packed_len::<E>(out, input);
    let rows = packed
        .rows
        .as_ref()
        .map(|s| s.host().slice::<E>(out * input));
    let forward = packed
        .forward
        .as_ref()
        .map(|s| s.host().slice::<E>(forward_len));
    let backward = packed
        .backward
        .as_ref()
        .map(|s| s.host().slice::<E>(backward_len));
    if let Some(compressed) = &packed.compressed {
        return match transposed {
            true => Source::Compressed(compressed),
            false => Source::CompressedOfTransposed(compressed),
        };
    }
    match (transposed, rows, forward, backward) {
        (true, _, Some(panels), _) | (false, _, _, Some(panels)) => Source::Panels(panels),
        (false, _, Some(panels), None) => Source::PanelsOfTransposed(panels),
        (true, Some(rows), None, _) => Source::Columns(rows),
        (false, Some(rows), None, None) => Source::Rows(rows),
        _ => unreachable!("a frozen weight is kept in some form"),
    }
}

/// Copies row `id` of a frozen weight, widened to f32.
pub(super) fn read_row(weight: &FrozenWeight, id: usize, row: &mut [f32]) {
    with_element!(weight.dtype(), E => {
        match frozen_source::<E>(weight, true) {
            Source::Panels(panels) => {
                let k = weight.in_features().next_multiple_of(E::GROUP);
                let panel = id / PANEL;
                let (_, width) = panel_width(panel, weight.out_features());
                let cells = &panels[panel * PANEL * k..];
                for (group, values) in row.chunks_mut(E::GROUP).enumerate() {
                    let cell = (group * width + id % PANEL) * E::GROUP;
                    for (value, stored) in values.iter_mut().zip(&cells[cell..]) {
                        *value = stored.to_f32();
                    }
                }
            }
            Source::Columns(rows) => {
                let start = id * row.len();
                for (value, stored) in row.iter_mut().zip(&rows[start..]) {
                    *value = stored.to_f32();
                }
            }
            Source::Compressed(compressed) => {
                for (values, pair) in row.chunks_mut(2).zip(compressed.column(id)) {
                    for (value, stored) in values.iter_mut().zip(pair) {
                        *value = stored.to_f32();
                    }
                }
            }
            Source::Rows(_) | Source::PanelsOfTransposed(_) | Source::CompressedOfTransposed(_) => {
                unreachable!("the forward form is asked for")
            }
        }
    });
}

const _: () = assert!(K_BLOCK.is_multiple_of(<bf16 as Factor>::GROUP));
