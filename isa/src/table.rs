//! The instruction table: every instruction and every register group, once.
//!
//! A row gives the mnemonic, the bits that identify it, its operands with their places, and one
//! sentence each. The typed structs, [`Instruction`], the encoder, the decoder, the assembler's
//! syntax, the manual and the generators of the tests are expansions of this table.
//!
//! Common layout of the 128-bit word: bits 0-3 opcode, bits 4-6 unit, and for CFG bits 7-11 the
//! register group. A bit that no operand claims must be zero.

use crate::operand::{
    Kind, Memory, Operand, OperandError, Parts, Tap, ThresholdKind, Unit, WeightKind,
};

/// One operand of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name in the assembler and in the typed struct.
    pub name: &'static str,
    /// Type, width and range.
    pub kind: Kind,
    /// Lowest bit of the first part; further parts follow upwards.
    pub lsb: u32,
    /// One sentence.
    pub doc: &'static str,
}

/// One row of the instruction table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Mnemonic; for a register group the words `cfg group`.
    pub mnemonic: &'static str,
    /// Opcode, bits 0-3.
    pub op: u32,
    /// Unit, bits 4-6: fixed by the row, or chosen by an operand (`None`).
    pub unit: Option<Unit>,
    /// Register group, bits 7-11, for CFG.
    pub group: Option<u32>,
    /// What the instruction does.
    pub doc: &'static str,
    /// Operands.
    pub fields: &'static [Field],
}

macro_rules! rust_type {
    (Uint $_:tt) => {
        u32
    };
    (Sint $_:tt) => {
        i32
    };
    (Flag) => {
        bool
    };
    (Pair $_:tt) => {
        [u32; 2]
    };
    (Interval) => {
        [u32; 2]
    };
    (Tap) => {
        Tap
    };
    (Mask) => {
        u16
    };
    (Repeat) => {
        u32
    };
    (UnitName) => {
        Unit
    };
    (Choice ($t:ident)) => {
        $t
    };
}

