//! Fault walks: an operation runs repeatedly, and each time another driver call is made to fail.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cuda_import::cudarc::driver::{CudaContext, DriverError, result};
use cuda_import::{DriverCode, Error};
use driver_double::{Call, Double};

use super::log_capture;
use super::raw;
use super::world::{NAME, World};
use super::{CALLS, PEER_CALLS, assert_clean};

/// Codes that failing calls return, and whether their context is lost. Every call fails with the
/// first code; with the others, each call that does more than make a context current. A driver
/// closes a descriptor that it refuses with any code but 1.
#[cfg(not(windows))]
const FAULTS: &[(u32, bool)] = &[(2, false), (1, false), (999, false), (700, false), (700, true)];
/// No driver closes an NT handle, so the remaining code paths are the same for most codes, and
/// calls are slow under Wine.
#[cfg(windows)]
const FAULTS: &[(u32, bool)] = &[(999, false), (1, false), (700, true)];

/// Names in errors that cover further calls, which cudarc makes before the named one.
const COVERED_CALLS: &[(&str, &[&str])] = &[
    (
        "cuDevicePrimaryCtxRetain",
        &["cuInit", "cuDeviceGet", "cuDeviceGetAttribute", "cuCtxGetCurrent", "cuCtxSetCurrent"],
    ),
    ("cuStreamCreate", &["cuCtxGetCurrent", "cuCtxSetCurrent", "cuCtxSynchronize"]),
    ("cuStreamWaitEvent", &["cuCtxGetCurrent", "cuCtxSetCurrent"]),
    ("cuEventCreate", &["cuCtxGetCurrent", "cuCtxSetCurrent"]),
    ("cuEventRecord", &["cuEventCreate", "cuCtxGetCurrent", "cuCtxSetCurrent"]),
];

/// A failed operation: an error of `cuda-import`, or of a cudarc call that used a view.
#[derive(Debug)]
pub(crate) enum Failure {
    Import(Error),
    Cudarc(DriverError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Import(error)
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Cudarc(error)
    }
}

/// Objects that remain if a buffer cannot be freed: the mapping, its memory and its context.
pub(crate) const MAPPED: &[&str] = &["mapping", "memory", "context"];

pub(crate) type Outcome = Result<(), Failure>;

/// Runs each operation in turn in a child process.
pub(crate) fn walk<const N: usize>(test: &str, operations: [Operation; N]) {
    let Some(double) = Double::in_child(test) else { return };
    for operation in operations {
        operation.walk(&double);
    }
}

/// The returned code, whether the context is lost, and whether the current context of the thread is
/// another one instead of none.
struct Fault {
    code: u32,
    sticky: bool,
    unrelated: bool,
}

/// A public operation.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut World<'_>) -> Result<(), Failure>,
    /// The object name in the error; empty if there is none.
    pub(crate) object: &'static str,
    /// `true` if the error names the device.
    pub(crate) device: bool,
    /// Kinds of objects that may remain, and are reported, if the operation fails.
    pub(crate) leaves: &'static [&'static str],
    /// Number of timelines that it needs.
    pub(crate) timelines: usize,
    /// `true` if the thread's current context is the same afterwards, unless restoring it fails.
    /// cudarc's own calls change it.
    pub(crate) keeps_current: bool,
    /// Calls whose failure only costs time or a figure in a report.
    pub(crate) ignores_failure_of: fn(&Call) -> bool,
}

