//! A device and a compute side, with the validation layer enabled.
//!
//! All tests of a program share one device, which is never destroyed: NVIDIA's driver deadlocks if
//! a device is destroyed while a thread that has used Vulkan exits, and every test is such a
//! thread. Tests that need their own devices are in programs of one test each. The tests of a
//! program run one at a time: work that one test enqueues on the shared queue would delay the
//! others, and tests of order depend on time.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use std::time::Duration;

use bridge::vk_export::Validation;
use bridge::{Backend, Compute, ExportDevice, OpenInfo};

use crate::{Linear, SmallLimits, case_on, compute, device_with};

/// A device; every validation message fails the test.
pub struct Rig {
    device: ExportDevice,
    /// The device that receives the layer's messages.
    watched: ExportDevice,
    allowed: Cell<&'static [&'static str]>,
    /// The number of messages of earlier tests.
    reported: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Rig {
    /// The timeout of waits in tests: far more than any wait takes on the slowest machine.
    pub const LONG: Duration = Duration::from_secs(30);

    /// The time after which something that must not happen has not happened. A fault that takes
    /// longer than this on a slow machine is missed here; what is right always passes. Only for
    /// what nothing else can show: see "What only time shows" in `docs/testing.md`.
    pub const MOMENT: Duration = Duration::from_millis(100);

    /// Opens the best device, with validation if the layer is installed.
    ///
    /// # Panics
    /// Panics if there is no Vulkan device.
    pub fn open() -> Self {
        static DEVICE: OnceLock<ExportDevice> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let device = DEVICE.get_or_init(Self::open_own).clone();
        let reported = device.validation_messages().len();
        Self { watched: device.clone(), device, allowed: Cell::new(&[]), reported, _turn: turn }
    }

    /// Like [`open`](Self::open), with the device of a driver that has no LINEAR images, or limited
    /// ones.
    ///
    /// # Panics
    /// Panics as [`open`](Self::open) does.
    pub fn open_with(linear: Linear) -> Self {
        let mut rig = Self::open();
        rig.device = device_with(linear, &rig.watched);
        rig
    }

    /// Like [`open`](Self::open), with the device of a driver that reports [`SmallLimits`].
    ///
    /// # Panics
    /// Panics as [`open`](Self::open) does.
    pub fn open_with_small_limits() -> Self {
        let mut rig = Self::open();
        rig.device = SmallLimits::device(&rig.watched);
        rig
    }

    /// Opens a device for only one test, which destroys it.
    ///
    /// # Panics
    /// Panics as [`open`](Self::open) does.
    pub fn open_own() -> ExportDevice {
        crate::logger::init();
        let info = OpenInfo {
            application_name: "tests",
            validation: Validation::IfPresent,
            buffer_device_address: true,
            ..OpenInfo::default()
        };
        // Kernels in command buffers are enabled if the device supports them.
        ExportDevice::open(&OpenInfo { cuda_kernels: true, ..info.clone() })
            .or_else(|_| ExportDevice::open(&info))
            .unwrap_or_else(|error| panic!("{error}; run `cargo xtask setup`"))
    }

    /// Runs a test on a backend, or skips it.
    ///
    /// # Panics
    /// Panics if the test fails, or if the validation layer reports anything.
    pub fn with(backend: Backend, test: fn(&Self, &Compute)) {
        let rig = Self::open();
        if let Some(compute) = compute(&rig.device, backend) {
            test(&rig, &compute);
        }
    }

    /// Runs a test on the CPU backend of a device with such LINEAR images.
    ///
    /// # Panics
    /// Panics as [`with`](Self::with) does.
    pub fn with_linear(linear: Linear, test: fn(&Self, &Compute)) {
        let rig = Self::open_with(linear);
        test(&rig, &Compute::new(&rig.device, Backend::Host).unwrap());
    }

    /// Runs a test on a backend of a device with [`SmallLimits`], or skips it.
    ///
    /// # Panics
    /// Panics as [`with`](Self::with) does.
    pub fn with_small_limits(backend: Backend, test: fn(&Self, &Compute)) {
        let rig = Self::open_with_small_limits();
        if let Some(compute) = compute(&rig.device, backend) {
            test(&rig, &compute);
        }
    }

    /// Runs one of several cases of a test on a backend, or skips it.
    ///
    /// # Panics
    /// Panics as [`with`](Self::with) does.
    pub fn case(backend: Backend, case: &str, test: fn(&Self, &Compute)) {
        let rig = Self::open();
        if let Some(compute) = case_on(&rig.device, backend, case) {
            test(&rig, &compute);
        }
    }

    /// Ignores validation messages with these IDs, for a test that provokes them.
    pub fn allow(&self, ids: &'static [&'static str]) {
        self.allowed.set(ids);
    }

    /// Returns the device.
    pub fn device(&self) -> &ExportDevice {
        &self.device
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let mut messages = self.watched.validation_messages().split_off(self.reported);
        messages.retain(|message| !self.allowed.get().contains(&message.id.as_str()));
        if std::thread::panicking() {
            // The test has failed; the layer's messages may be the reason.
            messages.iter().for_each(|message| eprintln!("the validation layer said: {message:#?}"));
        } else {
            assert!(messages.is_empty(), "the validation layer said: {messages:#?}");
        }
    }
}

/// Fails the test if the validation layer reported anything about a device that a test opened
/// itself.
///
/// # Panics
/// Panics if it did.
#[track_caller]
pub fn assert_silent(device: &ExportDevice) {
    let messages = device.validation_messages();
    assert!(messages.is_empty(), "the validation layer said: {messages:#?}");
}
