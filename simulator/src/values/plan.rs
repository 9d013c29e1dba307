//! The plan: every effect of an image with all addresses resolved.

use std::collections::HashMap;
use std::sync::Arc;

use qnnsim_isa::Program;
use qnnsim_isa::hardware::HardwarePoint;
use qnnsim_isa::operand::{Memory, Tap, ThresholdKind, WeightKind};

use super::{column_blocks, lane_words};
use crate::kernels::{COLUMNS, Count, Drained, ROWS};
use crate::limits::{GATHER_WORDS_MAX, LANE_WORDS_MAX, PLAN_BYTES_MAX};
use crate::steps::{Place, Registers};
use crate::timing::{Issue, Observer, Work};
use crate::trap::Fault;

/// A bit of a code takes the drain this many times as long as the array a product of lane words.
pub(super) const DRAINED_BIT: u64 = 4;

/// Marks a tap outside the map in a gather list.
pub(super) const OUTSIDE: u32 = u32::MAX;

/// The resolved effects of one image, in order of issue.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) effects: Vec<Effect>,
    /// After which effect a layer's map is complete.
    pub(super) maps: Vec<(usize, u32)>,
    pub(super) gathers: Vec<Gather>,
    pub(super) scatters: Vec<Scatter>,
    pub(super) macs: Vec<MacSetup>,
    pub(super) thrs: Vec<ThrSetup>,
    pub(super) packs: Vec<Pack>,
    /// Activations are loaded as they are in the program's part of DRAM, so that unused lanes may
    /// hold anything.
    pub(super) loads_activations: bool,
}

#[derive(Debug)]
pub(super) enum Effect {
    /// Bytes from an address in DRAM on to words of a memory: where each word goes.
    Load {
        memory: Memory,
        dram: u64,
        words: Vec<u32>,
    },
    Pack(u32),
    Mac {
        setup: u32,
        gather: u32,
        weights: u32,
        columns: u32,
        bank: u32,
    },
    Drain {
        setup: u32,
        thresholds: u32,
        columns: u32,
        first_lane: u32,
        scatter: u32,
        begins: bool,
        bank: u32,
        buffer: u32,
        position: [u32; 2],
    },
    Write {
        setup: u32,
        scatter: u32,
        buffer: u32,
        words: u32,
        first_word: u32,
    },
    Store {
        from: u32,
        words: u32,
        /// Whether `to` is a byte of the scratch region instead of one of the output.
        scratch: bool,
        to: u64,
    },
}

/// Where the activation words of a MAC step come from, plane 0: rows in use lie side by side, and
/// mostly so do their sources.
#[derive(Debug)]
pub(super) struct Gather {
    /// Array rows in use.
    pub(super) rows: Vec<u32>,
    pub(super) runs: Vec<Run>,
}

/// Neighbouring rows whose words of one tap lie side by side in the activation memory, or all
/// outside the map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Word of the kernel.
    pub(super) k: u32,
    /// First of the rows, as a position among those in use.
    pub(super) row: u32,
    pub(super) length: u32,
    /// First lane word, or `OUTSIDE`.
    pub(super) from: u32,
}

impl Gather {
    /// From the source of every word of the kernel of every row in use.
    fn new(rows: Vec<u32>, sources: &[Vec<u32>]) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for k in 0..sources.first().map_or(0, Vec::len) {
            for (row, source) in sources.iter().enumerate() {
                let (k, row, from) = (k as u32, row as u32, source[k]);
                match runs.last_mut() {
                    Some(run)
                        if run.k == k
                            && (run.from == OUTSIDE && from == OUTSIDE
                                || run.from != OUTSIDE && run.from + run.length == from) =>
                    {
                        run.length += 1;
                    }
                    _ => runs.push(Run { k, row, length: 1, from }),
                }
            }
        }
        Gather { rows, runs }
    }
}

/// Where the rows of a THR step go.
#[derive(Debug)]
pub(super) struct Scatter {
    /// Array row, output coordinates, first lane word of plane 0 of the pixel.
    pub(super) rows: Vec<(u32, [u32; 2], u32)>,
}

