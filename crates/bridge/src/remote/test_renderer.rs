//! A renderer for the tests of this folder, and what a worker may do to it.
#![allow(unsafe_code)] // Submitting.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bridge_ipc::{Connection, Hello, Listener, Role};
use vk_export::ash::vk;
use vk_export::{ExportDevice, Semaphore};

use super::accepted::Remote;
use crate::test_device::{allow, own_device};

/// A limit far above the duration of a connection.
const LIMIT: Duration = Duration::from_secs(20);

/// A renderer with its own device, to which workers in separate processes connect. Exchanges in
/// step are allowed.
pub(super) struct Renderer {
    pub(super) device: ExportDevice,
    pub(super) listener: Listener,
}

impl Renderer {
    /// Listens at a path with this name. Returns `None`, and skips the test, without a Vulkan
    /// device.
    pub(super) fn new(name: &str) -> Option<Self> {
        let device = own_device()?;
        let path = std::env::temp_dir().join(format!("bridge-{}-{name}", std::process::id()));
        Some(Self { device, listener: Listener::bind(path).unwrap() })
    }

    pub(super) fn accept(&self) -> Remote {
        let mut connection = self.listener.accept(LIMIT).unwrap().unwrap();
        let device_uuid = self.device.uuid();
        let hello = Hello { cuda: true, trust: true, device_uuid, ..Hello::new(Role::Renderer, "test") };
        connection.handshake(&hello, LIMIT).unwrap();
        Remote { connection, device: self.device.clone() }
    }
}

/// The rules that [`set_back`] breaks: the signaled value is not higher than the counter's, and the
/// layer keeps comparing later signals with the values from before.
const SET_BACK: &[&str] =
    &["VUID-VkSubmitInfo2-semaphore-03882", "VUID-VkSemaphoreSignalInfo-value-03258", BEFORE_PENDING];

/// The rule broken by a worker that signals a timeline beyond what Vulkan's queue will signal.
pub(super) const BEFORE_PENDING: &str = "VUID-VkSemaphoreSignalInfo-value-03259";

/// Sets a timeline to a lower value, as a worker with CUDA can, by submissions of the queue, which
/// is not blocked. Returns once the timeline has the value.
pub(super) fn set_back(timeline: &Semaphore, value: u64) {
    set_back_until(timeline, value, || false);
}

/// Like [`set_back`], while another thread may signal the timeline again in response, which
/// `is_answered` reports. The value is then not set back a second time.
pub(super) fn set_back_until(timeline: &Semaphore, value: u64, is_answered: impl Fn() -> bool) {
    /// The software driver may apply a signal from before later than this one, which is then
    /// repeated.
    const REPEAT: Duration = Duration::from_millis(50);
    let (start, before) = (Instant::now(), timeline.value().unwrap());
    loop {
        submit_signal(timeline, value);
        let submitted = Instant::now();
        while submitted.elapsed() < REPEAT {
            let found = timeline.value().unwrap();
            if found == value || found > before || is_answered() {
                return;
            }
            std::thread::yield_now();
        }
        assert!(start.elapsed() < LIMIT, "the driver does not let a timeline fall from {before} to {value}");
    }
}

/// Signals a lower value by a submission, and waits for its end.
fn submit_signal(timeline: &Semaphore, value: u64) {
    allow(timeline.device(), SET_BACK);
    let signals = [vk::SemaphoreSubmitInfo::default().semaphore(timeline.as_raw()).value(value)];
    let batch = vk::SubmitInfo2::default().signal_semaphore_infos(&signals);
    let raw = timeline.device().as_raw();
    // SAFETY: the parameters are valid, and the fence is destroyed below.
    let fence = unsafe { raw.create_fence(&vk::FenceCreateInfo::default(), None) }.unwrap();
    // SAFETY: the handles are of this device. VUID-VkSubmitInfo2-semaphore-03882 is violated on
    // purpose: the software driver sets the counter.
    unsafe { timeline.device().queue().submit(&[batch], fence) }.unwrap();
    // SAFETY: the fence is of this device.
    unsafe { raw.wait_for_fences(&[fence], true, LIMIT.as_nanos().try_into().unwrap()) }.unwrap();
    // SAFETY: VUID-vkDestroyFence-fence-01120: the submission has ended.
    unsafe { raw.destroy_fence(fence, None) };
}

/// Starts a child of a worker that has its socket, and ends once the standard input is closed.
#[expect(clippy::zombie_processes, reason = "it outlives the process that starts it")]
pub(super) fn leave_child(connection: &Connection) {
    let inherited = connection.as_fd().try_clone_to_owned().unwrap();
    Command::new("cat").stdout(Stdio::null()).stderr(Stdio::from(inherited)).spawn().unwrap();
}
