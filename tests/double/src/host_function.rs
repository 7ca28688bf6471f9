//! Functions of the host's that a stream calls. Each runs on a thread of its own and without the
//! ledger, so that it may take as long as it likes: its stream stands until it has returned, and
//! nothing else does.
#![allow(unsafe_code, reason = "calls a C function")]

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::with_exposed_provenance_mut;
use std::thread;

use crate::abi::UNKNOWN;
use crate::finding::Refusal;
use crate::gate;
use crate::ledger::Ledger;
use crate::queue::Work;

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// `CUhostFn`, and what it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostFunction {
    function: unsafe extern "C" fn(*mut c_void),
    data: usize,
}

impl HostFunction {
    pub(crate) fn new(function: unsafe extern "C" fn(*mut c_void), data: *mut c_void) -> Self {
        Self { function, data: data.expose_provenance() }
    }

    fn call(self) {
        IS_INSIDE.set(true);
        // SAFETY: cuda.h: who enqueues the function sees to it that it can be called with its data,
        // on any thread, once the stream comes to it.
        unsafe { (self.function)(with_exposed_provenance_mut(self.data)) };
    }
}

/// Whether this thread runs such a function.
pub(crate) fn is_inside() -> bool {
    IS_INSIDE.get()
}

impl Ledger {
    /// Calls the function, which was the stream's work of number `order`.
    pub(crate) fn begin(&mut self, stream: u64, order: u64, function: HostFunction) -> Result<(), Refusal> {
        let call = self.serial();
        let thread = thread::Builder::new().name("host function".to_owned());
        let spawned = thread.spawn(move || {
            function.call();
            let mut ledger = gate::ledger();
            ledger.running.remove(&call);
            ledger.proceed();
            gate::changed();
        });
        drop(spawned.map_err(|_| UNKNOWN)?);
        self.running.insert(call);
        if let Some(queue) = self.queues.get_mut(&stream) {
            queue.work.push_front((order, Work::Return { call }));
        }
        Ok(())
    }
}
