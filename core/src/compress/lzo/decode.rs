//! The LZO1X decoder: takes any bytes, fills one page or answers where it could not. Not here: the stream format (the
//! table in `lzo`), encoding.

use super::{
    COPY_BASE, EXTENSION_STEP, FAR_PLAIN_MAX, FIRST_RUN_BASE, MAX_STATE, MIDDLE_DISTANCE, MIDDLE_PLAIN_MAX, NAME,
    NEAR_DISTANCE, RUN_BASE, RUN_PLAIN_MAX,
};
use crate::compress::CodecError;

/// Runs and copies up to this many bytes are moved without a loop.
const SHORT: usize = 16;
const HALF: usize = SHORT / 2;

/// Decodes all of `data` into all of `page`.
pub(super) fn decompress(data: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
    let mut input = Input { data, at: 0 };
    let mut output = Output { page, at: 0 };
    let mut before = first_run(&mut input, &mut output)?;
    while let Some(copy) = next_copy(&mut input, &mut output, before)? {
        output.copy(copy.distance, copy.len, input.at)?;
        before = literals(&mut input, &mut output, copy.literals)?;
    }
    if output.at != output.page.len() {
        let (decoded, page_len) = (output.at, output.page.len());
        return Err(CodecError::Length { codec: NAME, data_len: data.len(), decoded, page_len });
    }
    if input.at != data.len() {
        return Err(CodecError::Trailing { codec: NAME, used: input.at, data_len: data.len() });
    }
    Ok(())
}

/// How many literals came just before an instruction: it decides what first bytes below 16 mean.
#[derive(Clone, Copy)]
enum Before {
    None,
    UpToThree,
    More,
}

/// Copy `len` bytes from `distance` back, then take `literals`, 0 to 3.
struct Copy {
    distance: usize,
    len: usize,
    literals: usize,
}

/// A stream may start with a run of literals that has an encoding of its own.
fn first_run(input: &mut Input<'_>, output: &mut Output<'_>) -> Result<Before, CodecError> {
    match input.data.first() {
        Some(&byte) if usize::from(byte) > FIRST_RUN_BASE => {
            input.at = 1;
            literals(input, output, usize::from(byte) - FIRST_RUN_BASE)
        }
        _ => Ok(Before::None),
    }
}

fn literals(input: &mut Input<'_>, output: &mut Output<'_>, len: usize) -> Result<Before, CodecError> {
    if len == 0 {
        return Ok(Before::None);
    }
    if !short_literals(input, output, len) {
        let run = input.take(len)?;
        output.put(run, input.at)?;
    }
    Ok(if len <= MAX_STATE { Before::UpToThree } else { Before::More })
}

/// Most runs are short. Sixteen bytes are moved at once where both sides have so many; what is too much lands in a part
/// of the page that is not filled yet. Answers whether it was done.
#[inline]
fn short_literals(input: &mut Input<'_>, output: &mut Output<'_>, len: usize) -> bool {
    let from = input.data.get(input.at..).and_then(<[u8]>::first_chunk::<SHORT>);
    let to = output.page.get_mut(output.at..).and_then(<[u8]>::first_chunk_mut::<SHORT>);
    let (Some(from), Some(to), true) = (from, to, len <= SHORT) else { return false };
    *to = *from;
    input.at += len;
    output.at += len;
    true
}

/// The next copy, after the run of literals that may come first; `None` at the end of the stream.
fn next_copy(input: &mut Input<'_>, output: &mut Output<'_>, mut before: Before) -> Result<Option<Copy>, CodecError> {
    let mut first = input.byte()?;
    if first < 16 && matches!(before, Before::None) {
        let len = input.length(first & 0xf, RUN_BASE, RUN_PLAIN_MAX)?;
        before = literals(input, output, len)?;
        first = input.byte()?;
    }
    copy(input, first, before)
}

/// The copy that starts with the byte `first`.
fn copy(input: &mut Input<'_>, first: u8, before: Before) -> Result<Option<Copy>, CodecError> {
    match first {
        64.. => near(input, first, usize::from(first >> 5) + 1, 8, 1).map(Some),
        32.. => {
            let len = input.length(first & 0x1f, COPY_BASE, MIDDLE_PLAIN_MAX)?;
            let (back, literals) = input.back_and_literals()?;
            Ok(Some(Copy { distance: back + 1, len, literals }))
        }
        16.. => far(input, first),
        _ if matches!(before, Before::More) => near(input, first, 3, 4, NEAR_DISTANCE + 1).map(Some),
        _ => near(input, first, 2, 4, 1).map(Some),
    }
}

