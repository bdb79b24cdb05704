//! Kernel sets: which there are, which this CPU can run, which is best.

use crate::reduced::{Format, Kept};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::simd::amx::Amx;
use crate::simd::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86::{Avx2, Avx512, Bf16, Vnni256, Vnni512};
use crate::words::Order;

/// A kernel set that this CPU can run. There is no other way to make one than asking the CPU.
#[derive(Debug, Clone, Copy)]
pub struct Set {
    pub(crate) kind: Kind,
}

/// The variants hold the proof that the CPU can.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(crate::simd::neon::Neon),
}

/// What is said of a kernel set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Its name: what `STARMAP_KERNEL` takes.
    pub name: &'static str,
    /// What it needs of a CPU.
    pub needs: &'static str,
    /// What a tile of a matrix product is: outputs × (galaxies in a register × registers).
    pub tile: &'static str,
}

/// Every kernel set, the best first, whether this CPU or this architecture has it or not.
pub const ALL: [Description; 4] = [
    Description { name: "avx512", needs: "x86-64 with AVX-512 F, VL, BW, DQ", tile: "8 × (16 × 3)" },
    Description { name: "avx2", needs: "x86-64 with AVX2 and FMA", tile: "4 × (8 × 3)" },
    Description { name: "neon", needs: "64-bit ARM", tile: "8 × (4 × 3)" },
    Description { name: "portable", needs: "nothing", tile: "4 × (4 × 2)" },
];

impl Set {
    /// Every set of this CPU, the best first. (The answers of the CPU are cached by the standard library.)
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = [Avx512::detect().map(Kind::Avx512), Avx2::detect().map(Kind::Avx2)];
        #[cfg(target_arch = "aarch64")]
        let wide = [Some(Kind::Neon(crate::simd::neon::Neon))];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let wide: [Option<Kind>; 0] = [];
        wide.into_iter().flatten().chain([Kind::Portable(Portable)]).map(|kind| Self { kind })
    }

    /// The best set of this CPU.
    pub fn best() -> Self {
        Self::available().next().unwrap_or(Self { kind: Kind::Portable(Portable) })
    }

    /// The set of this name, if there is one and this CPU can run it.
    pub fn named(name: &str) -> Option<Self> {
        Self::available().find(|set| set.name() == name)
    }

    /// How products of bytes are computed: `amx`, `vnni`, or `plain` where no instruction does four at once.
    pub fn int8(self) -> &'static str {
        match self.kind {
            _ if self.has_tiles() => "amx",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) if Vnni512::detect().is_some() => "vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) if Vnni256::detect().is_some() => "vnni",
            _ => "plain",
        }
    }

    /// How products of whole numbers of 16 bits are computed: `vnni`, `madd`, or `plain` where no instruction does two at
    /// once.
    pub fn int16(self) -> &'static str {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) if Vnni512::detect().is_some() => "vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) if Vnni256::detect().is_some() => "vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) | Kind::Avx2(_) => "madd",
            _ => "plain",
        }
    }

    /// How products of bf16 are computed: `amx`, `avx512_bf16`, or `f32`, which gives the same bits as `avx512_bf16`, where
    /// no instruction does two at once or where it is the slower one.
    pub fn bf16(self) -> &'static str {
        match (self.has_tiles(), self.has_fast_bf16()) {
            (true, _) => "amx",
            (false, true) => "avx512_bf16",
            (false, false) => "f32",
        }
    }

    /// How weights in fewer bits are kept where this set multiplies them.
    pub fn kept(self, format: Format) -> Kept {
        match format {
            Format::Int8 | Format::Bf16 if self.has_tiles() => Kept::Words(Order::Tiles),
            Format::Bf16 if !self.has_fast_bf16() => Kept::Rounded,
            Format::Int8 | Format::Int16 | Format::Bf16 => Kept::Words(Order::Panels),
        }
    }

    /// The tiles of this CPU, where it has any and the set is the one that goes with them.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub(crate) fn amx(self) -> Option<Amx> {
        matches!(self.kind, Kind::Avx512(_)).then(Amx::detect).flatten()
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn has_tiles(self) -> bool {
        self.amx().is_some()
    }

    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    fn has_tiles(self) -> bool {
        false
    }

    /// Intel's CPUs begin one such instruction in two cycles, a quarter as often as the multiply-adds that do half as
    /// much (measured, see BENCHMARKS.md); AMD's begin it as often as those.
    fn has_fast_bf16(self) -> bool {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => Bf16::detect().is_some() && crate::simd::x86::is_amd(),
            _ => false,
        }
    }

    /// `avx512`, `avx2`, `neon` or `portable`.
    pub fn name(self) -> &'static str {
        match self.kind {
            Kind::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::best()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_described_and_can_be_named() {
        for set in Set::available() {
            assert!(ALL.iter().any(|description| description.name == set.name()), "{}", set.name());
            assert_eq!(Set::named(set.name()).unwrap().name(), set.name());
        }
        assert_eq!(Set::available().last().unwrap().name(), "portable");
        assert!(Set::named("sse9").is_none());
    }
}