impl Operation {
    pub(crate) fn new(name: &'static str, run: fn(&mut World<'_>) -> Result<(), Failure>) -> Self {
        Self {
            name,
            run,
            object: "",
            device: true,
            leaves: &[],
            timelines: 2,
            keeps_current: false,
            ignores_failure_of: |_| false,
        }
    }

    /// Makes each call in turn fail with each of [`FAULTS`], first without a current context and
    /// then with a wrong one.
    pub(crate) fn walk(&self, double: &Double) {
        log_capture::collect();
        for (first, &(code, sticky)) in FAULTS.iter().enumerate().map(|(index, fault)| (index == 0, fault)) {
            for unrelated in [false, true] {
                let mut calls = self.calls(double, unrelated);
                assert!(!calls.is_empty(), "{} makes no call", self.name);
                // With a sticky fault, other calls neither fail nor count.
                calls.retain(|call| !sticky || is_in_context(call));
                for (nth, call) in (1..).zip(&calls) {
                    if first || is_effective(call) {
                        self.step(double, nth, call, &Fault { code, sticky, unrelated });
                    }
                }
            }
        }
    }

    /// Returns the calls that the operation makes if none fails.
    fn calls(&self, double: &Double, unrelated: bool) -> Vec<Call> {
        let step = format!("{}: no call fails, unrelated {unrelated}", self.name);
        let mut world = World::new(double, self.timelines);
        let context = world.device.context().clone();
        log_capture::take();
        // An earlier step may have failed to restore the mode.
        raw::exchange_capture_mode(0);
        double.forget_calls();
        double.set_current(if unrelated { world.unrelated.cu_ctx() as u64 } else { 0 });
        let outcome = (self.run)(&mut world);
        let calls = double.calls();
        let recorded = context.check_err().err();
        assert!(outcome.is_ok() && recorded.is_none(), "{step}: {outcome:?}, recorded {recorded:?}");
        assert_eq!(double.findings(), Vec::new(), "{step}");
        let stray: BTreeSet<_> = calls.iter().map(|call| &call.name).filter(|name| !is_looked_up(name)).collect();
        assert!(stray.is_empty(), "{step}: {stray:?} is called, and cuda-import does not look for it");
        drop((world, context));
        assert_no_error(&log_capture::take(), &step);
        assert_clean(double);
        double.forget();
        calls
    }

    /// Makes the `nth` call that counts, which is `call`, fail.
    fn step(&self, double: &Double, nth: u64, call: &Call, fault: &Fault) {
        let &Fault { code, sticky, unrelated } = fault;
        let step = format!(
            "{}: call {nth}, {}, fails with {code}, sticky {sticky}, unrelated {unrelated}",
            self.name, call.name
        );
        let mut world = World::new(double, self.timelines);
        let context = world.device.context().clone();
        log_capture::take();
        // An earlier step may have failed to restore the mode.
        raw::exchange_capture_mode(0);
        double.forget_calls();
        let before = if unrelated { world.unrelated.cu_ctx() as u64 } else { 0 };
        double.set_current(before);

        double.fail_nth(nth, code, sticky);
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(&mut world)));
        let hit = double.disarm();
        let outcome = outcome.unwrap_or_else(|_| panic!("{step}: panicked"));
        assert_eq!(hit.map(|hit| hit.name).as_ref(), Some(&call.name), "{step}");
        let said = log_capture::take();
        let recorded = context.check_err().err();
        let calls = double.calls();
        let stray: BTreeSet<_> = calls.iter().map(|call| &call.name).filter(|name| !is_looked_up(name)).collect();
        assert!(stray.is_empty(), "{step}: {stray:?} is called, and cuda-import does not look for it");
        if self.keeps_current && is_effective(call) {
            let current = result::ctx::get_current().map(|current| current.map_or(0, |context| context as u64));
            assert_eq!(current, Ok(before), "{step}: another context is current");
        }

        let failed: Vec<_> = calls.iter().filter(|call| call.code == code).collect();
        let reported = self.check_report(&step, &failed, outcome, &said, recorded, &world);
        match sticky {
            // The lost context is not usable anymore.
            true => drop(world),
            false => self.check_retry(&step, world, &context),
        }
        drop(context);
        let leaves = if reported { self.leaves } else { &[] };
        // Objects that their drop could not destroy are destroyed with their context.
        let leaves_it = |text: &str| leaves.iter().any(|kind| text.starts_with(kind));
        let mut findings = double.findings();
        findings.retain(|finding| !(finding.kind == "outlives-context" && leaves_it(&finding.text)));
        assert_eq!(findings, Vec::new(), "{step}");
        let left = double.live();
        let left: Vec<_> = left.iter().filter(|left| !left.refused && !leaves.contains(&left.kind())).collect();
        assert!(left.is_empty(), "{step}: {left:#?} are left; said {said:#?}");
        double.forget();
        assert_clean(double);
    }

    /// Checks that the failure was reported: returned, logged or recorded. Returns `false` if it
    /// did not have to be.
    fn check_report(
        &self,
        step: &str,
        failed: &[&Call],
        outcome: Result<(), Failure>,
        said: &[String],
        recorded: Option<DriverError>,
        world: &World<'_>,
    ) -> bool {
        let hit = failed[0];
        let code = DriverCode(hit.code);
        let is_report =
            |line: &String| line.contains(&code.to_string()) && [NAME, "host"].iter().any(|word| line.contains(word));
        let said_so = said.iter().any(is_report);
        match outcome {
            Err(Failure::Import(Error::Driver { call, code: its_code, object, device, .. })) => {
                assert_eq!(its_code, code, "{step}");
                let named = failed.iter().any(|failed| is_name_of(call, &failed.name));
                assert!(named, "{step}: the error says {call}");
                assert!(object.contains(self.object), "{step}: about {object:?}");
                assert!(!self.device || device == world.device.name(), "{step}: on {device:?}");
            }
            Err(Failure::Cudarc(error)) => assert_eq!(error.0 as u32, hit.code, "{step}"),
            Err(Failure::Import(other)) => panic!("{step}: {other}"),
            Ok(()) => {
                let recorded = recorded.is_some_and(|error| error.0 as u32 == hit.code);
                // The operation's calls then run in a mode that ends captures of other threads.
                let mode = hit.name == "cuThreadExchangeStreamCaptureMode";
                let shrugged_off = mode || (self.ignores_failure_of)(hit);
                assert!(recorded || said_so || shrugged_off, "{step}: not a word, but {said:#?}");
                return recorded || said_so;
            }
        }
        true
    }

    fn check_retry(&self, step: &str, mut world: World<'_>, context: &CudaContext) {
        world.refill();
        let again = (self.run)(&mut world);
        assert!(again.is_ok(), "{step}: a second try: {again:?}");
        assert_eq!(context.check_err(), Ok(()), "{step}: a second try");
        drop(world);
        assert_no_error(&log_capture::take(), step);
    }
}

