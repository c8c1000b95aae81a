//! The way back of `bodies::feed`: inputs from numbers and from files.

use crate::bodies::machine::{TAGS, Tag};

/// The way back of `feed::expand`.
pub fn shrink(file: &[u8]) -> Vec<u8> {
    const SHORTEST: usize = 8;
    let (mut out, mut at) = (Vec::new(), 0);
    while at < file.len() {
        let rest = &file[at..];
        let zeros = rest.iter().take(usize::from(u16::MAX)).take_while(|byte| **byte == 0).count();
        if zeros >= SHORTEST || zeros == rest.len() {
            out.push(0);
            out.extend_from_slice(&(zeros as u16).to_le_bytes());
            at += zeros;
            continue;
        }
        let literal = rest.windows(SHORTEST).position(|window| window.iter().all(|byte| *byte == 0));
        let literal = literal.unwrap_or(rest.len()).min(255);
        out.push(literal as u8);
        out.extend_from_slice(&rest[..literal]);
        at += literal;
    }
    out
}

/// An input for `Feed`.
#[derive(Default)]
pub struct Input(pub Vec<u8>);

impl Input {
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// For `Feed::scaled`: the highest 16 bits that say something.
    pub fn scaled(&mut self, value: u64) -> &mut Self {
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(16);
        self.u8(shift as u8).u16((value >> shift) as u16)
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn piece(&mut self, wanted: fn(&Tag) -> bool, page: u8, at: u16) -> &mut Self {
        let tag = TAGS.iter().position(wanted).unwrap_or(0);
        self.u8(tag as u8).u8(page).u16(at)
    }

    pub fn text(&mut self, page: u8, at: u16, text: &[u8]) -> &mut Self {
        for (number, part) in text.chunks(255).enumerate() {
            self.piece(|tag| matches!(tag, Tag::Text), page, at + number as u16 * 255).u8(part.len() as u8).bytes(part);
        }
        self
    }
}
