//! Lines of `/proc/PID/maps` (proc_pid_maps(5)). Pure; no panics.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// One mapping of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Whether the process may read it.
    pub readable: bool,
    /// Whether writes go to the file (`s`), or stay private (`p`).
    pub shared: bool,
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Major and minor number of the file's device.
    pub device: (u32, u32),
    /// The file; 0 for anonymous memory.
    pub inode: u64,
    /// Its path as the process saw it; `None` if it has none, or the file has been deleted.
    pub path: Option<PathBuf>,
}

/// Reads a line: `7f..-7f.. rw-s 00000000 00:01 33    /memfd:ram (deleted)`.
#[must_use]
pub fn parse_maps_line(line: &[u8]) -> Option<Mapping> {
    // The path is what is left, spaces and all; five fields stand before it.
    let mut rest = line;
    let mut field = || {
        let text = rest.trim_ascii_start();
        let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let (word, after) = text.split_at_checked(end)?;
        rest = after;
        core::str::from_utf8(word).ok().filter(|word| !word.is_empty())
    };
    let (addresses, permissions, offset, device, inode) = (field()?, field()?, field()?, field()?, field()?);
    let (start, end) = addresses.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    let hex32 = |digits| u32::from_str_radix(digits, 16).ok();
    let mapping = Mapping {
        start: hex(start)?,
        end: hex(end)?,
        readable: permissions.starts_with('r'),
        shared: permissions.ends_with('s'),
        offset: hex(offset)?,
        device: (hex32(major)?, hex32(minor)?),
        inode: inode.parse().ok()?,
        path: path(rest.trim_ascii_start()),
    };
    (mapping.start < mapping.end).then_some(mapping)
}

/// The kernel writes a line end in a path as `\012`, and nothing else in another way; such a path is given up.
fn path(text: &[u8]) -> Option<PathBuf> {
    let usable = text.starts_with(b"/") && !text.ends_with(b" (deleted)") && !text.contains(&b'\\');
    usable.then(|| PathBuf::from(OsString::from_vec(text.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_a_qemu_are_read() {
        let parse = |line: &str| parse_maps_line(line.as_bytes()).unwrap();
        let memfd =
            parse("7fe17bfff000-7fe17ffff000 rw-s 00000000 00:01 33                         /memfd:ram (deleted)");
        assert_eq!((memfd.start, memfd.end), (0x7fe1_7bff_f000, 0x7fe1_7fff_f000));
        assert_eq!((memfd.shared, memfd.device, memfd.inode, memfd.path), (true, (0, 1), 33, None));
        let file = parse("7f96f01fe000-7f96f41fe000 rw-p 00200000 fe:00 10027028                   /tmp/a b/ram");
        assert_eq!((file.shared, file.offset, file.device), (false, 0x20_0000, (0xfe, 0)));
        assert_eq!(file.path, Some(PathBuf::from("/tmp/a b/ram")));
        let heap = parse("5563206f6000-55632194b000 rw-p 00000000 00:00 0                          [heap]");
        assert_eq!((heap.inode, heap.path, heap.readable), (0, None, true));
        let anonymous = parse("7fb72fe00000-7fb733e00000 ---p 00000000 00:00 0 ");
        assert_eq!((anonymous.inode, anonymous.readable), (0, false));
    }

    #[test]
    fn other_lines_are_nothing() {
        let start = "7fe17bfff000-7fe17ffff000 rw-s 00000000 00:01";
        let backwards = "7fe17ffff000-7fe17bfff000 rw-s 00000000 00:01 33 /x";
        for line in ["", "   ", "7f-", start, backwards, "1-2 rw-p 0 0:0 x", "g-h rw-p 0 0:0 0", "1-2 rw-p 0 0 0"] {
            assert_eq!(parse_maps_line(line.as_bytes()), None, "{line}");
        }
        assert_eq!(parse_maps_line(b"\xff\xfe 1 2 3 4 5"), None);
        assert_eq!(parse_maps_line(b"1-2 rw-p 0 0:0 5 /a\\012b").unwrap().path, None);
    }
}
