//! Vulkan timestamps around frames, converted to the host's clock.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result, ensure};
use bridge::ExportDevice;
use bridge::ash::{ext, khr, vk};

use super::commands::Commands;
use crate::gpu::Gpu;
use crate::harness::Skip;

/// The clock of Vulkan's timestamps.
pub(crate) struct VulkanClock {
    calls: Calls,
    /// Nanoseconds per tick.
    period: f64,
    mask: u64,
}

enum Calls {
    Khr(khr::calibrated_timestamps::Device),
    Ext(ext::calibrated_timestamps::Device),
}

/// One moment on both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) device: u64,
    pub(crate) host: i64,
    /// The maximum deviation of the two, in nanoseconds.
    pub(crate) deviation: u64,
}

impl VulkanClock {
    pub(crate) fn new(gpu: &Gpu, device: &ExportDevice) -> Result<Self> {
        let (instance, physical) = (device.instance(), device.physical());
        let calls = if gpu.has(khr::calibrated_timestamps::NAME) {
            Calls::Khr(khr::calibrated_timestamps::Device::new(instance, device.as_raw()))
        } else if gpu.has(ext::calibrated_timestamps::NAME) {
            Calls::Ext(ext::calibrated_timestamps::Device::new(instance, device.as_raw()))
        } else {
            return Skip::because(format!("{} cannot calibrate its time stamps", device.name()));
        };
        let family = physical.queue_families.get(device.queue().family() as usize);
        let bits = family.map_or(0, |family| family.timestamp_valid_bits);
        if bits == 0 {
            return Skip::because(format!("{} has no time stamps on its graphics queue", device.name()));
        }
        let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        let clock = Self { calls, period: f64::from(physical.limits.timestamp_period), mask };
        if !clock.domains(device)?.contains(&vk::TimeDomainKHR::CLOCK_MONOTONIC) {
            return Skip::because(format!("{} cannot calibrate against CLOCK_MONOTONIC", device.name()));
        }
        Ok(clock)
    }

    fn domains(&self, device: &ExportDevice) -> Result<Vec<vk::TimeDomainKHR>> {
        let (entry, instance, physical) = (device.entry(), device.instance(), device.physical().handle);
        Ok(match &self.calls {
            Calls::Khr(_) => {
                let calls = khr::calibrated_timestamps::Instance::new(entry, instance);
                // SAFETY: a query of a physical device of this instance, which has the extension.
                unsafe { calls.get_physical_device_calibrateable_time_domains(physical) }?
            }
            Calls::Ext(_) => {
                let calls = ext::calibrated_timestamps::Instance::new(entry, instance);
                // SAFETY: a query of a physical device of this instance, which has the extension.
                unsafe { calls.get_physical_device_calibrateable_time_domains(physical) }?
            }
        })
    }

    /// Reads both clocks several times; returns the reading with the smallest deviation.
    pub(crate) fn sample(&self) -> Result<Moment> {
        const TRIES: usize = 32;
        let domain = |domain| vk::CalibratedTimestampInfoKHR::default().time_domain(domain);
        let domains = [domain(vk::TimeDomainKHR::DEVICE), domain(vk::TimeDomainKHR::CLOCK_MONOTONIC)];
        let mut best: Option<Moment> = None;
        for _ in 0..TRIES {
            let (times, deviation) = match &self.calls {
                // SAFETY: VUID-vkGetCalibratedTimestampsEXT-timeDomain-09246: two different
                // domains, which the device supports.
                Calls::Khr(calls) => unsafe { calls.get_calibrated_timestamps(&domains) }?,
                // SAFETY: VUID-vkGetCalibratedTimestampsEXT-timeDomain-09246: two different
                // domains, which the device supports.
                Calls::Ext(calls) => unsafe { calls.get_calibrated_timestamps(&domains) }?,
            };
            let [device, host] = times[..] else { anyhow::bail!("two clocks were asked for") };
            if best.is_none_or(|best| deviation < best.deviation) {
                best = Some(Moment { device, host: i64::try_from(host)?, deviation });
            }
        }
        best.context("no clock was read")
    }

    /// Converts a timestamp to nanoseconds on the host's clock, relative to `moment`.
    pub(crate) fn to_ns(&self, moment: Moment, ticks: u64) -> f64 {
        let since = ticks.wrapping_sub(moment.device) & self.mask;
        // A timestamp before `moment` wraps around to a large difference.
        let since = if since > self.mask / 2 { -((self.mask - since + 1) as f64) } else { since as f64 };
        moment.host as f64 + since * self.period
    }
}

/// Two timestamps for every frame, in separate command buffers around the frame's.
pub(crate) struct Stamps {
    commands: Commands,
    pool: vk::QueryPool,
    count: u32,
    device: ExportDevice,
}

impl Stamps {
    /// Creates the timestamps for `frames` frames.
    pub(crate) fn new(device: &ExportDevice, frames: u64) -> Result<Self> {
        let count = u32::try_from(2 * frames)?;
        let info = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(count);
        let commands = Commands::new(device, device.queue(), count as usize)?;
        // SAFETY: VUID-VkQueryPoolCreateInfo-queryCount-02763: the count is not 0.
        let pool = unsafe { device.as_raw().create_query_pool(&info, None) }?;
        let stamps = Self { commands, pool, count, device: device.clone() };
        for query in 0..count {
            let stamp = |commands| {
                let raw = device.as_raw();
                // SAFETY: recording, outside of rendering; the query belongs to the pool.
                unsafe { raw.cmd_reset_query_pool(commands, pool, query, 1) };
                // After all earlier commands, and after the wait of the submission.
                let stage = vk::PipelineStageFlags2::ALL_COMMANDS;
                // SAFETY: VUID-vkCmdWriteTimestamp2-timestampValidBits-03863: the family has
                // timestamps.
                unsafe { raw.cmd_write_timestamp2(commands, stage, pool, query) };
            };
            // SAFETY: not submitted yet, and submitted only once.
            unsafe { stamps.commands.record(query as usize, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, stamp) }?;
        }
        Ok(stamps)
    }

    /// Returns the command buffers to submit before and after those of a frame.
    pub(crate) fn around(&self, frame: u64) -> Result<[vk::CommandBuffer; 2]> {
        let first = 2 * frame as usize;
        Ok([self.commands.get(first)?, self.commands.get(first + 1)?])
    }

    /// Returns the start and the end of every frame in nanoseconds. All frames must be done.
    pub(crate) fn read(&self, clock: &VulkanClock, moment: Moment) -> Result<Vec<(f64, f64)>> {
        let mut ticks = vec![0u64; self.count as usize];
        let flags = vk::QueryResultFlags::TYPE_64;
        // SAFETY: VUID-vkGetQueryPoolResults-None-09401: every query was written.
        unsafe { self.device.as_raw().get_query_pool_results(self.pool, 0, &mut ticks, flags) }?;
        let times: Vec<_> =
            ticks.chunks_exact(2).map(|both| (clock.to_ns(moment, both[0]), clock.to_ns(moment, both[1]))).collect();
        ensure!(times.iter().all(|(start, end)| start <= end), "time stamps that run backwards");
        Ok(times)
    }
}

impl Drop for Stamps {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyQueryPool-queryPool-00793: the exchange, which was dropped before,
        // waited for the frames.
        unsafe { self.device.as_raw().destroy_query_pool(self.pool, None) };
    }
}
