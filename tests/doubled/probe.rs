//! The probe of another GPU, on a queue that does not get to it.

use bridge::{Compute, QueueKind};
use bridge_tests::{Gate, Peers, Rig, assert_silent};

use crate::double;

/// Vulkan's copy out of the buffer that was probed outlives the probe's limit: the buffer stays.
pub(crate) fn what_is_still_copied_is_kept(name: &str) {
    let Some(_double) = double(name) else { return };
    let rig = Rig::open();
    let devices = Peers::Other.devices(rig.device()).unwrap();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let error = Compute::on_peer(rig.device(), &devices[0]).unwrap_err().to_string();
    assert!(error.contains("its memory cannot be written there"), "{error}");
    gate.open();
    // SAFETY: of this device, which nothing else uses.
    unsafe { rig.device().as_raw().device_wait_idle() }.unwrap();
    // A buffer that is destroyed while commands use it: VUID-vkDestroyBuffer-buffer-00922.
    assert_silent(rig.device());
}
