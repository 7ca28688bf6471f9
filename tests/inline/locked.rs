//! The compute side submits to an engine's queue, under the engine's own lock.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use bridge::ash::vk;
use bridge::{Compute, Exchange, ExportDevice, QueueKind, QueueLock};
use bridge_tests::{Commands, Engine, Rig};

use super::{info, words};

/// An engine's lock, which waits for itself where its holder takes it again.
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
    // SAFETY: the engine's own handles, which live until everything below is gone.
    let device = unsafe { ExportDevice::adopt(adopted) }.unwrap();
    let compute = Compute::inline(&device, QueueKind::Graphics).unwrap();
    let commands = Commands::new(&device);
    let [mut one, mut other] = ["one", "other"].map(|name| Exchange::new(&compute, &info(name, 1), words()).unwrap());

    let turn = one.begin().unwrap().finish().unwrap();
    let raw = commands.record(&turn, |_| {});
    let lent = turn.lend().unwrap();
    // Recorded behind it, and on no queue so far.
    let beside = other.begin().unwrap().finish().unwrap();
    let held = lock.0.lock().unwrap();
    let parts = lent.parts();
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(raw)];
    let (waits, signals) = ([parts.wait], [parts.signal]);
    let batch = vk::SubmitInfo2::default()
        .command_buffer_infos(&infos)
        .wait_semaphore_infos(&waits)
        .signal_semaphore_infos(&signals);
    // SAFETY: the first queue of the family that the engine was made with.
    let queue = unsafe { engine.device().get_device_queue(0, 0) };
    // SAFETY: the parts and commands of this turn, waited for below, under the queue's lock.
    unsafe { engine.device().queue_submit2(queue, &[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was, just now.
    let rendered = unsafe { lent.submitted() };
    drop(held);
    rendered.wait(Rig::LONG).unwrap();
    commands.note(rendered);
    beside.skip();
    one.close().unwrap();
    other.close().unwrap();
}