#[derive(Debug)]
pub(super) struct MacSetup {
    pub(super) count: Count,
    /// Words of the kernel for one plane.
    pub(super) k: usize,
    /// Planes as the kernels see them: activations (one in byte mode) and weights, with their
    /// signed weights.
    pub(super) a_factors: Vec<i32>,
    pub(super) w_factors: Vec<i32>,
    /// Lane words between planes.
    pub(super) a_stride: usize,
    pub(super) w_stride: usize,
    /// Lanes in use, for each lane word of the kernel.
    pub(super) mask: Vec<u64>,
    /// What a tap outside contributes, for each plane.
    pub(super) pad: Vec<u64>,
    pub(super) add: bool,
}

#[derive(Debug)]
pub(super) struct ThrSetup {
    pub(super) registers: Arc<Registers>,
    pub(super) kind: ThresholdKind,
    pub(super) bits: usize,
    pub(super) fraction: u32,
    pub(super) drained: Drained,
    pub(super) signed: bool,
    pub(super) masked: bool,
    /// Lane words between planes.
    pub(super) stride: usize,
}

/// One packed image row: lane words to clear, then bytes to place.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) clear: Vec<u32>,
    /// Lane word, shift, and the byte of the input or none for the pad code.
    pub(super) bytes: Vec<(u32, u32, Option<u32>)>,
    pub(super) xor: u8,
    pub(super) pad: u8,
}

/// Builds a plan from the issues of an image.
pub struct Planner<'a> {
    program: &'a Program,
    layers: &'a [Option<u32>],
    plan: Plan,
    /// Registers are known by their address; keeping them alive keeps addresses their own.
    kept: Vec<Arc<Registers>>,
    gathers: HashMap<(usize, u64, [u32; 2]), u32>,
    scatters: HashMap<(usize, u64), u32>,
    macs: HashMap<usize, u32>,
    thrs: HashMap<usize, u32>,
    last_write: HashMap<u32, usize>,
    fills: u32,
    drains: u32,
    begun: u32,
    written: u32,
    lane_words: u64,
    bytes: u64,
}

impl<'a> Planner<'a> {
    /// Listens to an image of this stream; `layers` are the stream's source layers.
    pub fn new(program: &'a Program, layers: &'a [Option<u32>]) -> Self {
        Planner {
            program,
            layers,
            plan: Plan::default(),
            kept: Vec::new(),
            gathers: HashMap::new(),
            scatters: HashMap::new(),
            macs: HashMap::new(),
            thrs: HashMap::new(),
            last_write: HashMap::new(),
            fills: 0,
            drains: 0,
            begun: 0,
            written: 0,
            lane_words: 0,
            bytes: 0,
        }
    }

    /// The plan of the whole image.
    pub fn finish(mut self) -> Plan {
        self.plan.maps =
            self.last_write.into_iter().map(|(layer, effect)| (effect, layer)).collect();
        self.plan.maps.sort_unstable();
        // What comes from the scratch region was in the memory before.
        let scratch = self.program.scratch;
        let loads = |e: &Effect| matches!(e, Effect::Load { memory: Memory::Act, dram, .. } if !scratch.contains(*dram));
        self.plan.loads_activations = self.plan.effects.iter().any(loads);
        self.plan
    }

