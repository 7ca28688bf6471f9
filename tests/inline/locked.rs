//! The compute side submits to an engine's queue, under the engine's own lock.

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use bridge::ash::vk;
use bridge::{Compute, Error, Exchange, ExportDevice, QueueKind, QueueLock, vk_export};
use bridge_tests::{Commands, Engine, Rig};

use super::{Inline, fill, fill_on, info, words};

/// An engine's lock, which deadlocks if its holder takes it again.
#[derive(Default)]
pub(crate) struct Lock(Mutex<()>);

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _held = self.0.lock().unwrap();
        f();
    }
}

/// What a lent frame needs was submitted when it was lent: its parts submit nothing, whatever else
/// has been recorded since.
#[test]
fn parts_are_taken_and_submitted_under_the_engines_lock() {
    let _turn = Rig::open();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        submits_under_its_lock();
        let _ = sender.send(());
    });
    receiver.recv_timeout(Rig::LONG).expect("the engine's thread panicked, or waits for a lock that it holds itself");
}

fn submits_under_its_lock() {
    let engine = Engine::new(None);
    let lock = Arc::new(Lock::default());
    let mut adopted = engine.info();
    adopted.features.buffer_device_address = true;
    adopted.queue_lock = Some(Arc::clone(&lock) as Arc<dyn QueueLock>);
    // SAFETY: the engine's own handles, which live until everything below is dropped.
    let device = unsafe { ExportDevice::adopt(adopted) }.unwrap();
    let compute = Compute::inline(&device, QueueKind::Graphics).unwrap();
    let commands = Commands::new(&device);
    let [mut one, mut other] = ["one", "other"].map(|name| Exchange::new(&compute, &info(name, 1), words()).unwrap());

    let turn = one.begin().unwrap().finish().unwrap();
    let raw = commands.record(&turn, |_| {});
    let lent = turn.lend().unwrap();
    // Recorded after it, and not submitted to any queue yet.
    let beside = other.begin().unwrap().finish().unwrap();
    let held = lock.0.lock().unwrap();
    let parts = lent.parts();
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(raw)];
    let signals = [parts.signal()];
    let batch = vk::SubmitInfo2::default()
        .command_buffer_infos(&infos)
        .wait_semaphore_infos(parts.waits())
        .signal_semaphore_infos(&signals);
    // SAFETY: the first queue of the family that the engine was created with.
    let queue = unsafe { engine.device().get_device_queue(0, 0) };
    // SAFETY: the parts and commands of this turn, waited for below, under the queue's lock.
    unsafe { engine.device().queue_submit2(queue, &[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: the parts were submitted by the call above.
    let rendered = unsafe { lent.submitted() };
    drop(held);
    rendered.wait(Rig::LONG).unwrap();
    commands.note(rendered);
    beside.skip();
    one.close().unwrap();
    other.close().unwrap();
}

/// Inside the queue's lock, recorded work cannot be submitted. A wait for it would never end, so
/// none is returned, and the host does not wait either.
#[test]
fn waits_for_work_that_cannot_be_submitted_are_refused() {
    let inline = Inline::open();
    let mut exchange = inline.exchange("words", 1);
    let mut turn = exchange.begin().unwrap();
    fill(&inline, &mut turn, 1);
    let turn = turn.finish().unwrap();
    let point = turn.computed();
    let refused = inline.device.queue().with(|_| {
        [
            point.wait_info(vk::PipelineStageFlags2::ALL_COMMANDS).map(drop),
            point.is_reached().map(drop),
            point.wait(Rig::LONG),
            point.wait_blocking(Rig::LONG),
        ]
    });
    for result in refused.unwrap() {
        assert!(matches!(result, Err(Error::Vulkan(vk_export::Error::QueueHeld { .. }))), "{result:?}");
    }
    let start = Instant::now();
    let unknown = inline.device.queue().with(|_| point.wait_ended(Rig::LONG)).unwrap();
    assert!(matches!(unknown, Err(Error::Timeout { .. })), "{unknown:?}");
    assert!(start.elapsed() < Rig::LONG / 2, "it was waited for: {:?}", start.elapsed());
    // Nothing was lost.
    assert_eq!(point.wait_info(vk::PipelineStageFlags2::ALL_COMMANDS).unwrap().value, point.value());
    point.wait_ended(Rig::LONG).unwrap();
    turn.skip();
    exchange.close().unwrap();
    drop(point);
    inline.finish();
}

/// An engine's lock that makes one call, once, while it is held and before what it was taken for.
#[derive(Default)]
struct Looks {
    lock: Mutex<()>,
    look: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl QueueLock for Looks {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        let _held = self.lock.lock().unwrap();
        let look = self.look.lock().unwrap().take();
        if let Some(look) = look {
            look();
        }
        f();
    }
}

/// A wait that is submitted to the queue ahead of the signal would never end: what another thread
/// is about to submit is not on the queue yet.
#[test]
fn work_that_another_thread_submits_is_not_on_the_queue_yet() {
    let _turn = Rig::open();
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = ManuallyDrop::new(Engine::new(None));
    let lock = Arc::<Looks>::default();
    let mut adopted = engine.info();
    adopted.features.buffer_device_address = true;
    adopted.queue_lock = Some(Arc::clone(&lock) as Arc<dyn QueueLock>);
    // SAFETY: the engine's own handles, which live forever.
    let device = unsafe { ExportDevice::adopt(adopted) }.unwrap();
    let compute = Compute::inline(&device, QueueKind::Graphics).unwrap();
    let mut exchange = Exchange::new(&compute, &info("words", 1), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    fill_on(&device, &mut turn, 1);
    let turn = turn.finish().unwrap();
    let point = turn.computed();
    // The wait takes the work and goes to the queue with it. A query from inside the queue's lock
    // is refused, where any other thread would wait for the queue.
    let (say, said) = mpsc::channel();
    let asked = point.clone();
    *lock.look.lock().unwrap() = Some(Box::new(move || say.send(asked.is_reached().is_err()).unwrap()));
    point.wait(Rig::LONG).unwrap();
    let refused = said.try_recv().expect("nothing was submitted");
    assert!(refused, "the work counts as submitted while a thread is at the queue with it");
    assert!(point.is_reached().unwrap());
    turn.skip();
    exchange.close().unwrap();
    drop((point, compute, device));
    engine.assert_silent();
}
