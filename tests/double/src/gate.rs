//! What every call passes: the log, the fault that a test has armed, and the question whether a
//! context is current.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::{Code, INVALID_CONTEXT, NOT_INITIALIZED, NOT_PERMITTED, SUCCESS, UNKNOWN};
use crate::finding::{Kind, Refusal};
use crate::host_function;
use crate::ledger::Ledger;
use crate::plant::{Plant, Planted};

/// Ends a call that nothing will ever end, should a test forget to. No test's outcome depends on
/// it: those that mean to block a call end it with
/// [`Double::end_blocked_calls`](crate::Double::end_blocked_calls).
const PATIENCE: Duration = Duration::from_secs(60);

static LEDGER: Mutex<Ledger> = Mutex::new(Ledger::new());
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// The current context; 0 is none.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// The calls so far, and the fault.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) log: Vec<Logged>,
    pub(crate) fault: Option<Fault>,
    /// In the order in which they blocked.
    pub(crate) blocked: Vec<Blocked>,
    pub(crate) plant: Option<Plant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) name: &'static str,
    /// The object it was about, or empty.
    pub(crate) object: u64,
    pub(crate) code: Code,
}

#[derive(Debug)]
pub(crate) struct Fault {
    /// The call that fails is the one after so many more.
    pub(crate) after: u64,
    pub(crate) code: Code,
    /// Calls that fail from there on.
    pub(crate) left: u64,
    /// Calls of this name alone fail, and count; of any, where it is empty.
    pub(crate) name: String,
    /// The context in which it fails is lost. Calls in no context neither fail nor count.
    pub(crate) sticky: bool,
    /// The call that failed first.
    pub(crate) fired: Option<Logged>,
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self { log: Vec::new(), fault: None, blocked: Vec::new(), plant: None }
    }

    /// Makes all calls that are blocked now return.
    pub(crate) fn end_blocked(&mut self) {
        self.blocked.iter_mut().for_each(|call| call.ended = true);
    }

    /// Whether the call, which is `blocked`, shall go on waiting.
    fn stay_blocked(&mut self, blocked: Blocked) -> bool {
        match self.blocked.iter_mut().find(|known| known.serial == blocked.serial) {
            Some(known) => {
                known.reason = blocked.reason;
                !known.ended
            }
            None => {
                self.blocked.push(blocked);
                true
            }
        }
    }

    /// The code that this call is made to return, and whether its context is lost with it.
    fn strike(&mut self, name: &'static str, object: u64, in_context: bool) -> Option<(Code, bool)> {
        let fault = self.fault.as_mut()?;
        let other = !fault.name.is_empty() && fault.name != name;
        if fault.left == 0 || other || (fault.sticky && !in_context) {
            return None;
        }
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.left -= 1;
        fault.fired.get_or_insert(Logged { name, object, code: fault.code });
        Some((fault.code, fault.sticky))
    }
}

/// What must be there before a call is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// `cuInit` was called.
    Init,
    /// A context is current.
    Context,
}

/// How a call ended, unless it was refused.
pub(crate) enum Step {
    Done,
    /// Not yet, for this reason: it is asked again once something has changed.
    Blocked(String),
}

impl Step {
    /// Blocked where there is an obstacle.
    pub(crate) fn after(obstacle: Option<String>) -> Self {
        obstacle.map_or(Self::Done, Self::Blocked)
    }
}

/// A call that has not returned.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// Tells it from other calls of the same name.
    serial: u64,
    pub(crate) name: &'static str,
    pub(crate) object: u64,
    /// What it waits for, in words.
    pub(crate) reason: String,
    /// It is to return without having got it.
    ended: bool,
}

/// A call on its way in.
pub(crate) struct Entry {
    name: &'static str,
    needs: Needs,
    object: u64,
    on_fault: fn(&mut Ledger, u64, Code),
}

pub(crate) fn entry(name: &'static str, needs: Needs) -> Entry {
    Entry { name, needs, object: 0, on_fault: |_, _, _| {} }
}

impl Entry {
    /// The object that the call is about.
    pub(crate) fn about(self, object: u64) -> Self {
        Self { object, ..self }
    }

    /// What the driver does although the call fails. Gets the object.
    pub(crate) fn on_fault(self, on_fault: fn(&mut Ledger, u64, Code)) -> Self {
        Self { on_fault, ..self }
    }

    /// `body` gets the current context.
    pub(crate) fn run(self, mut body: impl FnMut(&mut Ledger, u64) -> Result<(), Refusal>) -> Code {
        self.run_until_done(|ledger, context| body(ledger, context).map(|()| Step::Done))
    }

