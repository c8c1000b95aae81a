//! What a QEMU says, or something that claims to be one: lines, replies, the head of its dump.

use std::collections::BTreeSet;
use std::sync::Arc;

use guestdump::source::qmp::head::{self, Head, MAX_HEAD_BYTES, Parsed};
use guestdump::source::qmp::replies::{self, Status};
use guestdump::source::qmp::wire::{self, Lines, Message};
use guestdump_core::format::elf;

use super::memory_use::bounded;

/// Lines do not depend on how they arrive; each is a message or is quoted in an error.
pub fn qmp_wire(data: &[u8]) {
    let (chunk, data) = data.split_first().map_or((1, data), |(first, rest)| (usize::from(*first) + 1, rest));
    let (mut lines, mut at_once) = (Lines::default(), Lines::default());
    let mut found = Vec::new();
    for part in data.chunks(chunk) {
        lines.push(part);
        found.extend(std::iter::from_fn(|| lines.pop()));
    }
    at_once.push(data);
    let all: Vec<_> = std::iter::from_fn(|| at_once.pop()).collect();
    assert_eq!(found, all);
    assert_eq!(lines.unfinished(), at_once.unfinished());
    for line in &all {
        assert!(!line.is_empty() && !line.contains(&b'\n'));
        match bounded(line.len(), 200, 1 << 16, || wire::parse(line)) {
            Ok(Message::Event { name }) => assert!(name.len() <= line.len()),
            Ok(Message::Greeting { .. } | Message::Return { .. } | Message::Error { .. }) => {}
            Err(error) => assert!(error.to_string().len() < 300, "{error}"),
        }
    }
}

/// Replies as text and as JSON.
pub fn qmp_replies(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        if let Some(found) = replies::parse_gpa2hva(text) {
            let again = format!("Host virtual address for 0x0 ({}) is {:#x}\r\n", found.region, found.hva);
            assert_eq!(replies::parse_gpa2hva(&again), Some(found));
        }
        assert!(replies::parse_shown(text).len() <= 2 * text.lines().count());
        for machine in [None, Some(text)] {
            let size = replies::dump_page_size(text, machine);
            assert!(size.is_none_or(u32::is_power_of_two));
        }
    }
    let line = [b"{\"return\": ", data, b"}"].concat();
    let Ok(Message::Return { value, .. }) = wire::parse(&line) else { return };
    assert!(replies::memory_backends(&value).len() <= data.len());
    let bars = bounded(data.len(), 64, 1 << 16, || replies::pci_bars(&value));
    assert!(bars.iter().all(|bar| !bar.is_empty()));
    if let Some(status) = Status::parse(&value) {
        assert!(status.is_live() || !status.running);
        assert!(replies::refusal(&status, &value, &value).is_none_or(|refusal| !refusal.to_string().is_empty()));
    }
}

/// The head of a dump, as it comes through a pipe: step by step, and as the reader of whole files sees it.
pub fn qmp_head(data: &[u8]) {
    let mut have = 0;
    let head = loop {
        // Notes may overlap: what is kept of them has a limit of its own.
        let parsed = bounded(data.len(), 16, 2 * MAX_HEAD_BYTES as usize, || head::parse(&data[..have]));
        match parsed {
            Ok(Parsed::More(wanted)) => {
                assert!(wanted > have && wanted as u64 <= MAX_HEAD_BYTES, "{have} -> {wanted}");
                if wanted > data.len() {
                    return;
                }
                have = wanted;
            }
            Ok(Parsed::Whole(head)) => break head,
            Err(error) => return assert!(error.to_string().len() < 400, "{error}"),
        }
    };
    let whole = head::parse(data).expect("it was read from fewer bytes");
    assert_eq!(whole, Parsed::Whole(head.clone()), "more bytes, another head");
    check_head(&head, data);
}

fn check_head(head: &Head, data: &[u8]) {
    assert!(head.loads.iter().all(|load| load.len_bytes > 0));
    let file = Arc::new(data.to_vec());
    let Ok(headers) = elf::read::headers(file.as_ref()) else { return };
    // An e_phoff of 0 is "no program headers" to one of them, whatever e_phnum says.
    if headers.phoff == 0 {
        return;
    }
    assert_eq!((head.endian, head.machine), (headers.endian, headers.machine));
    let loads: Vec<_> = headers.segments.iter().filter(|segment| segment.kind == 1 && segment.mem_len > 0).collect();
    let theirs = loads.iter().map(|segment| (segment.phys, segment.mem_len, segment.file_len));
    let ours = head.loads.iter().map(|load| (load.start.0, load.len_bytes, load.file_bytes));
    assert!(ours.eq(theirs), "two readers, two memory maps");
    // Memory moves with the end of the notes before it, and with nothing else.
    let moves = head.loads.iter().zip(&loads).map(|(load, segment)| load.file_offset.wrapping_sub(segment.offset));
    let note_areas = headers.segments.iter().filter(|segment| segment.kind == 4).count();
    let saturated = head.loads.iter().any(|load| load.file_offset == u64::MAX);
    assert!(saturated || moves.collect::<BTreeSet<_>>().len() < 2 << note_areas.min(20), "memory moves by itself");
}
