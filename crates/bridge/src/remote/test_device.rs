//! A Vulkan device for the tests of this folder.

use std::sync::OnceLock;

use vk_export::{ExportDevice, OpenInfo};

/// One for all tests, which is never destroyed: NVIDIA's driver deadlocks when a device is
/// destroyed while a thread that has used Vulkan exits, and every test is such a thread. `None`,
/// and the test is skipped, where there is none.
pub(super) fn device() -> Option<ExportDevice> {
    static DEVICE: OnceLock<Result<ExportDevice, String>> = OnceLock::new();
    match DEVICE.get_or_init(|| ExportDevice::open(&OpenInfo::default()).map_err(|error| error.to_string())) {
        Ok(device) => Some(device.clone()),
        Err(reason) => {
            test_support::skip(test_support::Need::Other, reason);
            None
        }
    }
}
