//! Panels of bf16 in three quarters of their bytes, without loss.
//!
//! The upper byte of a bf16 is its sign and most of its exponent, and sixteen of its
//! values make up nearly all of what the weights of one panel have. So a group of a
//! panel, 64 columns of two `k`, is kept as 128 lower bytes and 128 numbers of four
//! bits, which stand for the upper ones. Groups that have another upper byte are kept
//! beside them as they are.

use half::bf16;

use super::kernel::{PANEL, widen_piece};
use super::panels::Matrix;
use crate::Tier;
use crate::backend::Storage;
use crate::cpu::Cpu;
use crate::cpu::scratch;
use crate::cpu::split::Chunks;
use crate::error::Result;

/// Numbers of a group.
pub(super) const NUMBERS: usize = 2 * PANEL;
/// Half a group, whose lower bytes fill a register.
const HALF: usize = NUMBERS / 2;
/// Bytes of a compressed group: the lower bytes of both halves, then their codes, the
/// first half's in the lower four bits.
pub(super) const GROUP_BYTES: usize = 3 * HALF;
/// Of so many groups, one may be kept as it is; more would leave too little to gain.
const MOST_EXCEPTIONS: usize = 8;
/// Groups of a panel, at least, whose upper bytes are counted.
const COUNTED: usize = 64;

/// The compressed panels of a `[k, n]` matrix.
#[derive(Debug)]
pub(crate) struct Compressed {
    /// Groups of a panel.
    groups: usize,
    panels: Vec<Panel>,
    /// The panels' groups, [`GROUP_BYTES`] each.
    bytes: Storage,
    /// The groups that are kept as they are, [`NUMBERS`] each.
    exceptions: Option<Storage>,
}

/// What else a panel needs.
#[derive(Debug, Clone, Default)]
struct Panel {
    /// The upper byte that each code stands for.
    table: [u8; 16],
    /// Which groups are kept as they are, rising.
    places: Vec<u32>,
    /// Exceptions of the panels before it.
    before: usize,
}

/// Some groups of a panel, as a kernel reads them.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct Piece<'a> {
    pub(super) table: &'a [u8; 16],
    /// [`GROUP_BYTES`] for each group.
    pub(super) bytes: &'a [u8],
    /// Which of the groups, counted from the panel's first, are kept as they are.
    pub(super) places: &'a [u32],
    pub(super) exceptions: &'a [bf16],
    /// The first group's place in the panel.
    pub(super) first: usize,
}

impl Compressed {
    /// Compresses a matrix; `None` if its panels are not full or it would gain too little.
    pub(super) fn new(cpu: &Cpu, matrix: &Matrix<'_, bf16>) -> Result<Option<Self>> {
        let groups = matrix.k.div_ceil(2);
        if !matrix.n.is_multiple_of(PANEL) || groups == 0 {
            return Ok(None);
        }
        let mut bytes = cpu.weight_memory(matrix.panels() * groups * GROUP_BYTES)?;
        let mut panels = vec![Panel::default(); matrix.panels()];
        let targets = Chunks::new(
            bytes
                .host_mut()
                .bytes_mut(matrix.panels() * groups * GROUP_BYTES),
            groups * GROUP_BYTES,
        );
        let others = Chunks::new(&mut panels, 1);
        cpu.pool.run(matrix.panels(), |index| {
            // SAFETY: each task has its own panel.
            let (target, panel) = unsafe { (targets.chunk(index), others.chunk(index)) };
            scratch::with(groups * NUMBERS, |space: &mut [bf16]| {
                let numbers = matrix.piece(cpu.tier, index, (0, matrix.k), space);
                panel[0] = compress(cpu.tier, numbers, target);
            });
        });
        let mut count = 0;
        for panel in &mut panels {
            panel.before = count;
            count += panel.places.len();
        }
        if count > panels.len() * groups / MOST_EXCEPTIONS {
            return Ok(None);
        }
        let mut exceptions = match count {
            0 => None,
            _ => Some(cpu.weight_memory(count * NUMBERS * size_of::<bf16>())?),
        };
        if let Some(exceptions) = &mut exceptions {
            let targets = exceptions.host_mut().slice_mut::<bf16>(count * NUMBERS);
            let mut targets = targets.as_chunks_mut::<NUMBERS>().0.iter_mut();
            for (index, panel) in panels.iter().enumerate() {
                for (&place, target) in panel.places.iter().zip(&mut targets) {
                    let k0 = 2 * place as usize;
                    let end = (k0 + 2).min(matrix.k);
                    scratch::with(NUMBERS, |space: &mut [bf16]| {
                        target.copy_from_slice(matrix.piece(cpu.tier, index, (k0, end), space));
                    });
                }
            }
        }
        Ok(Some(Self {
            groups,
            panels,
            bytes,
            exceptions,
        }))
    }