macro_rules! kind {
    (Uint ($bits:literal, $min:literal..=$max:literal)) => {
        Kind::Uint { bits: $bits, min: $min, max: $max }
    };
    (Uint ($bits:literal)) => {
        Kind::Uint { bits: $bits, min: 0, max: (1 << $bits) - 1 }
    };
    (Sint ($bits:literal)) => {
        Kind::Sint { bits: $bits }
    };
    (Flag) => {
        Kind::Flag
    };
    (Pair ($bits:literal, $min:literal)) => {
        Kind::Pair { bits: $bits, min: $min }
    };
    (Interval) => {
        Kind::Interval
    };
    (Tap) => {
        Kind::Tap
    };
    (Mask) => {
        Kind::Mask
    };
    (Repeat) => {
        Kind::Repeat
    };
    (UnitName) => {
        Kind::UnitName
    };
    (Choice ($t:ident)) => {
        Kind::Choice($t::NAMES)
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($e:expr) => {
        Some($e)
    };
}

macro_rules! instructions {
    ($(
        #[doc = $doc:literal]
        $name:ident $mnemonic:literal op=$op:literal $(unit=$unit:ident)? $(group=$group:literal)? {
            $( $field:ident: $kind:ident $(($($arg:tt)*))? @ $lsb:literal, $field_doc:literal; )*
        }
    )*) => {
        $(
            #[doc = $doc]
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub struct $name {
                $( #[doc = $field_doc] pub $field: rust_type!($kind $(($($arg)*))?), )*
            }

            impl Default for $name {
                /// Every operand at its default, as in the assembler.
                fn default() -> Self {
                    let mut _fields = Self::ROW.fields.iter();
                    Self { $( $field: Operand::from_parts(&_fields.next().unwrap().kind.default_parts()), )* }
                }
            }

            impl $name {
                /// This instruction's row of the table.
                pub const ROW: &'static Row = &Row {
                    mnemonic: $mnemonic,
                    op: $op,
                    unit: optional!($(Unit::$unit)?),
                    group: optional!($($group)?),
                    doc: $doc,
                    fields: &[$( Field {
                        name: stringify!($field),
                        kind: kind!($kind $(($($arg)*))?),
                        lsb: $lsb,
                        doc: $field_doc,
                    }, )*],
                };
            }

            impl $name {
                /// The operands of a word that is of this row.
                fn read(_word: u128) -> Result<Self, OperandError> {
                    let mut _fields = Self::ROW.fields.iter();
                    Ok(Self { $( $field: {
                        Operand::from_parts(&_fields.next().unwrap().read(_word, Self::ROW)?)
                    }, )* })
                }

                /// The word of this row that has these operands.
                fn word(&self) -> Result<u128, OperandError> {
                    let mut _fields = Self::ROW.fields.iter();
                    let mut _word = Self::ROW.identity().1;
                    $( _word |= {
                        let parts = Operand::to_parts(self.$field);
                        _fields.next().unwrap().word(&parts, Self::ROW)?
                    }; )*
                    Ok(_word)
                }
            }

            impl From<$name> for Instruction {
                fn from(x: $name) -> Self { Instruction::$name(x) }
            }
        )*

        /// One decoded instruction.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Instruction {
            $( #[doc = $doc] $name($name), )*
        }

        impl Instruction {
            /// The whole table, in the order of the manual.
            pub const TABLE: &'static [&'static Row] = &[$( $name::ROW, )*];

            /// This instruction's row of the table.
            pub fn row(&self) -> &'static Row {
                match self { $( Instruction::$name(_) => $name::ROW, )* }
            }

            /// The values of the operands, in the order of the row's fields.
            pub fn operands(&self) -> Vec<Parts> {
                match self {
                    $( Instruction::$name(_x) => vec![$( Operand::to_parts(_x.$field), )*], )*
                }
            }

            /// Bits that identify each row, the table's order: mask, value; and all that it claims.
            const KEYS: &'static [[u128; 3]] = &[$( {
                let (mask, value) = $name::ROW.identity();
                [mask, value, $name::ROW.claimed()]
            }, )*];

            /// The operands of a word that is of this row of the table.
            fn read(row: usize, word: u128) -> Result<Self, OperandError> {
                const READ: &[fn(u128) -> Result<Instruction, OperandError>] =
                    &[$( |word| $name::read(word).map(Instruction::$name), )*];
                READ[row](word)
            }

            /// Encodes the instruction.
            ///
            /// # Errors
            /// An operand has a value that its bits, or its range, cannot hold.
            pub fn encode(&self) -> Result<u128, OperandError> {
                match self { $( Instruction::$name(x) => x.word(), )* }
            }

            /// An instruction of a row from the values of its operands, which must be in range.
            fn build(row: &Row, operands: &[Parts]) -> Self {
                let mut _values = operands.iter();
                $( if std::ptr::eq(row, $name::ROW) || row.mnemonic == $mnemonic {
                    return Instruction::$name($name {
                        $( $field: Operand::from_parts(_values.next().unwrap()), )*
                    });
                } )*
                unreachable!("{} is not in the table", row.mnemonic)
            }
        }
    };
}

