//! Reading kdump-compressed files of either byte order and any C ABI, versions 0 to 6: headers and notes. Pages are in
//! `pages.rs`.

use std::sync::Arc;

use guestdump_arch::abi::{CStruct, NoMember};
use guestdump_arch::{CAbi, Class, Endian};

use super::layout::{HEADER, STATUS_INCOMPLETE, SUB_HEADER};
use super::pages::Pages;
use super::parts;
use super::set::{Set, Survey};
use crate::compress::MAX_PAGE_SIZE;
use crate::format::read::{Dump, arch_of_notes, split_notes, take_vmcoreinfo};
use crate::format::{Container, DumpFile, ReadError, read_part, read_there};
use crate::guest::Note;
use crate::kernel::UTS_FIELDS;
use crate::vmcoreinfo::{self, Origin, Vmcoreinfo};

/// The three ABIs that such files are known in. 32-bit ones first: where a 64-bit reader looks for `block_size` a 32-bit file
/// has `max_mapnr`, which for 256 MiB is 65536; the other way round it is a part of `timestamp`, which nobody fills.
const ABIS: [(u8, u8); 3] = [(4, 4), (4, 8), (8, 8)];

/// More notes than this are not read: those of 4096 vCPUs with all their vector registers fit.
const MAX_NOTE_BYTES: u64 = 64 << 20;

/// The version of the header in which each member of the sub-header appeared; what is not listed was there from the start.
const SINCE: [(&str, u64); 13] = [
    ("dump_level", 1),
    ("split", 2),
    ("start_pfn", 2),
    ("end_pfn", 2),
    ("offset_vmcoreinfo", 3),
    ("size_vmcoreinfo", 3),
    ("offset_note", 4),
    ("size_note", 4),
    ("offset_eraseinfo", 5),
    ("size_eraseinfo", 5),
    ("start_pfn_64", 6),
    ("end_pfn_64", 6),
    ("max_mapnr_64", 6),
];

impl From<NoMember> for ReadError {
    fn from(error: NoMember) -> Self {
        Self::Field { what: error.0, value: 0, why: "no such member" }
    }
}

/// The headers of a file.
#[derive(Debug)]
pub(super) struct Headers {
    pub abi: CAbi,
    main: CStruct,
    main_bytes: Vec<u8>,
    sub: CStruct,
    sub_bytes: Vec<u8>,
    pub page_size: u64,
}

impl Headers {
    pub fn main(&self, name: &'static str) -> Result<u64, ReadError> {
        Ok(self.main.get(&self.main_bytes, name)?)
    }

    /// A member of the sub-header; 0 where the file is too old to have it.
    pub fn sub(&self, name: &'static str) -> Result<u64, ReadError> {
        let since = SINCE.iter().find(|member| member.0 == name).map_or(0, |member| member.1);
        if self.main("header_version")? < since { Ok(0) } else { Ok(self.sub.get(&self.sub_bytes, name)?) }
    }

    fn text(&self, name: &'static str) -> Result<String, ReadError> {
        let bytes = self.main.chars(&self.main_bytes, name)?;
        Ok(String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned())
    }

    /// Since version 6 the full number is in the sub-header.
    pub fn max_mapnr(&self) -> Result<u64, ReadError> {
        match self.sub("max_mapnr_64")? {
            0 => self.main("max_mapnr"),
            full => Ok(full),
        }
    }

    /// Which pages were left out: makedumpfile's levels 0 to 31. Bits above them mean nothing.
    pub fn dump_level(&self) -> Result<u8, ReadError> {
        Ok((self.sub("dump_level")? & 31) as u8)
    }

    /// `start_pfn` and `end_pfn` of a part of a split set; `None` for a dump in one file.
    pub fn part(&self) -> Result<Option<(u64, u64)>, ReadError> {
        if self.sub("split")? == 0 {
            return Ok(None);
        }
        let wide = self.main("header_version")? >= 6;
        let (start, end) = if wide { ("start_pfn_64", "end_pfn_64") } else { ("start_pfn", "end_pfn") };
        Ok(Some((self.sub(start)?, self.sub(end)?)))
    }

    /// The frames whose descriptors this file has: all, or one part of a split set's.
    pub fn window(&self) -> Result<core::ops::Range<u64>, ReadError> {
        Ok(self.part()?.map_or(0..u64::MAX, |(start, end)| start..end.max(start)))
    }
}

