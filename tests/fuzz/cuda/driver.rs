//! CUDA driver calls that fail on demand, and the findings of the double.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};

use bridge_fuzz::Counts;
use driver_double::{Double, Planted};

/// A call that must fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The number of the call among those that an operation makes.
    pub(crate) nth: u64,
    pub(crate) code: u32,
    /// `true` if its context is lost.
    pub(crate) sticky: bool,
}

static DOUBLE: OnceLock<Double> = OnceLock::new();
static PLANTED: Mutex<Option<(Planted, &str)>> = Mutex::new(None);
static PLAN: Mutex<Option<Plan>> = Mutex::new(None);
/// Calls that have failed in this case.
static HITS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Sets the double that all cases use.
pub(crate) fn start(double: Double) {
    DOUBLE.set(double).unwrap();
}

fn double() -> &'static Double {
    DOUBLE.get().unwrap()
}

pub(crate) fn plan(plan: Option<Plan>) {
    *PLAN.lock().unwrap() = plan;
}

/// Sets how calls of a name are altered in later cases.
pub(crate) fn plant(planted: Option<(Planted, &'static str)>) {
    *PLANTED.lock().unwrap() = planted;
}

/// Starts a case without any state of earlier ones.
pub(crate) fn reset() {
    plan(None);
    HITS.lock().unwrap().clear();
    double().forget();
    if let Some((planted, name)) = *PLANTED.lock().unwrap() {
        double().plant(planted, name, 0);
    }
}

/// Holds work enqueued on streams until [`release`].
pub(crate) fn hold() {
    double().hold_work();
}

pub(crate) fn release() {
    double().release_work();
}

/// Begins an operation.
pub(crate) fn begin() {
    if let Some(Plan { nth, code, sticky }) = *PLAN.lock().unwrap() {
        double().fail_nth(nth, code, sticky);
    }
}

/// Ends an operation, and returns the call that failed in it or on a concurrent thread.
pub(crate) fn end() -> Option<&'static str> {
    PLAN.lock().unwrap().as_ref()?;
    let hit = double().disarm()?;
    plan(None);
    let name = name(&hit.name);
    HITS.lock().unwrap().push(name);
    Some(name)
}

/// Returns the calls that have failed in this case.
pub(crate) fn hits() -> Vec<&'static str> {
    HITS.lock().unwrap().clone()
}

/// Returns the name as in errors, without the version.
fn name(name: &str) -> &'static str {
    let name = name.split_once("_v").map_or(name, |(name, _)| name);
    let mut names = NAMES.lock().unwrap();
    if let Some(known) = names.get(name) {
        return known;
    }
    let leaked: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(leaked);
    leaked
}

/// Checks that no rule of the driver was broken. After a failed call, objects that could not be
/// destroyed may outlive their context.
///
/// # Panics
///
/// If a rule was broken.
pub(crate) fn check(counts: &mut Counts) {
    let mut findings = double().findings();
    findings.retain(|finding| hits().is_empty() || finding.kind != "outlives-context");
    let kinds: BTreeSet<_> = findings.iter().map(|finding| &finding.kind).collect();
    assert!(findings.is_empty(), "the driver double found {kinds:?}: {findings:#?}");
    double().forget_calls();
    counts.add("cases that kept the driver's rules");
}
