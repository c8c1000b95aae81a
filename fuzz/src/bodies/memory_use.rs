//! How much memory a piece of code takes: an allocator that counts, and refuses what no reader may want.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Allocations from this size on fail, which ends the program: inputs are small, and a machine with other users on it
/// must not be filled by one that claims to be large.
const REFUSED: usize = 256 << 20;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(len_bytes: usize) {
    let now = NOW.fetch_add(len_bytes, Relaxed) + len_bytes;
    MOST.fetch_max(now, Relaxed);
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged, or answers null, which stands for "no memory".
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= REFUSED {
            return std::ptr::null_mut();
        }
        add(layout.size());
        // SAFETY: the caller's promises about `layout` are those that are asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= REFUSED {
            return std::ptr::null_mut();
        }
        add(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `at` comes from the methods here, and so from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size >= REFUSED {
            return std::ptr::null_mut();
        }
        add(new_size);
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as in `dealloc`; the caller promises that `new_size` fits the layout's alignment.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

/// Runs `work`, which reads an input of `input_bytes`, and panics if it ever held more than `times` that and
/// `fixed_bytes`. Only one at a time may run in a program.
pub fn bounded<T>(input_bytes: usize, times: usize, fixed_bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let result = work();
    let held = MOST.load(Relaxed).saturating_sub(before);
    let limit = input_bytes * times + fixed_bytes;
    assert!(held <= limit, "{held} bytes of memory for an input of {input_bytes}: more than {times} times that");
    result
}
