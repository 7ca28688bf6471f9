//! Comparison with a run without implicit layers, which overlays and capture tools load into every
//! program.
//!
//! Some layers end the program, or hide extensions and devices. The comparison runs in another
//! process, since layers are loaded with the first instance.

use std::env;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use serde::Serialize;
use serde_json::Value;

use super::advice::Advice;
use super::{Cuda, System, Trial, Vulkan, VulkanDevice};

/// Environment variable of the loader that disables layers, since version 1.3.234.
const VARIABLE: &str = "VK_LOADER_LAYERS_DISABLE";
const IMPLICIT: &str = "~implicit~";

/// Counts of what works without implicit layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WithoutLayers {
    /// Number of Vulkan devices.
    pub devices: usize,
    /// Number of pairs of a Vulkan and a CUDA device that are the same GPU.
    pub pairs: usize,
    /// Number of passed trials.
    pub passed: usize,
    /// Number of failed trials.
    pub failed: usize,
}

impl WithoutLayers {
    pub(super) fn of(devices: usize, pairs: usize, trials: &[Trial]) -> Self {
        let passed = trials.iter().filter(|trial| trial.passed()).count();
        Self { devices, pairs, passed, failed: trials.len() - passed }
    }

    /// Reads the counts from the JSON report of a doctor.
    fn read(report: &Value) -> Option<Self> {
        let trials = report["trials"].as_array()?;
        let failed = trials.iter().filter(|trial| !trial["failure"].is_null()).count();
        let devices = report["vulkan"]["devices"].as_array()?.len();
        Some(Self { devices, pairs: report["pairs"].as_array()?.len(), passed: trials.len() - failed, failed })
    }

    /// Returns advice if more works without the layers than `with` them.
    pub(super) fn advice(&self, with: &Self) -> Option<Advice> {
        let better = self.devices > with.devices || self.pairs > with.pairs || self.passed > with.passed;
        better.then(|| Advice {
            problem: format!(
                "an implicit Vulkan layer is in the way: without them there are {} devices, {} pairs and {} trials that \
                 pass, with them {}, {} and {}",
                self.devices, self.pairs, self.passed, with.devices, with.pairs, with.passed
            ),
            action: format!(
                "set {VARIABLE}={IMPLICIT} for programs that share; to find the one, name it there instead \
                 (`VK_LOADER_DEBUG=layer` lists them), and remove or update what installed it"
            ),
        })
    }
}

/// Returns `true` if implicit layers may be the cause of a problem: a trial failed or devices are
/// missing, and the layers are not disabled already.
pub(super) fn are_suspects(system: &System, vulkan: &Vulkan, cuda: &Cuda, works: &WithoutLayers) -> bool {
    let nvidia = system.has_nvidia() || !cuda.devices.is_empty();
    let hidden = nvidia && !vulkan.devices.iter().any(VulkanDevice::is_nvidias_own);
    let wrong = works.failed > 0 || works.devices == 0 || hidden || (!cuda.devices.is_empty() && works.pairs == 0);
    vulkan.loader.is_some() && wrong && system.variable(VARIABLE).is_none()
}

/// Runs this program again without implicit layers. `arguments` make it print a JSON report.
pub fn examine_without(arguments: &[&str]) -> Option<WithoutLayers> {
    let run = || -> io::Result<Value> {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).env(VARIABLE, IMPLICIT).stdin(Stdio::null()).stderr(Stdio::null());
        Ok(serde_json::from_slice(&command.output()?.stdout)?)
    };
    match run() {
        Ok(report) => WithoutLayers::read(&report),
        Err(error) => {
            log::warn!("implicit layers could not be checked: the doctor cannot be run without them: {error}");
            None
        }
    }
}

/// Offset of the exit code of a watched doctor that ran to completion. A driver that exits the
/// process does not add it.
const COMPLETED: u8 = 0xb0;

