//! The instruction sets that kernels are compiled for, and which of them runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for. Each level has the instructions of those
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor of the architecture has.
    Baseline,
    /// x86-64 with AVX2 and POPCNT.
    Avx2,
    /// Everything that kernels know: x86-64 with AVX-512, VPOPCNTDQ and VNNI; NEON.
    Best,
}

impl Isa {
    /// Every level, the lowest first.
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Best];

    /// The name in the environment variable.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Baseline => "baseline",
            Isa::Avx2 => "avx2",
            Isa::Best => "best",
        }
    }
}

/// The environment variable that forces a lower level.
pub const VARIABLE: &str = "QNNSIM_ISA";

/// One more than the level that a test has set, or 0.
static FORCED: AtomicU8 = AtomicU8::new(0);

/// What the environment variable asks for, [`Isa::Best`] where it is not set.
///
/// # Errors
/// It names no level.
pub fn asked() -> Result<Isa, String> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(Isa::Best) };
    let found = Isa::ALL.into_iter().find(|isa| *value == *isa.name());
    found.ok_or_else(|| {
        let names = Isa::ALL.map(Isa::name).join(", ");
        format!("{VARIABLE} is `{}`, which is none of {names}", value.display())
    })
}

/// The highest level that kernels may use here; the processor may have fewer instructions still.
pub fn level() -> Isa {
    static ASKED: OnceLock<Isa> = OnceLock::new();
    match FORCED.load(Ordering::Relaxed) {
        0 => *ASKED.get_or_init(|| asked().unwrap_or(Isa::Best)),
        level => Isa::ALL[usize::from(level) - 1],
    }
}

/// Words of 64 bits in the vectors that kernels compute with here.
pub fn vector_words() -> usize {
    #[cfg(target_arch = "x86_64")]
    if level() == Isa::Best && std::is_x86_feature_detected!("avx512f") {
        return 8;
    }
    4
}

/// Runs kernels on this level from now on, in all threads: results do not depend on it.
#[cfg(test)]
pub fn force(isa: Isa) {
    FORCED.store(isa as u8 + 1, Ordering::Relaxed);
}

/// Defines a kernel: one function, compiled for every level, that runs on the highest one which the
/// processor has and [`level`] allows.
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<const $n:ident: usize>)? (
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name $(<const $n: usize>)? ($($argument: $type),*) $(-> $result)? {
            #[multiversion::multiversion(targets(
                "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx512vpopcntdq+avx512vnni+bmi1+bmi2+popcnt",
                "x86_64+avx2+bmi1+bmi2+popcnt",
                "x86_64+popcnt",
                "aarch64+neon"
            ))]
            fn best $(<const $n: usize>)? ($($argument: $type),*) $(-> $result)? $body

            #[multiversion::multiversion(targets("x86_64+avx2+bmi1+bmi2+popcnt"))]
            fn avx2 $(<const $n: usize>)? ($($argument: $type),*) $(-> $result)? $body

            fn baseline $(<const $n: usize>)? ($($argument: $type),*) $(-> $result)? $body

            match $crate::kernels::isa::level() {
                $crate::kernels::isa::Isa::Best => best $(::<$n>)? ($($argument),*),
                $crate::kernels::isa::Isa::Avx2 => avx2 $(::<$n>)? ($($argument),*),
                $crate::kernels::isa::Isa::Baseline => baseline $(::<$n>)? ($($argument),*),
            }
        }
    };
}
pub(crate) use kernel;
