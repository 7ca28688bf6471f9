//! The GPU time of commands, measured with two timestamps around them in one command buffer.
#![allow(unsafe_code)] // Vulkan calls.

use anyhow::{Context, Result};
use bridge::ExportDevice;
use bridge::ash::vk;

use crate::harness::{LIMIT, Skip};

/// A query pool of two timestamps.
pub(crate) struct Inside {
    pool: vk::QueryPool,
    /// Microseconds per tick.
    period: f64,
    mask: u64,
    device: ExportDevice,
}

impl Inside {
    /// Creates the pool for the main queue.
    pub(crate) fn new(device: &ExportDevice) -> Result<Self> {
        let physical = device.physical();
        let family = physical.queue_families.get(device.queue().family() as usize);
        let bits = family.map_or(0, |family| family.timestamp_valid_bits);
        if bits == 0 {
            return Skip::because(format!("{} has no time stamps on its graphics queue", device.name()));
        }
        let info = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(2);
        // SAFETY: VUID-VkQueryPoolCreateInfo-queryCount-02763: the count is not 0.
        let pool = unsafe { device.as_raw().create_query_pool(&info, None) }?;
        let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        let period = f64::from(physical.limits.timestamp_period) * 1e-3;
        Ok(Self { pool, period, mask, device: device.clone() })
    }

    /// Returns the microseconds from the end of all earlier commands to the end of these commands.
    ///
    /// # Safety
    /// The contract of `ExportDevice::run_once`, for the main queue.
    pub(crate) unsafe fn time(&self, record: impl FnOnce(vk::CommandBuffer)) -> Result<f64> {
        let (raw, pool) = (self.device.as_raw(), self.pool);
        let stamp = |commands, query| {
            // SAFETY: VUID-vkCmdWriteTimestamp2-timestampValidBits-03863: the family has
            // timestamps; outside of rendering.
            unsafe { raw.cmd_write_timestamp2(commands, vk::PipelineStageFlags2::ALL_COMMANDS, pool, query) };
        };
        let stamped = |commands| {
            // SAFETY: recording, outside of rendering; every earlier submission with the pool was
            // waited for, so none is pending.
            unsafe { raw.cmd_reset_query_pool(commands, pool, 0, 2) };
            stamp(commands, 0);
            record(commands);
            stamp(commands, 1);
        };
        // SAFETY: the caller upholds the contract; the pool lives until the commands have run,
        // because an error ends the case.
        unsafe { self.device.run_once(self.device.queue(), "inside", LIMIT, stamped) }?;
        let mut ticks = [0_u64; 2];
        let flags = vk::QueryResultFlags::TYPE_64;
        // SAFETY: VUID-vkGetQueryPoolResults-None-09401: both queries were written by commands that
        // have run.
        unsafe { raw.get_query_pool_results(pool, 0, &mut ticks, flags) }.context("two time stamps")?;
        Ok((ticks[1].wrapping_sub(ticks[0]) & self.mask) as f64 * self.period)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // SAFETY: VUID-vkDestroyQueryPool-queryPool-00793: every submission with it was waited for.
        unsafe { self.device.as_raw().destroy_query_pool(self.pool, None) };
    }
}

#[cfg(test)]
mod tests {
    use bridge_tests::Rig;

    use super::*;

    #[test]
    fn more_commands_take_longer() {
        let rig = Rig::open();
        let inside = Inside::new(rig.device()).unwrap();
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let place = vk_local::MemoryLocation::GpuOnly;
        let buffer = vk_local::LocalBuffer::new(rig.device(), "filled", 1 << 20, usage, place).unwrap();
        let fills = |count: u32| {
            let record = |commands| {
                let barrier = [vk::MemoryBarrier2::default()
                    .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
                    .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
                    .dst_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
                    .dst_access_mask(vk::AccessFlags2::TRANSFER_WRITE)];
                let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
                for value in 0..count {
                    let raw = rig.device().as_raw();
                    // SAFETY: recording; the buffer consists of whole words and has the usage for
                    // fills.
                    unsafe { raw.cmd_fill_buffer(commands, buffer.as_raw(), 0, vk::WHOLE_SIZE, value) };
                    // SAFETY: recording.
                    unsafe { rig.device().cmd_pipeline_barrier2(commands, &dependency) };
                }
            };
            // SAFETY: the buffer lives until the commands have run.
            unsafe { inside.time(record) }.unwrap()
        };
        // The minimum of a few, because other load on the machine only adds time.
        let best = |count| (0..5).map(|_| fills(count)).fold(f64::INFINITY, f64::min);
        let (few, many) = (best(1), best(100));
        assert!(few >= 0.0 && many > few, "1 fill takes {few} us, 100 take {many}");
    }
}