/// The exit codes of a doctor that ran to completion, as listed in `--help`.
const VERDICTS: &[u8] = &[0, 1, 2, 74];

/// Returns the exit code that a watched doctor reports to its watcher.
pub fn mark_end(code: u8) -> u8 {
    COMPLETED.saturating_add(code)
}

/// Returns the exit code of a watched doctor that ran to completion.
///
/// # Errors
/// The message for a doctor that did not run to completion, including whether it does without
/// implicit layers.
pub fn end_of(status: ExitStatus, without: impl FnOnce() -> Option<WithoutLayers>) -> Result<u8, String> {
    let code = status.code().and_then(|code| u8::try_from(code).ok()?.checked_sub(COMPLETED));
    if let Some(code) = code.filter(|code| VERDICTS.contains(code)) {
        return Ok(code);
    }
    let end = format!("a Vulkan driver or layer, or CUDA, ended the check ({status})");
    Err(match without() {
        Some(_) => format!(
            "{end}. Without implicit layers it completes: set {VARIABLE}={IMPLICIT}, and remove or update the layers \
             that overlays and capture tools installed (`VK_LOADER_DEBUG=layer` lists them)"
        ),
        None => format!(
            "{end}, also without implicit layers. The incomplete part above was being queried; VK_DRIVER_FILES \
             leaves a driver out"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_process_ended_by_a_layer_is_distinguished_from_an_empty_result() {
        let status = |script: &str| Command::new("sh").args(["-c", script]).status().unwrap();
        for code in VERDICTS {
            assert_eq!(end_of(status(&format!("exit {}", mark_end(*code))), || None), Ok(*code));
        }
        // A driver that calls `exit`.
        for code in VERDICTS.iter().copied().chain([101, 200, 255]) {
            let error = end_of(status(&format!("exit {code}")), || None).unwrap_err();
            assert!(error.contains("ended the check"), "{error}");
        }
        let with = |without| end_of(status("kill -SEGV $$"), || without).unwrap_err();
        assert!(with(Some(WithoutLayers::default())).contains("set VK_LOADER_LAYERS_DISABLE=~implicit~"));
        assert!(with(None).contains("also without implicit layers"));
    }

    #[test]
    fn a_layer_is_suspected_only_if_more_works_without_it() {
        let with = WithoutLayers { devices: 1, pairs: 0, passed: 1, failed: 1 };
        let without = WithoutLayers { devices: 2, pairs: 1, passed: 2, failed: 0 };
        let advice = without.advice(&with).unwrap();
        assert!(advice.problem.contains("implicit") && advice.action.contains("=~implicit~"), "{advice:?}");
        assert!(with.advice(&with).is_none() && with.advice(&without).is_none());
    }

    #[test]
    fn layers_are_suspected_only_if_something_fails() {
        let vulkan = Vulkan { loader: Some("1.4.0".into()), ..Vulkan::default() };
        let fine = WithoutLayers { devices: 1, passed: 1, ..WithoutLayers::default() };
        let suspects = |system: &System, works: &WithoutLayers| are_suspects(system, &vulkan, &Cuda::default(), works);
        assert!(!suspects(&System::default(), &fine));
        assert!(suspects(&System::default(), &WithoutLayers::default()));
        assert!(suspects(&System { nvidia_gpus_on_bus: 1, ..System::default() }, &fine));
        let mut off = System::default();
        off.variables.insert(VARIABLE.into(), IMPLICIT.into());
        assert!(!suspects(&off, &WithoutLayers::default()));
    }

    #[test]
    fn a_report_is_counted() {
        let report = serde_json::json!({
            "vulkan": {"devices": [1, 2]}, "pairs": [1], "trials": [{"failure": null}, {"failure": {"step": "x"}}]
        });
        let read = WithoutLayers::read(&report).unwrap();
        assert_eq!(read, WithoutLayers { devices: 2, pairs: 1, passed: 1, failed: 1 });
        assert!(WithoutLayers::read(&Value::Null).is_none());
    }
}
