//! Detects that a thread is asleep in a call that is expected to wait.

use std::time::Duration;

/// A thread, identified by its file in `/proc`.
#[derive(Debug, Clone)]
pub struct Thread(#[cfg_attr(not(target_os = "linux"), allow(dead_code))] std::path::PathBuf);

impl Thread {
    /// Returns the calling thread.
    pub fn current() -> Self {
        // "PID/task/TID".
        #[cfg(target_os = "linux")]
        let of_thread = std::fs::read_link("/proc/thread-self").unwrap();
        #[cfg(not(target_os = "linux"))]
        let of_thread = "";
        Self(std::path::Path::new("/proc").join(of_thread).join("stat"))
    }

    #[cfg(target_os = "linux")]
    fn is_asleep(&self) -> bool {
        // "TID (NAME) STATE ..."; the thread may have ended.
        let stat = std::fs::read_to_string(&self.0).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
    }

    /// Waits until the thread sleeps, or `is_over` returns `true`. Returns `true` if it sleeps.
    ///
    /// A thread may also sleep for a moment when a lock is taken, so it must be asleep several
    /// times in a row. On systems that do not report this, a fixed time has to be enough.
    pub fn until_asleep(&self, is_over: impl Fn() -> bool) -> bool {
        let (mut asleep, end) = (0, std::time::Instant::now() + Duration::from_secs(60));
        while asleep < 20 {
            assert!(std::time::Instant::now() < end, "it neither sleeps nor ends");
            if is_over() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
            #[cfg(target_os = "linux")]
            let sleeps = self.is_asleep();
            #[cfg(not(target_os = "linux"))]
            let sleeps = {
                std::thread::sleep(Duration::from_millis(20));
                true
            };
            asleep = if sleeps { asleep + 1 } else { 0 };
        }
        !is_over()
    }
}
