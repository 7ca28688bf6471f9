//! The tests' side: the loaded library, asked through functions of its own.
//!
//! Unsafe because it calls C.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use libloading::{Library, Symbol};

use crate::abi::Code;
use crate::calls::Sink;
use crate::child::{self, Library as Which};
use crate::descriptor::{self, Raw};
use crate::exporter::{Exported, Exporter};
use crate::refused::Refused;
use crate::told::{BlockedCall, Call, Finding, Live};

/// What the system's loader is asked for.
const DRIVER: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// Calls that tests make through cudarc, over those that `cuda-import` looks up itself. cudarc
/// panics at one that is not there.
const CALLED_BY_TESTS: &[&str] = &[
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

/// The library that stands in for the driver in this process.
#[derive(Debug)]
pub struct Double {
    library: Library,
}

impl Double {
    /// Some in a process of its own, where the test goes on; None in the process it came from, once
    /// the other has passed.
    ///
    /// # Panics
    /// When the test failed over there, when no test is called `test`, and when the library or a
    /// symbol is not there.
    pub fn in_child(test: &str) -> Option<Self> {
        child::enter(test, &Which::Double).then(Self::open)
    }

    /// Whether the software driver is installed that [`in_child_with_vulkan`] builds on: Mesa's
    /// lavapipe, or what `DRIVER_DOUBLE_VULKAN` names.
    ///
    /// [`in_child_with_vulkan`]: Self::in_child_with_vulkan
    #[cfg(target_os = "linux")]
    pub fn has_software_vulkan() -> bool {
        crate::vulkan::is_installed()
    }

    /// As [`in_child`](Self::in_child), with the double as the system's one Vulkan driver too: its
    /// device exports buffers, images and timelines to the double's first GPU.
    ///
    /// # Panics
    /// As [`in_child`](Self::in_child).
    #[cfg(target_os = "linux")]
    pub fn in_child_with_vulkan(test: &str) -> Option<Self> {
        child::enter(test, &Which::DoubleWithVulkan).then(Self::open)
    }

    /// As [`in_child`](Self::in_child), with `library` as the driver: true in the process of its
    /// own.
    ///
    /// # Panics
    /// As [`in_child`](Self::in_child).
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

    /// The exporting side on the first device: see [`Exporter::export_memory`].
    ///
    /// # Panics
    /// When the process has no descriptor left.
    pub fn export_memory(&self, size: u64, dedicated: bool) -> Exported {
        self.exporter(0).export_memory(size, dedicated)
    }

    /// The exporting side makes a semaphore and exports it. Which device it is on does not matter:
    /// the driver takes it on any (measured).
    ///
    /// # Panics
    /// When the process has no descriptor left.
    pub fn export_semaphore(&self, timeline: bool) -> Exported {
        self.exported(self.control::<extern "C" fn(c_int) -> Raw>("double_export_semaphore")(timeline.into()))
    }

    /// The exporting side on the device with this ordinal.
    pub fn exporter(&self, device: usize) -> Exporter<'_> {
        Exporter::new(self, device as c_int)
    }

    pub(crate) fn exported(&self, raw: Raw) -> Exported {
        let number = self.control::<extern "C" fn(Raw) -> u64>("double_number")(raw);
        Exported { handle: descriptor::own(raw).expect("a descriptor is left"), number }
    }

    /// The exporting side enqueues a signal.
    pub fn submit_signal(&self, number: u64, value: u64) {
        self.control::<extern "C" fn(u64, u64)>("double_submit_signal")(number, value);
    }

    /// A signal that the exporting side enqueued completes.
    pub fn complete_signal(&self, number: u64, value: u64) {
        self.control::<extern "C" fn(u64, u64)>("double_complete_signal")(number, value);
    }

    /// The exporting side signals, both at once.
    pub fn signal(&self, number: u64, value: u64) {
        self.submit_signal(number, value);
        self.complete_signal(number, value);
    }

    /// The counter of a timeline; 1 for a binary semaphore that is signaled.
    pub fn value(&self, number: u64) -> u64 {
        self.control::<extern "C" fn(u64) -> u64>("double_value")(number)
    }

    /// No stream does any work from now on, as if another program had the GPU: what blocks without
    /// need shows.
    pub fn hold_work(&self) {
        self.control::<extern "C" fn(c_int)>("double_hold")(1);
    }

    /// Ends [`hold_work`](Self::hold_work): all is done that can be.
    pub fn let_work_go(&self) {
        self.control::<extern "C" fn(c_int)>("double_hold")(0);
    }

    /// As [`hold_work`](Self::hold_work), for the streams of one device; `None` ends it.
    pub fn hold_work_of(&self, device: Option<i32>) {
        self.control::<extern "C" fn(c_int)>("double_hold_device")(device.unwrap_or(-1));
    }

    /// The `nth` call from now on, counted from 1, fails with `code`. If `sticky`, only calls that
    /// work in a context count, and that context is lost from then on, as if by
    /// [`lose_context`](Self::lose_context).
    pub fn fail_nth(&self, nth: u64, code: Code, sticky: bool) {
        self.control::<extern "C" fn(u64, Code, c_int)>("double_fail_nth")(nth, code, sticky.into());
    }

    /// The next `count` calls of this name fail with `code`, in place of what was to fail before.
    pub fn fail_named(&self, name: &str, count: u64, code: Code) {
        let fail = self.control::<unsafe extern "C" fn(*const u8, usize, u64, Code)>("double_fail_named");
        // SAFETY: a name of so many bytes.
        unsafe { fail(name.as_ptr(), name.len(), count, code) };
    }

    /// A kernel faults in the primary context of the device with this ordinal: every later call in
    /// that context returns `code`, until it is released. Calls in other contexts, and those in
    /// none, go on.
    pub fn lose_context(&self, device: usize, code: Code) {
        self.control::<extern "C" fn(c_int, Code)>("double_lose_context")(device as c_int, code);
    }

    /// What becomes of descriptors that imports refuse from now on.
    pub fn set_refused(&self, refused: Refused) {
        self.control::<extern "C" fn(Refused)>("double_set_refused")(refused);
    }

    /// No call is to fail any more; a context that is lost stays so. The first call that the fault
    /// hit, if it hit one.
    pub fn disarm(&self) -> Option<Call> {
        let hit = self.lines("double_fault").first().map(|line| Call::from_line(line));
        self.fail_nth(0, 0, false);
        hit
    }

    /// The calls since [`forget_calls`](Self::forget_calls), in order. Looking up an error's name
    /// is not one.
    pub fn calls(&self) -> Vec<Call> {
        self.lines("double_calls").iter().map(|line| Call::from_line(line)).collect()
    }

    /// Begins the list of [`calls`](Self::calls) again.
    pub fn forget_calls(&self) {
        self.control::<extern "C" fn()>("double_forget_calls")();
    }

    /// The calls that block now, in the order in which they began to.
    pub fn blocked_calls(&self) -> Vec<BlockedCall> {
        self.lines("double_blocked").iter().map(|line| BlockedCall::from_line(line)).collect()
    }

    /// Makes all calls that block now return `CUDA_ERROR_UNKNOWN`, each with a finding `hang`, as
    /// if the process were ended.
    pub fn end_blocked_calls(&self) {
        self.control::<extern "C" fn()>("double_end_blocked")();
    }

    /// Returns once `is_so`, for instance once another thread's call blocks.
    ///
    /// # Panics
    /// When it does not come to that within a minute. How long it takes is of no importance.
    pub fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
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

    /// Returns once a call of this name blocks: what it waits for.
    ///
    /// # Panics
    /// As [`until`](Self::until).
    pub fn until_blocked(&self, name: &str) -> BlockedCall {
        let mut found = None;
        self.until(name, |double| {
            found = double.blocked_calls().into_iter().find(|call| call.name == name);
            found.is_some()
        });
        found.unwrap_or_else(|| unreachable!("it was found"))
    }

    /// Returns once `thread` has ended, or a call is blocked or asks again and again: it can get no
    /// further without the others.
    ///
    /// # Panics
    /// As [`until`](Self::until).
    pub fn until_ended_or_blocked<T>(&self, thread: &ScopedJoinHandle<'_, T>) {
        const NOT_READY: u32 = 600;
        let asked = |double: &Self| double.calls().iter().filter(|call| call.code == NOT_READY).count();
        let before = asked(self);
        self.until("a thread ends or blocks", |double| {
            thread.is_finished() || !double.blocked_calls().is_empty() || asked(double) >= before + 3
        });
    }

    /// What was found since this was asked last.
    pub fn findings(&self) -> Vec<Finding> {
        self.lines("double_findings").iter().map(|line| Finding::from_line(line)).collect()
    }

    /// [`findings`](Self::findings), with everything that is left as a leak.
    pub fn findings_at_exit(&self) -> Vec<Finding> {
        self.control::<extern "C" fn()>("double_find_leaks")();
        self.findings()
    }

    /// What was made and is still there.
    pub fn live(&self) -> Vec<Live> {
        self.lines("double_live").iter().map(|line| Live::from_line(line)).collect()
    }

    /// Drops all that is left, with all faults and findings, as if the process had begun again.
    /// Nothing made before may be used after.
    pub fn forget(&self) {
        self.control::<extern "C" fn()>("double_forget")();
    }

    /// Makes a context current on this thread, behind everyone's back; 0 is none.
    pub fn set_current(&self, context: u64) {
        self.control::<extern "C" fn(u64)>("double_set_current")(context);
    }

    /// Lets all devices give `value` for a `CUdevice_attribute`.
    pub fn set_attribute(&self, attribute: i32, value: i32) {
        self.control::<extern "C" fn(c_int, c_int)>("double_set_attribute")(attribute, value);
    }

    /// Whether devices reach each other's memory from now on; they do at first.
    pub fn set_peer_access(&self, reach: bool) {
        self.control::<extern "C" fn(c_int)>("double_set_peers")(reach.into());
    }

    fn lines(&self, name: &str) -> Vec<String> {
        unsafe extern "C" fn push(lines: *mut c_void, text: *const u8, len: usize) {
            // SAFETY: `lines` is the one below, which nobody else uses meanwhile.
            let lines = unsafe { &mut *lines.cast::<Vec<String>>() };
            // SAFETY: the double passes a line that is valid during the call.
            let line = unsafe { std::slice::from_raw_parts(text, len) };
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        let mut lines = Vec::<String>::new();
        let list = self.control::<unsafe extern "C" fn(Sink, *mut c_void)>(name);
        // SAFETY: `push` takes a list of lines, which this is.
        unsafe { list(push, (&raw mut lines).cast()) };
        lines
    }
}
