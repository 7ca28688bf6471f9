//! Lent turns that were dropped.

use std::time::Duration;

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, LatestInfo, LiveObjects};
use bridge_tests::Rig;

/// Without a later turn, the parts of a flush are what shows closing that nothing is in use,
/// whether the turn was submitted or not.
pub(crate) fn the_parts_of_a_flush_prove_the_end(device: &ExportDevice, compute: &Compute) {
    for happens in [false, true] {
        let before = LiveObjects::now();
        let info = LatestInfo { name: "lost", timeout: Duration::from_millis(500), ..Default::default() };
        let spec = BufferSpec::<u32>::new(16, BufferAccess::TRANSFER_READ);
        let (mut writer, mut reader) = Exchange::latest(compute, &info, spec).unwrap();
        writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
        assert!(reader.flush_parts().unwrap().is_none(), "nothing is lost");
        let turn = reader.newest().unwrap().unwrap().lend().unwrap();
        assert!(reader.flush_parts().unwrap().is_none(), "the turn's own signal is to come");
        if happens {
            let (parts, signals) = (turn.parts(), [turn.parts().signal()]);
            let batch = vk::SubmitInfo2::default().wait_semaphore_infos(parts.waits()).signal_semaphore_infos(&signals);
            // SAFETY: the parts of an open turn, unchanged.
            unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        }
        drop(turn);
        assert_eq!(reader.retired(), 1);
        let parts = reader.flush_parts().unwrap().unwrap();
        let (waits, signals) = ([parts.wait], [parts.signal]);
        let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits).signal_semaphore_infos(&signals);
        // SAFETY: the parts as they were given; closing waits for the signal.
        unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
        writer.close(reader).unwrap();
        assert_eq!(LiveObjects::now(), before);
    }
}
