//! A clock that all processes of a machine share. `std::time::Instant` does not expose its value.

/// Returns the nanoseconds of `CLOCK_MONOTONIC`. Processes in different time namespaces see
/// different values.
#[cfg(unix)]
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

/// Returns the nanoseconds of the performance counter, which is system-wide.
#[cfg(windows)]
#[allow(unsafe_code)] // Two system calls.
pub(crate) fn now() -> u64 {
    use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

    let (mut count, mut frequency) = (0, 0);
    // SAFETY: the call writes one i64 to a valid location.
    unsafe { QueryPerformanceCounter(&mut count) };
    // SAFETY: as above.
    unsafe { QueryPerformanceFrequency(&mut frequency) };
    // Neither call fails on a supported system (Windows XP or later).
    let nanoseconds = i128::from(count) * 1_000_000_000 / i128::from(frequency.max(1));
    u64::try_from(nanoseconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock is that of `Instant`, up to the rounding of both.
    #[test]
    fn clock_is_monotonic_and_counts_nanoseconds() {
        use std::time::{Duration, Instant};
        let (outer, before) = (Instant::now(), now());
        let inner = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        let least = inner.elapsed();
        let took = Duration::from_nanos(now() - before);
        let most = outer.elapsed();
        let rounding = Duration::from_micros(1);
        assert!(before > 0 && took + rounding >= least && took <= most + rounding, "{least:?} {took:?} {most:?}");
    }
}