instructions! {
    #[doc = "Ends the image: waits until every unit is idle and the code queue is refilled from the warm entry, then sets all semaphores to 0."]
    Halt "halt" op=1 {}

    #[doc = "Takes its waits and gives its posts `repeat` times, without work; with posts it first waits until its unit's pipe is empty, so that it cannot overtake what it announces."]
    Sync "sync" op=2 {
        unit: UnitName @ 4, "The unit whose queue it goes through.";
        repeat: Repeat @ 39, "How many times.";
        wait: Mask @ 7, "Semaphores of which one is taken each time.";
        post: Mask @ 23, "Semaphores to which one is added each time.";
    }

    #[doc = "Loads: each step moves `ld.src.bytes` from DRAM to a memory, or packs one image row."]
    Ld "ld" op=4 unit=Load {
        repeat: Repeat @ 39, "Steps.";
        wait: Mask @ 7, "Semaphores of which each step takes one before its first burst.";
        post: Mask @ 23, "Semaphores to which each step adds one when its words are written.";
        resume: Flag @ 55, "Address generators continue where the last LD stopped.";
    }

    #[doc = "Computes: each step fills one accumulator bank with one tile of the array."]
    Mac "mac" op=5 unit=Mac {
        repeat: Repeat @ 39, "Steps.";
        wait: Mask @ 7, "Semaphores of which each step takes one.";
        post: Mask @ 23, "Semaphores to which each step adds one when the bank is written.";
        resume: Flag @ 55, "Address generators continue where the last MAC stopped.";
    }

    #[doc = "Thresholds: each step drains one accumulator bank through the threshold unit and the max-pool unit into a word buffer; a complete word is written to the activation memory."]
    Thr "thr" op=6 unit=Thr {
        repeat: Repeat @ 39, "Steps.";
        wait: Mask @ 7, "Semaphores of which each step takes one.";
        post: Mask @ 23, "Semaphores to which each step adds one as soon as the bank may be written again (early).";
        resume: Flag @ 55, "Address generators continue where the last THR stopped.";
    }

    #[doc = "Stores: each step moves `st.map.words` words of the activation memory to DRAM."]
    St "st" op=7 unit=Store {
        repeat: Repeat @ 39, "Steps.";
        wait: Mask @ 7, "Semaphores of which each step takes one.";
        post: Mask @ 23, "Semaphores to which each step adds one when its burst has ended.";
        resume: Flag @ 55, "Address generators continue where the last ST stopped.";
    }

    #[doc = "Source of LD: a step reads `bytes` bytes from `dram + done` on, done being the bytes of the steps since the generator started."]
    LdSrc "cfg ld.src" op=3 unit=Load group=0 {
        dram: Uint(32) @ 12, "First byte of step 0 in DRAM.";
        bytes: Uint(24, 1..=16777215) @ 44, "Bytes of one step.";
    }

    #[doc = "Destination of LD: word i of the region goes to bank `bank + i mod span`, address `base + i div span`; `pack` sends each step's bytes as one image row through the packer instead (ld.row, ld.map)."]
    LdDst "cfg ld.dst" op=3 unit=Load group=1 {
        memory: Choice(Memory) @ 12, "Memory, or `pack` for the activation memory through the packer.";
        base: Uint(20) @ 14, "First word address.";
        bank: Uint(10) @ 34, "First bank.";
        span: Uint(10, 1..=1023) @ 44, "Banks that the region is spread over.";
    }

    #[doc = "The packer's view of one image row: window x of the row gathers `taps` neighbouring pixels of `channels` bytes, from pixel `x * step - left` on, into the words of one packed pixel."]
    LdRow "cfg ld.row" op=3 unit=Load group=2 {
        width: Uint(12, 1..=4095) @ 12, "Pixels of an image row.";
        channels: Uint(12, 1..=4095) @ 24, "Bytes of a pixel.";
        windows: Uint(12, 1..=4095) @ 36, "Packed pixels of a row.";
        step: Uint(4, 1..=15) @ 48, "Pixels from one window to the next.";
        taps: Uint(12, 1..=4095) @ 52, "Pixels gathered in a window.";
        left: Uint(6) @ 64, "Pixels by which the first window begins before the row.";
        xor: Uint(8) @ 70, "Every byte read is XORed with this (0x80: pixel - 128).";
        pad: Uint(8) @ 78, "Byte that stands for a pixel outside the row, after the XOR.";
    }

    #[doc = "Where packed pixels go: row y (the step's number), window x to phase (y mod s_y, x mod s_x), index `(y div s_y) * pitch + x div s_x`, bank index mod rows."]
    LdMap "cfg ld.map" op=3 unit=Load group=3 {
        s: Pair(4, 1) @ 12, "Phases, y and x: the consumer's stride.";
        phase: Uint(20) @ 20, "Words from one phase to the next.";
        pitch: Uint(12, 1..=4095) @ 40, "Index distance of one row within a phase.";
        block: Uint(14) @ 52, "Words of one pixel in its bank.";
    }

    #[doc = "What a MAC step computes: kernel, precision, pooling positions."]
    MacShape "cfg mac.shape" op=3 unit=Mac group=0 {
        a: Uint(4, 1..=8) @ 12, "Bits of an activation.";
        w: Uint(4, 1..=8) @ 16, "Bits of a weight.";
        signed: Flag @ 20, "Activations are two's complement.";
        byte: Flag @ 21, "Byte mode: a word holds lanes/8 bytes, all 8 planes at once (a must be 8).";
        add: Flag @ 22, "Add to the accumulator bank of the step before instead of filling the next one.";
        kind: Choice(WeightKind) @ 23, "Meaning of the weight bits; unsigned and bipolar take w=1, signed 2 to 8.";
        words: Uint(10, 1..=1023) @ 25, "Words of a pixel and plane.";
        k: Pair(7, 1) @ 35, "Kernel taps, y and x.";
        pool: Pair(4, 1) @ 49, "Pooling positions, y and x.";
        step: Pair(6, 0) @ 57, "Tap-table entries from one pooling position to the next, y and x.";
        tail: Uint(10, 1..=1023) @ 69, "Lanes used in the last word of a pixel.";
        pad: Uint(8) @ 79, "Code that a tap outside the map contributes.";
    }

    #[doc = "The map a MAC step reads: row r of window tile T computes the output of index g = T * rows + r, at (g div pitch, g mod pitch); outputs outside `out` are masked."]
    MacAct "cfg mac.act" op=3 unit=Mac group=1 {
        base: Uint(20) @ 12, "Word address of the map in every bank.";
        block: Uint(14) @ 32, "Words of one pixel in its bank.";
        plane: Uint(10) @ 46, "Words from one plane to the next.";
        pitch: Uint(12, 1..=4095) @ 56, "Index distance of one output row.";
        out: Pair(12, 1) @ 68, "Height and width of the (pooled) output.";
    }

    #[doc = "The weights a MAC step reads, in every column's bank: `base + tile * n + plane * j + k` for channel tile n, weight plane j (most significant first) and word k of the kernel."]
    MacWgt "cfg mac.wgt" op=3 unit=Mac group=2 {
        base: Uint(20) @ 12, "Word address.";
        tile: Uint(20) @ 32, "Words of one channel tile.";
        plane: Uint(16) @ 52, "Words from one weight plane to the next.";
        tiles: Uint(10, 1..=1023) @ 68, "Channel tiles.";
        last: Uint(10, 1..=1023) @ 78, "Columns used in the last channel tile.";
    }

    #[doc = "Two entries of the vertical tap table."]
    MacYtap "cfg mac.ytap" op=3 unit=Mac group=3 {
        index: Uint(5) @ 12, "Writes entries 2 * index and 2 * index + 1.";
        t0: Tap @ 17, "Entry 2 * index: word offset + remainder : [first, last] output row for which the tap lies inside the map.";
        t1: Tap @ 69, "Entry 2 * index + 1.";
    }

    #[doc = "Two entries of the horizontal tap table."]
    MacXtap "cfg mac.xtap" op=3 unit=Mac group=4 {
        index: Uint(5) @ 12, "Writes entries 2 * index and 2 * index + 1.";
        t0: Tap @ 17, "Entry 2 * index: word offset + remainder : [first, last] output column for which the tap lies inside the map.";
        t1: Tap @ 69, "Entry 2 * index + 1.";
    }

    #[doc = "What a THR step makes of an accumulator: the threshold unit's mode, the planes of a code, the pooling window."]
    ThrMode "cfg thr.mode" op=3 unit=Thr group=0 {
        kind: Choice(ThresholdKind) @ 12, "raw: the accumulator itself; linear: division; table: search.";
        bits: Uint(6, 1..=32) @ 14, "Planes of a code (linear and table: at most 8).";
        fraction: Uint(4) @ 20, "Linear: fractional bits f.";
        bipolar: Flag @ 24, "The accumulator is 2 * acc - row sum.";
        signed: Flag @ 25, "Codes are two's complement (the top plane is inverted; raw always is).";
        masked: Flag @ 26, "Pooling positions outside pool.y and pool.x are left out.";
        pool: Pair(4, 1) @ 27, "Pooling positions, y and x.";
    }

    #[doc = "Entries of the threshold memory and the order of tiles: column group g of channel tile n reads from `base + tile * n + (entries of a group) * g`, one entry for linear, 2^bits - 1 for table."]
    ThrTable "cfg thr.table" op=3 unit=Thr group=1 {
        base: Uint(20) @ 12, "First entry address.";
        tile: Uint(20) @ 32, "Entries of one channel tile.";
        tiles: Uint(10, 1..=1023) @ 52, "Channel tiles.";
        last: Uint(10, 1..=1023) @ 62, "Columns used in the last channel tile.";
        pitch: Uint(12, 1..=4095) @ 72, "Index distance of one output row, as in mac.act.";
        out: Pair(12, 1) @ 84, "Height and width of the output, as in mac.act.";
    }

    #[doc = "Where the codes go: output (y, x) to phase (y mod s_y, x mod s_x), index `(y div s_y) * pitch + x div s_x`, bank index mod rows."]
    PoolDst "cfg pool.dst" op=3 unit=Thr group=2 {
        base: Uint(20) @ 12, "Word address of the map in every bank.";
        block: Uint(14) @ 32, "Words of one pixel in its bank.";
        plane: Uint(10) @ 46, "Words from one plane to the next.";
        s: Pair(4, 1) @ 56, "Phases, y and x: the consumer's stride.";
        phase: Uint(20) @ 64, "Words from one phase to the next.";
        pitch: Uint(12, 1..=4095) @ 84, "Index distance of one row within a phase.";
    }

    #[doc = "Four vertical pooling positions: output rows for which position 4 * index + i lies inside the map."]
    PoolY "cfg pool.y" op=3 unit=Thr group=3 {
        index: Uint(2) @ 12, "Writes positions 4 * index to 4 * index + 3.";
        p0: Interval @ 14, "Position 4 * index.";
        p1: Interval @ 38, "Position 4 * index + 1.";
        p2: Interval @ 62, "Position 4 * index + 2.";
        p3: Interval @ 86, "Position 4 * index + 3.";
    }

    #[doc = "Four horizontal pooling positions: output columns for which position 4 * index + i lies inside the map."]
    PoolX "cfg pool.x" op=3 unit=Thr group=4 {
        index: Uint(2) @ 12, "Writes positions 4 * index to 4 * index + 3.";
        p0: Interval @ 14, "Position 4 * index.";
        p1: Interval @ 38, "Position 4 * index + 1.";
        p2: Interval @ 62, "Position 4 * index + 2.";
        p3: Interval @ 86, "Position 4 * index + 3.";
    }

    #[doc = "What ST reads and where it goes: step n takes `words` words of bank (bank + n) mod rows from address `base + ((bank + n) div rows) * block` to `dram + n * pitch`."]
    StMap "cfg st.map" op=3 unit=Store group=0 {
        base: Uint(20) @ 12, "Word address.";
        bank: Uint(8) @ 32, "First bank.";
        words: Uint(12, 1..=4095) @ 40, "Words of one step.";
        block: Uint(14) @ 52, "Words from one block of `rows` pixels to the next.";
        dram: Uint(32) @ 66, "First byte of step 0 in DRAM.";
        pitch: Uint(20) @ 98, "Bytes in DRAM from one step to the next.";
    }
}

