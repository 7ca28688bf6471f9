//! Leaked objects are counted once, however many calls have failed.

use std::ffi::{CStr, c_void};
use std::sync::{Arc, OnceLock};

use bridge::ash::vk;
use bridge::vk_export::QueueLock;
use bridge::{Backend, Compute, Error, Exchange, ExportDevice, ImageAccess, ImageSpec, LiveObjects, vk_export};
use bridge_tests::Engine;

use crate::{double, info};

static WAIT: OnceLock<vk::PFN_vkWaitForFences> = OnceLock::new();

/// Reports a timeout immediately.
unsafe extern "system" fn late(_: vk::Device, _: u32, _: *const vk::Fence, _: vk::Bool32, _: u64) -> vk::Result {
    vk::Result::TIMEOUT
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkWaitForFences" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let _ = WAIT.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkWaitForFences>(real) });
    late as *const c_void
}

/// The test is the engine's only thread.
struct Lock;

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// The first hand-over of an exchange's images may still run, and CUDA fails to release them.
pub(crate) fn images_that_are_kept_twice_are_counted_once(name: &str) {
    /// `CUDA_ERROR_UNKNOWN`
    const UNKNOWN: u32 = 999;
    let Some(double) = double(name) else { return };
    // Never destroyed: what is leaked on purpose keeps its device alive.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    let mut info_of_engine = engine.info();
    info_of_engine.queue_lock = Some(Arc::new(Lock));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(info_of_engine) }.unwrap();
    let compute = Compute::new(&device, Backend::Cuda).unwrap();
    let before = LiveObjects::now();
    let spec = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [16, 16], ImageAccess::TRANSFER_READ);
    let info = info(2);
    double.fail_named("cuMipmappedArrayDestroy", 2, UNKNOWN);
    let error = Exchange::new(&compute, &info, spec).map(drop).unwrap_err();
    assert!(matches!(error, Error::Vulkan(vk_export::Error::Unfinished { .. })), "{error}");
    assert!(double.disarm().is_some(), "CUDA has let go of them");
    assert_eq!(LiveObjects::now().leaked_images, before.leaked_images + info.slots);
    engine.assert_silent();
}
