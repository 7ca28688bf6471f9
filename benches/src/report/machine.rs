//! The environment of a run.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

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
        let system = System::collect();
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

fn now() -> String {
    date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Returns the time in RFC 3339, to the second, for this number of seconds since 1970.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since March 1 of the year 0; a leap day is then the last day of its year.
    let days = days + 719_468;
    // Four centuries always have the same number of days.
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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

    /// Expected values are those of `date -u -d @SECONDS +%FT%TZ`.
    #[test]
    fn leap_years_have_their_day() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
