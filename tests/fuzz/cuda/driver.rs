//! Calls of CUDA's driver that fail when their turn comes, and what the double has found.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};

use bridge_fuzz::Counts;
use driver_double::{Double, Planted};

/// One call that is to fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Of the calls that one operation makes, this one.
    pub(crate) nth: u64,
    pub(crate) code: u32,
    /// Its context is lost.
    pub(crate) sticky: bool,
}

static DOUBLE: OnceLock<Double> = OnceLock::new();
static PLANTED: Mutex<Option<(Planted, &str)>> = Mutex::new(None);
static PLAN: Mutex<Option<Plan>> = Mutex::new(None);
/// Those that have failed in this case.
static HITS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// All cases use this double.
pub(crate) fn start(double: Double) {
    DOUBLE.set(double).unwrap();
}

fn double() -> &'static Double {
    DOUBLE.get().unwrap()
}

pub(crate) fn plan(plan: Option<Plan>) {
    *PLAN.lock().unwrap() = plan;
}

/// What becomes of the calls of a name in the cases from now on.
pub(crate) fn plant(planted: Option<(Planted, &'static str)>) {
    *PLANTED.lock().unwrap() = planted;
}

/// A case begins: nothing of another is known any more.
pub(crate) fn reset() {
    plan(None);
    HITS.lock().unwrap().clear();
    double().forget();
    if let Some((planted, name)) = *PLANTED.lock().unwrap() {
        double().plant(planted, name, 0);
    }
}

/// What is enqueued on streams waits for [`go_on`].
pub(crate) fn hold() {
    double().hold_work();
}

pub(crate) fn go_on() {
    double().let_work_go();
}

/// An operation begins.
pub(crate) fn begin() {
    if let Some(Plan { nth, code, sticky }) = *PLAN.lock().unwrap() {
        double().fail_nth(nth, code, sticky);
    }
}

/// It ends: the call of it, or of a thread beside it, that failed.
pub(crate) fn end() -> Option<&'static str> {
    PLAN.lock().unwrap().as_ref()?;
    let hit = double().disarm()?;
    plan(None);
    let name = name(&hit.name);
    HITS.lock().unwrap().push(name);
    Some(name)
}

/// The calls that have failed in this case.
pub(crate) fn hits() -> Vec<&'static str> {
    HITS.lock().unwrap().clone()
}

/// As errors have it, without the version.
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

/// That no rule of the driver's was broken. Where a call has failed, what could not be destroyed
/// outlives its context.
///
/// # Panics
/// When one was.
pub(crate) fn check(counts: &mut Counts) {
    let mut findings = double().findings();
    findings.retain(|finding| hits().is_empty() || finding.kind != "outlives-context");
    let kinds: BTreeSet<_> = findings.iter().map(|finding| &finding.kind).collect();
    assert!(findings.is_empty(), "the driver double found {kinds:?}: {findings:#?}");
    double().forget_calls();
    counts.add("cases that kept the driver's rules");
}
