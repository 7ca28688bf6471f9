//! The queues of all devices.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use ash::vk;
use ash::vk::Handle as _;

use super::queue::{Queue, Underlying};
use crate::vulkan::families::UNDERLYING_FAMILY;
use crate::vulkan::underlying::underlying;

#[derive(Debug)]
struct Device {
    underlying: Arc<Underlying>,
    queues: Vec<Arc<Queue>>,
    threads: Vec<JoinHandle<()>>,
}

static DEVICES: Mutex<BTreeMap<u64, Device>> = Mutex::new(BTreeMap::new());

fn devices() -> MutexGuard<'static, BTreeMap<u64, Device>> {
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates the queues of a device that has one underlying queue: of each family, this many.
///
/// # Panics
///
/// If no thread can be created.
pub(in crate::vulkan) fn insert(device: vk::Device, requested: &[(u32, u32)]) {
    let mut queue = vk::Queue::null();
    // SAFETY: the device was created with this queue.
    unsafe { (underlying().device.fp_v1_0().get_device_queue)(device, UNDERLYING_FAMILY, 0, &mut queue) };
    let underlying = Arc::new(Underlying::new(device, queue));
    let numbers = requested.iter().flat_map(|&(family, count)| (0..count).map(move |index| (family, index)));
    let queues = numbers.map(|(family, index)| Arc::new(Queue::new(Arc::clone(&underlying), family, index)));
    let queues: Vec<_> = queues.collect();
    let threads = queues.iter().map(|queue| {
        let queue = Arc::clone(queue);
        let thread = thread::Builder::new().name("double-queue".to_owned()).spawn(move || queue.run());
        thread.unwrap_or_else(|error| panic!("no thread for a queue: {error}"))
    });
    let threads = threads.collect();
    devices().insert(device.as_raw(), Device { underlying, queues, threads });
}

/// Ends the threads of a device that is being destroyed.
pub(in crate::vulkan) fn remove(device: vk::Device) {
    let Some(device) = devices().remove(&device.as_raw()) else { return };
    device.queues.iter().for_each(|queue| queue.close());
    // A thread that panicked has printed why.
    device.threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// Returns a queue of a device.
pub(super) fn queue_of(device: vk::Device, family: u32, index: u32) -> Option<Arc<Queue>> {
    let devices = devices();
    let mut queues = devices.get(&device.as_raw())?.queues.iter();
    queues.find(|queue| (queue.family, queue.index) == (family, index)).cloned()
}

/// Returns the queue with this handle.
///
/// # Panics
///
/// If there is none.
pub(super) fn queue(handle: vk::Queue) -> Arc<Queue> {
    let devices = devices();
    let found = devices.values().flat_map(|device| &device.queues).find(|queue| queue.handle() == handle);
    found.cloned().unwrap_or_else(|| panic!("there is no queue {handle:?}"))
}

/// Returns all queues of a device, and the underlying one.
pub(super) fn queues(device: vk::Device) -> Option<(Vec<Arc<Queue>>, Arc<Underlying>)> {
    let devices = devices();
    let device = devices.get(&device.as_raw())?;
    Some((device.queues.clone(), Arc::clone(&device.underlying)))
}
