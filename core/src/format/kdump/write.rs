//! Headers, bitmaps and page descriptors of a kdump-compressed file. Pages are moved by `run.rs`.

use std::io;

use guestdump_arch::abi::NoMember;
use guestdump_arch::{Endian, KernelFacts, Pfn};

use super::layout::{DESC_LEN, HEADER, KdumpLayout, SIGNATURE, STATUS_INCOMPLETE, SUB_HEADER, VERSION};
use crate::kernel::{UTS_FIELD, UTS_FIELDS};
use crate::plan::Plan;
use crate::plan::pages::{self, PfnRun};
use crate::sink::Sink;

/// The main header.
///
/// # Errors
/// [`NoMember`] never, short of a mistake in the tables.
pub fn header(plan: &Plan, layout: &KdumpLayout, crash_time: u64, incomplete: bool) -> Result<Vec<u8>, NoMember> {
    let placed = plan.info.abi.place(HEADER);
    let mut out = vec![0; placed.size()];
    placed.put_chars(&mut out, "signature", SIGNATURE)?;
    placed.put(&mut out, "header_version", VERSION)?;
    for (name, text) in UTS_FIELDS.into_iter().zip(&plan.utsname.fields) {
        // The last byte of each stays zero: libkdumpfile insists.
        placed.put_chars(&mut out, name, text.get(..text.len().min(UTS_FIELD - 1)).unwrap_or_default())?;
    }
    // tv_usec stays 0: where a 64-bit header has it, a 32-bit one has block_size, by which libkdumpfile tells them apart.
    placed.put(&mut out, "tv_sec", crash_time)?;
    let codec = plan.format.codec().map_or(0, |codec| u64::from(codec.flag()));
    placed.put(&mut out, "status", codec | if incomplete { STATUS_INCOMPLETE } else { 0 })?;
    placed.put(&mut out, "block_size", u64::from(layout.page_size))?;
    placed.put(&mut out, "sub_hdr_size", layout.sub_hdr_size)?;
    placed.put(&mut out, "bitmap_blocks", 2 * (layout.bitmap_len / u64::from(layout.page_size)))?;
    placed.put(&mut out, "max_mapnr", layout.max_mapnr.min(u64::from(u32::MAX)))?;
    placed.put(&mut out, "nr_cpus", plan.vcpus as u64)?;
    Ok(out)
}

/// The sub-header with the notes behind it.
///
/// # Errors
/// As [`header`].
pub fn sub_header(plan: &Plan, layout: &KdumpLayout) -> Result<Vec<u8>, NoMember> {
    let placed = plan.info.abi.place(SUB_HEADER);
    let mut out = vec![0; placed.size()];
    placed.put(&mut out, "phys_base", plan.info.phys_base.cast_unsigned())?;
    placed.put(&mut out, "dump_level", u64::from(plan.dump_level))?;
    if let Some((at, len)) = plan.notes.vmcoreinfo {
        placed.put(&mut out, "offset_vmcoreinfo", layout.notes_offset.saturating_add(at as u64))?;
        placed.put(&mut out, "size_vmcoreinfo", len as u64)?;
    }
    if !plan.notes.bytes.is_empty() {
        placed.put(&mut out, "offset_note", layout.notes_offset)?;
        placed.put(&mut out, "size_note", plan.notes.bytes.len() as u64)?;
    }
    placed.put(&mut out, "max_mapnr_64", layout.max_mapnr)?;
    out.extend_from_slice(&plan.notes.bytes);
    Ok(out)
}

/// `CRASHTIME` of VMCOREINFO, which a kernel sets when it panics; 0 otherwise.
#[must_use]
pub fn crash_time(kernel: Option<&dyn KernelFacts>) -> u64 {
    kernel.and_then(|kernel| kernel.text("CRASHTIME")).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Bytes of a bitmap that are made at once.
const PIECE: usize = 1 << 16;

/// Writes both bitmaps. Where the sink can leave gaps, pieces without any bit are left out.
///
/// # Errors
/// What the sink says.
pub fn bitmaps(sink: &mut dyn Sink, layout: &KdumpLayout) -> io::Result<()> {
    bitmap(sink, layout, &layout.memory, layout.bitmap_offset, &[])?;
    second_bitmap(sink, layout, &[])
}

/// Writes the second bitmap, of pages that the dump has; frames in `lost` (ascending) have no bit. It may be written
/// again: bytes of a flattened file's later record take the place of earlier ones.
///
/// # Errors
/// What the sink says.
pub fn second_bitmap(sink: &mut dyn Sink, layout: &KdumpLayout, lost: &[Pfn]) -> io::Result<()> {
    bitmap(sink, layout, &layout.runs, layout.bitmap_offset.saturating_add(layout.bitmap_len), lost)
}

fn bitmap(sink: &mut dyn Sink, layout: &KdumpLayout, runs: &[PfnRun], offset: u64, lost: &[Pfn]) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = 0_u64;
    while at < layout.bitmap_len {
        let len = (layout.bitmap_len - at).min(PIECE as u64);
        let (first, end) = (at.saturating_mul(8), at.saturating_add(len).saturating_mul(8));
        if !sink.sparse() || pages::any(runs, first, end) {
            let out = piece.get_mut(..usize::try_from(len).unwrap_or(PIECE)).unwrap_or_default();
            pages::fill_bitmap(runs, lost, first, out);
            sink.write_at(offset.saturating_add(at), out)?;
        }
        at = at.saturating_add(len);
    }
    Ok(())
}

/// Appends a page descriptor.
pub fn push_desc(out: &mut Vec<u8>, endian: Endian, offset: u64, size: u32, flags: u32) {
    let mut bytes = [0; DESC_LEN as usize];
    let (place, rest) = bytes.split_at_mut(8);
    endian.put(offset, place);
    let (length, rest) = rest.split_at_mut(4);
    endian.put(u64::from(size), length);
    let (bits, _page_flags) = rest.split_at_mut(4);
    endian.put(u64::from(flags), bits);
    out.extend_from_slice(&bytes);
}
