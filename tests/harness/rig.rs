//! A device and a compute side, watched by the validation layer.
//!
//! All tests of a program share one device, which is never destroyed: NVIDIA's driver deadlocks
//! when a device is destroyed while a thread that has used Vulkan exits, and every test is such a
//! thread. Tests that need devices of their own stand in programs of one test each. And they take
//! turns: what one enqueues on the shared queue would delay the others, and tests of order go by
//! time.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use std::time::Duration;

use bridge::vk_export::Validation;
use bridge::{Backend, Compute, ExportDevice, OpenInfo};

use crate::{Linear, case_on, compute, device_with};

/// A device whose every validation message fails the test.
pub struct Rig {
    device: ExportDevice,
    /// The device that hears the layer.
    watched: ExportDevice,
    allowed: Cell<&'static [&'static str]>,
    /// Messages of the tests before.
    said: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Rig {
    /// The limit of waits in tests: far more than any takes, on the slowest machine.
    pub const LONG: Duration = Duration::from_secs(30);

    /// Opens the best device, with validation where the layer is installed.
    ///
    /// # Panics
    /// When there is no Vulkan device at all.
    pub fn open() -> Self {
        static DEVICE: OnceLock<ExportDevice> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let device = DEVICE.get_or_init(Self::open_own).clone();
        let said = device.validation_messages().len();
        Self { watched: device.clone(), device, allowed: Cell::new(&[]), said, _turn: turn }
    }

    /// [`open`](Self::open) with the device as a driver shows it that has no LINEAR images, or poor
    /// ones.
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_with(linear: Linear) -> Self {
        let mut rig = Self::open();
        rig.device = device_with(linear, &rig.watched);
        rig
    }

    /// Opens a device for one test alone, which destroys it.
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub fn open_own() -> ExportDevice {
        crate::logger::init();
        let info = OpenInfo {
            application_name: "tests",
            validation: Validation::IfPresent,
            buffer_device_address: true,
            ..OpenInfo::default()
        };
        // Where the device has what kernels in command buffers need, that is on.
        ExportDevice::open(&OpenInfo { cuda_kernels: true, ..info.clone() })
            .or_else(|_| ExportDevice::open(&info))
            .unwrap_or_else(|error| panic!("{error}; run `cargo xtask setup`"))
    }

    /// Runs a test on a backend, or skips it.
    ///
    /// # Panics
    /// When the test fails, or the validation layer says anything.
    pub fn with(backend: Backend, test: fn(&Self, &Compute)) {
        let rig = Self::open();
        if let Some(compute) = compute(&rig.device, backend) {
            test(&rig, &compute);
        }
    }

    /// Runs a test on the CPU backend of a device with such LINEAR images.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn with_linear(linear: Linear, test: fn(&Self, &Compute)) {
        let rig = Self::open_with(linear);
        test(&rig, &Compute::new(&rig.device, Backend::Host).unwrap());
    }

    /// Runs one of several cases of a test on a backend, or skips it.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn case(backend: Backend, case: &str, test: fn(&Self, &Compute)) {
        let rig = Self::open();
        if let Some(compute) = case_on(&rig.device, backend, case) {
            test(&rig, &compute);
        }
    }

    /// Lets validation messages with these IDs pass, for a test that provokes them.
    pub fn allow(&self, ids: &'static [&'static str]) {
        self.allowed.set(ids);
    }

    /// The device.
    pub fn device(&self) -> &ExportDevice {
        &self.device
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let mut messages = self.watched.validation_messages().split_off(self.said);
        messages.retain(|message| !self.allowed.get().contains(&message.id.as_str()));
        if std::thread::panicking() {
            // The test has failed; what the layer said may be why.
            messages.iter().for_each(|message| eprintln!("the validation layer said: {message:#?}"));
        } else {
            assert!(messages.is_empty(), "the validation layer said: {messages:#?}");
        }
    }
}

/// Fails the test if the validation layer said anything of a device that a test opened for itself.
///
/// # Panics
/// When it did.
#[track_caller]
pub fn assert_silent(device: &ExportDevice) {
    let messages = device.validation_messages();
    assert!(messages.is_empty(), "the validation layer said: {messages:#?}");
}
