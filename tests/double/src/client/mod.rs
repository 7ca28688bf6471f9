//! The tests' side: the loaded library, called through its own control functions.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

pub(crate) mod exporter;
#[cfg(windows)]
pub(crate) mod nt;
mod plant;
mod signal;

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use libloading::{Library, Symbol};

use crate::abi::Code;
use crate::calls::Sink;
use crate::child::{self, Library as Which};
use crate::client::exporter::{Exported, Exporter};
use crate::descriptor::{self, Raw};
use crate::record::{BlockedCall, Call, Finding, Live};
use crate::refused::Refused;

/// The name under which the system's loader loads the driver.
const DRIVER: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// Functions that tests call through cudarc, in addition to those that `cuda-import` looks up
/// itself. cudarc panics if one is missing.
const CALLED_BY_TESTS: &[&str] = &[
    "cuCtxCreate_v3",
    "cuCtxCreate_v4",
    "cuCtxDestroy_v2",
    "cuEventSynchronize",
    "cuLaunchKernel",
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
];

/// The library that acts as the driver in this process.
#[derive(Debug)]
pub struct Double {
    library: Library,
}

impl Double {
    /// Returns `Some` in a new process, in which the test continues, and `None` in the original
    /// process once the new one has passed.
    ///
    /// # Panics
    ///
    /// If the test fails in the new process, if no test is named `test`, or if the library or a
    /// symbol is missing.
    pub fn in_child(test: &str) -> Option<Self> {
        child::enter(test, &Which::Double).then(Self::open)
    }

    /// Returns `true` if the software driver that [`in_child_with_vulkan`] needs is installed:
    /// Mesa's lavapipe, or the one that `DRIVER_DOUBLE_VULKAN` names.
    ///
    /// [`in_child_with_vulkan`]: Self::in_child_with_vulkan
    #[cfg(target_os = "linux")]
    pub fn has_software_vulkan() -> bool {
        crate::vulkan::is_installed()
    }

    /// Like [`in_child`](Self::in_child), with the double also as the system's only Vulkan driver.
    /// Its device exports buffers, images and timelines to the double's first GPU.
    ///
    /// # Panics
    ///
    /// Like [`in_child`](Self::in_child).
    #[cfg(target_os = "linux")]
    pub fn in_child_with_vulkan(test: &str) -> Option<Self> {
        child::enter(test, &Which::DoubleWithVulkan(None)).then(Self::open)
    }

    /// Like [`in_child_with_vulkan`](Self::in_child_with_vulkan), with `queues` reported as the
    /// number of queues of the device's families: `2` for two queues of one family, `2,1` for one
    /// more of a second family, which only copies, `2,1,1` for one more of a third, which also
    /// computes.
    ///
    /// # Panics
    ///
    /// Like [`in_child`](Self::in_child).
    #[cfg(target_os = "linux")]
    pub fn in_child_with_queues(test: &str, queues: &str) -> Option<Self> {
        child::enter(test, &Which::DoubleWithVulkan(Some(queues))).then(Self::open)
    }

    /// Like [`in_child`](Self::in_child), with `library` as the driver. Returns `true` in the new
    /// process.
    ///
    /// # Panics
    ///
    /// Like [`in_child`](Self::in_child).
    pub fn in_child_with(test: &str, library: &Path) -> bool {
        child::enter(test, &Which::File(library))
    }

    fn open() -> Self {
        // SAFETY: the double has no initializers.
        let library = unsafe { Library::new(DRIVER) }.unwrap_or_else(|error| panic!("{DRIVER} does not load: {error}"));
        let double = Self { library };
        let missing = CALLED_BY_TESTS.iter().filter(|name| double.find::<unsafe extern "C" fn()>(name).is_none());
        let missing: Vec<_> = missing.collect();
        assert!(missing.is_empty(), "the double lacks {missing:?}");
        double
    }