/// Checks that no error was logged. Warnings about objects that are deliberately kept are allowed.
fn assert_no_error(said: &[String], step: &str) {
    let errors: Vec<_> = said.iter().filter(|line| line.contains("failed")).collect();
    assert!(errors.is_empty(), "{step}: {errors:#?}");
}

fn is_name_of(said: &str, call: &str) -> bool {
    let bare = call.strip_suffix("_v2").unwrap_or(call);
    let stands_for = COVERED_CALLS.iter().find(|(name, _)| *name == said).map_or(&[][..], |(_, others)| others);
    said == bare || said == call || stands_for.contains(&call) || !said.starts_with("cu")
}

/// Returns `true` if the call does more than make a context current, which precedes most calls.
fn is_effective(call: &Call) -> bool {
    !["cuCtxGetCurrent", "cuCtxSetCurrent", "cuCtxPushCurrent_v2"].contains(&call.name.as_str())
}

/// Returns `true` if a fault in a context can make the call fail.
fn is_in_context(call: &Call) -> bool {
    let elsewhere = ["cuInit", "cuDriver", "cuDevice", "cuGraphNodeGetType", "cuThread"]
        .iter()
        .any(|prefix| call.name.starts_with(prefix));
    is_effective(call) && !elsewhere && !PEER_CALLS.contains(&call.name.as_str())
}

/// Returns `true` if cuda-import looks up this function, or if it is a copy that the tests make
/// themselves.
fn is_looked_up(name: &str) -> bool {
    CALLS.contains(&name) || PEER_CALLS.contains(&name) || name.starts_with("cuMemcpy") || name.starts_with("cuMemset")
}
