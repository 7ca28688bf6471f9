//! An operation, run again and again with one driver call after the other made to fail.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cuda_import::cudarc::driver::{CudaContext, DriverError};
use cuda_import::{DriverCode, Error};
use driver_double::{Call, Double};

use super::said;
use super::world::{NAME, World};
use super::{CALLS, assert_clean};

/// What the failing call returns, and whether all later ones do too. A driver closes a descriptor that it refuses with any
/// code but the first.
#[cfg(not(windows))]
const FAULTS: &[(u32, bool)] = &[(1, false), (2, false), (999, false), (700, false), (700, true)];
/// No driver closes an NT handle, so what remains is the same everywhere; and under Wine each call takes its time.
#[cfg(windows)]
const FAULTS: &[(u32, bool)] = &[(1, false), (999, false), (700, true)];

/// Names that stand for more calls than their own: cudarc makes those before it.
const STANDS_FOR: &[(&str, &[&str])] = &[
    (
        "cuDevicePrimaryCtxRetain",
        &["cuInit", "cuDeviceGet", "cuDeviceGetAttribute", "cuCtxGetCurrent", "cuCtxSetCurrent"],
    ),
    ("cuStreamCreate", &["cuCtxGetCurrent", "cuCtxSetCurrent", "cuCtxSynchronize"]),
    ("cuStreamWaitEvent", &["cuCtxGetCurrent", "cuCtxSetCurrent"]),
    ("cuEventCreate", &["cuCtxGetCurrent", "cuCtxSetCurrent"]),
    ("cuEventRecord", &["cuEventCreate", "cuCtxGetCurrent", "cuCtxSetCurrent"]),
];

/// How an operation failed: as `cuda-import` says it, or in a cudarc call that was lent a view.
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

/// One public operation.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut World<'_>) -> Result<(), Failure>,
    /// How the error names the object; empty where it has none.
    pub(crate) object: &'static str,
    /// Whether the error names the device.
    pub(crate) device: bool,
    /// Kinds of objects that may stay, on purpose and said so, when it fails.
    pub(crate) leaves: &'static [&'static str],
    /// Calls whose failure costs nothing but time or a figure in a report.
    pub(crate) shrugs_off: fn(&Call) -> bool,
}

/// A prime, so that no pattern of calls is passed over again and again.
const STRIDE: u64 = if cfg!(windows) { 7 } else { 1 };

impl Operation {
    pub(crate) fn new(name: &'static str, run: fn(&mut World<'_>) -> Result<(), Failure>) -> Self {
        Self { name, run, object: "", device: true, leaves: &[], shrugs_off: |_| false }
    }

    /// Fails each call in turn, in all ways, with no context and with a wrong one current on the thread. On Windows, which
    /// has the same paths but for handles, and where the walk runs under Wine, one call in [`STRIDE`] stands for all.
    pub(crate) fn walk(&self, double: &Double) {
        said::collect();
        for &(code, sticky) in FAULTS {
            for stranger in [false, true] {
                let mut nth = 1;
                while self.step(double, nth, code, sticky, stranger) {
                    nth += STRIDE;
                }
                // Some make no call in a context.
                assert!(nth > 1 || sticky, "{} makes no call", self.name);
            }
        }
    }

    /// False once the operation makes fewer calls than `nth`.
    fn step(&self, double: &Double, nth: u64, code: u32, sticky: bool, stranger: bool) -> bool {
        let step = format!("{}: call {nth} fails with {code}, sticky {sticky}, stranger {stranger}", self.name);
        let mut world = World::new(double);
        let context = world.device.context().clone();
        said::take();
        double.forget_calls();
        double.set_current(if stranger { world.stranger.cu_ctx() as u64 } else { 0 });

        double.fail_nth(nth, code, sticky);
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(&mut world)));
        let hit = double.disarm();
        let outcome = outcome.unwrap_or_else(|_| panic!("{step}: panicked"));
        let said = said::take();
        let recorded = context.check_err().err();
        let calls = double.calls();
        let stray: BTreeSet<_> = calls.iter().map(|call| call.name.clone()).collect();
        let stray: Vec<_> = stray.iter().filter(|name| !is_looked_up(name)).collect();
        assert!(stray.is_empty(), "{step}: {stray:?} is called, and cuda-import does not look for it");

        let reported = match &hit {
            None => {
                assert!(outcome.is_ok() && recorded.is_none(), "{step}: {outcome:?}, recorded {recorded:?}");
                assert_eq!(double.findings(), Vec::new(), "{step}");
                drop(world);
                assert_no_error(&said, &step);
                false
            }
            Some(hit) => {
                let step = format!("{step} ({})", hit.name);
                let failed: Vec<_> = calls.iter().filter(|call| call.code == code).collect();
                let reported = self.check_report(&step, &failed, outcome, &said, recorded, &world);
                match sticky {
                    // Nothing more can be had of the context.
                    true => drop(world),
                    false => self.check_second_try(&step, world, &context),
                }
                reported
            }
        };
        drop(context);
        let leaves = if reported { self.leaves } else { &[] };
        // What its own drop could not destroy goes down with its context.
        let leaves_it = |text: &str| leaves.iter().any(|kind| text.starts_with(kind));
        let mut findings = double.findings();
        findings.retain(|finding| !(finding.kind == "outlives-context" && leaves_it(&finding.text)));
        assert_eq!(findings, Vec::new(), "{step}");
        let left = double.live();
        let left: Vec<_> = left.iter().filter(|left| !left.refused && !leaves.contains(&left.kind())).collect();
        assert!(left.is_empty(), "{step}: {left:#?} are left; hit {hit:?}, said {said:#?}");
        double.forget();
        assert_clean(double);
        hit.is_some()
    }

    /// The failure came out, by one of the three ways. False where nobody needs to know.
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
            Err(Failure::Import(Error::Driver { call, code: its_code, object, device })) => {
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
                let shrugged_off = (self.shrugs_off)(hit);
                assert!(recorded || said_so || shrugged_off, "{step}: not a word, but {said:#?}");
                return recorded || said_so;
            }
        }
        true
    }

    fn check_second_try(&self, step: &str, mut world: World<'_>, context: &CudaContext) {
        world.refill();
        let again = (self.run)(&mut world);
        assert!(again.is_ok(), "{step}: a second try: {again:?}");
        assert_eq!(context.check_err(), Ok(()), "{step}: a second try");
        drop(world);
        assert_no_error(&said::take(), step);
    }
}

/// Warnings are part of giving up on purpose.
fn assert_no_error(said: &[String], step: &str) {
    let errors: Vec<_> = said.iter().filter(|line| line.contains("failed")).collect();
    assert!(errors.is_empty(), "{step}: {errors:#?}");
}

fn is_name_of(said: &str, call: &str) -> bool {
    let bare = call.strip_suffix("_v2").unwrap_or(call);
    let stands_for = STANDS_FOR.iter().find(|(name, _)| *name == said).map_or(&[][..], |(_, others)| others);
    said == bare || said == call || stands_for.contains(&call) || !said.starts_with("cu")
}

/// Copies are the tests' own.
fn is_looked_up(name: &str) -> bool {
    CALLS.contains(&name) || name.starts_with("cuMemcpy") || name.starts_with("cuMemset")
}
