//! What every call passes: the log, the fault that a test has armed, and the question whether a context is current.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::{Code, INVALID_CONTEXT, NOT_INITIALIZED, SUCCESS, UNKNOWN};
use crate::finding::{Kind, Refusal};
use crate::ledger::Ledger;

/// A host that waits longer than this waits for ever.
const PATIENCE: Duration = Duration::from_secs(4);

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
    /// Every later call fails too.
    pub(crate) sticky: bool,
    /// The call that failed first.
    pub(crate) fired: Option<Logged>,
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self { log: Vec::new(), fault: None }
    }

    /// The code that this call is made to return.
    fn strike(&mut self, name: &'static str, object: u64) -> Option<Code> {
        let fault = self.fault.as_mut()?;
        if fault.fired.is_some() {
            return fault.sticky.then_some(fault.code);
        }
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.fired = Some(Logged { name, object, code: fault.code });
        Some(fault.code)
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
    /// Not yet: it is asked again once something has changed.
    Blocked,
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
        if let Some(code) = ledger.gate.strike(self.name, self.object) {
            (self.on_fault)(&mut ledger, self.object, code);
            ledger.gate.log.push(Logged { name: self.name, object: self.object, code });
            return code;
        }
        let begun = Instant::now();
        let result = loop {
            match self.admit(&ledger).and_then(|context| body(&mut ledger, context)) {
                Ok(Step::Done) => break Ok(()),
                Ok(Step::Blocked) if begun.elapsed() > PATIENCE => {
                    let text = format!("{} waits for something that does not come", self.name);
                    break Err(Refusal::new(UNKNOWN, Kind::Hang, text));
                }
                Ok(Step::Blocked) => {
                    ledger = CHANGED.wait_timeout(ledger, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
                }
                Err(refusal) => break Err(refusal),
            }
        };
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

    fn admit(&self, ledger: &Ledger) -> Result<u64, Refusal> {
        if self.needs != Needs::Nothing && !ledger.initialised {
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
