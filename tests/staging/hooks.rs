//! Device functions that record calls, count live objects, and fail on request.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::{Mutex, OnceLock};

use bridge::ash::vk;

/// A recorded command.
#[derive(Debug)]
pub(crate) enum Event {
    Barriers {
        buffers: Vec<vk::BufferMemoryBarrier2<'static>>,
        images: Vec<vk::ImageMemoryBarrier2<'static>>,
    },
    Copy {
        buffer: vk::Buffer,
        image: vk::Image,
        layout: vk::ImageLayout,
        regions: Vec<vk::BufferImageCopy>,
        into_image: bool,
    },
}

// SAFETY: the barriers' only pointers are their `p_next` pointers, which are null.
unsafe impl Send for Event {}

static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());

/// Returns what was recorded since the last call.
pub(crate) fn recorded() -> Vec<Event> {
    std::mem::take(&mut EVENTS.lock().unwrap())
}

/// Numbers of buffers, images, views and allocations.
pub(crate) type LiveCounts = [isize; 4];

static LIVE: [AtomicIsize; 4] = [const { AtomicIsize::new(0) }; 4];

/// Returns the numbers of live objects.
pub(crate) fn live_counts() -> LiveCounts {
    [0, 1, 2, 3].map(|kind: usize| LIVE[kind].load(Ordering::SeqCst))
}

static LEFT: AtomicIsize = AtomicIsize::new(isize::MAX);
static FAILED: AtomicBool = AtomicBool::new(false);

/// Makes a call fail, after `nth` other calls that can fail; `None` disables this. Returns whether
/// a call has failed since the last call of this function.
pub(crate) fn fail(nth: Option<isize>) -> bool {
    LEFT.store(nth.unwrap_or(isize::MAX), Ordering::SeqCst);
    FAILED.swap(false, Ordering::SeqCst)
}

fn fails() -> bool {
    let fails = LEFT.fetch_sub(1, Ordering::SeqCst) == 0;
    FAILED.fetch_or(fails, Ordering::SeqCst);
    fails
}

/// # Safety
///
/// Like `from_raw_parts`, except that `data` may be null if `count` is 0.
unsafe fn list<'a, T>(data: *const T, count: u32) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(data, usize::try_from(count).unwrap()) }
}