/// Finds the ABI and byte order by which the header makes sense.
pub(super) fn headers(file: &dyn DumpFile) -> Result<Headers, ReadError> {
    let bytes = read_part(file, "main header", 0, file.len().min(464))?;
    let orders = [Endian::Little, Endian::Big];
    let abis =
        || orders.iter().flat_map(|endian| ABIS.map(|(word, u64_align)| CAbi { word, u64_align, endian: *endian }));
    // max_mapnr of a 32-bit header is where a 64-bit one has block_size: a header with bitmaps makes more sense than one
    // without.
    for empty in [false, true] {
        for abi in abis() {
            let main = abi.place(HEADER);
            if plausible(&main, &bytes, empty) {
                let found = with_abi(file, abi, main.clone(), &bytes)?;
                if abi.word == 8 || abi.u64_align == 8 {
                    return Ok(found);
                }
                return match with_abi(file, CAbi { u64_align: 8, ..abi }, main, &bytes) {
                    Ok(padded) => Ok(if is_padded(&found, &padded, file.len())? { padded } else { found }),
                    // A file that ends with the shorter sub-header.
                    Err(ReadError::Outside { .. }) => Ok(found),
                    Err(error) => Err(error),
                };
            }
        }
    }
    let value = Endian::Little.get(bytes.get(428..432).unwrap_or_default());
    Err(ReadError::Field { what: "block_size", value, why: "the header makes sense in no known layout" })
}

/// 32-bit ARM, MIPS and ppc align 64-bit members to eight bytes, i386 to four. The machine's name tells; QEMU, which packs
/// all of them, leaves it out; so what the members say counts more.
fn is_padded(packed: &Headers, padded: &Headers, file_len: u64) -> Result<bool, ReadError> {
    let machine = packed.text("machine")?;
    let named = machine.starts_with("arm") || machine.starts_with("mips") || machine == "ppc";
    Ok(match (fits(packed, file_len)?, fits(padded, file_len)?) {
        (true, false) => false,
        (false, true) => true,
        _ => named,
    })
}

/// Whether what the sub-header points at lies behind it and in the file.
fn fits(headers: &Headers, file_len: u64) -> Result<bool, ReadError> {
    let first = headers.page_size.saturating_add(headers.sub.size() as u64);
    let inside = |offset: u64, size: u64| {
        (offset, size) == (0, 0) || (offset >= first && offset.checked_add(size).is_some_and(|end| end <= file_len))
    };
    Ok(inside(headers.sub("offset_vmcoreinfo")?, headers.sub("size_vmcoreinfo")?)
        && inside(headers.sub("offset_note")?, headers.sub("size_note")?)
        && headers.sub("max_mapnr_64")? >> 52 == 0)
}

fn plausible(main: &CStruct, bytes: &[u8], empty: bool) -> bool {
    let get = |name| main.get(bytes, name).unwrap_or(u64::MAX);
    let size = get("block_size");
    let bitmap = get("bitmap_blocks").saturating_mul(size).saturating_mul(4);
    get("header_version") <= 6
        && size.is_power_of_two()
        && (4096..=MAX_PAGE_SIZE as u64).contains(&size)
        && (empty || get("bitmap_blocks") > 0)
        && (get("max_mapnr") == u64::from(u32::MAX) || bitmap >= get("max_mapnr"))
}

fn with_abi(file: &dyn DumpFile, abi: CAbi, main: CStruct, bytes: &[u8]) -> Result<Headers, ReadError> {
    let page_size = main.get(bytes, "block_size")?;
    let sub = abi.place(SUB_HEADER);
    let sub_bytes = read_part(file, "sub-header", page_size, sub.size() as u64)?;
    Ok(Headers { abi, main, main_bytes: bytes.to_vec(), sub, sub_bytes, page_size })
}

/// Opens a kdump-compressed file.
///
/// # Errors
/// [`ReadError`].
pub fn open(file: Arc<dyn DumpFile>) -> Result<Dump, ReadError> {
    open_set(vec![file])
}

/// Opens the files of a split set. Their main headers are equal, and each says which frames it has.
///
/// # Errors
/// [`ReadError`].
pub fn open_set(files: Vec<Arc<dyn DumpFile>>) -> Result<Dump, ReadError> {
    let mut parts: Vec<(Headers, Arc<dyn DumpFile>)> = Vec::with_capacity(files.len());
    for (number, file) in (1..).zip(files) {
        let start = read_there(file.as_ref(), 0, 8)?;
        if start.as_slice() != super::layout::SIGNATURE {
            return Err(ReadError::Set { number, why: "it is no kdump file" });
        }
        let headers = headers(file.as_ref())?;
        if parts.first().is_some_and(|first| first.0.main_bytes != headers.main_bytes) {
            return Err(ReadError::Set { number, why: "its main header is another one" });
        }
        parts.push((headers, file));
    }
    let mut warnings = Vec::new();
    if parts.len() > 1 {
        check_windows(&parts, &mut warnings)?;
    }
    let Some((headers, file)) = parts.first() else {
        return Err(ReadError::Set { number: 1, why: "it is not there" });
    };
    let pages = parts.iter().map(|(headers, file)| Pages::new(Arc::clone(file), headers, &mut warnings));
    let set = Set::new(pages.collect::<Result<_, _>>()?);
    describe(headers, file.as_ref(), set, warnings)
}

