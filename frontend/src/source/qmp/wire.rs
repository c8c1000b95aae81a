//! QMP on the wire: one JSON object per line. Cutting bytes into lines, and lines into messages; no I/O.
//!
//! Facts: QEMU `docs/interop/qmp-spec`; lines of QEMU 7.2 to 10.0 end in CR LF.

use serde_json::Value;
use thiserror::Error;

/// What a line says.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// The first line of a monitor.
    Greeting {
        /// QEMU's version: major, minor, micro.
        version: [u64; 3],
        /// The distributor's words.
        package: String,
    },
    /// Something happened.
    Event {
        /// Its name.
        name: String,
    },
    /// A command succeeded.
    Return {
        /// The command's id, if the line has one.
        id: Option<Value>,
        /// The result.
        value: Value,
    },
    /// A command failed.
    Error {
        /// The command's id; QEMU leaves it out where it did not understand the command.
        id: Option<Value>,
        /// QMP's error class.
        class: String,
        /// QEMU's words.
        desc: String,
    },
}

/// A line that is no message; holds its first bytes, escaped.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("not a QMP message: \"{0}\"")]
pub struct NoMessage(pub String);

/// The first bytes of something foreign, for an error message.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let shown = bytes.get(..SHOWN).unwrap_or(bytes).escape_ascii().to_string().replace("\\'", "'");
    if bytes.len() > SHOWN { format!("{shown}...") } else { shown }
}

/// What one line says.
///
/// # Errors
/// [`NoMessage`] if it is not JSON, or not a message of the protocol.
pub fn parse(line: &[u8]) -> Result<Message, NoMessage> {
    let foreign = || NoMessage(excerpt(line));
    let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(line) else { return Err(foreign()) };
    let id = object.remove("id");
    if let Some(value) = object.remove("return") {
        return Ok(Message::Return { id, value });
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    if let Some(error) = object.get("error") {
        let class = text(error.get("class")).ok_or_else(foreign)?;
        return Ok(Message::Error { id, class, desc: text(error.get("desc")).ok_or_else(foreign)? });
    }
    if let Some(event) = object.get("event") {
        return Ok(Message::Event { name: text(Some(event)).ok_or_else(foreign)? });
    }
    let version = object.get("QMP").and_then(|qmp| qmp.get("version")).ok_or_else(foreign)?;
    let number = |name| version.pointer(name).and_then(Value::as_u64).unwrap_or_default();
    let numbers = [number("/qemu/major"), number("/qemu/minor"), number("/qemu/micro")];
    Ok(Message::Greeting { version: numbers, package: text(version.get("package")).unwrap_or_default() })
}

/// Bytes on their way to becoming lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    // Bytes before this hold no line end; so a long line is searched once.
    searched: usize,
}

impl Lines {
    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole line that is not blank, without its end.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        loop {
            let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
            let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                return None;
            };
            let rest = self.bytes.split_off(self.searched + at + 1);
            let line = std::mem::replace(&mut self.bytes, rest);
            self.searched = 0;
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Some(line.to_vec());
            }
        }
    }

    /// What was received of a line that has not ended yet.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_qemu_are_told_apart() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "Debian 1:10.0.2+ds-2"}, "capabilities": ["oob"]}}"#;
        let package = "Debian 1:10.0.2+ds-2".to_owned();
        assert_eq!(parse(greeting).unwrap(), Message::Greeting { version: [10, 0, 2], package });
        let event = br#"{"timestamp": {"seconds": 1795386200, "microseconds": 912517}, "event": "STOP"}"#;
        assert_eq!(parse(event).unwrap(), Message::Event { name: "STOP".to_owned() });
        let reply = parse(br#"{"return": {}, "id": 7}"#).unwrap();
        assert_eq!(reply, Message::Return { id: Some(7.into()), value: serde_json::json!({}) });
        let error = br#"{"id": 3, "error": {"class": "GenericError", "desc": "no"}}"#;
        let (class, desc) = ("GenericError".to_owned(), "no".to_owned());
        assert_eq!(parse(error).unwrap(), Message::Error { id: Some(3.into()), class, desc });
    }

    #[test]
    fn everything_else_is_shown_and_not_believed() {
        for line in ["", "HTTP/1.1 400 Bad Request", "[1]", "{}", "{\"error\": 1}", "{\"event\": {}}", "{\"QMP\": 1}"] {
            assert_eq!(parse(line.as_bytes()), Err(NoMessage(excerpt(line.as_bytes()))), "{line}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).unwrap_err().0.len() < 70);
        assert_eq!(excerpt(b"\x1b[1m\n"), "\\x1b[1m\\n");
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for byte in b"\r\none\r\n\n two\nthr" {
            lines.push(&[*byte]);
            out.extend(lines.pop());
        }
        assert_eq!(out, [b"one", b"two"]);
        assert_eq!(lines.unfinished(), b"thr");
        lines.push(b"ee\nfour\n");
        assert_eq!((lines.pop(), lines.pop(), lines.pop()), (Some(b"three".to_vec()), Some(b"four".to_vec()), None));
    }
}