/// The two-byte copies: `D` counts up to `step`, the second byte in steps of that, both from `nearest` on.
fn near(input: &mut Input<'_>, first: u8, len: usize, step: usize, nearest: usize) -> Result<Copy, CodecError> {
    let low = usize::from(first >> 2) % step;
    let distance = usize::from(input.byte()?) * step + low + nearest;
    Ok(Copy { distance, len, literals: usize::from(first & 3) })
}

fn far(input: &mut Input<'_>, first: u8) -> Result<Option<Copy>, CodecError> {
    let len = input.length(first & 0x7, COPY_BASE, FAR_PLAIN_MAX)?;
    let (back, literals) = input.back_and_literals()?;
    let distance = MIDDLE_DISTANCE + (usize::from(first & 0x8) << 11) + back;
    Ok((distance != MIDDLE_DISTANCE).then_some(Copy { distance, len, literals }))
}

/// The data not yet read.
struct Input<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    #[inline]
    fn byte(&mut self) -> Result<u8, CodecError> {
        match self.data.get(self.at) {
            Some(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(self.cut(1)),
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        match self.data.get(self.at..).and_then(|rest| rest.get(..len)) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => Err(self.cut(len)),
        }
    }

    /// The two bytes that end the longer copies: how far back, 14 bits, and the literals to follow.
    #[inline]
    fn back_and_literals(&mut self) -> Result<(usize, usize), CodecError> {
        let (low, high) = (self.byte()?, self.byte()?);
        let both = usize::from(u16::from_le_bytes([low, high]));
        Ok((both >> 2, both & 3))
    }

    /// A length in a first byte: `field` and `base`, or an extension upwards from `plain_max` where the field is 0.
    #[inline]
    fn length(&mut self, field: u8, base: usize, plain_max: usize) -> Result<usize, CodecError> {
        if field != 0 {
            return Ok(usize::from(field) + base);
        }
        let mut len = plain_max;
        loop {
            match self.byte()? {
                // No page is that long; stopping at the top keeps a hostile run of zeros from overflowing.
                0 => len = len.saturating_add(EXTENSION_STEP),
                byte => return Ok(len.saturating_add(usize::from(byte))),
            }
        }
    }

    #[cold]
    fn cut(&self, wanted: usize) -> CodecError {
        let missing = wanted.saturating_sub(self.data.len() - self.at);
        CodecError::LzoCut { data_at: self.at, data_len: self.data.len(), missing }
    }
}

/// The page, filled up to `at`.
struct Output<'a> {
    page: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8], data_at: usize) -> Result<(), CodecError> {
        let Some(room) = self.page.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len())) else {
            return Err(self.overrun(bytes.len(), data_at));
        };
        room.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }

    fn copy(&mut self, distance: usize, len: usize, data_at: usize) -> Result<(), CodecError> {
        let Some(from) = self.at.checked_sub(distance) else {
            return Err(CodecError::LzoDistance { data_at, distance, page_at: self.at });
        };
        if len > self.page.len() - self.at {
            return Err(self.overrun(len, data_at));
        }
        if distance < HALF || !self.short_copy(from, len) {
            self.long_copy(from, distance, len);
        }
        self.at += len;
        Ok(())
    }

    /// As `short_literals`, for copies; in two halves, since the second may have to read what the first has written.
    #[inline]
    fn short_copy(&mut self, from: usize, len: usize) -> bool {
        if len > SHORT || self.page.len() - self.at < SHORT {
            return false;
        }
        self.move_half(from, self.at);
        if len > HALF {
            self.move_half(from + HALF, self.at + HALF);
        }
        true
    }

    #[inline]
    fn move_half(&mut self, from: usize, to: usize) {
        let half = self.page.get(from..).and_then(<[u8]>::first_chunk::<HALF>).copied();
        let target = self.page.get_mut(to..).and_then(<[u8]>::first_chunk_mut::<HALF>);
        if let (Some(half), Some(target)) = (half, target) {
            *target = half;
        }
    }

    fn long_copy(&mut self, from: usize, distance: usize, len: usize) {
        // A copy may reach into what it writes. What lies between source and target repeats, so each turn can take all
        // that there is of it, and the next turn twice that.
        let mut copied = 0;
        while copied < len {
            let turn = (distance + copied).min(len - copied);
            self.page.copy_within(from..from + turn, self.at + copied);
            copied += turn;
        }
    }

    #[cold]
    fn overrun(&self, len: usize, data_at: usize) -> CodecError {
        CodecError::LzoOverrun { data_at, len, page_at: self.at, page_len: self.page.len() }
    }
}