    fn find<F>(&self, name: &str) -> Option<Symbol<'_, F>> {
        // SAFETY: nothing is called here; callers name the type that the function has in
        // `calls::control`.
        unsafe { self.library.get(name.as_bytes()) }.ok()
    }

    pub(crate) fn control<F>(&self, name: &str) -> Symbol<'_, F> {
        self.find(name).unwrap_or_else(|| panic!("the driver in the library path is not the double: it lacks {name}"))
    }

    /// Exports memory of the first device: see [`Exporter::export_memory`].
    ///
    /// # Panics
    ///
    /// If the process has no descriptor left.
    pub fn export_memory(&self, size: u64, dedicated: bool) -> Exported {
        self.exporter(0).export_memory(size, dedicated)
    }

    /// Creates a semaphore as the exporting side and exports it. Its device does not matter: the
    /// driver imports it on any device (measured).
    ///
    /// # Panics
    ///
    /// If the process has no descriptor left.
    pub fn export_semaphore(&self, timeline: bool) -> Exported {
        self.exported(self.control::<extern "C" fn(c_int) -> Raw>("double_export_semaphore")(timeline.into()))
    }

    /// Returns the exporting side on the device with this ordinal.
    pub fn exporter(&self, device: usize) -> Exporter<'_> {
        Exporter::new(self, device as c_int)
    }

    pub(crate) fn exported(&self, raw: Raw) -> Exported {
        let number = self.control::<extern "C" fn(Raw) -> u64>("double_number")(raw);
        Exported { handle: descriptor::own(raw).expect("a descriptor is left"), number }
    }

    /// Holds the work of all streams from now on, as if another program used the GPU. This reveals
    /// calls that block unnecessarily.
    pub fn hold_work(&self) {
        self.control::<extern "C" fn(c_int)>("double_hold")(1);
    }

    /// Ends [`hold_work`](Self::hold_work) and runs all work that is ready.
    pub fn release_work(&self) {
        self.control::<extern "C" fn(c_int)>("double_hold")(0);
    }

    /// Like [`hold_work`](Self::hold_work), for the streams of one device; `None` ends it.
    pub fn hold_device_work(&self, device: Option<i32>) {
        self.control::<extern "C" fn(c_int)>("double_hold_device")(device.unwrap_or(-1));
    }

    /// Makes the `nth` call from now on, counted from 1, fail with `code`. If `sticky`, only calls
    /// that work in a context count, and that context is lost from then on, as if by
    /// [`lose_context`](Self::lose_context).
    pub fn fail_nth(&self, nth: u64, code: Code, sticky: bool) {
        self.control::<extern "C" fn(u64, Code, c_int)>("double_fail_nth")(nth, code, sticky.into());
    }

    /// Makes the next `count` calls of this name fail with `code`. Replaces any fault that was
    /// armed before.
    pub fn fail_named(&self, name: &str, count: u64, code: Code) {
        let fail = self.control::<unsafe extern "C" fn(*const u8, usize, u64, Code)>("double_fail_named");
        // SAFETY: a valid name and its length in bytes.
        unsafe { fail(name.as_ptr(), name.len(), count, code) };
    }

    /// Simulates a kernel fault in the primary context of the device with this ordinal: every later
    /// call in that context returns `code` until the context is released. Calls in other contexts,
    /// or in none, still work.
    pub fn lose_context(&self, device: usize, code: Code) {
        self.control::<extern "C" fn(c_int, Code)>("double_lose_context")(device as c_int, code);
    }

    /// Sets what imports do from now on with descriptors that they refuse.
    pub fn set_refused(&self, refused: Refused) {
        self.control::<extern "C" fn(Refused)>("double_set_refused")(refused);
    }

    /// Disarms the fault. A context that is lost stays lost. Returns the first call that the fault
    /// hit, if any.
    pub fn disarm(&self) -> Option<Call> {
        let hit = self.lines("double_fault").first().map(|line| Call::from_line(line));
        self.fail_nth(0, 0, false);
        hit
    }

    /// Returns the calls since [`forget_calls`](Self::forget_calls), in order. Error name lookups
    /// are not included.
    pub fn calls(&self) -> Vec<Call> {
        self.lines("double_calls").iter().map(|line| Call::from_line(line)).collect()
    }

    /// Clears the list of [`calls`](Self::calls).
    pub fn forget_calls(&self) {
        self.control::<extern "C" fn()>("double_forget_calls")();
    }

    /// Returns the calls that are blocked now, in the order in which they blocked.
    pub fn blocked_calls(&self) -> Vec<BlockedCall> {
        self.lines("double_blocked").iter().map(|line| BlockedCall::from_line(line)).collect()
    }

    /// Makes all calls that are blocked now return `CUDA_ERROR_UNKNOWN`, each with a finding
    /// `hang`, as if the process were ended.
    pub fn end_blocked_calls(&self) {
        self.control::<extern "C" fn()>("double_end_blocked")();
    }

    /// Waits until `is_so` returns `true`, for instance because another thread's call blocks.
    ///
    /// # Panics
    ///
    /// If that takes more than a minute. Otherwise the duration does not matter.
    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it never came to this: {what}; blocked: {:#?}",
                self.blocked_calls()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a call of this name blocks, and returns that call.
    ///
    /// # Panics
    ///
    /// Like [`wait_until`](Self::wait_until).
    pub fn wait_until_blocked(&self, name: &str) -> BlockedCall {
        let mut found = None;
        self.wait_until(name, |double| {
            found = double.blocked_calls().into_iter().find(|call| call.name == name);
            found.is_some()
        });
        found.unwrap_or_else(|| unreachable!("it was found"))
    }

    /// Waits until `thread` has ended, or until a call blocks or polls repeatedly, so that it
    /// cannot continue without the other threads.
    ///
    /// # Panics
    ///
    /// Like [`wait_until`](Self::wait_until).
    pub fn wait_until_ended_or_blocked<T>(&self, thread: &ScopedJoinHandle<'_, T>) {
        const NOT_READY: u32 = 600;
        let asked = |double: &Self| double.calls().iter().filter(|call| call.code == NOT_READY).count();
        let before = asked(self);
        self.wait_until("a thread ends or blocks", |double| {
            thread.is_finished() || !double.blocked_calls().is_empty() || asked(double) >= before + 3
        });
    }

    /// Returns the findings since the last call.
    pub fn findings(&self) -> Vec<Finding> {
        self.lines("double_findings").iter().map(|line| Finding::from_line(line)).collect()
    }

    /// Returns [`findings`](Self::findings), including a leak for everything that is left.
    pub fn findings_at_exit(&self) -> Vec<Finding> {
        self.control::<extern "C" fn()>("double_find_leaks")();
        self.findings()
    }

    /// Returns the objects that were created and still exist.
    pub fn live(&self) -> Vec<Live> {
        self.lines("double_live").iter().map(|line| Live::from_line(line)).collect()
    }

    /// Drops everything that is left, with all faults and findings, as if the process had started
    /// again. Objects created before must not be used afterward.
    pub fn forget(&self) {
        self.control::<extern "C" fn()>("double_forget")();
    }

    /// Makes a context current on this thread, with none below it on the stack, bypassing the code
    /// under test; 0 means none.
    pub fn set_current(&self, context: u64) {
        self.control::<extern "C" fn(u64)>("double_set_current")(context);
    }

    /// Makes all devices report `value` for a `CUdevice_attribute`.
    pub fn set_attribute(&self, attribute: i32, value: i32) {
        self.control::<extern "C" fn(c_int, c_int)>("double_set_attribute")(attribute, value);
    }

    /// Sets whether devices can access each other's memory from now on. Initially they can.
    pub fn set_peer_access(&self, reach: bool) {
        self.control::<extern "C" fn(c_int)>("double_set_peers")(reach.into());
    }

    /// Hides a device, as `CUDA_VISIBLE_DEVICES` does: it is not listed, and the ordinals of those
    /// after it are lower by 1. `None` ends it.
    pub fn hide_device(&self, device: Option<i32>) {
        self.control::<extern "C" fn(c_int)>("double_hide_device")(device.unwrap_or(-1));
    }

    fn lines(&self, name: &str) -> Vec<String> {
        unsafe extern "C" fn push(lines: *mut c_void, text: *const u8, len: usize) {
            // SAFETY: `lines` is the vector below, which is not used elsewhere during the call.
            let lines = unsafe { &mut *lines.cast::<Vec<String>>() };
            // SAFETY: the double passes a line that is valid during the call.
            let line = unsafe { std::slice::from_raw_parts(text, len) };
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        let mut lines = Vec::<String>::new();
        let list = self.control::<unsafe extern "C" fn(Sink, *mut c_void)>(name);
        // SAFETY: `push` expects a pointer to a vector of lines, which this is.
        unsafe { list(push, (&raw mut lines).cast()) };
        lines
    }
}