/// An instruction word that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No row has these identifying bits.
    #[error("undefined instruction: opcode {op}, unit {unit}, group {group} is not in the table")]
    Unknown {
        /// Bits 0-3.
        op: u32,
        /// Bits 4-6.
        unit: u32,
        /// Bits 7-11.
        group: u32,
    },
    /// A bit that must be zero is not.
    #[error("undefined instruction: `{mnemonic}` has bit {bit} set, which must be zero")]
    StrayBit {
        /// The row.
        mnemonic: &'static str,
        /// The bit's number.
        bit: u32,
    },
    /// An operand has a value outside its range.
    #[error("undefined instruction: {0}")]
    OutOfRange(#[from] OperandError),
}

impl Field {
    /// The operand's value in a word of a row.
    #[inline]
    fn read(&'static self, word: u128, row: &Row) -> Result<Parts, OperandError> {
        let mut lsb = self.lsb;
        let mut parts = [0; 4];
        for (part, &(bits, signed)) in parts.iter_mut().zip(self.kind.parts()) {
            *part = extract(word, lsb, bits, signed);
            lsb += bits;
        }
        self.check(&parts, row)?;
        Ok(parts)
    }

    /// The bits of a word of a row that hold a value.
    #[inline]
    fn word(&'static self, parts: &Parts, row: &Row) -> Result<u128, OperandError> {
        self.check(parts, row)?;
        let (mut word, mut lsb) = (0, self.lsb);
        for (&(bits, _), &value) in self.kind.parts().iter().zip(parts) {
            word |= u128::from(value as u64 & (u64::MAX >> (64 - bits))) << lsb;
            lsb += bits;
        }
        Ok(word)
    }

