//! Asks the CPU for memory that is needed soon.
//!
//! What a walk over a graph waits for is memory: while the neighbours of one node are scored, the links of the next one are
//! on their way. Together with the first line of each row that is about to be scored, a walk over 100 000 rows of 8
//! components is 1.2 to 1.3 times as quick (AVX-512; two builds by turns), one over codes of 384 components 1.1 to 1.2 times.

#![cfg_attr(target_arch = "x86_64", allow(unsafe_code, reason = "the instruction is behind an unsafe function"))]

/// Asks for the cache line of an element, if there is such a one. Does nothing where the target has no such instruction
/// on stable Rust.
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(element) = slice.get(at) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing as far as a program can tell; and the element is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(element).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, at);
}
