//! VMCOREINFO: the `key=value` text in which a Linux kernel describes itself.
//!
//! Format: linux `Documentation/admin-guide/kdump/vmcoreinfo.rst`. Addresses of `SYMBOL()` are hexadecimal without 0x,
//! `NUMBER()` is decimal with a sign or hexadecimal with 0x (both occur in one note), `OFFSET`, `SIZE` and `LENGTH` are
//! decimal. How it is found in a guest lives in `kernel.rs`.

use core::fmt;

use guestdump_arch::{KernelFacts, PhysAddr, VirtAddr};

/// Name of the note, without its NUL.
pub const NOTE_NAME: &[u8] = b"VMCOREINFO";
/// Longest descriptor that is believed: Linux gives it one page, QEMU takes up to 1 MiB.
pub const MAX_LEN: usize = 1 << 20;

/// Where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The guest gave it to its hypervisor, which handed it over.
    HandedOver,
    /// It is a note of the dump that was read.
    Note,
    /// A pointer at a place that the architecture fixes, to this address.
    Pointer(PhysAddr),
    /// Found by searching RAM, at this address.
    Search(PhysAddr),
    /// The user gave it.
    Given,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandedOver => f.write_str("handed over by the guest"),
            Self::Note => f.write_str("a note of the dump"),
            Self::Pointer(at) => write!(f, "found through a pointer of the kernel at {at}"),
            Self::Search(at) => write!(f, "found by searching RAM, at {at}"),
            Self::Given => f.write_str("given by the user"),
        }
    }
}

/// The text and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vmcoreinfo {
    text: Vec<u8>,
    origin: Origin,
}

impl Vmcoreinfo {
    /// Wraps a note's descriptor.
    #[must_use]
    pub const fn new(text: Vec<u8>, origin: Origin) -> Self {
        Self { text, origin }
    }

    /// The descriptor as it was found.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// `OFFSET(name)`, in bytes; `name` is `struct.member`.
    #[must_use]
    pub fn offset(&self, name: &str) -> Option<u64> {
        self.decimal("OFFSET", name)
    }

    /// `SIZE(name)`, in bytes.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u64> {
        self.decimal("SIZE", name)
    }

    /// `LENGTH(name)`, in elements.
    #[must_use]
    pub fn length(&self, name: &str) -> Option<u64> {
        self.decimal("LENGTH", name)
    }

    /// A key whose value is decimal: `kind` is OFFSET, SIZE or LENGTH.
    #[must_use]
    pub fn decimal(&self, kind: &str, name: &str) -> Option<u64> {
        self.text(&format!("{kind}({name})"))?.parse().ok()
    }

    /// OSRELEASE: what `uname -r` says.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        self.text("OSRELEASE")
    }

    /// KERNELOFFSET: how far KASLR moved the image, in bytes (hexadecimal without 0x).
    #[must_use]
    pub fn kernel_offset(&self) -> Option<u64> {
        u64::from_str_radix(self.text("KERNELOFFSET")?, 16).ok()
    }

    /// CRASHTIME: seconds since 1970 at which the kernel crashed; there only if it did.
    #[must_use]
    pub fn crash_time(&self) -> Option<i64> {
        self.text("CRASHTIME")?.parse().ok()
    }
}

impl KernelFacts for Vmcoreinfo {
    fn text(&self, key: &str) -> Option<&str> {
        self.text.split(|byte| *byte == b'\n').find_map(|line| {
            let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            core::str::from_utf8(value).ok().map(str::trim_end)
        })
    }

    fn number(&self, name: &str) -> Option<i128> {
        let value = self.text(&format!("NUMBER({name})"))?;
        match value.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        }
    }

    fn symbol(&self, name: &str) -> Option<VirtAddr> {
        let value = self.text(&format!("SYMBOL({name})"))?;
        u64::from_str_radix(value.strip_prefix("0x").unwrap_or(value), 16).ok().map(VirtAddr)
    }

    fn page_size(&self) -> Option<u32> {
        let size: u32 = self.text("PAGESIZE")?.parse().ok()?;
        // Linux has pages of 4 KiB to 256 KiB; a size that no reader takes is as good as none.
        (size.is_power_of_two() && (4096..=1 << 18).contains(&size)).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_notation_of_their_kind() {
        let text = b"OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=-35651584\n\
            NUMBER(VMALLOC_START)=0xffffb45340000000\nNUMBER(phys_base_2)=7\nOFFSET(uts_namespace.name)=0\n";
        let info = Vmcoreinfo::new(text.to_vec(), Origin::Given);
        assert_eq!(info.text("OSRELEASE"), Some("6.1.0"));
        assert_eq!(info.number("phys_base"), Some(-35_651_584));
        assert_eq!(info.number("VMALLOC_START"), Some(0xffff_b453_4000_0000));
        assert_eq!(info.symbol("_stext"), Some(VirtAddr(0xffff_ffff_8100_0000)));
        assert_eq!(info.offset("uts_namespace.name"), Some(0));
        assert_eq!((info.page_size(), info.number("phys")), (Some(4096), None));
    }

    #[test]
    fn getters_know_their_notation() {
        let text =
            b"OSRELEASE=6.1.0\nKERNELOFFSET=6600000\nSIZE(page)=64\nLENGTH(mem_section)=2048\nCRASHTIME=1700000000\n";
        let info = Vmcoreinfo::new(text.to_vec(), Origin::Note);
        assert_eq!((info.release(), info.kernel_offset()), (Some("6.1.0"), Some(0x660_0000)));
        assert_eq!((info.size("page"), info.length("mem_section")), (Some(64), Some(2048)));
        assert_eq!((info.crash_time(), info.offset("page")), (Some(1_700_000_000), None));
    }

    #[test]
    fn impossible_page_sizes_are_none() {
        for size in ["0", "12", "4097", "1048576", "99999999999", "x"] {
            let info = Vmcoreinfo::new(format!("PAGESIZE={size}\n").into_bytes(), Origin::Given);
            assert_eq!(info.page_size(), None, "{size}");
        }
    }
}