    #[inline]
    fn check(&'static self, parts: &Parts, row: &Row) -> Result<(), OperandError> {
        match self.kind.offending(parts) {
            None => Ok(()),
            Some(value) => Err(OperandError { mnemonic: row.mnemonic, field: self, value }),
        }
    }
}

/// Extracts `bits` bits from `lsb` on, with the sign if `signed`.
#[inline]
fn extract(word: u128, lsb: u32, bits: u32, signed: bool) -> i64 {
    let value = (word >> lsb) as u64 & (u64::MAX >> (64 - bits));
    if signed { ((value << (64 - bits)) as i64) >> (64 - bits) } else { value as i64 }
}

impl Row {
    /// The bits that identify the row: mask and value.
    pub const fn identity(&self) -> (u128, u128) {
        let mut mask = 0xf;
        let mut value = self.op as u128;
        if let Some(unit) = self.unit {
            mask |= 7 << 4;
            value |= (unit as u128) << 4;
        }
        if let Some(group) = self.group {
            mask |= 31 << 7;
            value |= (group as u128) << 7;
        }
        (mask, value)
    }

    /// The bits that the row claims: identifying bits and operands.
    pub const fn claimed(&self) -> u128 {
        let mut all = self.identity().0;
        let mut i = 0;
        while i < self.fields.len() {
            let field = &self.fields[i];
            all |= ((1 << field.kind.bits()) - 1) << field.lsb;
            i += 1;
        }
        all
    }

