//! Types of operands: their widths, ranges and the text that stands for them.

use std::fmt::{self, Write};

/// The four execution units, in the order that breaks ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// DRAM to memories, through the packer if asked.
    Load,
    /// The array.
    Mac,
    /// Threshold unit and max-pool unit.
    Thr,
    /// Activation memory to DRAM.
    Store,
}

impl Unit {
    /// All units, in encoding order.
    pub const ALL: [Unit; 4] = [Unit::Load, Unit::Mac, Unit::Thr, Unit::Store];

    /// Name in the assembler, in traces and in reports.
    pub fn name(self) -> &'static str {
        ["ld", "mac", "thr", "st"][self as usize]
    }
}

/// The values of one operand's parts; unused ones are zero.
pub type Parts = [i64; 4];

/// A value that an operand of an instruction cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperandError {
    /// Mnemonic of the instruction's row.
    pub mnemonic: &'static str,
    /// The operand's row.
    pub field: &'static crate::table::Field,
    /// The value that does not fit.
    pub value: i64,
}

impl std::error::Error for OperandError {}

impl fmt::Display for OperandError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let OperandError { mnemonic, field, value } = self;
        write!(f, "`{mnemonic}` has {}={value}, which must be {}", field.name, field.kind.range())
    }
}

/// Type of one operand of the instruction table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned integer, `name=5`.
    Uint {
        /// Width.
        bits: u32,
        /// Smallest value, the default.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// Two's complement integer, `name=-5`.
    Sint {
        /// Width.
        bits: u32,
    },
    /// One bit, `name`.
    Flag,
    /// Two unsigned integers, y before x, `name=2x3`.
    Pair {
        /// Width of each.
        bits: u32,
        /// Smallest value of each, the default.
        min: i64,
    },
    /// First and last coordinate, empty if first > last, `name=[0,13]`.
    Interval,
    /// One tap-table entry, `name=offset+remainder:[first,last]`.
    Tap,
    /// A set of semaphores, `name=full,free`.
    Mask,
    /// Number of steps, 1 to 65535, `x5`.
    Repeat,
    /// A unit, `mac`.
    UnitName,
    /// One of a few names, `name=bipolar`.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Width and signedness of each part, from the low bits up.
    #[inline]
    pub const fn parts(self) -> &'static [(u32, bool)] {
        // One constant list of the widths in use keeps the table free of allocation.
        const UINT: &[[(u32, bool); 1]; 33] = &{
            let mut all = [[(0, false)]; 33];
            let mut bits = 0;
            while bits < 33 {
                all[bits] = [(bits as u32, false)];
                bits += 1;
            }
            all
        };
        const SINT: &[[(u32, bool); 1]; 33] = &{
            let mut all = [[(0, true)]; 33];
            let mut bits = 0;
            while bits < 33 {
                all[bits] = [(bits as u32, true)];
                bits += 1;
            }
            all
        };
        const PAIR: &[[(u32, bool); 2]; 17] = &{
            let mut all = [[(0, false); 2]; 17];
            let mut bits = 0;
            while bits < 17 {
                all[bits] = [(bits as u32, false); 2];
                bits += 1;
            }
            all
        };
        match self {
            Kind::Uint { bits, .. } => &UINT[bits as usize],
            Kind::Sint { bits } => &SINT[bits as usize],
            Kind::Flag => &UINT[1],
            Kind::Pair { bits, .. } => &PAIR[bits as usize],
            Kind::Interval => &PAIR[12],
            Kind::Tap => &[(20, true), (8, false), (12, false), (12, false)],
            Kind::Mask | Kind::Repeat => &UINT[16],
            Kind::UnitName => &UINT[3],
            Kind::Choice(_) => &UINT[2],
        }
    }

    /// Width of all parts.
    pub const fn bits(self) -> u32 {
        let (parts, mut bits, mut i) = (self.parts(), 0, 0);
        while i < parts.len() {
            bits += parts[i].0;
            i += 1;
        }
        bits
    }

    /// Smallest and largest value of a part.
    #[inline]
    pub const fn limits(self, part: usize) -> (i64, i64) {
        let (bits, signed) = self.parts()[part];
        let all =
            if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        match self {
            Kind::Uint { min, max, .. } => (min, max),
            Kind::Pair { min, .. } => (min, all.1),
            Kind::Repeat => (1, all.1),
            Kind::UnitName => (0, Unit::ALL.len() as i64 - 1),
            Kind::Choice(names) => (0, names.len() as i64 - 1),
            Kind::Sint { .. } | Kind::Flag | Kind::Interval | Kind::Tap | Kind::Mask => all,
        }
    }

    /// The values of an operand that is not written.
    pub fn default_parts(self) -> Parts {
        let mut parts = [0; 4];
        for (i, part) in parts.iter_mut().enumerate().take(self.parts().len()) {
            *part = self.limits(i).0.max(0);
        }
        parts
    }

    /// The first part that is out of range.
    #[inline]
    pub fn offending(self, parts: &Parts) -> Option<i64> {
        (0..self.parts().len()).find_map(|i| {
            let (min, max) = self.limits(i);
            (parts[i] < min || parts[i] > max).then_some(parts[i])
        })
    }

    /// What a part may be, in words.
    pub fn range(self) -> String {
        match self {
            Kind::Choice(names) => names.join(", "),
            Kind::UnitName => Unit::ALL.map(Unit::name).join(", "),
            Kind::Flag => "0 or 1".into(),
            Kind::Tap => {
                let [offset, remainder, first] = [0, 1, 2].map(|part| self.limits(part));
                format!(
                    "offset {} to {}, remainder {} to {}, coordinates {} to {}",
                    offset.0, offset.1, remainder.0, remainder.1, first.0, first.1
                )
            }
            _ => {
                let (min, max) = self.limits(0);
                format!("{min} to {max}")
            }
        }
    }

    /// How the operand is written, for the manual.
    pub fn syntax(self, name: &str) -> String {
        match self {
            Kind::Uint { .. } | Kind::Sint { .. } => format!("{name}=N"),
            Kind::Flag => name.into(),
            Kind::Pair { .. } => format!("{name}=YxX"),
            Kind::Interval => format!("{name}=[A,B]"),
            Kind::Tap => format!("{name}=OFFSET+REMAINDER:[A,B]"),
            Kind::Mask => format!("{name}=SEMAPHORE,..."),
            Kind::Repeat => "xN".into(),
            Kind::UnitName => Unit::ALL.map(Unit::name).join("|"),
            Kind::Choice(names) => format!("{name}={}", names.join("|")),
        }
    }

    /// Writes the operand as the assembler reads it, with a leading blank; nothing for a default.
    pub fn write(self, name: &str, parts: &Parts, semaphores: &[String], out: &mut String) {
        let [a, b, c, d] = *parts;
        if *parts == self.default_parts() && self != Kind::UnitName {
            return;
        }
        let written = match self {
            Kind::Uint { .. } | Kind::Sint { .. } => write!(out, " {name}={a}"),
            Kind::Flag => write!(out, " {name}"),
            Kind::Pair { .. } => write!(out, " {name}={a}x{b}"),
            Kind::Interval => write!(out, " {name}=[{a},{b}]"),
            Kind::Tap => write!(out, " {name}={a}+{b}:[{c},{d}]"),
            Kind::Mask => {
                let names: Vec<String> = (0..16)
                    .filter(|s| a >> s & 1 == 1)
                    .map(|s| semaphore_name(semaphores, s))
                    .collect();
                write!(out, " {name}={}", names.join(","))
            }
            Kind::Repeat => write!(out, " x{a}"),
            Kind::UnitName => write!(out, " {}", Unit::ALL[a as usize].name()),
            Kind::Choice(names) => write!(out, " {name}={}", names[a as usize]),
        };
        written.expect("a String takes any text");
    }
}

