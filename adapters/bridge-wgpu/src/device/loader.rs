//! The Vulkan loader's own versions of the functions that this crate replaces and that take a
//! command buffer. A command buffer does not identify its device, so the call goes through the
//! loader, which dispatches to the driver.
#![allow(unsafe_code)] // Stores functions of the loader.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use ash::vk;

/// The loader of all devices whose command buffer calls pass through this crate.
static LOADER: Loader = Loader::new();

/// The loader's functions.
#[derive(Debug, Clone, Copy)]
struct Functions {
    barrier: vk::PFN_vkCmdPipelineBarrier,
    begin: vk::PFN_vkBeginCommandBuffer,
}

impl Functions {
    /// # Safety
    /// The instance is live.
    unsafe fn of(entry: &ash::Entry, instance: vk::Instance) -> Option<Self> {
        let get = entry.static_fn().get_instance_proc_addr;
        // SAFETY: the caller upholds the contract; the names are null-terminated.
        let function = |name: &CStr| unsafe { get(instance, name.as_ptr()) };
        let (barrier, begin) = (function(c"vkCmdPipelineBarrier")?, function(c"vkBeginCommandBuffer")?);
        // SAFETY: the function with this name has this signature.
        let barrier =
            unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkCmdPipelineBarrier>(barrier) };
        // SAFETY: the function with this name has this signature.
        let begin = unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkBeginCommandBuffer>(begin) };
        Some(Self { barrier, begin })
    }
}

/// A Vulkan loader. It is unloaded with its last instance, and may have another address when it is
/// loaded again.
struct Loader {
    /// Its [`Functions`]. They change only while there is no device; null before the first one.
    barrier: AtomicPtr<c_void>,
    begin: AtomicPtr<c_void>,
    devices: Mutex<usize>,
}

impl Loader {
    const fn new() -> Self {
        let (barrier, begin) = (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        Self { barrier, begin, devices: Mutex::new(0) }
    }

    /// Adds a device. Returns `false` if there are devices of another loader.
    fn add(&self, functions: Functions) -> bool {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let all = [(&self.barrier, functions.barrier as *mut c_void), (&self.begin, functions.begin as *mut c_void)];
        if *devices == 0 {
            all.iter().for_each(|(stored, address)| stored.store(*address, Ordering::Release));
        }
        let is_same = all.iter().all(|(stored, address)| stored.load(Ordering::Acquire) == *address);
        *devices += usize::from(is_same);
        is_same
    }

    /// Removes a device that was added.
    fn remove(&self) {
        *self.devices.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }

    /// Returns `None` before the first device.
    fn barrier(&self) -> Option<vk::PFN_vkCmdPipelineBarrier> {
        let address = self.barrier.load(Ordering::Acquire);
        // SAFETY: null, which is `None`, or a function of this type that `add` stored.
        unsafe { std::mem::transmute::<*mut c_void, Option<vk::PFN_vkCmdPipelineBarrier>>(address) }
    }

    /// Returns `None` before the first device.
    fn begin(&self) -> Option<vk::PFN_vkBeginCommandBuffer> {
        let address = self.begin.load(Ordering::Acquire);
        // SAFETY: null, which is `None`, or a function of this type that `add` stored.
        unsafe { std::mem::transmute::<*mut c_void, Option<vk::PFN_vkBeginCommandBuffer>>(address) }
    }
}

/// Adds a device of the instance, until [`remove`]. Returns `false` if the program has two loaders
/// and there are devices of the other one.
///
/// # Safety
/// The instance is live.
pub(super) unsafe fn add(entry: &ash::Entry, instance: vk::Instance) -> bool {
    // SAFETY: the caller upholds the contract.
    unsafe { Functions::of(entry, instance) }.is_some_and(|functions| LOADER.add(functions))
}

/// Removes a device that was added and will be destroyed.
pub(super) fn remove() {
    LOADER.remove();
}

/// Returns the loader's `vkCmdPipelineBarrier`; `None` before the first device.
pub(super) fn barrier() -> Option<vk::PFN_vkCmdPipelineBarrier> {
    LOADER.barrier()
}

/// Returns the loader's `vkBeginCommandBuffer`; `None` before the first device.
pub(super) fn begin() -> Option<vk::PFN_vkBeginCommandBuffer> {
    LOADER.begin()
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "system" fn barrier(
        _: vk::CommandBuffer,
        _: vk::PipelineStageFlags,
        _: vk::PipelineStageFlags,
        _: vk::DependencyFlags,
        _: u32,
        _: *const vk::MemoryBarrier<'_>,
        _: u32,
        _: *const vk::BufferMemoryBarrier<'_>,
        _: u32,
        _: *const vk::ImageMemoryBarrier<'_>,
    ) {
        unreachable!("never called");
    }

    unsafe extern "system" fn begin(_: vk::CommandBuffer, _: *const vk::CommandBufferBeginInfo<'_>) -> vk::Result {
        unreachable!("never called");
    }

    unsafe extern "system" fn elsewhere(_: vk::CommandBuffer, _: *const vk::CommandBufferBeginInfo<'_>) -> vk::Result {
        unreachable!("never called, and not the same function");
    }

    /// A loader that was unloaded with its last device may have other addresses when it is loaded
    /// again.
    #[test]
    fn the_loader_changes_where_no_device_has_it() {
        let loader = Loader::new();
        let (here, there) = (Functions { barrier, begin }, Functions { barrier, begin: elsewhere });
        let is = |one: Functions| loader.begin().is_some_and(|own| std::ptr::fn_addr_eq(own, one.begin));
        assert!(loader.barrier().is_none() && loader.begin().is_none());
        assert!(loader.add(here) && loader.add(here) && is(here));
        assert!(loader.barrier().is_some_and(|own| std::ptr::fn_addr_eq(own, here.barrier)));
        assert!(!loader.add(there) && is(here), "two loaders at once");
        loader.remove();
        assert!(!loader.add(there), "a device is left");
        loader.remove();
        assert!(loader.add(there) && is(there));
        assert!(!loader.add(here));
    }
}
