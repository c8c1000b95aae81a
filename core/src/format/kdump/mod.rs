//! kdump-compressed files: [`layout`] holds the header structs and decides offsets, [`write`] makes headers, bitmaps and
//! descriptors, [`read`] goes the way back. How page data is compressed lives in `compress`.

mod bitmap;
mod data;
pub mod layout;
mod pages;
pub mod parts;
pub mod read;
mod set;
pub mod stored;
mod window;
pub mod write;