    /// As [`run`](Self::run), for calls that block.
    pub(crate) fn run_until_done(self, mut body: impl FnMut(&mut Ledger, u64) -> Result<Step, Refusal>) -> Code {
        let mut ledger = ledger();
        let scope = self.scope(&ledger);
        if let Some((code, lost)) = ledger.gate.strike(self.name, self.object, scope.is_some()) {
            if let Some(context) = scope.filter(|_| lost) {
                ledger.lose(context, code);
                CHANGED.notify_all();
            }
            let code = self.fail(&mut ledger, code);
            return if self.is_planted(&ledger, Planted::Silent) { SUCCESS } else { code };
        }
        let lost = |ledger: &Ledger| scope.and_then(|context| ledger.lost(context));
        if let Some(code) = lost(&ledger) {
            return self.fail(&mut ledger, code);
        }
        if self.is_planted(&ledger, Planted::Skipped) {
            ledger.gate.log.push(Logged { name: self.name, object: self.object, code: SUCCESS });
            return SUCCESS;
        }
        let (serial, begun) = (ledger.serial(), Instant::now());
        let result = loop {
            let reason = match self.admit(&ledger).and_then(|context| body(&mut ledger, context)) {
                Ok(Step::Done) => break Ok(()),
                Ok(Step::Blocked(reason)) => reason,
                Err(refusal) => break Err(refusal),
            };
            let text = format!("it waits for what does not come: {reason}");
            let call = Blocked { serial, name: self.name, object: self.object, reason, ended: false };
            if !ledger.gate.stay_blocked(call) || begun.elapsed() > PATIENCE {
                break Err(Refusal::new(UNKNOWN, Kind::Hang, text));
            }
            ledger = CHANGED.wait_timeout(ledger, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
            if let Some(code) = lost(&ledger) {
                ledger.gate.blocked.retain(|call| call.serial != serial);
                return self.fail(&mut ledger, code);
            }
        };
        ledger.gate.blocked.retain(|call| call.serial != serial);
        if result.is_ok() && self.is_planted(&ledger, Planted::Twice) {
            let again = self.admit(&ledger).and_then(|context| body(&mut ledger, context));
            if let Err(Refusal { finding: Some((kind, text)), .. }) = again {
                ledger.find(kind, format!("{}: {text}", self.name));
            }
        }
        let code = match result {
            Ok(()) => SUCCESS,
            Err(Refusal { code, finding }) => {
                if let Some((kind, text)) = finding {
                    ledger.find(kind, format!("{}: {text}", self.name));
                }
                code
            }
        };
        ledger.gate.log.push(Logged { name: self.name, object: self.object, code });
        CHANGED.notify_all();
        code
    }

    /// What is captured is left as it is: a graph that lacks a node would be refused.
    fn is_planted(&self, ledger: &Ledger, planted: Planted) -> bool {
        let is = |plant: &Plant| plant.is(planted, self.name, self.object);
        ledger.captures.is_empty() && ledger.gate.plant.as_ref().is_some_and(is)
    }

    /// The context that the call works in, if it is one.
    fn scope(&self, ledger: &Ledger) -> Option<u64> {
        let current = Some(current()).filter(|_| self.needs == Needs::Context);
        let current = current.filter(|context| ledger.contexts.find(*context).is_some());
        current.or_else(|| ledger.owner(self.object))
    }

    /// For a reason that has nothing to do with what was asked.
    fn fail(&self, ledger: &mut Ledger, code: Code) -> Code {
        (self.on_fault)(ledger, self.object, code);
        ledger.gate.log.push(Logged { name: self.name, object: self.object, code });
        code
    }

    fn admit(&self, ledger: &Ledger) -> Result<u64, Refusal> {
        if host_function::is_inside() {
            let text = "it is called in a host function".to_owned();
            return Err(Refusal::new(NOT_PERMITTED, Kind::CallInHostFunction, text));
        }
        if self.needs != Needs::Nothing && !ledger.initialized {
            return Err(NOT_INITIALIZED.into());
        }
        let context = current();
        if self.needs == Needs::Context {
            if context == 0 {
                return Err(Refusal::new(INVALID_CONTEXT, Kind::NoContext, "no context is current".to_owned()));
            }
            ledger.contexts.get(context)?;
        }
        Ok(context)
    }
}

/// All that is known; other threads wait.
pub(crate) fn ledger() -> MutexGuard<'static, Ledger> {
    LEDGER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns once something has changed.
#[cfg(target_os = "linux")]
pub(crate) fn wait_for_change(ledger: MutexGuard<'static, Ledger>) -> MutexGuard<'static, Ledger> {
    CHANGED.wait(ledger).unwrap_or_else(PoisonError::into_inner)
}

/// Lets blocked calls look again.
pub(crate) fn changed() {
    CHANGED.notify_all();
}

pub(crate) fn current() -> u64 {
    CURRENT.get()
}

pub(crate) fn set_current(context: u64) {
    CURRENT.set(context);
}
