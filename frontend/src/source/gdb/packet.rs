//! Packets: framing, checksums, escapes, run lengths, and what small replies say. Pure functions; no I/O, no panics.
//!
//! Source: Debugging with GDB, E.1 "Overview" and E.4 "General Query Packets".

use thiserror::Error;

/// Longest packet that is taken, as sent and as expanded, in bytes. QEMU 7.2 to 10.0 send at most 4096.
pub const MAX_PACKET_BYTES: usize = 64 << 10;

/// Why bytes are no packet.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PacketError {
    /// A packet without end, or one that expands beyond reason.
    #[error("packet of more than {MAX_PACKET_BYTES} bytes")]
    TooLong,
    /// The checksum is another one.
    #[error("packet with checksum \"{said}\" instead of {counted:02x}")]
    Checksum {
        /// The two digits behind the packet, escaped.
        said: String,
        /// The sum of its bytes.
        counted: u8,
    },
    /// An escape or a run length with nothing, or nonsense, behind or before it.
    #[error("packet with a broken escape or run length at byte {at}")]
    Escape {
        /// Offset in the packet as sent.
        at: usize,
    },
}

/// A packet around a payload of printable characters other than `$`, `#`, `}` and `*`.
#[must_use]
pub fn frame(payload: &str) -> Vec<u8> {
    format!("${payload}#{:02x}", sum(payload.as_bytes())).into_bytes()
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Bytes on their way to becoming packets.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
}

impl Packets {
    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the payload of the next whole packet, expanded. Acknowledgements between packets are skipped.
    ///
    /// # Errors
    /// [`PacketError`]; that packet is gone then, or will never end.
    pub fn pop(&mut self) -> Result<Option<Vec<u8>>, PacketError> {
        let start = self.bytes.iter().position(|byte| *byte == b'$').unwrap_or(self.bytes.len());
        self.bytes.drain(..start);
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'#').filter(|end| end + 2 < self.bytes.len())
        else {
            return if self.bytes.len() > MAX_PACKET_BYTES { Err(PacketError::TooLong) } else { Ok(None) };
        };
        let packet: Vec<u8> = self.bytes.drain(..end + 3).collect();
        let (payload, said) = (packet.get(1..end).unwrap_or_default(), packet.get(end + 1..).unwrap_or_default());
        let counted = sum(payload);
        if said.to_ascii_lowercase() != format!("{counted:02x}").as_bytes() {
            return Err(PacketError::Checksum { said: said.escape_ascii().to_string(), counted });
        }
        expand(payload).map(Some)
    }
}

/// Undoes escapes (`}` and a byte with bit 5 flipped) and run lengths (`*` and a count plus 29).
fn expand(sent: &[u8]) -> Result<Vec<u8>, PacketError> {
    let mut out: Vec<u8> = Vec::with_capacity(sent.len());
    let mut bytes = sent.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let broken = PacketError::Escape { at };
        match byte {
            b'}' => out.push(bytes.next().ok_or(broken)?.1 ^ 0x20),
            b'*' => {
                let count = bytes.next().and_then(|(_, count)| count.checked_sub(29)).ok_or(broken.clone())?;
                let last = *out.last().ok_or(broken)?;
                out.extend(std::iter::repeat_n(last, count.into()));
            }
            byte => out.push(byte),
        }
        if out.len() > MAX_PACKET_BYTES {
            return Err(PacketError::TooLong);
        }
    }
    Ok(out)
}

/// The bytes that hexadecimal digits say; those of a register that is not available (`xx`) are zero.
#[must_use]
pub fn parse_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| if byte == b'x' { Some(0) } else { char::from(byte).to_digit(16) };
    let pair = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    text.chunks(2).map(pair).collect()
}

/// A vCPU, as the protocol names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// How to name it to the stub: digits, and a process before them if it has one.
    pub name: String,
    /// Its number within its process. QEMU's is the vCPU's index plus one.
    pub number: u64,
}

