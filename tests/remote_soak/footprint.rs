//! The resources that a process holds.
#![allow(unsafe_code)] // A query of Vulkan.

use std::fmt;

use bridge::ExportDevice;
use bridge::vk_export::AllocatedBytes;
use bridge::vk_export::ash::{ext, vk};
use bridge_tests::open_descriptors;

/// The number of bytes by which the process may grow after the warm-up: each connection has a
/// thread, and the memory allocator has an arena for some threads.
const ALLOWED: u64 = 2 << 20;
/// The same for the device's heaps, of which drivers keep some memory.
const ALLOWED_OF_HEAPS: u64 = 16 << 20;

/// The resources that this process holds at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
    /// The memory that the crates have allocated from the device.
    pub(crate) allocated: AllocatedBytes,
    /// The memory of all heaps that this process uses according to the driver, in bytes, if the
    /// driver has `VK_EXT_memory_budget`.
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

/// Returns the number in a line of `/proc/self/status`.
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
    // SAFETY: as above, for Vulkan 1.2 or later; the structure belongs to an extension that the
    // device has, which need not be enabled for a query.
    unsafe { instance.get_physical_device_memory_properties2(physical, &mut properties) };
    Some(budget.heap_usage.iter().sum())
}

/// Returns the footprints at the end of the warm-up. Several are compared, because a single one may
/// contain temporary objects.
fn warm(before: &[Footprint]) -> &[Footprint] {
    &before[before.len().saturating_sub(5)..]
}

/// Returns `true` if there are not more descriptors and threads than after the warm-up.
pub(crate) fn is_settled(before: &[Footprint], now: &Footprint) -> bool {
    let descriptors = warm(before).iter().map(|one| one.descriptors).min().unwrap();
    let threads = warm(before).iter().map(|one| one.threads).min().unwrap();
    now.descriptors <= descriptors && now.threads <= threads
}

/// Checks that the process has not grown since the warm-up.
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
    fn growth_is_detected() {
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
