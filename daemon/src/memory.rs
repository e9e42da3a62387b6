//! Memory that is free and still ours.

/// Gives the memory back to the system that the allocator keeps although nobody uses it. glibc returns by itself only
/// what lies above everything in use; this takes it some milliseconds for each 100 MiB, while threads that allocate wait.
#[expect(unsafe_code, reason = "a function of the C library")]
pub fn give_back_memory() {
    // SAFETY: malloc_trim asks nothing of its caller: it may be called at any time by any thread (malloc_trim(3): MT-Safe),
    // and touches only memory that is not allocated.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
