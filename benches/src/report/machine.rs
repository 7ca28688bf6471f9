//! The environment of a run.

use std::fs;

use bridge::ExportDevice;
use bridge::ash::vk;
use doctor::System;
use serde::{Deserialize, Serialize};

use super::provenance::{Clocks, Sources, root};

/// The environment of a run, and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The Vulkan device.
    pub(crate) device: String,
    /// Its driver, as the driver describes itself.
    pub(crate) driver: String,
    /// The Vulkan version in use.
    pub(crate) vulkan: String,
    /// The newest CUDA version that the driver supports, such as `CUDA 13.0`, if CUDA computes.
    pub(crate) cuda: Option<String>,
    /// The backend: `cuda` or `host`.
    pub(crate) backend: String,
    /// The processor.
    pub(crate) processor: String,
    /// The number of threads that this program may use.
    pub(crate) threads: usize,
    /// The operating system.
    pub(crate) system: String,
    /// The start time in UTC.
    pub(crate) date: String,
    /// The version of the sources.
    #[serde(default)]
    pub(crate) sources: Sources,
    /// The GPU's clock rates.
    #[serde(default)]
    pub(crate) clocks: Clocks,
}

impl Machine {
    /// Describes this machine at the present time.
    pub(crate) fn look(device: &ExportDevice, compute: &bridge::Compute) -> Self {
        let system = System::look();
        let version = device.api_version();
        Self {
            device: device.name().to_owned(),
            driver: device.physical().driver.clone(),
            vulkan: format!("{}.{}", vk::api_version_major(version), vk::api_version_minor(version)),
            cuda: compute.cuda().map(|cuda| cuda.device().driver_version().to_string()),
            backend: compute.backend().to_string(),
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: match system.kernel {
                Some(kernel) => format!("{}, {kernel}, {}", system.os, system.architecture),
                None => format!("{}, {}", system.os, system.architecture),
            },
            date: now(),
            sources: Sources::look(root().ok().as_deref()),
            clocks: Clocks::look(device.uuid()),
        }
    }
}

/// Returns the first processor's name as Linux reports it.
fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "model name");
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// Returns the present time, rounded down to the second.
fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\nmodel name\t: Some Processor: 9000\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(processor(text), "Some Processor: 9000");
        assert_eq!(processor(""), "unknown");
    }

    #[test]
    fn the_date_is_a_date() {
        let now = now();
        assert!(now.len() == "2026-11-22T10:11:12Z".len() && now.ends_with('Z'), "{now}");
    }
}
