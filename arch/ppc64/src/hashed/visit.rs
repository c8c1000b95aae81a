//! All that a hashed page table maps, entry by entry.

use core::ops::ControlFlow;
use std::collections::HashMap;
use std::rc::Rc;

use guestdump_arch::paging::mappings::{Bound, Excess, Visitor};
use guestdump_arch::paging::survey::Survey;
use guestdump_arch::{PhysAddr, PhysMemory, Presence, VirtAddr};

use super::tables::{
    AVPN_SHIFT, ENTRY, GROUP, GROUP_SHIFT, SECONDARY, Segment, Table, VALID, field, page_shift, words,
};
use super::{EVERYTHING, Hashed, LEVEL, unreadable};

/// Bytes that are read at once.
const PIECE: u64 = 4096;

/// On the way through a table.
pub(super) struct Visit<'a> {
    pub(super) table: Table,
    /// By B and VSID.
    pub(super) segments: HashMap<(u64, u64), Rc<[Segment]>>,
    pub(super) survey: &'a mut Survey,
    pub(super) memory: &'a dyn PhysMemory,
    pub(super) visitor: &'a mut dyn Visitor,
    /// Groups that were read again, to look a page up.
    pub(super) groups_read: u64,
}

impl Visit<'_> {
    pub(super) fn table(&mut self) -> Result<(), Bound> {
        let end = (self.table.mask + 1) << GROUP_SHIFT;
        let (mut offset, mut bytes) = (0, Vec::new());
        while offset < end {
            let at = PhysAddr(self.table.at + offset);
            let next = (offset + PIECE) & !(PIECE - 1);
            bytes.resize(usize::try_from(next - offset).unwrap_or(0), 0);
            self.survey.count(PIECE / ENTRY as u64, VirtAddr(0), LEVEL, at)?;
            match self.memory.read(at, &mut bytes) {
                Ok(true) => self.groups(offset, &bytes)?,
                Ok(false) => {
                    let extent = self.memory.extent(at, end - offset);
                    if extent.presence == Presence::Absent {
                        // Entries of any address may have been there.
                        self.visitor.absent(EVERYTHING, at, 1);
                        offset += (extent.len_bytes & !(GROUP as u64 - 1)).max(GROUP as u64);
                        continue;
                    }
                    self.one_by_one(offset)?;
                }
                Err(_) => self.one_by_one(offset)?,
            }
            offset = next;
        }
        Ok(())
    }

    /// A piece that is not all RAM, or not all readable: group by group.
    fn one_by_one(&mut self, offset: u64) -> Result<(), Bound> {
        let end = (offset + PIECE) & !(PIECE - 1);
        for offset in (offset..end).step_by(GROUP) {
            let (at, mut bytes) = (PhysAddr(self.table.at + offset), [0; GROUP]);
            match self.memory.read(at, &mut bytes) {
                Ok(true) => self.groups(offset, &bytes)?,
                Ok(false) => self.visitor.absent(EVERYTHING, at, 1),
                Err(source) => {
                    let error = unreadable(PhysAddr(self.table.at), offset >> GROUP_SHIFT, source);
                    self.visitor.unreadable(EVERYTHING, &error);
                }
            }
        }
        Ok(())
    }

    /// Groups that start at `offset` of the table.
    fn groups(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Bound> {
        for (number, words) in (0_u64..).zip(bytes.chunks_exact(ENTRY).map(words)) {
            if words[0] & VALID == 0 {
                continue;
            }
            let at = self.table.at + offset + number * ENTRY as u64;
            let (b, avpn) = (self.table.b(words), field(words[0], 7, 61));
            let vsid = avpn >> if b == 0 { 28 - AVPN_SHIFT } else { 40 - AVPN_SHIFT };
            let segments = self.segments.get(&(b, vsid)).cloned();
            for segment in segments.as_deref().unwrap_or_default() {
                self.entry(segment, at, words)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, segment: &Segment, at: u64, words: [u64; 2]) -> Result<(), Bound> {
        let Some(base) = segment.base.filter(|base| page_shift(*base, words).is_some()) else { return Ok(()) };
        let group = (at - self.table.at) >> GROUP_SHIFT;
        let secondary = words[0] & SECONDARY != 0;
        let addr = segment.page_of(field(words[0], 7, 61), group, secondary, base);
        if !Hashed::groups(&self.table, segment, addr, base).contains(&(secondary, group)) {
            return Ok(());
        }
        // An entry before it may be the one that is found.
        self.groups_read += 2;
        if self.groups_read >= PIECE >> GROUP_SHIFT {
            self.groups_read = 0;
            self.survey.count(PIECE / ENTRY as u64, VirtAddr(addr), LEVEL, self.table.group(group))?;
        }
        let Ok(Ok(found)) = Hashed::find(&self.table, self.memory, segment, addr, base) else { return Ok(()) };
        let mapping = Hashed::mapping(&self.table, &found, segment, addr, base).filter(|_| found.at == at);
        match mapping.map(|mapping| self.visitor.mapping(mapping)) {
            Some(ControlFlow::Break(())) => Err(Bound {
                excess: Excess::Mappings,
                virt: VirtAddr(addr),
                level: LEVEL,
                table: self.table.group(group),
            }),
            _ => Ok(()),
        }
    }
}
