//! One connection to a gdbstub, to read registers. It has one deadline for all: a guest may stand still for it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::packet::{self, PacketError, Packets, Thread};
use super::target::{self, MAX_FILE_BYTES, Register, TargetError};

/// Bytes of a description that are asked for at once; a stub gives what fits into its packets.
const CHUNK_BYTES: usize = 0x1000;
/// Most threads. QEMU's machines have 4096 vCPUs at most.
pub const MAX_THREADS: usize = 1 << 14;

/// Why a stub does not tell its registers.
#[derive(Debug, Error)]
pub enum GdbError {
    /// The connection ended.
    #[error("the gdbstub closed the connection during {during}")]
    Closed {
        /// The packet that waited.
        during: String,
    },
    /// The connection failed.
    #[error("connection to the gdbstub during {during}: {cause}")]
    Broken {
        /// The packet that waited.
        during: String,
        /// What the host said.
        cause: io::Error,
    },
    /// The stub did not answer in time.
    #[error("no answer of the gdbstub to {during} within {seconds} s of the session")]
    Timeout {
        /// The packet that waited.
        during: String,
        /// How long the session was to be at most.
        seconds: u64,
    },
    /// Something that is no packet.
    #[error("answer of the gdbstub to {during}: {cause}")]
    Packet {
        /// The packet that was sent.
        during: String,
        /// What is wrong with the answer.
        cause: PacketError,
    },
    /// An answer that does not fit.
    #[error("the gdbstub answers {during} with \"{reply}\"")]
    Reply {
        /// The packet that was sent.
        during: String,
        /// The answer's beginning, escaped.
        reply: String,
    },
    /// The description of its registers is not understood.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A list of threads without end.
    #[error("the gdbstub has more than {MAX_THREADS} threads")]
    TooManyThreads,
}

/// A connection to a stub.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    packets: Packets,
    limit: Duration,
    deadline: Instant,
}

impl Client {
    /// Greets a stub. The whole session must be over within `limit`.
    ///
    /// # Errors
    /// [`GdbError`] if no stub answers.
    pub fn start(stream: UnixStream, limit: Duration) -> Result<Self, GdbError> {
        let broken = |cause| GdbError::Broken { during: "the start".to_owned(), cause };
        stream.set_write_timeout(Some(limit)).map_err(broken)?;
        let mut client = Self { stream, packets: Packets::default(), limit, deadline: Instant::now() + limit };
        let packet = "qSupported:multiprocess+";
        let reply = client.ask(packet)?;
        let has = |feature: &[u8]| reply.split(|byte| *byte == b';').any(|it| it == feature);
        if has(b"qXfer:features:read+") { Ok(client) } else { Err(unfit(packet, &reply)) }
    }

    /// All registers that it has a name for.
    ///
    /// # Errors
    /// [`GdbError`].
    pub fn description(&mut self) -> Result<Vec<Register>, GdbError> {
        target::load(|file| self.file(file))
    }

    fn file(&mut self, name: &str) -> Result<Vec<u8>, GdbError> {
        let mut out = Vec::new();
        // A part that is not empty follows every part but the last, so that this ends.
        while out.len() <= MAX_FILE_BYTES {
            let packet = format!("qXfer:features:read:{name}:{:x},{CHUNK_BYTES:x}", out.len());
            let reply = self.ask(&packet)?;
            match reply.split_first() {
                Some((b'm', part)) if !part.is_empty() => out.extend_from_slice(part),
                Some((b'l', part)) => {
                    out.extend_from_slice(part);
                    break;
                }
                _ => return Err(unfit(&packet, &reply)),
            }
        }
        Ok(out)
    }

    /// All its threads.
    ///
    /// # Errors
    /// [`GdbError`].
    pub fn threads(&mut self) -> Result<Vec<Thread>, GdbError> {
        let (mut out, mut packet) = (Vec::new(), "qfThreadInfo");
        loop {
            let reply = self.ask(packet)?;
            let some = packet::parse_threads(&reply).ok_or_else(|| unfit(packet, &reply))?;
            if some.is_empty() {
                return Ok(out);
            }
            out.extend(some);
            if out.len() > MAX_THREADS {
                return Err(GdbError::TooManyThreads);
            }
            packet = "qsThreadInfo";
        }
    }

    /// From now on, registers are those of this thread.
    ///
    /// # Errors
    /// [`GdbError`].
    pub fn select(&mut self, thread: &Thread) -> Result<(), GdbError> {
        let packet = format!("Hg{}", thread.name);
        match self.ask(&packet)?.as_slice() {
            b"OK" => Ok(()),
            other => Err(unfit(&packet, other)),
        }
    }

    /// The general registers, one behind the other in the order of numbers. With KVM, QEMU 10.0 fetches all registers from
    /// the kernel for this and not for [`Client::register`]: ask for these first.
    ///
    /// # Errors
    /// [`GdbError`].
    pub fn general(&mut self) -> Result<Vec<u8>, GdbError> {
        let reply = self.ask("g")?;
        packet::parse_hex(&reply).filter(|bytes| !bytes.is_empty()).ok_or_else(|| unfit("g", &reply))
    }

    /// The bytes of a register in the stub's order, `None` where it has no value.
    ///
    /// # Errors
    /// [`GdbError`].
    pub fn register(&mut self, number: u32) -> Result<Option<Vec<u8>>, GdbError> {
        let packet = format!("p{number:x}");
        let reply = self.ask(&packet)?;
        match reply.as_slice() {
            [] | [b'E', _, _] | [b'x', ..] => Ok(None),
            digits => packet::parse_hex(digits).map(Some).ok_or_else(|| unfit(&packet, &reply)),
        }
    }

