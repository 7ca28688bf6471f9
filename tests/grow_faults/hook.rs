//! Device functions that fail on request.

use std::ffi::{CStr, c_void};
use std::sync::Mutex;

use bridge::ash::vk;

/// Counts the calls down while it is armed; the call that finds 0 fails and stores its name.
#[derive(Debug, Default)]
struct Fault {
    left: Option<usize>,
    /// `true` if waits for submissions count too.
    waits: bool,
    /// `true` if a timeline was queried: however often a wait does so, this counts as one call.
    queried: bool,
    hit: Option<&'static str>,
}

static FAULT: Mutex<Fault> = Mutex::new(Fault { left: None, waits: false, queried: false, hit: None });

/// Makes a call fail, after `call` other calls.
pub(crate) fn arm(call: usize, waits: bool) {
    *FAULT.lock().unwrap() = Fault { left: Some(call), waits, ..Fault::default() };
}

/// Disarms the fault. Returns the call that failed.
pub(crate) fn disarm() -> Option<&'static str> {
    std::mem::take(&mut *FAULT.lock().unwrap()).hit
}

fn fails(name: &'static str) -> bool {
    let mut fault = FAULT.lock().unwrap();
    let counts = match name {
        "vkWaitForFences" => fault.waits,
        "vkGetSemaphoreCounterValue" => fault.waits && !std::mem::replace(&mut fault.queried, true),
        _ => true,
    };
    let Some(left) = fault.left.filter(|_| counts) else { return false };
    fault.left = left.checked_sub(1);
    if left == 0 {
        fault.hit = Some(name);
    }
    left == 0
}

/// Replacements that fail when it is their turn, and call the real functions otherwise.
macro_rules! stand_ins {
    ($($name:ident($($argument:ident: $kind:ty),+)),+ $(,)?) => {
        $(
            #[allow(non_snake_case)]
            mod $name {
                use super::*;

                pub(super) type Real = unsafe extern "system" fn($($kind),+) -> vk::Result;
                pub(super) static REAL: Mutex<Option<Real>> = Mutex::new(None);

                pub(super) unsafe extern "system" fn function($($argument: $kind),+) -> vk::Result {
                    if fails(stringify!($name)) {
                        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
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
    vkCreateBuffer(a: vk::Device, b: Any, c: Any, d: Any),
    vkCreateImage(a: vk::Device, b: Any, c: Any, d: Any),
    vkCreateImageView(a: vk::Device, b: Any, c: Any, d: Any),
    vkAllocateMemory(a: vk::Device, b: Any, c: Any, d: Any),
    vkBindBufferMemory(a: vk::Device, b: vk::Buffer, c: vk::DeviceMemory, d: u64),
    vkBindImageMemory(a: vk::Device, b: vk::Image, c: vk::DeviceMemory, d: u64),
    vkMapMemory(a: vk::Device, b: vk::DeviceMemory, c: u64, d: u64, e: vk::MemoryMapFlags, f: Any),
    vkCreateCommandPool(a: vk::Device, b: Any, c: Any, d: Any),
    vkAllocateCommandBuffers(a: vk::Device, b: Any, c: Any),
    vkBeginCommandBuffer(a: vk::CommandBuffer, b: Any),
    vkEndCommandBuffer(a: vk::CommandBuffer),
    vkQueueSubmit2(a: vk::Queue, b: u32, c: Any, d: vk::Fence),
    vkCreateFence(a: vk::Device, b: Any, c: Any, d: Any),
    vkWaitForFences(a: vk::Device, b: u32, c: Any, d: vk::Bool32, e: u64),
    vkCreateSemaphore(a: vk::Device, b: Any, c: Any, d: Any),
    vkGetSemaphoreCounterValue(a: vk::Device, b: vk::Semaphore, c: Any),
    vkGetMemoryFdKHR(a: vk::Device, b: Any, c: Any),
    vkGetSemaphoreFdKHR(a: vk::Device, b: Any, c: Any),
);
