//! Vulkan functions that fail on demand.

use std::ffi::{CStr, c_void};
use std::sync::Mutex;

use bridge::ash::vk;

use crate::driver;

/// A call that must fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Index in [`NAMES`] of the only function whose calls count; all calls count if it is out of
    /// range.
    pub(crate) function: usize,
    /// Number of calls that succeed before.
    pub(crate) left: usize,
    pub(crate) result: vk::Result,
}

#[derive(Debug)]
struct Fault {
    plan: Option<Plan>,
    /// `true` if a call of the bridge runs. Calls by the case itself do not fail.
    inside: bool,
    hit: Option<&'static str>,
}

static FAULT: Mutex<Fault> = Mutex::new(Fault { plan: None, inside: false, hit: None });

pub(crate) fn plan(plan: Option<Plan>) {
    FAULT.lock().unwrap().plan = plan;
}

/// Runs calls of the bridge, one of which may fail. Returns the function that failed, here or on a
/// thread of the bridge.
pub(crate) fn inside<T>(calls: impl FnOnce() -> T) -> (T, Option<&'static str>) {
    FAULT.lock().unwrap().inside = true;
    driver::begin();
    let result = calls();
    let of_cuda = driver::end();
    let mut fault = FAULT.lock().unwrap();
    fault.inside = false;
    (result, fault.hit.take().or(of_cuda))
}

/// Returns the function that failed on a thread of the bridge outside these calls.
pub(crate) fn hit() -> Option<&'static str> {
    FAULT.lock().unwrap().hit.take()
}

/// The engine's queue lock, which panics before the submission. It fails if all calls count.
pub(crate) const LOCK: &str = "QueueLock::with";

pub(crate) fn fails(name: &'static str) -> Option<vk::Result> {
    let mut fault = FAULT.lock().unwrap();
    let counts = fault.inside || name == "vkSignalSemaphore";
    let plan =
        fault.plan.as_mut().filter(|plan| counts && NAMES.get(plan.function).is_none_or(|only| *only == name))?;
    if plan.left > 0 {
        plan.left -= 1;
        return None;
    }
    let result = plan.result;
    fault.plan = None;
    fault.hit = Some(name);
    Some(result)
}

/// Defines replacements that fail on demand and otherwise call the real functions.
macro_rules! stand_ins {
    ($($name:ident($($argument:ident: $kind:ty),+)),+ $(,)?) => {
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];

        $(
            #[allow(non_snake_case)]
            mod $name {
                use super::*;

                pub(super) type Real = unsafe extern "system" fn($($kind),+) -> vk::Result;
                pub(super) static REAL: Mutex<Option<Real>> = Mutex::new(None);

                pub(super) unsafe extern "system" fn function($($argument: $kind),+) -> vk::Result {
                    if let Some(result) = fails(stringify!($name)) {
                        return result;
                    }
                    let real = REAL.lock().unwrap().unwrap();
                    // SAFETY: forwarded to the real function.
                    unsafe { real($($argument),+) }
                }
            }
        )+

        pub(crate) fn hook(name: &CStr, real: *const c_void) -> *const c_void {
            match name.to_str().unwrap() {
                $(
                    stringify!($name) => {
                        // SAFETY: the function of that name has this type.
                        let real = unsafe { std::mem::transmute::<*const c_void, $name::Real>(real) };
                        *$name::REAL.lock().unwrap() = Some(real);
                        $name::function as *const c_void
                    }
                )+
                _ => real,
            }
        }
    };
}

type Any = *const c_void;

stand_ins!(
    vkQueueSubmit2(a: vk::Queue, b: u32, c: Any, d: vk::Fence),
    vkBeginCommandBuffer(a: vk::CommandBuffer, b: Any),
    vkEndCommandBuffer(a: vk::CommandBuffer),
    vkCreateCommandPool(a: vk::Device, b: Any, c: Any, d: Any),
    vkAllocateCommandBuffers(a: vk::Device, b: Any, c: Any),
    vkCreateBuffer(a: vk::Device, b: Any, c: Any, d: Any),
    vkCreateImage(a: vk::Device, b: Any, c: Any, d: Any),
    vkCreateImageView(a: vk::Device, b: Any, c: Any, d: Any),
    vkBindImageMemory(a: vk::Device, b: vk::Image, c: vk::DeviceMemory, d: u64),
    vkAllocateMemory(a: vk::Device, b: Any, c: Any, d: Any),
    vkBindBufferMemory(a: vk::Device, b: vk::Buffer, c: vk::DeviceMemory, d: u64),
    vkMapMemory(a: vk::Device, b: vk::DeviceMemory, c: u64, d: u64, e: vk::MemoryMapFlags, f: Any),
    vkCreateSemaphore(a: vk::Device, b: Any, c: Any, d: Any),
    vkSignalSemaphore(a: vk::Device, b: Any),
);
