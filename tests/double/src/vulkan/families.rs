//! The queue families that the device reports, and the command pools of each.
//!
//! The underlying driver has one family with one queue. [`VARIABLE`] makes the device report more:
//! `2` is two queues of that family, `2,1` is also a queue of a second family, which only copies,
//! and `2,1,1` one of a third, which also computes. Pools of all families are created for the first
//! one. Family indices in barriers and in the lists of CONCURRENT resources are passed on unchanged,
//! because lavapipe ignores them.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ash::vk;
use ash::vk::Handle as _;

use super::underlying::underlying;

/// Environment variable with the number of queues of each reported family, if it is not what the
/// underlying driver reports.
const VARIABLE: &str = "DRIVER_DOUBLE_QUEUES";

/// What the families after the first can do.
const FURTHER: [vk::QueueFlags; 2] = [
    vk::QueueFlags::TRANSFER,
    vk::QueueFlags::from_raw(vk::QueueFlags::COMPUTE.as_raw() | vk::QueueFlags::TRANSFER.as_raw()),
];

/// The family that all submissions go to.
pub(super) const UNDERLYING_FAMILY: u32 = 0;

/// Returns the number of queues of each family; `None` if the underlying driver reports them.
///
/// # Panics
///
/// If the variable is not one to three numbers from 1 to 16.
pub(super) fn reported() -> Option<&'static [u32]> {
    static REPORTED: OnceLock<Option<Vec<u32>>> = OnceLock::new();
    let reported = REPORTED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let counts: Option<Vec<u32>> = text.split(',').map(|count| count.trim().parse().ok()).collect();
        let counts = counts
            .filter(|counts| counts.len() <= 1 + FURTHER.len() && counts.iter().all(|count| (1..=16).contains(count)));
        Some(
            counts
                .unwrap_or_else(|| panic!("{VARIABLE} is {text:?}, which is not the number of queues of each family")),
        )
    });
    reported.as_deref()
}

/// Changes the properties of the underlying family to those of a reported one.
fn describe(properties: &mut vk::QueueFamilyProperties, family: usize, count: u32) {
    properties.queue_count = count;
    if let Some(flags) = family.checked_sub(1).and_then(|family| FURTHER.get(family)) {
        properties.queue_flags = *flags;
        properties.min_image_transfer_granularity = vk::Extent3D { width: 1, height: 1, depth: 1 };
    }
}

pub(super) unsafe extern "system" fn properties(
    physical: vk::PhysicalDevice,
    count: *mut u32,
    properties: *mut vk::QueueFamilyProperties,
) {
    let families = reported().unwrap_or_default();
    // SAFETY: the specification: an output.
    let count = unsafe { &mut *count };
    if properties.is_null() {
        *count = families.len() as u32;
        return;
    }
    *count = (*count).min(families.len() as u32);
    // SAFETY: the specification: room for `count` elements.
    let properties = unsafe { std::slice::from_raw_parts_mut(properties, *count as usize) };
    for (family, (properties, count)) in properties.iter_mut().zip(families).enumerate() {
        let ask = underlying().instance.fp_v1_0().get_physical_device_queue_family_properties;
        // SAFETY: the same contract, for the underlying driver's only family.
        unsafe { ask(physical, &mut 1, properties) };
        describe(properties, family, *count);
    }
}

pub(super) unsafe extern "system" fn properties2(
    physical: vk::PhysicalDevice,
    count: *mut u32,
    properties: *mut vk::QueueFamilyProperties2<'_>,
) {
    let families = reported().unwrap_or_default();
    // SAFETY: the specification: an output.
    let count = unsafe { &mut *count };
    if properties.is_null() {
        *count = families.len() as u32;
        return;
    }
    *count = (*count).min(families.len() as u32);
    // SAFETY: the specification: room for `count` elements.
    let properties = unsafe { std::slice::from_raw_parts_mut(properties, *count as usize) };
    for (family, (properties, count)) in properties.iter_mut().zip(families).enumerate() {
        let ask = underlying().instance.fp_v1_1().get_physical_device_queue_family_properties2;
        // SAFETY: the same contract, for the underlying driver's only family.
        unsafe { ask(physical, &mut 1, properties) };
        describe(&mut properties.queue_family_properties, family, *count);
    }
}

/// The family of each command pool, and the pool of each command buffer.
#[derive(Default)]
struct Pools {
    families: BTreeMap<u64, u32>,
    pools: BTreeMap<u64, u64>,
}

static POOLS: Mutex<Option<Pools>> = Mutex::new(None);

fn with_pools<R>(f: impl FnOnce(&mut Pools) -> R) -> R {
    let mut pools: MutexGuard<'_, Option<Pools>> = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    f(pools.get_or_insert_default())
}

/// Returns the family of the pool that the command buffer is from.
pub(super) fn family_of(commands: vk::CommandBuffer) -> Option<u32> {
    with_pools(|pools| pools.families.get(pools.pools.get(&commands.as_raw())?).copied())
}

pub(super) unsafe extern "system" fn create_pool(
    device: vk::Device,
    info: *const vk::CommandPoolCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    pool: *mut vk::CommandPool,
) -> vk::Result {
    // SAFETY: the specification: a valid structure.
    let asked = unsafe { *info };
    let info = vk::CommandPoolCreateInfo { queue_family_index: UNDERLYING_FAMILY, ..asked };
    // SAFETY: the same contract.
    let result = unsafe { (underlying().device.fp_v1_0().create_command_pool)(device, &info, allocator, pool) };
    if result == vk::Result::SUCCESS {
        // SAFETY: the specification: an output, which was set.
        let pool = unsafe { *pool }.as_raw();
        with_pools(|pools| pools.families.insert(pool, asked.queue_family_index));
    }
    result
}

pub(super) unsafe extern "system" fn destroy_pool(
    device: vk::Device,
    pool: vk::CommandPool,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    with_pools(|pools| {
        pools.families.remove(&pool.as_raw());
        pools.pools.retain(|_, of| *of != pool.as_raw());
    });
    // SAFETY: the same contract.
    unsafe { (underlying().device.fp_v1_0().destroy_command_pool)(device, pool, allocator) };
}

pub(super) unsafe extern "system" fn allocate_commands(
    device: vk::Device,
    info: *const vk::CommandBufferAllocateInfo<'_>,
    commands: *mut vk::CommandBuffer,
) -> vk::Result {
    // SAFETY: the same contract.
    let result = unsafe { (underlying().device.fp_v1_0().allocate_command_buffers)(device, info, commands) };
    if result == vk::Result::SUCCESS {
        // SAFETY: the specification: a valid structure.
        let info = unsafe { &*info };
        // SAFETY: the specification: an output of that many elements, which were set.
        let made = unsafe { std::slice::from_raw_parts(commands, info.command_buffer_count as usize) };
        let pool = info.command_pool.as_raw();
        with_pools(|pools| pools.pools.extend(made.iter().map(|commands| (commands.as_raw(), pool))));
    }
    result
}

pub(super) unsafe extern "system" fn free_commands(
    device: vk::Device,
    pool: vk::CommandPool,
    count: u32,
    commands: *const vk::CommandBuffer,
) {
    if count > 0 {
        // SAFETY: the specification: an array of `count` elements.
        let freed = unsafe { std::slice::from_raw_parts(commands, count as usize) };
        with_pools(|pools| pools.pools.retain(|commands, _| !freed.iter().any(|freed| freed.as_raw() == *commands)));
    }
    // SAFETY: the same contract.
    unsafe { (underlying().device.fp_v1_0().free_command_buffers)(device, pool, count, commands) };
}
