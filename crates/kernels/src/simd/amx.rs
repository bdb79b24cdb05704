//! AMX: eight registers of sixteen rows of 64 bytes, and instructions that multiply two of them.
//!
//! The instructions are written as assembler: their intrinsics are not stable. Registers live within one block of
//! assembler; what lasts from one to another is only how they are configured, which nothing else in the process touches,
//! as no compiler uses them unasked.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::reduced::Format;
use crate::simd::Lanes;
use crate::tiles::{SIDE, Sums, Tile, Tiles};

/// Proof that this CPU has AMX for bytes and bf16, and that Linux lets this process use it. Only [`Amx::detect`] makes
/// one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amx(());

/// Bytes of a tile's row: from one row to the next.
const LINE: usize = size_of::<Lanes>();
const _: () = assert!(LINE == 64 && size_of::<Tile>() == SIDE * LINE && size_of::<[Lanes; SIDE]>() == SIDE * LINE);

impl Amx {
    pub fn detect() -> Option<Self> {
        static FOUND: OnceLock<Option<Amx>> = OnceLock::new();
        *FOUND.get_or_init(|| (has_instructions() && has_registers() && is_permitted()).then_some(Self(())))
    }

    /// Makes every register of this thread a whole tile, until what is returned is dropped.
    pub fn configured(self) -> Configured {
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        config.bytes[..REGISTERS].fill(LINE as u16);
        config.rows[..REGISTERS].fill(SIDE as u8);
        // SAFETY: `self` exists, so the CPU has the instruction and Linux permits it; it reads the 64 bytes of `config`,
        // which are a configuration that the CPU was asked for.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags)) }
        Configured(PhantomData)
    }
}

/// Intel's manual, volume 1, "Intel AMX and the XSAVE feature set": what LDTILECFG takes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Of a row of each register.
    bytes: [u16; 16],
    rows: [u8; 16],
}

const REGISTERS: usize = 8;

fn has_instructions() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    let features = if __cpuid(0).eax >= 0x1d { __cpuid_count(7, 0).edx } else { 0 };
    features & (BF16 | TILE | INT8) == BF16 | TILE | INT8
}

/// Whether registers are as large as we take them to be, in the first palette.
fn has_registers() -> bool {
    let palette = __cpuid_count(0x1d, 1);
    let (line, registers, rows) = (palette.ebx & 0xffff, palette.ebx >> 16, palette.ecx & 0xffff);
    line as usize == LINE && registers as usize >= REGISTERS && rows as usize == SIDE
}

/// Asks Linux (5.16 or later) to keep the registers' contents when it lets other threads run; without that the first
/// instruction ends the process.
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call changes what this process may use, and no memory of it.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Proof that this thread's registers are configured, which they are no more when it is dropped.
pub(crate) struct Configured(PhantomData<*const ()>);

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: `self` exists, so the CPU has the instruction; it empties registers that nobody reads any more.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }
}

/// The product of one row or two: `$one` and `$two` are functions, `$instruction` multiplies.
macro_rules! products {
    ($($one:ident, $two:ident = $instruction:literal;)*) => {$(
        /// # Safety
        /// Registers are configured; there are `steps` pairs of tiles at `weights` and tiles at `row`.
        unsafe fn $one(weights: *const [Tile; 2], row: *const [Lanes; SIDE], steps: usize, sums: &mut [[Lanes; SIDE]; 2]) {
            // SAFETY: see above; it reads those tiles and writes `sums`, all of which are rows of 64 bytes one after the
            // other, and it leaves the registers empty of anything that Rust knows of.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "test {steps}, {steps}",
                    "jz 3f",
                    "2:",
                    "tileloadd tmm4, [{weights} + {line}*1]",
                    "tileloadd tmm6, [{row} + {line}*1]",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{weights} + {line}*1 + 1024]",
                    concat!($instruction, " tmm1, tmm5, tmm6"),
                    "add {weights}, 2048",
                    "add {row}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    "3:",
                    "tilestored [{sums} + {line}*1], tmm0",
                    "tilestored [{sums} + {line}*1 + 1024], tmm1",
                    weights = inout(reg) weights => _,
                    row = inout(reg) row => _,
                    steps = inout(reg) steps => _,
                    sums = in(reg) sums,
                    line = in(reg) LINE,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
                    options(nostack),
                );
            }
        }

        /// # Safety
        /// As for one row, and there are `steps` tiles at each of `rows`.
        unsafe fn $two(weights: *const [Tile; 2], rows: [*const [Lanes; SIDE]; 2], steps: usize, sums: &mut Sums) {
            // SAFETY: as for one row.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "test {steps}, {steps}",
                    "jz 3f",
                    "2:",
                    "tileloadd tmm4, [{weights} + {line}*1]",
                    "tileloadd tmm6, [{first} + {line}*1]",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{weights} + {line}*1 + 1024]",
                    concat!($instruction, " tmm1, tmm5, tmm6"),
                    "tileloadd tmm7, [{second} + {line}*1]",
                    concat!($instruction, " tmm2, tmm4, tmm7"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "add {weights}, 2048",
                    "add {first}, 1024",
                    "add {second}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    "3:",
                    "tilestored [{sums} + {line}*1], tmm0",
                    "tilestored [{sums} + {line}*1 + 1024], tmm1",
                    "tilestored [{sums} + {line}*1 + 2048], tmm2",
                    "tilestored [{sums} + {line}*1 + 3072], tmm3",
                    weights = inout(reg) weights => _,
                    first = inout(reg) rows[0] => _,
                    second = inout(reg) rows[1] => _,
                    steps = inout(reg) steps => _,
                    sums = in(reg) sums,
                    line = in(reg) LINE,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    )*};
}

products! {
    // Bytes with sign, of weights, by bytes without, of inputs.
    bytes_of_one, bytes_of_two = "tdpbsud";
    halves_of_one, halves_of_two = "tdpbf16ps";
}

impl Tiles for Configured {
    fn product(&self, format: Format, weights: &[[Tile; 2]], rows: &[&[[Lanes; SIDE]]], sums: &mut Sums) {
        let steps = weights.len();
        assert!(rows.iter().all(|row| row.len() == steps), "rows are not of {steps} tiles");
        let weights = weights.as_ptr();
        // SAFETY: `self` exists, so registers are configured; the slices are as long as each other, and all begin at
        // multiples of 64 bytes.
        unsafe {
            match (rows, format) {
                ([row], Format::Int8) => bytes_of_one(weights, row.as_ptr(), steps, &mut sums.0[0]),
                ([row], Format::Bf16) => halves_of_one(weights, row.as_ptr(), steps, &mut sums.0[0]),
                ([a, b], Format::Int8) => bytes_of_two(weights, [a.as_ptr(), b.as_ptr()], steps, sums),
                ([a, b], Format::Bf16) => halves_of_two(weights, [a.as_ptr(), b.as_ptr()], steps, sums),
                _ => unreachable!("one row or two, of bytes or bf16"),
            }
        }
    }
}
