//! The overall result, and the exit code for it.

use serde::Serialize;

use super::Trial;

/// The overall result.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The best backend that works.
    pub works: Works,
    /// The exit code of the program.
    pub exit_code: u8,
    /// Description of the result.
    pub text: String,
}

/// The best backend that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Works {
    /// CUDA and Vulkan share memory.
    Cuda,
    /// Only the CPU shares memory with Vulkan.
    Host,
    /// No backend works.
    Nothing,
}

impl Verdict {
    /// Determines the result from the trials, not from reported features.
    pub(super) fn of(trials: &[Trial]) -> Self {
        let passed = |backend: &str| trials.iter().find(|trial| trial.backend == backend && trial.passed());
        let (works, text) = if let Some(trial) = passed("cuda") {
            (Works::Cuda, format!("CUDA and Vulkan share memory on {}", trial.device))
        } else if let Some(trial) = passed("host") {
            let text = format!("only the CPU backend works, on {}: everything runs, without CUDA", trial.device);
            (Works::Host, text)
        } else {
            (Works::Nothing, "nothing works here yet, neither CUDA nor the CPU backend".to_owned())
        };
        Self { works, exit_code: works.exit_code(), text }
    }
}

impl Works {
    fn exit_code(self) -> u8 {
        match self {
            Self::Cuda => 0,
            Self::Host => 1,
            Self::Nothing => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, Times};

    fn trial(backend: &str, passed: bool) -> Trial {
        let failure = (!passed).then(|| Failure { step: "closing", error: "no".to_owned() });
        Trial {
            backend: backend.to_owned(),
            peer: None,
            device: format!("{backend} device"),
            uuid: None,
            frames: 0,
            bytes: 4,
            failure,
            times: Times::default(),
        }
    }

    #[test]
    fn one_working_gpu_is_enough() {
        let works = |trials: &[Trial]| Verdict::of(trials).works;
        assert_eq!(works(&[trial("cuda", false), trial("cuda", true), trial("host", true)]), Works::Cuda);
        assert_eq!(works(&[trial("cuda", false), trial("host", true)]), Works::Host);
        assert_eq!(works(&[trial("cuda", false), trial("host", false)]), Works::Nothing);
        assert_eq!(Verdict::of(&[]).exit_code, 2);
    }
}
