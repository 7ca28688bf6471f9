//! The gate that every call passes: the call log, the fault that a test armed, and the check for a
//! current context.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::{Code, INVALID_CONTEXT, NOT_INITIALIZED, NOT_PERMITTED, NOT_READY, SUCCESS, UNKNOWN};
use crate::finding::{Kind, Refusal};
use crate::host_function;
use crate::ledger::Ledger;
use crate::ledger::call_log::{Blocked, Logged};
use crate::plant::{Plant, Planted};

/// Ends a call that would block forever, in case a test forgets to. No test result depends on it:
/// tests that block a call end it with
/// [`Double::end_blocked_calls`](crate::Double::end_blocked_calls).
const HANG_TIMEOUT: Duration = Duration::from_secs(60);

static LEDGER: Mutex<Ledger> = Mutex::new(Ledger::new());
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// The stack of contexts, whose top is current. Without a destructor, so that calls work while
    /// the thread ends.
    static STACK: [Cell<u64>; 256] = const { [const { Cell::new(0) }; 256] };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The condition under which a call may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// `cuInit` was called before.
    Init,
    /// A context is current.
    Context,
}

/// The outcome of a call that was not refused.
pub(crate) enum Step {
    Done,
    /// The call blocks for this reason and is tried again after a change.
    Blocked(String),
}

impl Step {
    /// Returns `Blocked` if there is an obstacle.
    pub(crate) fn after(obstacle: Option<String>) -> Self {
        obstacle.map_or(Self::Done, Self::Blocked)
    }
}

/// A call that is being executed.
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
    /// Sets the object that the call is about.
    pub(crate) fn about(self, object: u64) -> Self {
        Self { object, ..self }
    }

    /// Sets an effect that the driver has even though the call fails. It receives the object.
    pub(crate) fn on_fault(self, on_fault: fn(&mut Ledger, u64, Code)) -> Self {
        Self { on_fault, ..self }
    }

    /// Runs the call. `body` receives the current context.
    pub(crate) fn run(self, mut body: impl FnMut(&mut Ledger, u64) -> Result<(), Refusal>) -> Code {
        self.run_until_done(|ledger, context| body(ledger, context).map(|()| Step::Done))
    }

    /// Like [`run`](Self::run), for calls that block.
    pub(crate) fn run_until_done(self, mut body: impl FnMut(&mut Ledger, u64) -> Result<Step, Refusal>) -> Code {
        let mut ledger = ledger();
        let scope = self.scope(&ledger);
        if let Some((code, lost)) = ledger.gate.take_fault(self.name, self.object, scope.is_some()) {
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
            if !ledger.gate.remains_blocked(call) || begun.elapsed() > HANG_TIMEOUT {
                break Err(Refusal::new(UNKNOWN, Kind::Hang, text));
            }
            ledger = CHANGED.wait_timeout(ledger, HANG_TIMEOUT).unwrap_or_else(PoisonError::into_inner).0;
            if let Some(code) = lost(&ledger) {
                ledger.gate.blocked.retain(|call| call.serial != serial);
                return self.fail(&mut ledger, code);
            }
        };
        ledger.gate.blocked.retain(|call| call.serial != serial);
        if result.is_ok() && self.is_planted(&ledger, Planted::Twice) {
            let again = self.admit(&ledger).and_then(|context| body(&mut ledger, context));
            if let Err(Refusal { finding: Some((kind, text)), .. }) = again {
                ledger.report(kind, format!("{}: {text}", self.name));
            }
        }
        let code = match result {
            Ok(()) => SUCCESS,
            Err(Refusal { code, finding }) => {
                if let Some((kind, text)) = finding {
                    ledger.report(kind, format!("{}: {text}", self.name));
                }
                code
            }
        };
        ledger.gate.log.push(Logged { name: self.name, object: self.object, code });
        if code == NOT_READY
            && let Some((number, value)) = ledger.gate.take_signal(self.name)
        {
            ledger.submit_signal(number, value);
            ledger.complete_signal(number, value);
        }
        CHANGED.notify_all();
        code
    }

    /// Returns `true` if this fault is planted in the call. Calls during a capture are not altered:
    /// a graph without one of its nodes would be refused.
    fn is_planted(&self, ledger: &Ledger, planted: Planted) -> bool {
        let is = |plant: &Plant| plant.matches(planted, self.name, self.object);
        ledger.captures.is_empty() && ledger.gate.plant.as_ref().is_some_and(is)
    }

    /// Returns the context in which the call works, if any.
    fn scope(&self, ledger: &Ledger) -> Option<u64> {
        let current = Some(current()).filter(|_| self.needs == Needs::Context);
        let current = current.filter(|context| ledger.contexts.find(*context).is_some());
        current.or_else(|| ledger.owner(self.object))
    }

    /// Fails the call with an injected or inherited error.
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

/// Locks the ledger; other threads wait.
pub(crate) fn ledger() -> MutexGuard<'static, Ledger> {
    LEDGER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the ledger changes.
#[cfg(target_os = "linux")]
pub(crate) fn wait_for_change(ledger: MutexGuard<'static, Ledger>) -> MutexGuard<'static, Ledger> {
    CHANGED.wait(ledger).unwrap_or_else(PoisonError::into_inner)
}

/// Makes blocked calls check again.
pub(crate) fn notify_change() {
    CHANGED.notify_all();
}

/// Returns the current context, or 0 if there is none.
pub(crate) fn current() -> u64 {
    DEPTH.get().checked_sub(1).map_or(0, |top| STACK.with(|stack| stack[top].get()))
}

/// Pushes a context.
///
/// # Panics
///
/// If the stack is much deeper than any caller needs.
pub(crate) fn push_current(context: u64) {
    let depth = DEPTH.get();
    STACK.with(|stack| stack[depth].set(context));
    DEPTH.set(depth + 1);
}

/// Removes the top of the stack, if there is one.
pub(crate) fn pop_current() {
    DEPTH.set(DEPTH.get().saturating_sub(1));
}

/// Makes a context the only one on the stack; 0 empties the stack.
pub(crate) fn reset_current(context: u64) {
    DEPTH.set(0);
    if context != 0 {
        push_current(context);
    }
}
