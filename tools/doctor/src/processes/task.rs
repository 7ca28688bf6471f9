//! The task of a worker, which the starting process passes in an environment variable.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the exchange.
pub(super) const NAME: &str = "doctor";
/// The environment variable that holds a worker's [`Task`].
pub(super) const VARIABLE: &str = "BRIDGE_DOCTOR_WORKER";

/// The task of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) cuda: bool,
    pub(super) writes: bool,
    /// ID of the doctor process, with which the worker ends.
    pub(super) doctor: u32,
    /// Limit of every wait.
    pub(super) limit: Duration,
}

impl Task {
    pub(super) fn to_value(&self, socket: &Path) -> std::ffi::OsString {
        let Self { cuda, writes, doctor, limit } = self;
        let mut value = std::ffi::OsString::from(format!("{cuda} {writes} {doctor} {} ", limit.as_millis()));
        value.push(socket);
        value
    }

    /// Parses the task and the path of the socket.
    pub(super) fn of(value: &str) -> Option<(Self, PathBuf)> {
        let mut words = value.splitn(5, ' ');
        let cuda = words.next()?.parse().ok()?;
        let writes = words.next()?.parse().ok()?;
        let doctor = words.next()?.parse().ok()?;
        let limit = Duration::from_millis(words.next()?.parse().ok()?);
        Some((Self { cuda, writes, doctor, limit }, words.next()?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_parsed_from_its_value() {
        let task = Task { cuda: true, writes: false, doctor: 7, limit: Duration::from_millis(1500) };
        let socket = Path::new("/a folder/with spaces");
        let value = task.to_value(socket);
        assert_eq!(Task::of(value.to_str().unwrap()), Some((task, socket.to_owned())));
        assert_eq!(Task::of("true false"), None);
    }
}