    /// Sends a packet and waits for the next one.
    fn ask(&mut self, packet: &str) -> Result<Vec<u8>, GdbError> {
        let during = || packet.to_owned();
        let broken = |cause| GdbError::Broken { during: during(), cause };
        self.stream.write_all(&packet::frame(packet)).map_err(broken)?;
        loop {
            let popped = self.packets.pop().map_err(|cause| GdbError::Packet { during: during(), cause })?;
            if let Some(reply) = popped {
                self.stream.write_all(b"+").map_err(broken)?;
                return Ok(reply);
            }
            self.fill(packet)?;
        }
    }

    fn fill(&mut self, packet: &str) -> Result<(), GdbError> {
        let during = || packet.to_owned();
        let late = || GdbError::Timeout { during: during(), seconds: self.limit.as_secs() };
        let broken = |cause| GdbError::Broken { during: during(), cause };
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A zero timeout would mean "for ever" to the socket.
        if left < Duration::from_millis(1) {
            return Err(late());
        }
        self.stream.set_read_timeout(Some(left)).map_err(broken)?;
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(GdbError::Closed { during: during() }),
            Ok(received) => self.packets.push(buffer.get(..received).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(late()),
            Err(error) => return Err(broken(error)),
        }
        Ok(())
    }
}

fn unfit(packet: &str, reply: &[u8]) -> GdbError {
    const SHOWN: usize = 60;
    let shown = reply.get(..SHOWN).unwrap_or(reply).escape_ascii().to_string();
    GdbError::Reply { during: packet.to_owned(), reply: shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stub that answers from a list, in its order, whatever it is asked; what it was asked comes out.
    fn scripted(replies: &'static [&'static str]) -> (UnixStream, std::thread::JoinHandle<String>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stub = std::thread::spawn(move || {
            let (mut asked, mut buffer, mut theirs) = (Vec::new(), [0; 4096], theirs);
            let mut replies = replies.iter();
            while let Ok(received @ 1..) = theirs.read(&mut buffer) {
                asked.extend_from_slice(&buffer[..received]);
                let ended = asked.len() > 3 && asked[asked.len() - 3] == b'#';
                if ended && let Some(reply) = replies.next() {
                    let _ = theirs.write_all(b"+");
                    let _ = theirs.write_all(&packet::frame(reply));
                }
            }
            String::from_utf8(asked).unwrap()
        });
        (ours, stub)
    }

    const HELLO: &str = "PacketSize=1000;qXfer:features:read+;vContSupported+;multiprocess+";

    fn started(replies: &'static [&'static str]) -> (Client, std::thread::JoinHandle<String>) {
        let (ours, stub) = scripted(replies);
        (Client::start(ours, Duration::from_millis(500)).unwrap(), stub)
    }

    #[test]
    fn a_session_reads_registers_and_lets_nothing_run() {
        let (mut client, stub) = started(&[
            HELLO,
            "m<reg name=\"a\" bit",
            "lsize=\"16\"/>",
            "mp01.01",
            "mp01.02",
            "l",
            "OK",
            "3412",
            "3412",
            "E14",
            "",
        ]);
        let registers = client.description().unwrap();
        assert_eq!(registers, [Register { number: 0, name: "a".to_owned(), bits: 16 }]);
        let threads = client.threads().unwrap();
        assert_eq!(threads.iter().map(|thread| thread.number).collect::<Vec<_>>(), [1, 2]);
        client.select(&threads[1]).unwrap();
        assert_eq!(client.general().unwrap(), [0x34, 0x12]);
        assert_eq!(client.register(300).unwrap(), Some(vec![0x34, 0x12]));
        assert_eq!((client.register(1).unwrap(), client.register(2).unwrap()), (None, None));
        drop(client);
        let asked = stub.join().unwrap();
        let packets: Vec<&str> = asked.split(['$', '#']).skip(1).step_by(2).collect();
        let (first, second) = ("qXfer:features:read:target.xml:0,1000", "qXfer:features:read:target.xml:11,1000");
        let queries = ["qfThreadInfo", "qsThreadInfo", "qsThreadInfo", "Hgp01.02", "g", "p12c", "p1", "p2"];
        assert_eq!(packets, [["qSupported:multiprocess+", first, second].as_slice(), &queries].concat());
    }

    fn said<T: core::fmt::Debug>(result: Result<T, GdbError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn nonsense_is_shown_and_not_believed() {
        let (ours, _stub) = scripted(&["PacketSize=1000"]);
        let greeting = "the gdbstub answers qSupported:multiprocess+ with \"PacketSize=1000\"";
        assert_eq!(said(Client::start(ours, Duration::from_millis(500))), greeting);
        let (mut client, _stub) = started(&[HELLO, "m", "OK", "E22", "12g4", ""]);
        let unfit = |packet: &str, reply: &str| format!("the gdbstub answers {packet} with \"{reply}\"");
        assert_eq!(said(client.description()), unfit("qXfer:features:read:target.xml:0,1000", "m"));
        assert_eq!(said(client.threads()), unfit("qfThreadInfo", "OK"));
        assert_eq!(said(client.select(&Thread { name: "1".to_owned(), number: 1 })), unfit("Hg1", "E22"));
        assert_eq!(said(client.register(1)), unfit("p1", "12g4"));
        assert_eq!(said(client.general()), unfit("g", ""));
    }

    #[test]
    fn every_wait_ends() {
        let (mut client, _stub) = started(&[HELLO]);
        let begin = Instant::now();
        client.limit = Duration::from_secs(7);
        assert_eq!(said(client.general()), "no answer of the gdbstub to g within 7 s of the session");
        assert!(begin.elapsed() < Duration::from_secs(5));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let closed = said(Client::start(ours, Duration::from_millis(500)));
        assert!(closed.contains("qSupported:multiprocess+"), "{closed}");
    }
}
