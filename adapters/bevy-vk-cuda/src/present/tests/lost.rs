//! Devices that are lost, or destroyed by the program.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use bridge::LiveObjects;
use wgpu::{BufferUsages, DeviceLostReason};

use super::device::{COPIES, DESTROYED, FREED, LOOKS, LOST, STUCK};
use super::replaced::Numbers;
use super::*;

/// The reasons that wgpu passes to the device-lost callback, which Bevy also uses.
type Heard = Arc<Mutex<Vec<DeviceLostReason>>>;

impl Scene {
    fn hear(&self) -> Heard {
        let heard = Heard::default();
        let told = Arc::clone(&heard);
        self.device.set_device_lost_callback(move |reason, _| told.lock().unwrap().push(reason));
        heard
    }

    /// Creates a scene whose image shows a frame and has another one ready to be copied.
    fn with_frames(way: Way) -> Self {
        let mut scene = Self::new(way);
        let texture = scene.insert(SIDE, 0);
        assert!(scene.write(5).unwrap());
        scene.until("the frame", |scene| scene.value(&texture) == 5);
        assert!(scene.write(6).unwrap());
        let start = Instant::now();
        while way == Way::Host && scene.image.writer().unwrap().unfinished().unwrap() > 0 {
            assert!(start.elapsed() < LIMIT, "the writer does not end");
            std::thread::yield_now();
        }
        scene
    }

    fn assert_lost(&mut self) {
        let written = self.write(7);
        assert!(matches!(written, Err(Error::NotPresented { retried: false, .. })), "{written:?}");
    }

    /// Replaces the device and checks that a new image shows a frame.
    fn assert_recovers(&mut self) {
        self.recover(0);
        self.adopt();
        self.image = Self::image(self.world.resource());
        self.handle = self.image.handle().clone();
        let texture = self.insert(SIDE, 77);
        assert!(self.write(8).unwrap());
        self.until("the new image's frame", |scene| scene.value(&texture) == 8);
    }
}

/// Whichever query of a counter finds the device lost, the program continues and is notified.
#[test]
fn a_lost_device_ends_no_program() {
    let _alone = alone();
    let mut told = 0;
    for looks in 1..=10 {
        let mut scene = Scene::with_frames(Way::Host);
        let heard = scene.hear();
        LOOKS.store(looks, Ordering::SeqCst);
        scene.until("the loss", |_| LOST.load(Ordering::SeqCst));
        told += usize::from(!heard.lock().unwrap().is_empty());
        // Bevy also submits in each frame.
        scene.queue.submit([]);
        assert_eq!(*heard.lock().unwrap(), [DeviceLostReason::Unknown], "{looks}");
        scene.present();
        scene.assert_lost();
        LOST.store(false, Ordering::SeqCst);
        scene.assert_recovers();
    }
    assert!(told > 1, "by the probe, and by wgpu's poll");
}

/// Uploads do not query the device.
#[test]
fn uploads_to_a_lost_device_end_no_program() {
    let _alone = alone();
    let mut scene = Scene::with_frames(Way::Upload);
    let heard = scene.hear();
    LOST.store(true, Ordering::SeqCst);
    scene.present();
    scene.queue.submit([]);
    assert_eq!(*heard.lock().unwrap(), [DeviceLostReason::Unknown]);
    scene.present();
    LOST.store(false, Ordering::SeqCst);
    let texture = scene.recover(77);
    scene.until("the last frame", |scene| scene.value(&texture) == 6);
}

/// The program is also notified of a destroyed device, when nothing runs on it any more.
#[test]
fn a_device_may_be_destroyed() {
    let _alone = alone();
    let before = LiveObjects::now();
    let mut scene = Scene::with_frames(Way::Host);
    let heard = scene.hear();
    scene.device.destroy();
    scene.present();
    assert_eq!(*heard.lock().unwrap(), [DeviceLostReason::Destroyed]);
    scene.assert_lost();
    scene.assert_recovers();
    let now = LiveObjects::now();
    assert_eq!((now.exchanges, now.leaked_images), (before.exchanges + 1, before.leaked_images));
}

/// If the wait for the work on a destroyed device times out, the program is notified once the work
/// has ended.
#[test]
fn a_destroyed_device_is_reported_after_its_wait_timed_out() {
    let _alone = alone();
    let mut scene = Scene::with_frames(Way::Host);
    let heard = scene.hear();
    STUCK.store(true, Ordering::SeqCst);
    scene.queue.submit([]);
    scene.device.destroy();
    for _ in 0..2 {
        scene.present();
        assert_eq!(*heard.lock().unwrap(), [], "work still runs");
        scene.assert_lost();
    }
    STUCK.store(false, Ordering::SeqCst);
    scene.until("the report", |_| !heard.lock().unwrap().is_empty());
    assert_eq!(*heard.lock().unwrap(), [DeviceLostReason::Destroyed]);
    scene.assert_recovers();
}

/// A callback of the program, run by the adapter's poll, may panic; this does not count as a loss.
#[test]
fn a_panic_of_the_programs_is_handed_on() {
    let _alone = alone();
    let mut scene = Scene::with_frames(Way::Host);
    scene.queue.on_submitted_work_done(|| panic!("on purpose"));
    let presented = catch_unwind(AssertUnwindSafe(|| scene.until("the panic", |_| false)));
    assert_eq!(presented.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
}

/// wgpu does not report when it no longer uses a buffer that it was given: memory that Bevy's
/// commands read is kept until the host has seen their end.
#[test]
fn memory_is_kept_for_the_commands_that_read_it() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Host);
    let mut numbers = Numbers::new(&scene);
    numbers.insert(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST);
    assert!(numbers.write().unwrap());
    scene.until("the frame", |_| numbers.presented() == 1);
    drop(numbers);
    let cuda = scene.world.resource::<Cuda>().clone();
    scene.world.resource_mut::<Presented>().take_added(&cuda);
    assert_eq!(scene.world.resource::<Presented>().all.len(), 1, "the image");
    let freed = FREED.load(Ordering::SeqCst);
    scene.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(LIMIT) }).unwrap();
    assert_eq!(FREED.load(Ordering::SeqCst), freed + 1, "the copy that was shown");
}

/// When a device is destroyed, wgpu immediately frees everything that it owns, while the other
/// queue may still be writing to targets of copies.
#[test]
fn what_is_copied_into_outlives_wgpus_objects() {
    let _alone = alone();
    let mut scene = Scene::with_frames(Way::Host);
    let mut numbers = Numbers::new(&scene);
    let bevys = numbers.insert(&mut scene, BufferUsages::STORAGE | BufferUsages::COPY_DST);
    assert!(numbers.write().unwrap());
    scene.until("the numbers", |_| numbers.presented() == 1);
    let freed = FREED.load(Ordering::SeqCst);
    scene.device.destroy();
    scene.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(LIMIT) }).unwrap();
    // SAFETY: the guard is only read.
    assert!(unsafe { bevys.as_hal::<Vulkan>() }.is_none(), "Bevy's own is destroyed");
    let (copies, destroyed) = (COPIES.lock().unwrap().clone(), DESTROYED.lock().unwrap().clone());
    let written = copies.iter().filter(|[_, to]| copies.iter().any(|[from, _]| from == to));
    let mut written = written.map(|[_, to]| to).peekable();
    assert!(written.peek().is_some(), "one was copied into, and from there to Bevy's");
    assert!(written.all(|image| !destroyed.contains(image)));
    assert_eq!(FREED.load(Ordering::SeqCst), freed);
}
