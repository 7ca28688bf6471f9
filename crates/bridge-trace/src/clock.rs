//! A clock that all processes of a machine share. `std::time::Instant` does not tell its value.

/// Nanoseconds of `CLOCK_MONOTONIC`. Processes in different time namespaces see different values.
#[cfg(unix)]
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

/// Nanoseconds of the performance counter, which is one for the whole system.
#[cfg(windows)]
#[allow(unsafe_code)] // Two calls of the system.
pub(crate) fn now() -> u64 {
    use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

    let (mut count, mut frequency) = (0, 0);
    // SAFETY: it writes one i64, to a place that is valid for that.
    unsafe { QueryPerformanceCounter(&mut count) };
    // SAFETY: as above.
    unsafe { QueryPerformanceFrequency(&mut frequency) };
    // Neither fails on a system that is supported (Windows XP or later).
    let nanoseconds = i128::from(count) * 1_000_000_000 / i128::from(frequency.max(1));
    u64::try_from(nanoseconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_counts_nanoseconds() {
        let (before, start) = (now(), std::time::Instant::now());
        std::thread::sleep(std::time::Duration::from_millis(2));
        let (after, took) = (now(), start.elapsed());
        assert!(before > 0 && after > before);
        // Each is read inside of the other's interval or outside of it, never both.
        assert!(u128::from(after - before) >= 2_000_000, "{} for {took:?}", after - before);
    }
}
