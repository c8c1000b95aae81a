//! kdump-compressed files: [`layout`] holds the header structs and decides offsets, [`write`] makes headers, bitmaps and
//! descriptors, [`read`] goes the way back. How page data is compressed lives in `compress`.

pub mod layout;
pub mod read;
mod window;
pub mod write;