    fn hw(&self) -> &'a HardwarePoint {
        &self.program.hardware
    }

    /// First lane word of an activation word. A place that no step accesses, and none has checked,
    /// may give anything.
    fn act_index(&self, place: Place) -> u32 {
        let hw = self.hw();
        (place.address as u32)
            .wrapping_mul(lane_words(hw) as u32 * hw.mac_rows)
            .wrapping_add(place.bank)
    }

    /// Takes work from the image's budget.
    fn charge(&mut self, lane_words: u64) -> Result<(), Fault> {
        self.lane_words += lane_words;
        if self.lane_words > LANE_WORDS_MAX {
            return Err(Fault::TooLong(format!(
                "more than {LANE_WORDS_MAX} products of lane words an image"
            )));
        }
        Ok(())
    }

    /// Takes room for some values of a type from the plan's budget.
    fn reserve<T>(&mut self, count: u64) -> Result<(), Fault> {
        self.bytes += count * size_of::<T>() as u64;
        if self.bytes > PLAN_BYTES_MAX {
            return Err(Fault::TooLong(format!(
                "its addresses take more than {PLAN_BYTES_MAX} bytes an image"
            )));
        }
        Ok(())
    }

    /// Takes room for registers that are kept.
    fn reserve_registers(&mut self) -> Result<(), Fault> {
        self.reserve::<Registers>(1)?;
        self.reserve::<Option<Tap>>(2 * u64::from(self.hw().mac_taps))
    }

    /// So far a layer's map is complete with the effect that follows, if it lies where the step
    /// writes.
    fn complete(&mut self, issue: &Issue) {
        let Some(layer) = issue.word.and_then(|w| self.layers[w as usize]) else { return };
        let in_dram = self.program.layers[layer as usize].map.is_some_and(|map| map.dram.is_some());
        if in_dram == matches!(issue.work, Work::StoreRead(_)) {
            self.last_write.insert(layer, self.plan.effects.len());
        }
    }

    /// Columns of the array in whole blocks.
    fn columns(&self) -> u64 {
        (column_blocks(self.hw()) * COLUMNS) as u64
    }

    fn buffers(&self) -> u32 {
        // One more than there are: a write issues when the buffer after the last has begun to fill.
        self.hw().thr_buffers + 1
    }

    fn mac_setup(&mut self, registers: &Arc<Registers>) -> Result<u32, Fault> {
        let key = Arc::as_ptr(registers) as usize;
        if let Some(&found) = self.macs.get(&key) {
            return Ok(found);
        }
        let hw = self.hw();
        let wl = lane_words(hw);
        let (shape, act, wgt) = registers.mac();
        let k = (shape.k[0] * shape.k[1] * shape.words) as usize;
        self.reserve_registers()?;
        self.reserve::<u64>((k * wl) as u64)?;
        self.kept.push(registers.clone());
        let signed_factors = |bits: u32, signed: bool| -> Vec<i32> {
            let factor =
                |plane: u32| if signed && plane == 0 { -1 } else { 1 } << (bits - 1 - plane);
            (0..bits).map(factor).collect()
        };
        let lanes_in = |word: usize| {
            if word as u32 % shape.words == shape.words - 1 { shape.tail } else { hw.mac_lanes }
        };
        let low = |lanes: u32| if lanes >= 64 { u64::MAX } else { (1 << lanes) - 1 };
        let mask = (0..k * wl)
            .map(|i| low(lanes_in(i / wl).saturating_sub(i as u32 % wl as u32 * 64)))
            .collect();
        let (a_factors, pad) = if shape.byte {
            (vec![1], vec![u64::from(shape.pad) * 0x0101_0101_0101_0101])
        } else {
            let plane = |p: u32| if shape.pad >> (shape.a - 1 - p) & 1 == 1 { u64::MAX } else { 0 };
            (signed_factors(shape.a, shape.signed), (0..shape.a).map(plane).collect())
        };
        self.plan.macs.push(MacSetup {
            count: if shape.byte { Count::Bytes { signed: shape.signed } } else { Count::Bits },
            k,
            a_factors,
            w_factors: signed_factors(shape.w, shape.kind == WeightKind::Signed),
            a_stride: act.plane as usize * wl * hw.mac_rows as usize,
            w_stride: wgt.plane as usize * wl,
            mask,
            pad,
            add: shape.add,
        });
        let index = self.plan.macs.len() as u32 - 1;
        self.macs.insert(key, index);
        Ok(index)
    }

    fn thr_setup(&mut self, registers: &Arc<Registers>) -> Result<u32, Fault> {
        let key = Arc::as_ptr(registers) as usize;
        if let Some(&found) = self.thrs.get(&key) {
            return Ok(found);
        }
        self.reserve_registers()?;
        let hw = self.hw();
        let (mode, _, dst) = registers.thr();
        self.plan.thrs.push(ThrSetup {
            registers: registers.clone(),
            kind: mode.kind,
            bits: mode.bits as usize,
            fraction: mode.fraction,
            drained: if mode.bipolar { Drained::Bipolar } else { Drained::Plain },
            signed: mode.signed || mode.kind == ThresholdKind::Raw,
            masked: mode.masked,
            stride: dst.plane as usize * lane_words(hw) * hw.mac_rows as usize,
        });
        let index = self.plan.thrs.len() as u32 - 1;
        self.thrs.insert(key, index);
        Ok(index)
    }

    /// A row of a scatter has no room for a word number, so places are of word 0 of the pixel.
    fn scatter(
        &mut self,
        registers: &Arc<Registers>,
        step: &crate::steps::ThrStep,
    ) -> Result<u32, Fault> {
        let key = (Arc::as_ptr(registers) as usize, step.tile[0]);
        if let Some(&found) = self.scatters.get(&key) {
            return Ok(found);
        }
        self.reserve::<(u32, [u32; 2], u32)>(u64::from(self.hw().mac_rows))?;
        let mut rows = Vec::new();
        registers.thr_places(
            self.hw(),
            &crate::steps::ThrStep { first_word: 0, ..*step },
            |r, output, place| {
                rows.push((r, output, self.act_index(place)));
            },
        );
        self.plan.scatters.push(Scatter { rows });
        let index = self.plan.scatters.len() as u32 - 1;
        self.scatters.insert(key, index);
        Ok(index)
    }

    fn gather(
        &mut self,
        registers: &Arc<Registers>,
        step: &crate::steps::MacStep,
    ) -> Result<u32, Fault> {
        let key = (Arc::as_ptr(registers) as usize, step.tile[0], step.position);
        if let Some(&found) = self.gathers.get(&key) {
            return Ok(found);
        }
        let (hw, k) = (self.hw(), step.k as usize);
        if u64::from(hw.mac_rows) * u64::from(step.k) * lane_words(hw) as u64 > GATHER_WORDS_MAX {
            return Err(Fault::TooLong(format!(
                "a MAC step reads more than {GATHER_WORDS_MAX} lane words"
            )));
        }
        let mut slots: Vec<Option<Vec<u32>>> = vec![None; hw.mac_rows as usize];
        registers.mac_reads(hw, step, |r, word, place| {
            let words = slots[r as usize].get_or_insert_with(|| vec![OUTSIDE; k]);
            if let Some(place) = place {
                words[word as usize] = self.act_index(place);
            }
        });
        let rows = (0..hw.mac_rows).filter(|&r| slots[r as usize].is_some()).collect();
        let sources: Vec<Vec<u32>> = slots.into_iter().flatten().collect();
        let gather = Gather::new(rows, &sources);
        self.reserve::<Run>(gather.runs.len() as u64)?;
        self.reserve::<u32>(gather.rows.len() as u64)?;
        self.plan.gathers.push(gather);
        let index = self.plan.gathers.len() as u32 - 1;
        self.gathers.insert(key, index);
        Ok(index)
    }
}

