//! The end of a copy, on a device that counts waits.
#![allow(clippy::unwrap_used)] // A test, with a stand-in for a function of Vulkan's.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use bridge::{AdoptInfo, Backend, BufferAccess, Compute, Exchange, ExportDevice, LatestInfo, OpenInfo};

use super::*;
use crate::vulkan::init::FAMILY;
use crate::vulkan::stand_in;

const LEN: usize = 1024;

/// The number of non-blocking waits that succeeded.
static ORDERED: AtomicU32 = AtomicU32::new(0);
/// `true` if non-blocking waits time out, as on a driver that reports signals late.
static LATE: AtomicBool = AtomicBool::new(false);
static WAIT: OnceLock<vk::PFN_vkWaitSemaphores> = OnceLock::new();

unsafe extern "system" fn wait(device: vk::Device, info: *const vk::SemaphoreWaitInfo<'_>, limit: u64) -> vk::Result {
    if limit == 0 && LATE.load(Ordering::SeqCst) {
        return vk::Result::TIMEOUT;
    }
    let real = WAIT.get().unwrap();
    // SAFETY: the arguments are passed on unchanged.
    let result = unsafe { real(device, info, limit) };
    if limit == 0 && result == vk::Result::SUCCESS {
        ORDERED.fetch_add(1, Ordering::SeqCst);
    }
    result
}

/// Returns the same device with this stand-in.
fn hooked(own: &ExportDevice) -> ExportDevice {
    let device = stand_in::load(own.instance(), own.as_raw().handle(), |name, real| {
        if name != c"vkWaitSemaphores" {
            return real;
        }
        // SAFETY: the function of that name has this type.
        let _ = WAIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitSemaphores>(real) });
        wait as *const c_void
    });
    // SAFETY: the bridge created this queue.
    let queue = (unsafe { device.get_device_queue(FAMILY, 0) }, FAMILY);
    let made = (own.entry().clone(), own.instance().clone(), own.api_version());
    let mut info = AdoptInfo::new(made, own.physical().handle, device, queue);
    info.features.timeline_semaphore = true;
    info.features.synchronization2 = true;
    info.keep_alive = Some(Box::new(own.clone()));
    // SAFETY: the handles belong to one device, which lives as long as its clone; both features are
    // enabled on every device that the bridge opens. The test submits from one thread.
    unsafe { ExportDevice::adopt(info) }.unwrap()
}

/// Once a copy is reported as ended, it is ordered before later actions of the host, which the
/// counter alone would not ensure. Late waits of a driver delay no frame.
#[test]
fn a_copy_has_ended_once_a_wait_says_so() {
    let own = ExportDevice::open(&OpenInfo::default()).unwrap();
    let device = hooked(&own);
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let (mut writer, mut reader) = Exchange::latest(&compute, &LatestInfo::default(), spec).unwrap();
    let target = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_WRITE);
    let info = LatestInfo { name: "target", ..Default::default() };
    let (mut other, _reader) = Exchange::latest_render_first(&compute, &info, target).unwrap();
    // Nothing else uses the slot until the turn is dropped.
    let target = other.begin().unwrap();
    let mut copier = Copier::new("numbers", &device).unwrap();
    for place in 0..PLACES {
        let late = place == PLACES - 1;
        LATE.store(late, Ordering::SeqCst);
        let published = writer.begin().unwrap().publish().unwrap();
        published.wait(LIMIT).unwrap();
        let turn = reader.newest().unwrap().unwrap();
        let before = ORDERED.load(Ordering::SeqCst);
        // SAFETY: the target is a slot of the same size, which is held above; the copy is waited
        // for.
        unsafe { copier.submit(place, turn, target.resources().as_raw()) }.unwrap();
        let start = Instant::now();
        while !copier.finished().unwrap() {
            assert!(start.elapsed() < LIMIT, "the copy has not ended");
        }
        assert!(
            late || ORDERED.load(Ordering::SeqCst) > before,
            "the host has seen the copy's end, and nothing orders its memory"
        );
        assert!(!copier.finished().unwrap(), "told once");
    }
    target.skip();
}
