//! Registers of the x86 family.
//!
//! i386 and x86-64 share the order: a vCPU of a PC may be in either mode, so rows written for one list are good for the
//! other. Names are those of gdb's `i386-32bit.xml` and `i386-64bit.xml`; those of descriptor caches, which gdb has
//! only as bases, go on in the same manner (`cs_limit`, `tr_flags`). `orig_eax` and `lma` are no registers of the CPU:
//! the first is Linux's, the second is EFER.LMA where EFER itself is not known. Two more are of the machine rather than of the
//! CPU: `a20` is 0 where address line 20 is held at 0 (QEMU's monitor shows it as `A20=`), and `c_bit` is the number of the
//! address bit that marks encrypted pages of an SEV guest (CPUID 8000001F, EBX 5:0).

use guestdump_arch::Reg;
#[doc(hidden)]
pub use guestdump_arch::RegDef;

/// The list for one word size: the eleven general names, then what both modes have, then what only one has.
#[doc(hidden)]
#[macro_export]
macro_rules! x86_registers {
    ($word:literal; $($general:literal),*; $($more:literal),*) => {
        &[
            $($crate::registers::RegDef::new($general, $word),)*
            $crate::registers::RegDef::new("cs", 4),
            $crate::registers::RegDef::new("ds", 4),
            $crate::registers::RegDef::new("es", 4),
            $crate::registers::RegDef::new("fs", 4),
            $crate::registers::RegDef::new("gs", 4),
            $crate::registers::RegDef::new("ss", 4),
            $crate::registers::RegDef::new("ldt", 4),
            $crate::registers::RegDef::new("tr", 4),
            $crate::registers::RegDef::new("cs_base", $word),
            $crate::registers::RegDef::new("ds_base", $word),
            $crate::registers::RegDef::new("es_base", $word),
            $crate::registers::RegDef::new("fs_base", $word),
            $crate::registers::RegDef::new("gs_base", $word),
            $crate::registers::RegDef::new("ss_base", $word),
            $crate::registers::RegDef::new("ldt_base", $word),
            $crate::registers::RegDef::new("tr_base", $word),
            $crate::registers::RegDef::new("gdt_base", $word),
            $crate::registers::RegDef::new("idt_base", $word),
            $crate::registers::RegDef::new("cs_limit", 4),
            $crate::registers::RegDef::new("ds_limit", 4),
            $crate::registers::RegDef::new("es_limit", 4),
            $crate::registers::RegDef::new("fs_limit", 4),
            $crate::registers::RegDef::new("gs_limit", 4),
            $crate::registers::RegDef::new("ss_limit", 4),
            $crate::registers::RegDef::new("ldt_limit", 4),
            $crate::registers::RegDef::new("tr_limit", 4),
            $crate::registers::RegDef::new("gdt_limit", 4),
            $crate::registers::RegDef::new("idt_limit", 4),
            $crate::registers::RegDef::new("cs_flags", 4),
            $crate::registers::RegDef::new("ds_flags", 4),
            $crate::registers::RegDef::new("es_flags", 4),
            $crate::registers::RegDef::new("fs_flags", 4),
            $crate::registers::RegDef::new("gs_flags", 4),
            $crate::registers::RegDef::new("ss_flags", 4),
            $crate::registers::RegDef::new("ldt_flags", 4),
            $crate::registers::RegDef::new("tr_flags", 4),
            $crate::registers::RegDef::new("cr0", $word),
            $crate::registers::RegDef::new("cr2", $word),
            $crate::registers::RegDef::new("cr3", $word),
            $crate::registers::RegDef::new("cr4", $word),
            $crate::registers::RegDef::new("efer", 8),
            $crate::registers::RegDef::new("lma", 1),
            $crate::registers::RegDef::new("a20", 1),
            $crate::registers::RegDef::new("c_bit", 1),
            $($crate::registers::RegDef::new($more, $word),)*
        ]
    };
}

/// Registers of a 32-bit guest.
pub static REGISTERS: &[RegDef] = x86_registers!(4;
    "eax", "ebx", "ecx", "edx", "esi", "edi", "esp", "ebp", "eip", "eflags", "orig_eax";);

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident = $index:expr;)*) => { $($(#[$doc])* pub const $name: Reg = Reg($index);)* };
}

indices! {
    /// eax or rax; ebx, ecx, edx, esi, edi, esp, ebp follow in this order.
    AX = 0;
    /// ebx or rbx.
    BX = 1;
    /// ecx or rcx.
    CX = 2;
    /// edx or rdx.
    DX = 3;
    /// esi or rsi.
    SI = 4;
    /// edi or rdi.
    DI = 5;
    /// esp or rsp.
    SP = 6;
    /// ebp or rbp.
    BP = 7;
    /// eip or rip.
    IP = 8;
    /// eflags or rflags.
    FLAGS = 9;
    /// orig_eax or orig_rax.
    ORIG_AX = 10;
    /// cs selector; ds, es, fs, gs, ss, ldt, tr follow in this order.
    CS = 11;
    /// ds selector.
    DS = 12;
    /// es selector.
    ES = 13;
    /// fs selector.
    FS = 14;
    /// gs selector.
    GS = 15;
    /// ss selector.
    SS = 16;
    /// Base of cs; the other bases follow in the order of the selectors, then those of gdt and idt.
    CS_BASE = 19;
    /// Base of fs.
    FS_BASE = 22;
    /// Base of gs.
    GS_BASE = 23;
    /// Base of gdt; that of idt follows.
    GDT_BASE = 27;
    /// Limit of cs; the other limits follow in the order of the bases.
    CS_LIMIT = 29;
    /// Limit of gdt; that of idt follows.
    GDT_LIMIT = 37;
    /// Flags of cs; the others follow in the order of the selectors.
    CS_FLAGS = 39;
    /// CR0.
    CR0 = 47;
    /// CR2; cr3 and cr4 follow.
    CR2 = 48;
    /// CR3.
    CR3 = 49;
    /// CR4.
    CR4 = 50;
    /// EFER.
    EFER = 51;
    /// EFER.LMA, where it is known without EFER.
    LMA = 52;
    /// Whether address line 20 works.
    A20 = 53;
    /// Number of the address bit that means encryption.
    C_BIT = 54;
    /// The first index that is not shared.
    SHARED = 55;
}
