//! A pool that grows does not block other threads that use it meanwhile.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

use bridge::ash::vk;
use bridge::{Backend, Compute, Error, ExportDevice, LiveObjects, SharedBuffer, SharedPool, vk_export};
use bridge_tests::{Engine, Rig};

use crate::{READ, pool};

const BLOCK: u64 = 64 << 10;

type Allocate =
    unsafe extern "system" fn(vk::Device, *const c_void, *const c_void, *mut vk::DeviceMemory) -> vk::Result;

static ALLOCATE: OnceLock<Allocate> = OnceLock::new();
/// Called inside the driver's next allocation.
static MEANWHILE: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);
/// `true` if the driver then returns an error.
static FAILS: AtomicBool = AtomicBool::new(false);

unsafe extern "system" fn allocate(
    device: vk::Device,
    info: *const c_void,
    callbacks: *const c_void,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    let meanwhile = MEANWHILE.lock().unwrap().take();
    if let Some(meanwhile) = meanwhile {
        meanwhile();
    }
    if FAILS.load(Ordering::SeqCst) {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    // SAFETY: forwarded to the real function.
    unsafe { ALLOCATE.get().unwrap()(device, info, callbacks, memory) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkAllocateMemory" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let _ = ALLOCATE.set(unsafe { std::mem::transmute::<*const c_void, Allocate>(real) });
    allocate as *const c_void
}

fn make(pool: &SharedPool, len: usize) -> SharedBuffer<u32> {
    SharedBuffer::new_in(pool, "leaf", len, READ).unwrap()
}

/// Makes another thread use the pool inside the next allocation, which waits for that thread.
fn meanwhile<T: Send + 'static>(
    pool: &SharedPool,
    used: impl FnOnce(&SharedPool) -> T + Send + 'static,
) -> Receiver<T> {
    let (pool, (sender, receiver)) = (pool.clone(), channel());
    *MEANWHILE.lock().unwrap() = Some(Box::new(move || {
        let (done, waits) = channel();
        thread::spawn(move || {
            let used = used(&pool);
            drop(pool);
            let _ = done.send(used);
        });
        // A timeout means that the other thread waits for this very call.
        if let Ok(used) = waits.recv_timeout(Rig::LONG) {
            let _ = sender.send(used);
        }
    }));
    receiver
}

#[test]
fn others_use_a_pool_while_it_grows() {
    let _rig = Rig::open();
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = Box::leak(Box::new(Engine::new(Some(hook))));
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let before = LiveObjects::now();
    let pool = pool(&compute, BLOCK);
    let full = make(&pool, BLOCK as usize / 4);

    let reported = meanwhile(&pool, SharedPool::report);
    let second = make(&pool, BLOCK as usize / 4);
    assert_eq!(reported.try_recv().map(|report| report.blocks), Ok(1), "it waited for the driver");

    // Neither finds any space; the first to get a block has space for the other.
    let other = meanwhile(&pool, |pool| make(pool, 1));
    let mine = make(&pool, 1);
    let other = other.try_recv().expect("it waited for the driver");
    let report = pool.report();
    assert_eq!((report.blocks, report.buffers), (4, 4), "the block that came too late is for what comes next");
    // The allocation uses the block that has no buffers; when two blocks are empty, one is freed.
    let third = make(&pool, BLOCK as usize / 4);
    assert_eq!(pool.report().blocks, 4);
    drop(third);
    drop((full, second, other, mine, pool));
    assert_eq!(LiveObjects::now(), before);
    two_of_three_new_blocks_are_kept(&compute);
    memory_that_was_freed_meanwhile_is_used(&compute);
    assert_eq!(LiveObjects::now(), before);
    engine.assert_silent();
}

/// Freeing a block can take the driver a long time, which must not delay threads that want a
/// buffer.
fn two_of_three_new_blocks_are_kept(compute: &Compute) {
    let pool = pool(compute, BLOCK);
    let full = make(&pool, BLOCK as usize / 4);
    let others = meanwhile(&pool, |pool| {
        let last = meanwhile(pool, |pool| make(pool, 1));
        (make(pool, 1), last.try_recv())
    });
    let mine = make(&pool, 1);
    let (second, third) = others.try_recv().expect("it waited for the driver");
    let third = third.expect("it waited for the driver");
    let report = pool.report();
    assert_eq!((report.blocks, report.buffers), (4, 4), "a block that nobody has used was freed");
    drop(second);
    assert_eq!(pool.report().blocks, 3, "of two empty blocks one stays");
    drop((mine, third, full));
    assert_eq!(pool.report().blocks, 1);
}

fn memory_that_was_freed_meanwhile_is_used(compute: &Compute) {
    let pool = pool(compute, BLOCK);
    let full = make(&pool, BLOCK as usize / 4);
    FAILS.store(true, Ordering::SeqCst);
    let fails = SharedBuffer::<u32>::new_in(&pool, "leaf", 1, READ).unwrap_err();
    let freed = meanwhile(&pool, move |_| drop(full));
    let made = SharedBuffer::<u32>::new_in(&pool, "leaf", 1, READ);
    FAILS.store(false, Ordering::SeqCst);
    freed.try_recv().expect("it waited for the driver");
    assert!(matches!(fails, Error::Vulkan(vk_export::Error::OutOfMemory { .. })), "{fails}");
    assert!(made.is_ok(), "{made:?}");
    assert_eq!(pool.report().blocks, 1);
}
