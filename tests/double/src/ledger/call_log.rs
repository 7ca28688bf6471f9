//! The state of the gate: the call log, the fault that a test armed, and the blocked calls.

use crate::abi::Code;
use crate::plant::Plant;

/// The call log and the fault.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) log: Vec<Logged>,
    pub(crate) fault: Option<Fault>,
    /// The blocked calls, in the order in which they blocked.
    pub(crate) blocked: Vec<Blocked>,
    pub(crate) plant: Option<Plant>,
    pub(crate) signal: Option<SignalAfterQueries>,
}

#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) name: &'static str,
    /// The object that the call was about, or 0.
    pub(crate) object: u64,
    pub(crate) code: Code,
}

#[derive(Debug)]
pub(crate) struct Fault {
    /// Number of calls that succeed before the first failing call.
    pub(crate) after: u64,
    pub(crate) code: Code,
    /// Number of calls that fail from then on.
    pub(crate) left: u64,
    /// Only calls of this name fail and count; calls of any name if empty.
    pub(crate) name: String,
    /// `true` if the context of the failing call is lost. Calls without a context then neither fail
    /// nor count.
    pub(crate) sticky: bool,
    /// The first call that failed.
    pub(crate) fired: Option<Logged>,
}

/// A signal of the exporting side that follows on queries.
#[derive(Debug)]
pub(crate) struct SignalAfterQueries {
    /// The name of the queries that count.
    pub(crate) name: String,
    /// Number of queries that find unfinished work before the signal.
    pub(crate) left: u64,
    pub(crate) number: u64,
    pub(crate) value: u64,
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self { log: Vec::new(), fault: None, blocked: Vec::new(), plant: None, signal: None }
    }

    /// Counts a query that has found unfinished work. Returns the signal that follows on it, if
    /// any: the number of the semaphore and the value.
    pub(crate) fn take_signal(&mut self, name: &str) -> Option<(u64, u64)> {
        let signal = self.signal.as_mut().filter(|signal| signal.name == name)?;
        signal.left = signal.left.saturating_sub(1);
        if signal.left > 0 {
            return None;
        }
        self.signal.take().map(|signal| (signal.number, signal.value))
    }

    /// Makes all calls that are blocked now return.
    pub(crate) fn end_blocked(&mut self) {
        self.blocked.iter_mut().for_each(|call| call.ended = true);
    }

    /// Returns `true` if the call, which is `blocked`, must continue to wait.
    pub(crate) fn remains_blocked(&mut self, blocked: Blocked) -> bool {
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

    /// Returns the code that this call is made to return, if any, and whether its context is lost
    /// as well.
    pub(crate) fn take_fault(&mut self, name: &'static str, object: u64, in_context: bool) -> Option<(Code, bool)> {
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

/// A call that has not returned.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// Distinguishes calls of the same name.
    pub(crate) serial: u64,
    pub(crate) name: &'static str,
    pub(crate) object: u64,
    /// Description of the condition that the call waits for.
    pub(crate) reason: String,
    /// `true` if the call must return without success.
    pub(crate) ended: bool,
}
