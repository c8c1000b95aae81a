//! Registers of x86-64: those of i386 in the same order and wider, then r8 to r15 and kernel_gs_base.

use guestdump_arch::{Reg, RegDef};
use guestdump_i386::registers::SHARED;

/// Registers of a PC that can run 64-bit code.
pub static REGISTERS: &[RegDef] = guestdump_i386::x86_registers!(8;
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "rip", "eflags", "orig_rax";
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "k_gs_base");

/// r8; r9 to r15 follow.
pub const R8: Reg = SHARED;
/// MSR C0000102, KERNEL_GS_BASE.
pub const K_GS_BASE: Reg = Reg(SHARED.0 + 8);

/// Register r`number`, 8 to 15.
#[must_use]
pub const fn r(number: u16) -> Reg {
    Reg(R8.0 + number - 8)
}