/// What one reply to `qfThreadInfo` or `qsThreadInfo` says: some threads, or that there are no more.
///
/// `None` for everything else.
#[must_use]
pub fn parse_threads(reply: &[u8]) -> Option<Vec<Thread>> {
    match reply.split_first()? {
        (b'l', []) => Some(Vec::new()),
        (b'm', list) => core::str::from_utf8(list).ok()?.split(',').map(thread).collect(),
        _ => None,
    }
}

/// `10`, or `p1.10` with process 1.
fn thread(name: &str) -> Option<Thread> {
    let number = match name.strip_prefix('p') {
        Some(both) => {
            let (process, number) = both.split_once('.')?;
            u64::from_str_radix(process, 16).ok()?;
            number
        }
        None => name,
    };
    Some(Thread { name: name.to_owned(), number: u64::from_str_radix(number, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(bytes: &[u8]) -> Result<Option<Vec<u8>>, PacketError> {
        let mut packets = Packets::default();
        packets.push(bytes);
        packets.pop()
    }

    #[test]
    fn packets_come_out_whole_however_they_arrive() {
        assert_eq!(frame("qfThreadInfo"), b"$qfThreadInfo#bb");
        let mut packets = Packets::default();
        let mut out = Vec::new();
        for byte in b"+$mp01.01#cd+-$l#6c+$#00$O" {
            packets.push(&[*byte]);
            out.extend(packets.pop().unwrap());
        }
        assert_eq!(out, [&b"mp01.01"[..], b"l", b""]);
    }

    #[test]
    fn escapes_and_run_lengths_are_undone() {
        assert_eq!(popped(b"$}\x03}\x04a#62"), Ok(Some(b"#$a".to_vec())));
        // The manual's example: "0* " is "0000".
        assert_eq!(popped(b"$0* #7a"), Ok(Some(b"0000".to_vec())));
        assert_eq!(popped(b"$a}#de"), Err(PacketError::Escape { at: 1 }));
        assert_eq!(popped(b"$* #4a"), Err(PacketError::Escape { at: 0 }));
        assert_eq!(popped(b"$a*\x1c#a7"), Err(PacketError::Escape { at: 1 }));
    }

    #[test]
    fn damage_is_noticed() {
        let checksum = PacketError::Checksum { said: "6d".to_owned(), counted: 0x6c };
        assert_eq!(popped(b"$l#6d"), Err(checksum));
        assert_eq!(popped(&[b"$".as_slice(), &[b'a'; MAX_PACKET_BYTES]].concat()), Err(PacketError::TooLong));
        // 97 more of the same for every two bytes.
        let bomb = [b"0".as_slice(), &b"*~".repeat(1000)].concat();
        let sent = [b"$", bomb.as_slice(), format!("#{:02x}", sum(&bomb)).as_bytes()].concat();
        assert_eq!(popped(&sent), Err(PacketError::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn what_is_framed_comes_out_behind_anything(noise in "[^$#]{0,40}", payload in "[a-zA-Z0-9:;,._-]{0,200}") {
            let mut packets = Packets::default();
            packets.push(noise.as_bytes());
            packets.push(&frame(&payload));
            proptest::prop_assert_eq!(packets.pop(), Ok(Some(payload.into_bytes())));
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            let mut packets = Packets::default();
            packets.push(&bytes);
            // Every packet has three bytes besides its payload.
            for _ in 0..=bytes.len() / 4 {
                if packets.pop() == Ok(None) {
                    break;
                }
            }
            proptest::prop_assert_eq!(packets.pop(), Ok(None));
        }
    }

    #[test]
    fn replies_mean_what_qemu_says() {
        let threads = parse_threads(b"mp01.01,p01.0a").unwrap();
        assert_eq!(threads[1], Thread { name: "p01.0a".to_owned(), number: 10 });
        assert_eq!((threads.len(), parse_threads(b"l")), (2, Some(Vec::new())));
        for wrong in [&b""[..], b"E01", b"m", b"mp1", b"mp1.g", b"m1,", b"m\xff", b"l1", b"OK"] {
            assert_eq!(parse_threads(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse_hex(b"00fFxx"), Some(vec![0, 255, 0]));
        assert_eq!((parse_hex(b"0"), parse_hex(b"E 1"), parse_hex(b"")), (None, None, Some(Vec::new())));
    }
}