impl Observer for Planner<'_> {
    fn issue(&mut self, issue: &Issue) -> Result<(), Fault> {
        let hw = self.hw();
        let registers = &issue.registers;
        self.reserve::<Effect>(1)?;
        let effect = match &issue.work {
            Work::Sync | Work::Fetch { .. } | Work::LoadBurst { .. } | Work::StoreBurst { .. } => {
                return Ok(());
            }
            Work::LoadWrite(step) if step.memory == Memory::Pack => {
                let (xor, pad) = registers.packer_codes();
                let wl = lane_words(hw) as u32;
                let pixel = registers.packed_pixel_words(hw) as u32;
                let word_bytes = hw.mac_lanes / 8;
                self.reserve::<u32>(step.words * u64::from(wl))?;
                self.reserve::<(u32, u32, Option<u32>)>(step.words * u64::from(word_bytes))?;
                let mut pack = Pack { clear: Vec::new(), bytes: Vec::new(), xor, pad };
                let row = (step.dram - u64::from(self.program.input.dram)) as u32;
                registers.packed_windows(hw, step, |place, bytes| {
                    let first = self.act_index(place);
                    pack.clear.extend((0..pixel * wl).map(|word| first + word * hw.mac_rows));
                    for (i, source) in bytes.enumerate() {
                        let (word, byte) = (i as u32 / word_bytes, i as u32 % word_bytes);
                        let at = first + (word * wl + byte / 8) * hw.mac_rows;
                        pack.bytes.push((at, byte % 8 * 8, source.map(|s| row + s as u32)));
                    }
                });
                self.plan.packs.push(pack);
                Effect::Pack(self.plan.packs.len() as u32 - 1)
            }
            Work::LoadWrite(step) => {
                self.reserve::<u32>(step.words)?;
                let mut words = Vec::with_capacity(step.words as usize);
                registers.plain_places(step, |_, place| {
                    words.push(match step.memory {
                        Memory::Thr => place.address as u32 * hw.thr_cols + place.bank,
                        Memory::Wgt => (place.address as u32) << 10 | place.bank,
                        Memory::Act | Memory::Pack => self.act_index(place),
                    });
                });
                Effect::Load { memory: step.memory, dram: step.dram, words }
            }
            Work::Mac(step) => {
                let setup = self.mac_setup(registers)?;
                let gather = self.gather(registers, step)?;
                if !self.plan.macs[setup as usize].add {
                    self.fills += 1;
                }
                // The kernels take whole blocks of rows and columns; the bank is cleared and added
                // to as a whole.
                let rows =
                    self.plan.gathers[gather as usize].rows.len().max(1).next_multiple_of(ROWS)
                        as u64;
                let products = rows * step.cycles * lane_words(hw) as u64 + u64::from(hw.mac_rows);
                self.charge(products * self.columns())?;
                let bank = self.fills.wrapping_sub(1) % hw.acc_banks;
                let weights = registers.weight_base(step) as u32;
                Effect::Mac { setup, gather, weights, columns: step.columns, bank }
            }
            Work::Drain(step) => {
                let setup = self.thr_setup(registers)?;
                let scatter = self.scatter(registers, step)?;
                let bits = self.plan.thrs[setup as usize].bits as u64;
                self.charge(DRAINED_BIT * u64::from(hw.mac_rows) * self.columns() * bits)?;
                self.begun += u32::from(step.begins);
                let bank = self.drains % hw.acc_banks;
                self.drains += 1;
                let thresholds = registers.threshold_place(hw, step, 0).address as u32;
                Effect::Drain {
                    setup,
                    thresholds,
                    columns: step.columns,
                    first_lane: step.first_lane,
                    scatter,
                    begins: step.begins,
                    bank,
                    buffer: self.begun.wrapping_sub(1) % self.buffers(),
                    position: step.position,
                }
            }
            Work::ThrWrite(step) => {
                let setup = self.thr_setup(registers)?;
                let scatter = self.scatter(registers, step)?;
                let buffer = self.written % self.buffers();
                self.written += 1;
                self.complete(issue);
                Effect::Write {
                    setup,
                    scatter,
                    buffer,
                    words: step.words,
                    first_word: step.first_word,
                }
            }
            Work::StoreRead(step) => {
                let scratch = self.program.scratch.contains(step.dram);
                let region =
                    if scratch { self.program.scratch.dram } else { self.program.output.dram };
                self.complete(issue);
                Effect::Store {
                    from: self.act_index(step.from),
                    words: step.words,
                    scratch,
                    to: step.dram - u64::from(region),
                }
            }
        };
        self.plan.effects.push(effect);
        Ok(())
    }
}