    /// The operand of this name. In a constant, a name that the row does not have is an error of
    /// compilation.
    ///
    /// # Panics
    /// If the row has no such operand.
    pub const fn operand(&self, name: &str) -> &'static Field {
        let mut i = 0;
        while i < self.fields.len() {
            let (a, b) = (self.fields[i].name.as_bytes(), name.as_bytes());
            let mut same = a.len() == b.len();
            let mut at = 0;
            while same && at < a.len() {
                same = a[at] == b[at];
                at += 1;
            }
            if same {
                return &self.fields[i];
            }
            i += 1;
        }
        panic!("the row has no operand of this name")
    }

    /// The largest value of each part of the operand of this name.
    ///
    /// # Panics
    /// If the row has no such operand.
    pub const fn max(&self, name: &str) -> u32 {
        self.operand(name).kind.limits(0).1 as u32
    }

    /// Whether an operand can hold a value in one of its parts.
    ///
    /// # Errors
    /// It cannot.
    ///
    /// # Panics
    /// If the row has no operand of this name.
    pub fn holds(&self, name: &str, value: u64) -> Result<(), OperandError> {
        let field = self.operand(name);
        let (min, max) = field.kind.limits(0);
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(OperandError { mnemonic: self.mnemonic, field, value })
    }

    /// Checks the values of all operands, in the order of the row's fields.
    ///
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self, operands: &[Parts]) -> Result<(), OperandError> {
        self.fields.iter().zip(operands).try_for_each(|(field, parts)| field.check(parts, self))
    }

    /// The instruction with these operand values.
    ///
    /// # Errors
    /// An operand is out of range.
    pub fn instruction(&self, operands: &[Parts]) -> Result<Instruction, OperandError> {
        self.check(operands)?;
        Ok(Instruction::build(self, operands))
    }
}

