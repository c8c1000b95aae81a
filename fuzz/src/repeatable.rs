//! What would make two runs with the same seed differ.

/// Stands in front of the C library's function of this name, from which std takes the keys of its hash maps: with keys of their
/// own, two runs see other paths through the same maps.
///
/// # Safety
/// `bytes` points to `len_bytes` bytes that may be written, as `getrandom(2)` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(bytes: *mut u8, len_bytes: usize, _flags: u32) -> isize {
    // SAFETY: the caller's promise.
    unsafe { bytes.write_bytes(1, len_bytes) };
    len_bytes.cast_signed()
}

/// Makes the calling thread the only worker of rayon's pool.
///
/// # Panics
/// If the pool was in use before.
pub fn no_workers() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().expect("nothing ran before");
}
