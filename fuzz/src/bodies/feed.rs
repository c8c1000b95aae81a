//! Inputs taken apart: numbers from the front, and files in which runs of zeros are short. What is missing at the end
//! of an input reads as zero, so that every input means something.

/// What is left of an input.
#[derive(Debug)]
pub struct Feed<'a>(pub &'a [u8]);

impl<'a> Feed<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes, or as many as there are.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(len.min(self.0.len()));
        self.0 = later;
        now
    }

    fn int<const N: usize>(&mut self) -> u64 {
        self.bytes(N).iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        self.int::<1>() as u8
    }

    /// Two bytes, little-endian, as all integers here.
    pub fn u16(&mut self) -> u16 {
        self.int::<2>() as u16
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        self.int::<8>()
    }

    /// An address or a length: 16 bits, somewhere in 64.
    pub fn scaled(&mut self) -> u64 {
        let shift = self.u8() % 64;
        u64::from(self.u16()) << shift
    }

    /// One of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.u8()) % from.len()]
    }
}

/// Files are not made longer than this.
pub const MAX_FILE: usize = 1 << 20;

/// The file that an input stands for: a byte N above 0 and N bytes, or 0 and two bytes that count zeros.
pub fn expand(data: &[u8]) -> Vec<u8> {
    let mut feed = Feed(data);
    let mut file = Vec::new();
    while !feed.is_empty() && file.len() < MAX_FILE {
        match feed.u8() {
            0 => file.resize(file.len() + usize::from(feed.u16()), 0),
            len => file.extend_from_slice(feed.bytes(usize::from(len))),
        }
    }
    file.truncate(MAX_FILE);
    file
}
