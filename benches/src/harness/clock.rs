//! Clocks and counters that the standard library does not provide.
#![allow(unsafe_code)] // `getrusage`.

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

/// Returns how often the calling thread has given up its processor, for example to wait for a lock
/// or a device, if the system reports it. Preemption is not counted.
pub(crate) fn voluntary_switches() -> Option<i64> {
    #[cfg(target_os = "linux")]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: `usage` is valid for writes of a `rusage` (getrusage(2)).
        let code = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
        // SAFETY: the call has filled it in if it returned 0.
        (code == 0).then(|| unsafe { usage.assume_init() }.ru_nvcsw)
    }
    #[cfg(not(target_os = "linux"))]
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_sleep_gives_up_the_processor_and_a_loop_does_not() {
        let before = voluntary_switches().unwrap();
        let start = thread_cpu_us().unwrap();
        while thread_cpu_us().unwrap() < start + 1000.0 {
            std::hint::spin_loop();
        }
        assert_eq!(voluntary_switches().unwrap(), before);
        std::thread::sleep(Duration::from_millis(1));
        assert!(voluntary_switches().unwrap() > before);
    }
}
