//! Kinds of failures between two processes.

use serde::{Deserialize, Serialize};

/// The step and the reason of a failed trial with two processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessFailure {
    /// The kind of failure, which determines the advice.
    pub problem: Problem,
    /// The failed step.
    pub step: &'static str,
    /// The error message of the process that noticed the failure.
    pub error: String,
}

/// Kinds of failures between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// The folder or the socket in it could not be created.
    Folder,
    /// The worker's process could not be started.
    NoProcess,
    /// Memory files (`memfd_create`) are not available, or there is no memory for them.
    Memory,
    /// A process could not be identified: another user, another pid namespace, or no pidfd.
    Identity,
    /// The drawing GPU is hidden from CUDA in the worker.
    HiddenGpu,
    /// A wait timed out.
    Timeout,
    /// The worker's process has ended early.
    Ended,
    /// A frame had wrong contents.
    Contents,
    /// Any other failure; see the error message.
    Other,
}

/// A failure of one of the two sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is tried there"))]
pub(super) struct Stopped {
    pub(super) problem: Problem,
    pub(super) error: String,
}

#[cfg(target_os = "linux")]
mod of_linux {
    use bridge_worker::bridge_ipc;

    use super::{Problem, Stopped};

    impl Stopped {
        pub(in crate::processes) fn new(problem: Problem, error: impl ToString) -> Self {
            Self { problem, error: error.to_string() }
        }
    }

    impl From<bridge_ipc::Error> for Stopped {
        fn from(error: bridge_ipc::Error) -> Self {
            Self::new(of(&error), error)
        }
    }

    impl From<bridge::Error> for Stopped {
        fn from(error: bridge::Error) -> Self {
            let problem = match &error {
                bridge::Error::Connection(error) => of(error),
                bridge::Error::Timeout { .. } => Problem::Timeout,
                _ => Problem::Other,
            };
            Self::new(problem, error)
        }
    }

    impl From<bridge_worker::Error> for Stopped {
        fn from(error: bridge_worker::Error) -> Self {
            use bridge_worker::Error;
            let problem = match &error {
                Error::Connection(error) => of(error),
                Error::HiddenGpu { .. } => Problem::HiddenGpu,
                Error::Timeout { .. } => Problem::Timeout,
                _ => Problem::Other,
            };
            Self::new(problem, error)
        }
    }

    impl From<bridge::vk_export::Error> for Stopped {
        fn from(error: bridge::vk_export::Error) -> Self {
            Self::new(Problem::Other, error)
        }
    }

    /// Returns the kind of a connection error.
    fn of(error: &bridge_ipc::Error) -> Problem {
        use bridge_ipc::Error;
        match error {
            Error::System { call, .. } => of_call(call),
            Error::InUse { .. } | Error::NotOurs { .. } => Problem::Folder,
            Error::Memory { .. } => Problem::Memory,
            Error::ForeignUser { .. } | Error::PidMismatch { .. } => Problem::Identity,
            Error::Timeout { .. } => Problem::Timeout,
            _ => Problem::Other,
        }
    }

    /// Returns the kind for a failed system call.
    pub(super) fn of_call(call: &str) -> Problem {
        match call {
            "open" | "flock" | "socket" | "bind" | "lstat" | "chmod" | "listen" | "unlink" => Problem::Folder,
            "memfd_create" | "fallocate" | "fcntl(F_ADD_SEALS)" | "mmap" => Problem::Memory,
            "pidfd_open" | "getsockopt(SO_PEERCRED)" => Problem::Identity,
            _ => Problem::Other,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_call() {
        assert_eq!(of_linux::of_call("bind"), Problem::Folder);
        assert_eq!(of_linux::of_call("memfd_create"), Problem::Memory);
        assert_eq!(of_linux::of_call("pidfd_open"), Problem::Identity);
        assert_eq!(of_linux::of_call("sendmsg"), Problem::Other);
    }

    #[test]
    fn a_kind_is_preserved_between_processes() {
        let said = Stopped::new(Problem::HiddenGpu, "why");
        let json = serde_json::to_string(&said).unwrap();
        assert!(json.contains("\"hidden-gpu\""), "{json}");
        assert_eq!(serde_json::from_str::<Stopped>(&json).unwrap(), said);
    }
}
