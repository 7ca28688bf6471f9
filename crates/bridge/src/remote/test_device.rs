//! A Vulkan device for the tests of this folder, and a renderer on it.
#![allow(unsafe_code)] // Submitting, and functions of the C library.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bridge_ipc::{Connection, Hello, Listener, Role};
use vk_export::ash::vk;
use vk_export::{ExportDevice, OpenInfo, Semaphore};

use super::accepted::Remote;

/// A limit far above the duration of a connection.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns a device that all tests share and that is never destroyed: NVIDIA's driver deadlocks if
/// a device is destroyed while a thread that has used Vulkan exits, and every test is such a
/// thread. Returns `None`, and skips the test, if there is none.
pub(super) fn device() -> Option<ExportDevice> {
    static DEVICE: OnceLock<Result<ExportDevice, String>> = OnceLock::new();
    let open = || {
        let device = ExportDevice::open(&OpenInfo::default()).map_err(|error| error.to_string())?;
        exit_without_the_driver();
        Ok(device)
    };
    match DEVICE.get_or_init(open) {
        Ok(device) => Some(device.clone()),
        Err(reason) => {
            test_support::skip(test_support::Need::Other, reason);
            None
        }
    }
}

/// Makes the process exit without running the driver's exit handlers. The exit status is kept.
///
/// In these handlers, NVIDIA's driver unloads libraries in which threads of live devices still run,
/// and the process crashes (seen with 580.159.04, after all tests had passed). Exit handlers run in
/// reverse order of their registration, so call this after the driver has registered its own.
fn exit_without_the_driver() {
    #[cfg(target_env = "gnu")]
    {
        use std::ffi::{c_int, c_void};
        use std::ptr::null_mut;

        unsafe extern "C" {
            fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
            fn _exit(status: c_int) -> !;
        }
        extern "C" fn exit_now(status: c_int, _: *mut c_void) {
            // SAFETY: ends the process; Rust has flushed its output before `exit`.
            unsafe { _exit(status) }
        }
        // SAFETY: the handler is a function of this program, which is never unloaded, and ignores
        // its argument.
        unsafe { on_exit(exit_now, null_mut()) };
    }
}

/// Returns a separate device, for a test in which the queue is blocked until a limit expires. It is
/// never destroyed either.
pub(super) fn own_device() -> Option<ExportDevice> {
    device()?;
    let own = ExportDevice::open(&OpenInfo::default()).unwrap();
    std::mem::forget(own.clone());
    Some(own)
}

/// Sets a timeline to a lower value, as a worker with CUDA can, by a submission of the queue, which
/// is not blocked.
pub(super) fn set_back(timeline: &Semaphore, value: u64) {
    let signals = [vk::SemaphoreSubmitInfo::default().semaphore(timeline.as_raw()).value(value)];
    let batch = vk::SubmitInfo2::default().signal_semaphore_infos(&signals);
    // SAFETY: the handle is of this device. VUID-VkSubmitInfo2-semaphore-03882 is violated on
    // purpose: the software driver sets the counter.
    unsafe { timeline.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    let start = Instant::now();
    while timeline.value().unwrap() != value {
        assert!(start.elapsed() < LIMIT, "the driver does not let a timeline fall");
        std::thread::yield_now();
    }
}

/// Starts a child of a worker that has its socket, and ends once the standard input is closed.
#[expect(clippy::zombie_processes, reason = "it outlives the process that starts it")]
pub(super) fn leave_child(connection: &Connection) {
    let inherited = connection.as_fd().try_clone_to_owned().unwrap();
    Command::new("cat").stdout(Stdio::null()).stderr(Stdio::from(inherited)).spawn().unwrap();
}

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
        connection.greet(&hello, LIMIT).unwrap();
        Remote { connection, device: self.device.clone() }
    }
}
