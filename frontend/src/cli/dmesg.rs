//! `guestdump dmesg`: the kernel's log, as text like that of dmesg(1) or as JSON.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use guestdump_core::guest::Guest;
use guestdump_core::kernel::dmesg::{self, Kind, Log, Record};
use guestdump_core::kernel::find_vmcoreinfo;
use serde_json::{Map, Value, json};

use super::args::DmesgArgs;
use super::{CliError, Exit, request};
use crate::source::{self, Opened, Purpose};

/// Runs the command.
pub fn run(args: &DmesgArgs) -> Result<Exit, CliError> {
    let request = request::source_named(&args.source, args.arch.as_deref(), Purpose::Look)?;
    let Opened { mut guest, session } = source::open(&request)?;
    // A dump may lack the note and still have the text in its memory.
    find_vmcoreinfo(&mut guest);
    let exit = show(args, &guest)?;
    session.finish()?;
    Ok(exit)
}

fn show(args: &DmesgArgs, guest: &Guest) -> Result<Exit, CliError> {
    let named = |source| CliError::Dmesg { name: args.source.clone(), source };
    let mut log = dmesg::open(guest).map_err(named)?;
    let out = &mut BufWriter::new(io::stdout().lock());
    let written = if args.json { write_json(out, guest, &mut log) } else { write_text(out, &mut log) };
    written.and_then(|()| out.flush()).map_err(|source| CliError::Io { what: "standard output", source })?;
    let damage = log.damage();
    if damage.records == 0 {
        return Ok(Exit::Done);
    }
    eprintln!("warning: {damage}");
    Ok(Exit::Incomplete)
}

fn write_text(out: &mut dyn Write, log: &mut Log<'_>) -> io::Result<()> {
    for record in log {
        let (seconds, micros) = (record.ts_nsec / 1_000_000_000, record.ts_nsec / 1000 % 1_000_000);
        let mut head = format!("[{seconds:5}.{micros:06}] ");
        for line in record.text.split(|byte| *byte == b'\n') {
            writeln!(out, "{head}{}", printable(line))?;
            // Further lines of a record are indented, as dmesg(1) and makedumpfile do.
            head = " ".repeat(head.len());
        }
    }
    Ok(())
}

/// A guest's bytes must not drive the terminal that they are shown on: what is no printable UTF-8 becomes `\xNN`, as
/// /dev/kmsg has it.
pub(super) fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let hex = |out: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && character != '\t' {
                hex(&mut out, character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                out.push(character);
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
}

fn write_json(out: &mut dyn Write, guest: &Guest, log: &mut Log<'_>) -> io::Result<()> {
    let info = guest.vmcoreinfo.as_ref();
    let head = json!({
        "schema": 1,
        "kind": match log.kind() { Kind::Ring => "printk_ringbuffer", Kind::LogBuf => "log_buf" },
        "release": info.and_then(|info| info.release()),
        "vmcoreinfo": info.map(|info| info.origin().to_string()),
        "text_bytes": log.text_bytes(),
    });
    writeln!(out, "{head}")?;
    log.try_for_each(|record| writeln!(out, "{}", record_json(&record)))
}

fn record_json(record: &Record) -> Value {
    let dict: Map<String, Value> = record.dict.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    json!({
        "seq": record.seq,
        "ts_nsec": record.ts_nsec,
        "level": record.level,
        "facility": record.facility,
        "caller_id": record.caller,
        "text": String::from_utf8_lossy(&record.text),
        "dict": dict,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_driven_by_guests() {
        assert_eq!(printable(b"a\tb\x1b[2J\x07\xff\xc2\x9b"), "a\tb\\x1b[2J\\x07\\xff\\xc2\\x9b");
        assert_eq!(printable("Grüße".as_bytes()), "Grüße");
    }
}