/// Name of a semaphore: the program's own, or `s` and its number.
pub fn semaphore_name(names: &[String], index: usize) -> String {
    match names.get(index) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => format!("s{index}"),
    }
}

/// A number as an operand of 32 bits; what has more bits becomes the largest such number, which no
/// narrower operand holds, so that encoding refuses it.
pub fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A Rust type that an operand of the table has in its typed struct.
pub trait Operand: Sized {
    /// The parts, unused ones zero.
    fn to_parts(self) -> Parts;
    /// From parts that are in range.
    fn from_parts(parts: &Parts) -> Self;
}

macro_rules! operand {
    ($t:ty, $x:ident => $to:expr, $p:ident => $from:expr) => {
        impl Operand for $t {
            #[inline]
            fn to_parts(self) -> Parts {
                let $x = self;
                $to
            }
            #[inline]
            fn from_parts($p: &Parts) -> Self {
                $from
            }
        }
    };
}

operand!(u32, x => [i64::from(x), 0, 0, 0], p => p[0] as u32);
operand!(i32, x => [i64::from(x), 0, 0, 0], p => p[0] as i32);
operand!(u16, x => [i64::from(x), 0, 0, 0], p => p[0] as u16);
operand!(bool, x => [i64::from(x), 0, 0, 0], p => p[0] == 1);
operand!([u32; 2], x => [i64::from(x[0]), i64::from(x[1]), 0, 0], p => [p[0] as u32, p[1] as u32]);
operand!(Unit, x => [x as i64, 0, 0, 0], p => Unit::ALL[p[0] as usize]);
operand!(
    Tap,
    x => [i64::from(x.offset), i64::from(x.remainder), i64::from(x.first), i64::from(x.last)],
    p => Tap { offset: p[0] as i32, remainder: p[1] as u32, first: p[2] as u32, last: p[3] as u32 }
);

/// One entry of a tap table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tap {
    /// Words to add to the address (whole blocks and the phase).
    pub offset: i32,
    /// Pixels to add to the index, less than the number of rows.
    pub remainder: u32,
    /// First output coordinate for which the tap lies inside the map.
    pub first: u32,
    /// Last such coordinate; the interval is empty if it is less than `first`.
    pub last: u32,
}

macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $variant_doc])* $variant,)* }

        impl $name {
            /// Names in encoding order.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];
        }

        impl Operand for $name {
            fn to_parts(self) -> Parts {
                [self as i64, 0, 0, 0]
            }
            fn from_parts(parts: &Parts) -> Self {
                [$($name::$variant,)*][parts[0] as usize]
            }
        }
    };
}

choice! {
    /// Destination of a load.
    Memory {
        /// Activation memory, words as they are in DRAM.
        Act = "act",
        /// Weight memory.
        Wgt = "wgt",
        /// Threshold memory.
        Thr = "thr",
        /// Activation memory through the packer, one image row a step.
        Pack = "pack",
    }
}

choice! {
    /// Meaning of weight bits.
    WeightKind {
        /// One bit, 0 or 1.
        Unsigned = "unsigned",
        /// One bit, -1 or +1.
        Bipolar = "bipolar",
        /// Two's complement, 2 to 8 bits.
        Signed = "signed",
    }
}

choice! {
    /// Mode of the threshold unit.
    ThresholdKind {
        /// The accumulator itself.
        Raw = "raw",
        /// Division.
        Linear = "linear",
        /// Search in a table.
        Table = "table",
    }
}
