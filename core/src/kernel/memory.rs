//! Kernel-virtual memory of a guest: pages are translated once and kept for a while, so that structures can be read
//! member by member from a compressed dump.

use std::cell::RefCell;
use std::collections::VecDeque;

use guestdump_arch::{CAbi, VirtAddr};
use thiserror::Error;

use super::kernel_phys;
use crate::guest::Guest;
use crate::vmcoreinfo::Vmcoreinfo;

/// Unit of translation and of reading: no architecture has smaller pages.
const PAGE: usize = 4096;
/// Pages that are kept: more than a reader walks along at the same time.
const KEPT: usize = 16;

/// Kernel memory that cannot be read: no arithmetic and no vCPU's tables lead to it, or it is not in the dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("kernel address {at} cannot be read")]
pub struct Unmapped {
    /// The page that is missing, or the first byte of it that was wanted.
    pub at: VirtAddr,
}

/// A kernel's memory by its own addresses.
#[derive(Debug)]
pub struct KernelMemory<'a> {
    guest: &'a Guest,
    info: &'a Vmcoreinfo,
    kept: RefCell<VecDeque<(u64, Box<[u8; PAGE]>)>>,
}

impl<'a> KernelMemory<'a> {
    /// Memory of the kernel that `info` describes.
    #[must_use]
    pub const fn new(guest: &'a Guest, info: &'a Vmcoreinfo) -> Self {
        Self { guest, info, kept: RefCell::new(VecDeque::new()) }
    }

    /// What that kernel says of itself.
    #[must_use]
    pub const fn info(&self) -> &'a Vmcoreinfo {
        self.info
    }

    /// Fills `buf` from `at`.
    ///
    /// # Errors
    /// [`Unmapped`] if not all of it can be read; `buf` then holds nothing of use.
    pub fn read(&self, at: VirtAddr, buf: &mut [u8]) -> Result<(), Unmapped> {
        let mut virt = at;
        let mut rest = buf;
        while !rest.is_empty() {
            let skip = usize::try_from(virt.0 % PAGE as u64).unwrap_or(0);
            let (now, later) = rest.split_at_mut((PAGE - skip).min(rest.len()));
            self.copy(virt, skip, now).ok_or(Unmapped { at: virt })?;
            if later.is_empty() {
                return Ok(());
            }
            virt = virt.checked_add(now.len() as u64).ok_or(Unmapped { at: virt })?;
            rest = later;
        }
        Ok(())
    }

    fn copy(&self, virt: VirtAddr, skip: usize, out: &mut [u8]) -> Option<()> {
        let start = virt.0 - skip as u64;
        let mut kept = self.kept.borrow_mut();
        if let Some((_, page)) = kept.iter().find(|kept| kept.0 == start) {
            out.copy_from_slice(page.get(skip..skip + out.len())?);
            return Some(());
        }
        let phys = kernel_phys(self.guest, self.info, virt)?;
        let memory = self.guest.memory.as_ref();
        let mut page = Box::new([0; PAGE]);
        let whole = phys.0.checked_sub(skip as u64).map(guestdump_arch::PhysAddr);
        // RAM may end inside of a page.
        if !whole.is_some_and(|at| memory.read(at, page.as_mut()).unwrap_or(false)) {
            return memory.read(phys, out).ok().filter(|whole| *whole).map(|_| ());
        }
        out.copy_from_slice(page.get(skip..skip + out.len())?);
        kept.truncate(KEPT - 1);
        kept.push_front((start, page));
        Some(())
    }

    /// The integer of `width` bytes (at most eight) at `at`.
    ///
    /// # Errors
    /// [`Unmapped`].
    pub fn int(&self, abi: CAbi, at: VirtAddr, width: usize) -> Result<u64, Unmapped> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..width).unwrap_or_default();
        self.read(at, bytes)?;
        Ok(abi.endian.get(bytes))
    }

    /// The `unsigned long` or pointer at `at`.
    ///
    /// # Errors
    /// [`Unmapped`].
    pub fn word(&self, abi: CAbi, at: VirtAddr) -> Result<u64, Unmapped> {
        self.int(abi, at, usize::from(abi.word))
    }
}
