//! Closures of `KernelWork::record`, and what other threads do meanwhile.

use std::ffi::{CStr, c_void};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Compute, Exchange, ExportDevice, QueueKind, TimelinePoint};
use bridge_tests::{Engine, Readback, Rig};

use super::locked::Lock;
use super::{Inline, LEN, SIZE, fill, fill_on, info, transfer_after, transfer_before, words, work};

/// The time that another thread gets for operations that nothing should block.
const TIME_LIMIT: Duration = Duration::from_secs(10);

fn is_all(readback: &Readback, turn: bridge::RenderTurn<super::Words>, word: u32) -> bool {
    let source = (turn.resources().as_raw(), SIZE);
    readback.run(turn, &[source])[..LEN].iter().all(|read| *read == word)
}

/// The closure even waits for the other thread, which waits for work, records, finishes and
/// submits.
#[test]
fn other_threads_continue_while_a_closure_records() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let (mut one, mut other) = (inline.exchange("one", 2), inline.exchange("other", 1));
    let mut first = one.begin().unwrap();
    fill(&inline, &mut first, 1);
    // Not submitted to any queue yet.
    let first = first.finish().unwrap();
    let point = first.computed();
    let mut turn = other.begin().unwrap();
    fill(&inline, &mut turn, 2);
    let (told, answer) = mpsc::channel();
    let (device, from) = (&inline.device, &mut one);
    let second = thread::scope(|scope| {
        let mut second = None;
        let kernels = work(&mut turn);
        let buffer = kernels.resources.as_raw().unwrap();
        let record = |commands| {
            scope.spawn(move || {
                point.wait(Rig::LONG).unwrap();
                let mut second = from.begin().unwrap();
                fill_on(device, &mut second, 3);
                let second = second.finish().unwrap();
                second.computed().wait(Rig::LONG).unwrap();
                let _ = told.send(second);
            });
            second = answer.recv_timeout(TIME_LIMIT).ok();
            transfer_after(device, commands);
            // SAFETY: recording; the buffer consists of whole words, and may be filled.
            unsafe { device.as_raw().cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, 4) };
            transfer_before(device, commands);
        };
        // SAFETY: the fill has barriers from and to the surrounding commands, and uses the turn's
        // buffer.
        unsafe { kernels.record(record) }.unwrap();
        second
    });
    let second = second.expect("the other thread waits for the closure");
    assert!(is_all(&readback, first, 1));
    assert!(is_all(&readback, second, 3));
    assert!(is_all(&readback, turn.finish().unwrap(), 4), "the closure's commands are not behind those before");
    one.close().unwrap();
    other.close().unwrap();
    drop(readback);
    inline.finish();
}

/// A closure's commands are placed after those that the bridge has recorded, and before those that
/// it records next.
#[test]
fn closures_and_the_bridges_own_commands_keep_their_order() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let mut exchange = inline.exchange("words", 1);
    for frame in 0..10 {
        let mut turn = exchange.begin().unwrap();
        // Its contents are copied by the bridge's commands.
        let memory = inline.compute.kernel_memory("memory", &vec![frame; LEN]).unwrap();
        let kernels = work(&mut turn);
        let (from, to) = (memory.as_raw().unwrap(), kernels.resources.as_raw().unwrap());
        let record = |commands| {
            transfer_after(&inline.device, commands);
            let region = [vk::BufferCopy::default().size(SIZE)];
            // SAFETY: recording; both buffers have this size, and may be copied.
            unsafe { inline.device.as_raw().cmd_copy_buffer(commands, from, to, &region) };
            transfer_before(&inline.device, commands);
        };
        // SAFETY: the copy has barriers from and to the surrounding commands; the memory lives
        // until the frame has been read.
        unsafe { kernels.record(record) }.unwrap();
        turn.finish().unwrap().skip();
        // The buffer's contents are also copied to its replacement by the bridge's commands.
        exchange.grow(LEN + 16 * (frame as usize + 1)).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        assert!(is_all(&readback, turn, frame), "frame {frame}");
        drop(memory);
    }
    exchange.close().unwrap();
    drop(readback);
    inline.finish();
}

/// The next call that creates a command pool queries whether this point is reached.
static POINT: Mutex<Option<TimelinePoint>> = Mutex::new(None);
static RESULT: Mutex<Option<bool>> = Mutex::new(None);
static CREATE_POOL: OnceLock<vk::PFN_vkCreateCommandPool> = OnceLock::new();

unsafe extern "system" fn create_pool(
    device: vk::Device,
    info: *const vk::CommandPoolCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    pool: *mut vk::CommandPool,
) -> vk::Result {
    if let Some(point) = POINT.lock().unwrap().take() {
        let (told, answer) = mpsc::channel();
        thread::spawn(move || {
            let reached = point.is_reached().is_ok();
            // The point keeps its timeline alive, which must be destroyed before the engine's
            // device.
            drop(point);
            told.send(reached)
        });
        *RESULT.lock().unwrap() = Some(answer.recv_timeout(TIME_LIMIT).unwrap_or(false));
    }
    // SAFETY: forwarded to the real function.
    unsafe { CREATE_POOL.get().unwrap()(device, info, allocator, pool) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkCreateCommandPool" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let _ = CREATE_POOL.set(unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCreateCommandPool>(real) });
    create_pool as *const c_void
}

/// Naming an object while it is created may call the program's logger, which may query anything.
#[test]
fn points_are_queried_while_a_command_buffer_is_created() {
    let _turn = Rig::open();
    let engine = Engine::new(Some(hook));
    let mut adopted = engine.info();
    adopted.features.buffer_device_address = true;
    adopted.queue_lock = Some(Arc::new(Lock::default()));
    // SAFETY: the engine's own handles, which live until everything below is dropped.
    let device = unsafe { ExportDevice::adopt(adopted) }.unwrap();
    for closure in [false, true] {
        let compute = Compute::inline(&device, QueueKind::Graphics).unwrap();
        let [mut one, mut other] =
            ["one", "other"].map(|name| Exchange::new(&compute, &info(name, 1), words()).unwrap());
        let mut turn = one.begin().unwrap();
        // SAFETY: nothing is recorded.
        unsafe { work(&mut turn).record(|_| {}) }.unwrap();
        let turn = turn.finish().unwrap();
        *POINT.lock().unwrap() = Some(turn.computed());
        let mut second = other.begin().unwrap();
        let memory = if closure {
            // SAFETY: as above.
            unsafe { work(&mut second).record(|_| {}) }.unwrap();
            None
        } else {
            Some(compute.kernel_memory("memory", &[1_u32]).unwrap())
        };
        let answered = RESULT.lock().unwrap().take();
        assert!(answered.expect("no command pool was made: this test is void"), "it waits for the pool: {closure}");
        turn.skip();
        second.finish().unwrap().skip();
        one.close().unwrap();
        other.close().unwrap();
        drop(memory);
    }
}
