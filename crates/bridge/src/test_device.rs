//! Vulkan devices for tests, with the validation layer if it is installed.
//!
//! The tests of a process run at the same time, so a message of the layer belongs to no particular
//! test. Once all tests have ended, the process fails if there was one.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use vk_export::{ExportDevice, OpenInfo, Validation, ValidationMessage};

/// The exit status of a test process that has failed.
const FAILED: i32 = 101;

/// A device of this process, which is never destroyed: NVIDIA's driver deadlocks if a device is
/// destroyed while a thread that has used Vulkan exits, and every test is such a thread.
struct Opened {
    device: ExportDevice,
    /// `true` if [`own_device`] may return it again.
    is_reused: bool,
    /// The IDs of messages that the test [allows](allow).
    allowed: Vec<&'static str>,
    /// The number of messages of earlier tests, and those among them that were not allowed.
    earlier: (usize, Vec<ValidationMessage>),
}

impl Opened {
    /// Returns the messages that were not allowed, and ends what is allowed.
    fn end_test(&mut self) -> &[ValidationMessage] {
        let (count, unexpected) = &mut self.earlier;
        let mut messages = self.device.validation_messages().split_off(*count);
        *count += messages.len();
        messages.retain(|message| !self.allowed.contains(&message.id.as_str()));
        unexpected.append(&mut messages);
        self.allowed.clear();
        unexpected
    }

    /// Returns `true` if the only clone is that of the list, and no object of the device is alive.
    fn is_unused(&self) -> bool {
        self.device.clone().try_release().is_err_and(|used| used.alive.is_empty() && used.clones == 1)
    }
}

/// Returns all devices of this process.
fn opened() -> MutexGuard<'static, Vec<Opened>> {
    static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(is_reused: bool) -> Result<ExportDevice, String> {
    if cfg!(miri) {
        return Err("Miri cannot load a driver".to_owned());
    }
    let info = OpenInfo { validation: Validation::IfPresent, ..OpenInfo::default() };
    let device = ExportDevice::open(&info).map_err(|error| error.to_string())?;
    opened().push(Opened { device: device.clone(), is_reused, allowed: Vec::new(), earlier: (0, Vec::new()) });
    Ok(device)
}

/// Returns a device that all tests share. Returns `None`, and skips the test, if there is none.
pub(crate) fn device() -> Option<ExportDevice> {
    static DEVICE: OnceLock<Result<ExportDevice, String>> = OnceLock::new();
    match DEVICE.get_or_init(|| open(false).inspect(|_| check_at_exit())) {
        Ok(device) => Some(device.clone()),
        Err(reason) => {
            test_support::skip(test_support::Need::Other, reason);
            None
        }
    }
}

/// Returns a device that no other test uses at the same time, for a test that blocks the queue. It
/// is reused once nothing made from it is alive, because a process can open NVIDIA's driver only a
/// limited number of times.
pub(crate) fn own_device() -> Option<ExportDevice> {
    device()?;
    let mut opened = opened();
    if let Some(unused) = opened.iter_mut().find(|opened| opened.is_reused && opened.is_unused()) {
        unused.end_test();
        return Some(unused.device.clone());
    }
    drop(opened);
    Some(open(true).expect("another device can be opened"))
}

/// Returns a separate device that is never reused, for a test that replaces its functions.
pub(crate) fn unshared_device() -> Option<ExportDevice> {
    device()?;
    Some(open(false).expect("another device can be opened"))
}

/// Ignores messages with these IDs about a device of [`own_device`] for the rest of the test, which
/// breaks a rule on purpose.
pub(crate) fn allow(device: &ExportDevice, ids: &[&'static str]) {
    let mut opened = opened();
    let own = opened.iter_mut().find(|opened| opened.device.is_same(device)).expect("a device of this module");
    own.allowed.extend(ids);
}

/// Returns the exit status of the process, which is not 0 if the validation layer has reported
/// anything, and prints what it reported.
fn checked(status: i32) -> i32 {
    let mut opened = opened();
    let messages: Vec<_> = opened.iter_mut().flat_map(Opened::end_test).collect();
    if messages.is_empty() {
        return status;
    }
    eprintln!("the validation layer said: {messages:#?}");
    if status == 0 { FAILED } else { status }
}

/// Makes the process exit with the [`checked`] status, without running the driver's exit handlers.
///
/// In these handlers, NVIDIA's driver unloads libraries in which threads of live devices still run,
/// and the process crashes (seen with 580.159.04, after all tests had passed). Exit handlers run in
/// reverse order of their registration, so call this after the driver has registered its own.
#[allow(unsafe_code)] // Functions of the C library.
fn check_at_exit() {
    #[cfg(target_env = "gnu")]
    {
        use std::ffi::{c_int, c_void};
        use std::ptr::null_mut;

        unsafe extern "C" {
            fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
            fn _exit(status: c_int) -> !;
        }
        extern "C" fn exit_now(status: c_int, _: *mut c_void) {
            let status = checked(status);
            // SAFETY: ends the process; Rust has flushed its output before `exit`.
            unsafe { _exit(status) }
        }
        // SAFETY: the handler is a function of this program, which is never unloaded, and ignores
        // its argument.
        unsafe { on_exit(exit_now, null_mut()) };
    }
}

/// A process whose tests pass fails if the layer has reported anything that was not allowed.
#[cfg(target_env = "gnu")]
#[test]
#[allow(unsafe_code)] // A rule that is broken on purpose.
fn a_message_fails_the_process() {
    use vk_export::ash::vk;

    const CASE: &str = "TEST_DEVICE_CASE";
    let Some(device) = own_device() else { return };
    if !device.is_validated() {
        return test_support::skip(test_support::Need::Other, "no validation layer is installed");
    }
    // Drivers create or refuse a buffer of size 0; the layer reports it.
    let make_nothing = |device: &ExportDevice| {
        let info = vk::BufferCreateInfo::default().usage(vk::BufferUsageFlags::VERTEX_BUFFER);
        // SAFETY: VUID-VkBufferCreateInfo-size-00912 is violated on purpose, see above.
        let made = unsafe { device.as_raw().create_buffer(&info, None) };
        // SAFETY: not used by anything; a null handle is ignored.
        unsafe { device.as_raw().destroy_buffer(made.unwrap_or_default(), None) };
    };
    match std::env::var(CASE).as_deref() {
        Ok("unexpected") => return make_nothing(&device),
        Ok(case) => {
            allow(&device, &["VUID-VkBufferCreateInfo-size-00912"]);
            make_nothing(&device);
            let handle = device.as_raw().handle();
            drop(device);
            let reused = own_device().unwrap();
            assert_eq!(reused.as_raw().handle(), handle);
            if case == "reused" {
                make_nothing(&reused);
            }
            return;
        }
        Err(_) => {}
    }
    for (case, status) in [("unexpected", FAILED), ("allowed", 0), ("reused", FAILED)] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "test_device::a_message_fails_the_process"]).env(CASE, case);
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("1 passed"), "{case}: {output:#?}");
        assert_eq!(output.status.code(), Some(status), "{case}: {output:#?}");
    }
}