    /// Groups `first..end` of a panel.
    pub(super) fn piece(&self, panel: usize, (first, end): (usize, usize)) -> Piece<'_> {
        let all = self.panels.len() * self.groups * GROUP_BYTES;
        let start = panel * self.groups;
        let bytes = self.bytes.host().bytes(all);
        let Panel {
            table,
            places,
            before,
        } = &self.panels[panel];
        let place = |group: usize| places.partition_point(|place| (*place as usize) < group);
        let own = place(first)..place(end);
        let exceptions = self.exceptions.as_ref().map_or(&[][..], |exceptions| {
            let all = exceptions
                .host()
                .slice::<bf16>((before + own.end) * NUMBERS);
            &all[(before + own.start) * NUMBERS..]
        });
        Piece {
            table,
            bytes: &bytes[(start + first) * GROUP_BYTES..(start + end) * GROUP_BYTES],
            exceptions,
            places: &places[own],
            first,
        }
    }

    /// The numbers of one column.
    pub(super) fn column(&self, column: usize) -> impl Iterator<Item = [bf16; 2]> + '_ {
        let within = column % PANEL;
        (0..self.groups).map(move |group| {
            let piece = self.piece(column / PANEL, (group, group + 1));
            match piece.exceptions {
                [] => [0, 1].map(|k| piece.number(2 * within + k)),
                numbers => [numbers[2 * within], numbers[2 * within + 1]],
            }
        })
    }
}

/// Where number `index` of a group has its lower byte in its half, and the half: what
/// joining the bytes of two registers, eight and eight, undoes.
fn place_of(index: usize) -> (usize, usize) {
    let (half, within) = (index / HALF, index % HALF);
    let (register, word) = (within / 32, within % 32);
    (half, word / 8 * 16 + register * 8 + word % 8)
}

/// Compresses the groups of a panel.
fn compress(tier: Tier, numbers: &[bf16], target: &mut [u8]) -> Panel {
    let groups = numbers.as_chunks::<NUMBERS>().0;
    let mut counts = [0usize; 256];
    // Some of them tell which values are common.
    for numbers in groups.iter().step_by((groups.len() / COUNTED).max(1)) {
        for number in numbers {
            counts[usize::from(number.to_bits() >> 8)] += 1;
        }
    }
    let mut bytes: Vec<u8> = (0..=u8::MAX).collect();
    bytes.sort_by_key(|byte| std::cmp::Reverse(counts[usize::from(*byte)]));
    let mut panel = Panel::default();
    panel.table.copy_from_slice(&bytes[..16]);
    let targets = target.as_chunks_mut::<GROUP_BYTES>().0;
    for (place, (numbers, target)) in groups.iter().zip(targets).enumerate() {
        if !compress_group(tier, numbers, &panel.table, target) {
            panel.places.push(place as u32);
        }
    }
    panel
}

/// Compresses a group; false if it has an upper byte that `table` lacks.
fn compress_group(
    tier: Tier,
    numbers: &[bf16; NUMBERS],
    table: &[u8; 16],
    target: &mut [u8; GROUP_BYTES],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if tier >= Tier::Avx512 {
        // SAFETY: the processor can run the tier.
        return unsafe { super::avx512::compress(numbers, table, target) };
    }
    let _ = tier;
    let mut all = true;
    target.fill(0);
    for (index, number) in numbers.iter().enumerate() {
        let (half, byte) = place_of(index);
        let [upper, lower] = number.to_bits().to_be_bytes();
        let code = table.iter().position(|known| *known == upper);
        all &= code.is_some();
        target[half * HALF + byte] = lower;
        target[2 * HALF + byte] |= (code.unwrap_or(0) as u8) << (4 * half);
    }
    all
}