/// Replacements for functions that create an object, or fail, and for those that destroy one.
macro_rules! counted {
    ($($kind:literal: $make:ident as $make_type:ident ($info:ty, $object:ty), $end:ident as $end_type:ident;)*) => { $(
        static $make_type: OnceLock<unsafe extern "system" fn(vk::Device, *const $info, *const vk::AllocationCallbacks<'_>, *mut $object) -> vk::Result> = OnceLock::new();
        static $end_type: OnceLock<unsafe extern "system" fn(vk::Device, $object, *const vk::AllocationCallbacks<'_>)> = OnceLock::new();

        unsafe extern "system" fn $make(
            device: vk::Device,
            info: *const $info,
            allocator: *const vk::AllocationCallbacks<'_>,
            object: *mut $object,
        ) -> vk::Result {
            if fails() {
                return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
            }
            // SAFETY: forwarded to the real function.
            let result = unsafe { $make_type.get().unwrap()(device, info, allocator, object) };
            LIVE[$kind].fetch_add(isize::from(result == vk::Result::SUCCESS), Ordering::SeqCst);
            result
        }

        unsafe extern "system" fn $end(
            device: vk::Device,
            object: $object,
            allocator: *const vk::AllocationCallbacks<'_>,
        ) {
            LIVE[$kind].fetch_sub(1, Ordering::SeqCst);
            // SAFETY: forwarded to the real function.
            unsafe { $end_type.get().unwrap()(device, object, allocator) };
        }
    )* };
}

counted! {
    0: create_buffer as CREATE_BUFFER (vk::BufferCreateInfo<'_>, vk::Buffer), destroy_buffer as DESTROY_BUFFER;
    1: create_image as CREATE_IMAGE (vk::ImageCreateInfo<'_>, vk::Image), destroy_image as DESTROY_IMAGE;
    2: create_view as CREATE_VIEW (vk::ImageViewCreateInfo<'_>, vk::ImageView), destroy_view as DESTROY_VIEW;
    3: allocate as ALLOCATE (vk::MemoryAllocateInfo<'_>, vk::DeviceMemory), free as FREE;
}

static BARRIER: OnceLock<vk::PFN_vkCmdPipelineBarrier2> = OnceLock::new();
static COPY_IN: OnceLock<vk::PFN_vkCmdCopyBufferToImage> = OnceLock::new();
static COPY_OUT: OnceLock<vk::PFN_vkCmdCopyImageToBuffer> = OnceLock::new();
static MAP: OnceLock<vk::PFN_vkMapMemory> = OnceLock::new();
static BIND_BUFFER: OnceLock<vk::PFN_vkBindBufferMemory> = OnceLock::new();

unsafe extern "system" fn barrier(commands: vk::CommandBuffer, dependency: *const vk::DependencyInfo<'_>) {
    // SAFETY: the caller passes a valid structure.
    let info = unsafe { &*dependency };
    // SAFETY: this many barriers, valid for the call.
    let buffers = unsafe { list(info.p_buffer_memory_barriers, info.buffer_memory_barrier_count) };
    // SAFETY: as above.
    let images = unsafe { list(info.p_image_memory_barriers, info.image_memory_barrier_count) };
    EVENTS.lock().unwrap().push(Event::Barriers {
        buffers: buffers.iter().map(|b| vk::BufferMemoryBarrier2 { _marker: PhantomData, ..*b }).collect(),
        images: images.iter().map(|i| vk::ImageMemoryBarrier2 { _marker: PhantomData, ..*i }).collect(),
    });
    // SAFETY: forwarded to the real function.
    unsafe { BARRIER.get().unwrap()(commands, dependency) };
}

unsafe extern "system" fn copy_in(
    commands: vk::CommandBuffer,
    buffer: vk::Buffer,
    image: vk::Image,
    layout: vk::ImageLayout,
    count: u32,
    regions: *const vk::BufferImageCopy,
) {
    // SAFETY: this many regions, valid for the call.
    let copied = unsafe { list(regions, count) }.to_vec();
    EVENTS.lock().unwrap().push(Event::Copy { buffer, image, layout, regions: copied, into_image: true });
    // SAFETY: forwarded to the real function.
    unsafe { COPY_IN.get().unwrap()(commands, buffer, image, layout, count, regions) };
}

unsafe extern "system" fn copy_out(
    commands: vk::CommandBuffer,
    image: vk::Image,
    layout: vk::ImageLayout,
    buffer: vk::Buffer,
    count: u32,
    regions: *const vk::BufferImageCopy,
) {
    // SAFETY: this many regions, valid for the call.
    let copied = unsafe { list(regions, count) }.to_vec();
    EVENTS.lock().unwrap().push(Event::Copy { buffer, image, layout, regions: copied, into_image: false });
    // SAFETY: forwarded to the real function.
    unsafe { COPY_OUT.get().unwrap()(commands, image, layout, buffer, count, regions) };
}

unsafe extern "system" fn map(
    device: vk::Device,
    memory: vk::DeviceMemory,
    offset: vk::DeviceSize,
    size: vk::DeviceSize,
    flags: vk::MemoryMapFlags,
    pointer: *mut *mut c_void,
) -> vk::Result {
    if fails() {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY: forwarded to the real function.
    unsafe { MAP.get().unwrap()(device, memory, offset, size, flags, pointer) }
}

unsafe extern "system" fn bind_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    offset: vk::DeviceSize,
) -> vk::Result {
    if fails() {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY: forwarded to the real function.
    unsafe { BIND_BUFFER.get().unwrap()(device, buffer, memory, offset) }
}

/// Replaces the device's functions.
#[allow(clippy::missing_transmute_annotations)] // The static that takes it has the type.
pub(crate) fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    macro_rules! replace {
        ($($name:literal: $real:ident by $stand_in:ident),* $(,)?) => {
            match name.to_bytes() {
                $($name => {
                    // SAFETY: the function of that name has this type.
                    let _ = $real.set(unsafe { std::mem::transmute::<*const c_void, _>(real) });
                    $stand_in as *const c_void
                })*
                _ => real,
            }
        };
    }
    replace! {
        b"vkCmdPipelineBarrier2": BARRIER by barrier,
        b"vkCmdCopyBufferToImage": COPY_IN by copy_in,
        b"vkCmdCopyImageToBuffer": COPY_OUT by copy_out,
        b"vkMapMemory": MAP by map,
        b"vkBindBufferMemory": BIND_BUFFER by bind_buffer,
        b"vkCreateBuffer": CREATE_BUFFER by create_buffer,
        b"vkDestroyBuffer": DESTROY_BUFFER by destroy_buffer,
        b"vkCreateImage": CREATE_IMAGE by create_image,
        b"vkDestroyImage": DESTROY_IMAGE by destroy_image,
        b"vkCreateImageView": CREATE_VIEW by create_view,
        b"vkDestroyImageView": DESTROY_VIEW by destroy_view,
        b"vkAllocateMemory": ALLOCATE by allocate,
        b"vkFreeMemory": FREE by free,
    }
}