fn check_windows(parts: &[(Headers, Arc<dyn DumpFile>)], warnings: &mut Vec<String>) -> Result<(), ReadError> {
    let mut windows = Vec::with_capacity(parts.len());
    for (number, (headers, _)) in (1..).zip(parts) {
        if headers.part()?.is_none() {
            return Err(ReadError::Set { number, why: "it is not split" });
        }
        windows.push(headers.window()?);
    }
    let taken = |twice: String| format!("{twice}: the first file's are taken");
    warnings.extend(parts::overlaps(&windows).into_iter().map(taken));
    Ok(())
}

/// What a set of files says, once its pages are known.
fn describe(headers: &Headers, file: &dyn DumpFile, set: Set, mut warnings: Vec<String>) -> Result<Dump, ReadError> {
    if headers.main("status")? & STATUS_INCOMPLETE != 0 {
        warnings.push("the header's status says that the dump is not finished".to_owned());
    }
    let mut notes = notes(file, headers, &mut warnings)?;
    let survey = set.survey()?;
    let stored = set.stored(&mut warnings)?;
    let filtered = set.filtered() && survey.missing > 0;
    if survey.missing > 0 && !filtered {
        warnings.push(format!("{} pages of memory are not in the file", survey.missing));
    }
    if survey.elsewhere > 0 {
        warnings.push(format!("{} pages of memory are in other files of the split set", survey.elsewhere));
    }
    let endian = headers.abi.endian;
    let vmcoreinfo = take_vmcoreinfo(&mut notes).or(vmcoreinfo_of(file, headers)?);
    let named = crate::arch::by_name(&headers.text("machine")?).map(|found| found.0);
    Ok(Dump {
        container: Container::Kdump,
        flattened: false,
        endian,
        class: if headers.abi.word == 8 { Class::Elf64 } else { Class::Elf32 },
        arch: named.or_else(|| arch_of_notes(&notes, endian)),
        fields: fields(headers, &survey, filtered)?,
        ranges: survey.runs,
        memory: Arc::new(set),
        notes,
        vmcoreinfo,
        page_size: u32::try_from(headers.page_size).ok(),
        stored,
        warnings,
        dump_level: headers.dump_level()?,
        filtered,
    })
}

/// Bytes that the sub-header points at, as far as they are in the file.
pub(super) fn pointed_at(
    file: &dyn DumpFile,
    headers: &Headers,
    names: [&'static str; 2],
    limit: u64,
) -> Result<(Vec<u8>, bool), ReadError> {
    let [offset, size] = names;
    let (offset, size) = (headers.sub(offset)?, headers.sub(size)?);
    if offset == 0 || size == 0 {
        return Ok((Vec::new(), true));
    }
    if size.min(file.len()) > limit {
        return Err(ReadError::TooMany { what: names[1], limit: usize::try_from(limit).unwrap_or(usize::MAX) });
    }
    let bytes = read_there(file, offset, size)?;
    let whole = bytes.len() as u64 == size;
    Ok((bytes, whole))
}

fn notes(file: &dyn DumpFile, headers: &Headers, warnings: &mut Vec<String>) -> Result<Vec<Note>, ReadError> {
    let (bytes, there) = pointed_at(file, headers, ["offset_note", "size_note"], MAX_NOTE_BYTES)?;
    let (list, whole) = split_notes(&bytes, headers.abi.endian);
    if !there {
        warnings.push("a part of the notes lies behind the end of the file".to_owned());
    } else if !whole {
        warnings.push("the note area ends inside a note".to_owned());
    }
    Ok(list)
}

/// Files of version 3 have VMCOREINFO without notes.
fn vmcoreinfo_of(file: &dyn DumpFile, headers: &Headers) -> Result<Option<Vmcoreinfo>, ReadError> {
    let names = ["offset_vmcoreinfo", "size_vmcoreinfo"];
    let (text, _) = pointed_at(file, headers, names, vmcoreinfo::MAX_LEN as u64)?;
    // Where it points nowhere, there is no text.
    let is_text = text.windows(10).any(|part| part == b"OSRELEASE=");
    Ok(Some(Vmcoreinfo::new(text, Origin::HandedOver)).filter(|_| is_text))
}

fn fields(headers: &Headers, survey: &Survey, filtered: bool) -> Result<Vec<(&'static str, String)>, ReadError> {
    let mut out = Vec::new();
    for name in UTS_FIELDS {
        out.push((name, headers.text(name)?));
    }
    for name in ["header_version", "status", "block_size", "sub_hdr_size", "bitmap_blocks", "max_mapnr", "nr_cpus"] {
        out.push((name, headers.main(name)?.to_string()));
    }
    let base = headers.sub("phys_base")?;
    let base = if headers.abi.word == 8 { base.cast_signed() } else { i64::from(base as u32 as i32) };
    out.push(("phys_base", base.to_string()));
    for name in ["dump_level", "split", "max_mapnr_64"] {
        out.push((name, headers.sub(name)?.to_string()));
    }
    let window = headers.window()?;
    if window != (0..u64::MAX) {
        out.push(("first file's frames", format!("{:#x}..{:#x}", window.start, window.end)));
    }
    out.push(("pages left out", if filtered { survey.missing } else { 0 }.to_string()));
    Ok(out)
}
