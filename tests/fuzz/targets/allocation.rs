//! How much memory a decoder takes: an allocator that counts, for each thread, what is held and the most that was.
//!
//! What one thread allocates and another one frees is counted wrong; decoders start no threads.

#![allow(unsafe_code, reason = "an allocator is unsafe to implement; this one passes every call on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Without destructors: an allocator must not need what it serves.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: isize) {
    let held = HELD.get().saturating_add(bytes);
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches two plain numbers of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist side by side when a block has to move.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Runs a decoder; fails when it held more bytes at once than are allowed.
pub(super) fn bounded<T>(allowed: usize, decode: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    MOST.set(before);
    let decoded = decode();
    let most = (MOST.get() - before).unsigned_abs();
    assert!(most <= allowed, "a decoder held {most} bytes at most, {allowed} are allowed");
    decoded
}
