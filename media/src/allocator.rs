//! The C library's allocator: when it gives memory back to the system.
#![allow(unsafe_code)] // two calls of glibc that no crate wraps

#[cfg(target_env = "gnu")]
use std::ffi::c_int;

/// Returns freed memory to the system, that of other threads included. Takes a few milliseconds. Does nothing unless
/// the C library is glibc.
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(keep: usize) -> c_int;
        }
        // SAFETY: the function takes a number by value, its signature is glibc's, and it may be called from any thread.
        unsafe { malloc_trim(0) };
    }
}

/// Makes the allocator return blocks of a megabyte and more to the system as soon as they are freed.
///
/// Encoders and decoders allocate and free hundreds of megabytes of frames, each chunk's on another thread. By default
/// glibc keeps large blocks for the thread that freed them, so that a process holds a multiple of what it uses. Does
/// nothing unless the C library is glibc.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const MMAP_THRESHOLD: c_int = -3;
        const MEGABYTE: c_int = 1 << 20;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // SAFETY: the function takes two numbers by value, and its signature is glibc's; an unknown parameter is
        // refused.
        unsafe { mallopt(MMAP_THRESHOLD, MEGABYTE) };
    }
}
