//! Clocks that the standard library does not provide.

/// Returns the processor time of the calling thread in microseconds, if the system reports it.
pub(crate) fn thread_cpu_us() -> Option<f64> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Some(time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 * 1e-3)
    }
    #[cfg(not(unix))]
    None
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds, against which Vulkan's timestamps can be calibrated.
pub(crate) fn monotonic_ns() -> Option<i64> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // Seconds since boot: the product overflows only after centuries.
        Some(time.tv_sec as i64 * 1_000_000_000 + time.tv_nsec as i64)
    }
    #[cfg(not(unix))]
    None
}