impl Piece<'_> {
    pub(super) fn groups(&self) -> usize {
        self.bytes.len() / GROUP_BYTES
    }

    /// Exception `index`: which group it is, counted from the piece's first, and its numbers.
    pub(super) fn exception(&self, index: usize) -> Option<(usize, &[bf16; NUMBERS])> {
        let place = *self.places.get(index)? as usize - self.first;
        Some((place, self.exceptions.as_chunks().0.get(index)?))
    }

    fn exceptions(&self) -> impl Iterator<Item = (usize, &[bf16; NUMBERS])> {
        (0..self.places.len()).map_while(|index| self.exception(index))
    }

    /// Number `index` of the first group, if it is compressed.
    fn number(&self, index: usize) -> bf16 {
        let (half, byte) = place_of(index);
        let code = self.bytes[2 * HALF + byte] >> (4 * half) & 0x0f;
        let lower = self.bytes[half * HALF + byte];
        bf16::from_bits(u16::from_be_bytes([self.table[usize::from(code)], lower]))
    }

    /// Its groups, and where the numbers of each go.
    fn groups_to<'t, T>(
        &self,
        target: &'t mut [T],
    ) -> (&[[u8; GROUP_BYTES]], &'t mut [[T; NUMBERS]]) {
        let (targets, _) = target.as_chunks_mut::<NUMBERS>();
        let (groups, _) = self.bytes.as_chunks::<GROUP_BYTES>();
        assert_eq!(targets.len(), groups.len());
        (groups, targets)
    }

    /// The panel's numbers as they were.
    pub(super) fn unpack(&self, tier: Tier, target: &mut [bf16]) {
        let (groups, targets) = self.groups_to(target);
        #[cfg(target_arch = "x86_64")]
        if tier >= Tier::Avx512 {
            // SAFETY: the processor can run the tier.
            unsafe { super::avx512::unpack(groups, self.table, targets) };
            return self.put_exceptions(targets);
        }
        let _ = tier;
        for (bytes, numbers) in groups.iter().zip(&mut *targets) {
            let piece = Piece { bytes, ..*self };
            for (index, number) in numbers.iter_mut().enumerate() {
                *number = piece.number(index);
            }
        }
        self.put_exceptions(targets);
    }

    fn put_exceptions(&self, targets: &mut [[bf16; NUMBERS]]) {
        for (place, numbers) in self.exceptions() {
            targets[place] = *numbers;
        }
    }

    /// The panel's numbers, widened: the odd ones of a group's pairs, then the even ones.
    pub(super) fn unpack_widened(&self, tier: Tier, target: &mut [f32]) {
        let (groups, targets) = self.groups_to(target);
        #[cfg(target_arch = "x86_64")]
        if tier >= Tier::Avx512 {
            // SAFETY: the processor can run the tier.
            unsafe { super::avx512::unpack_widened(groups, self.table, targets) };
            for (place, numbers) in self.exceptions() {
                widen_piece(tier, numbers, PANEL, &mut targets[place]);
            }
            return;
        }
        scratch::with(groups.len() * NUMBERS, |numbers: &mut [bf16]| {
            self.unpack(tier, numbers);
            widen_piece(tier, numbers, PANEL, targets.as_flattened_mut());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(groups: usize, exception: Option<usize>) -> Vec<bf16> {
        let number = |index: usize| {
            let scale = 1.0 / f32::from(1u16 << (index % 9));
            bf16::from_f32((index as f32 * 0.7).sin() * 0.1 * scale)
        };
        let mut numbers: Vec<bf16> = (0..groups * NUMBERS).map(number).collect();
        if let Some(index) = exception {
            numbers[index] = bf16::from_f32(1e30);
        }
        numbers
    }

    #[test]
    fn numbers_come_back_as_they_were_on_every_tier() {
        for exception in [None, Some(0), Some(3 * NUMBERS + 127)] {
            let numbers = numbers(40, exception);
            for tier in Tier::available() {
                let mut bytes = vec![0; 40 * GROUP_BYTES];
                let panel = compress(tier, &numbers, &mut bytes);
                let place = exception.map(|index| (index / NUMBERS) as u32);
                assert!(place.is_none_or(|place| panel.places.contains(&place)));
                assert!(panel.places.len() < 20, "{tier}: {:?}", panel.places);
                let places = panel.places.iter().map(|place| *place as usize * NUMBERS);
                let exceptions: Vec<bf16> = places
                    .flat_map(|start| &numbers[start..start + NUMBERS])
                    .copied()
                    .collect();
                let piece = Piece {
                    table: &panel.table,
                    bytes: &bytes,
                    places: &panel.places,
                    exceptions: &exceptions,
                    first: 0,
                };
                for other in Tier::available() {
                    let mut back = vec![bf16::ZERO; numbers.len()];
                    piece.unpack(other, &mut back);
                    assert!(back == numbers, "{tier}, {other}");
                    let mut wide = vec![0.0; numbers.len()];
                    piece.unpack_widened(other, &mut wide);
                    let mut expected = vec![0.0; numbers.len()];
                    widen_piece(Tier::Portable, &numbers, PANEL, &mut expected);
                    assert!(wide == expected, "{tier}, {other}");
                }
            }
        }
    }
}
