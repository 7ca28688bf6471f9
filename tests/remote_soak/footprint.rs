//! What a process holds.
#![allow(unsafe_code)] // A query of Vulkan.

use std::fmt;

use bridge::ExportDevice;
use bridge::vk_export::AllocatedBytes;
use bridge::vk_export::ash::{ext, vk};
use bridge_tests::open_descriptors;

/// Bytes by which the process may grow behind the warm-up: each connection has a thread, and the
/// allocator an arena for some of them.
const ALLOWED: u64 = 2 << 20;
/// The same of the device's heaps, of which drivers keep some.
const ALLOWED_OF_HEAPS: u64 = 16 << 20;

/// What this process holds at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
    /// What the crates have allocated of the device.
    pub(crate) allocated: AllocatedBytes,
    /// What the driver says that this process uses of all heaps, in bytes, where it has
    /// `VK_EXT_memory_budget`.
    pub(crate) heaps: Option<u64>,
}

impl Footprint {
    pub(crate) fn now(device: &ExportDevice) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        Self {
            resident: number(&status, "VmRSS:") << 10,
            descriptors: open_descriptors(),
            threads: number(&status, "Threads:"),
            allocated: device.allocated_bytes(),
            heaps: heaps(device),
        }
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, descriptors, threads, heaps, .. } = self;
        write!(f, "RSS {} KiB, {descriptors} descriptors, {threads} threads, ", resident >> 10)?;
        match heaps {
            Some(bytes) => write!(f, "{} KiB of the device's heaps", bytes >> 10),
            None => f.write_str("heaps unknown (no VK_EXT_memory_budget)"),
        }
    }
}

/// The number of a line of `/proc/self/status`.
fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn heaps(device: &ExportDevice) -> Option<u64> {
    let (instance, physical) = (device.instance(), device.physical().handle);
    // SAFETY: a query of a physical device of this instance.
    let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }.unwrap();
    extensions.iter().find(|one| one.extension_name_as_c_str() == Ok(ext::memory_budget::NAME))?;
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
    // SAFETY: as above, for Vulkan 1.2 at least; the structure is of an extension that the device
    // has, which need not be enabled for a query.
    unsafe { instance.get_physical_device_memory_properties2(physical, &mut properties) };
    Some(budget.heap_usage.iter().sum())
}

/// The footprints at the end of the warm-up. What is on its way at the moment of one is not there
/// at that of another.
fn warm(before: &[Footprint]) -> &[Footprint] {
    &before[before.len().saturating_sub(5)..]
}

/// Whether no more descriptors and threads are there than behind the warm-up.
pub(crate) fn is_settled(before: &[Footprint], now: &Footprint) -> bool {
    let descriptors = warm(before).iter().map(|one| one.descriptors).min().unwrap();
    let threads = warm(before).iter().map(|one| one.threads).min().unwrap();
    now.descriptors <= descriptors && now.threads <= threads
}

/// That the process has not grown since the warm-up.
pub(crate) fn assert_same(before: &[Footprint], last: &Footprint) {
    assert!(is_settled(before, last), "{last}, after {:#?}", warm(before));
    let first = before.last().unwrap();
    assert_eq!(last.allocated, first.allocated);
    assert!(last.resident <= first.resident + ALLOWED, "{first} became {last}");
    if let (Some(first), Some(last)) = (first.heaps, last.heaps) {
        assert!(last <= first + ALLOWED_OF_HEAPS, "{first} bytes of the heaps became {last}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Negative controls: each kind of growth is found.
    #[test]
    fn what_grows_is_found() {
        let base = Footprint {
            resident: 90 << 20,
            descriptors: 15,
            threads: 12,
            allocated: AllocatedBytes::default(),
            heaps: Some(1 << 30),
        };
        let busy = Footprint { descriptors: 17, threads: 13, ..base.clone() };
        let before = [busy, base.clone(), base.clone()];
        let grown = [
            Footprint { resident: base.resident + ALLOWED + 1, ..base.clone() },
            Footprint { descriptors: 16, ..base.clone() },
            Footprint { threads: 13, ..base.clone() },
            Footprint { heaps: Some((1 << 30) + ALLOWED_OF_HEAPS + 1), ..base.clone() },
        ];
        assert_same(&before, &base);
        for last in grown {
            let compared = std::panic::catch_unwind(|| assert_same(&before, &last));
            assert!(compared.is_err(), "{last} is not found");
        }
    }
}
