//! Negative control: the scheduler detects notifications that are never delivered.

mod sync {
    pub(super) use std::sync::{OnceLock, PoisonError};
    use std::time::Duration;

    pub(super) use shuttle::sync::{Arc, Mutex, MutexGuard, Weak, atomic};
    pub(super) use shuttle::thread;
    use std::sync::LockResult;

    #[derive(Debug)]
    pub(super) struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        pub(super) fn new() -> Self {
            Self(shuttle::sync::Condvar::new())
        }

        pub(super) fn notify_all(&self) {}

        pub(super) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
            self.0.wait(guard)
        }

        pub(super) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            limit: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, shuttle::sync::WaitTimeoutResult)> {
            self.0.wait_timeout(guard, limit)
        }
    }
}

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code on other threads and locks")]
#[path = "../stream.rs"]
mod stream;

#[test]
#[should_panic(expected = "deadlock")]
fn missing_notifications_are_detected() {
    shuttle::check_random(
        || {
            let stream = stream::HostStream::new().unwrap();
            stream.run(|| ()).unwrap();
            drop(stream);
        },
        1_000,
    );
}