/// What the front end does with an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ends the image; goes to no unit.
    Halt,
    /// Changes the shadow registers of a unit.
    Configure(Unit),
    /// Semaphores only.
    Sync(Unit, Steps),
    /// Work in steps.
    Work(Unit, Steps),
}

/// The operands that SYNC and the work instructions share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Number of steps.
    pub repeat: u32,
    /// Semaphores taken by each.
    pub wait: u16,
    /// Semaphores posted by each.
    pub post: u16,
    /// Generators continue.
    pub resume: bool,
}

impl Instruction {
    /// Decodes a word.
    ///
    /// # Errors
    /// The word is not the encoding of any instruction.
    pub fn decode(word: u128) -> Result<Self, DecodeError> {
        let is_of = |&[mask, value, _]: &[u128; 3]| word & mask == value;
        let Some(row) = Self::KEYS.iter().position(is_of) else {
            let field = |lsb, bits| extract(word, lsb, bits, false) as u32;
            return Err(DecodeError::Unknown {
                op: field(0, 4),
                unit: field(4, 3),
                group: field(7, 5),
            });
        };
        let stray = word & !Self::KEYS[row][2];
        if stray != 0 {
            return Err(DecodeError::StrayBit {
                mnemonic: Self::TABLE[row].mnemonic,
                bit: stray.trailing_zeros(),
            });
        }
        Ok(Self::read(row, word)?)
    }

    /// The instruction as the assembler reads it; operands at their defaults are left out.
    pub fn text(&self, semaphores: &[String]) -> String {
        let row = self.row();
        let mut out = row.mnemonic.to_owned();
        for (field, parts) in row.fields.iter().zip(self.operands()) {
            field.kind.write(field.name, &parts, semaphores, &mut out);
        }
        out
    }

    /// What the front end does with it.
    pub fn action(&self) -> Action {
        let steps = |repeat, wait, post, resume| Steps { repeat, wait, post, resume };
        match *self {
            Instruction::Halt(_) => Action::Halt,
            Instruction::Sync(x) => Action::Sync(x.unit, steps(x.repeat, x.wait, x.post, false)),
            Instruction::Ld(x) => {
                Action::Work(Unit::Load, steps(x.repeat, x.wait, x.post, x.resume))
            }
            Instruction::Mac(x) => {
                Action::Work(Unit::Mac, steps(x.repeat, x.wait, x.post, x.resume))
            }
            Instruction::Thr(x) => {
                Action::Work(Unit::Thr, steps(x.repeat, x.wait, x.post, x.resume))
            }
            Instruction::St(x) => {
                Action::Work(Unit::Store, steps(x.repeat, x.wait, x.post, x.resume))
            }
            _ => Action::Configure(self.row().unit.expect("a register group names its unit")),
        }
    }
}
