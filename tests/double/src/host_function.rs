//! Host functions that a stream calls (`cuLaunchHostFunc`). Each runs on its own thread without the
//! lock of the ledger, and may take any amount of time: only its stream waits until it returns.
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

/// A `CUhostFn` and its data.
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
        // SAFETY: cuda.h, CUhostFn: the caller of `cuLaunchHostFunc` guarantees that the function
        // can be called with its data, on any thread, in the stream's order.
        unsafe { (self.function)(with_exposed_provenance_mut(self.data)) };
    }
}

/// Returns `true` if this thread runs a host function.
pub(crate) fn is_inside() -> bool {
    IS_INSIDE.get()
}

impl Ledger {
    /// Calls the function, which was the stream's work with number `order`.
    pub(crate) fn begin(&mut self, stream: u64, order: u64, function: HostFunction) -> Result<(), Refusal> {
        let call = self.serial();
        let thread = thread::Builder::new().name("host function".to_owned());
        let spawned = thread.spawn(move || {
            function.call();
            let mut ledger = gate::ledger();
            ledger.running.remove(&call);
            ledger.proceed();
            gate::notify_change();
        });
        drop(spawned.map_err(|_| UNKNOWN)?);
        self.running.insert(call);
        if let Some(queue) = self.queues.get_mut(&stream) {
            queue.work.push_front((order, Work::Return { call }));
        }
        Ok(())
    }
}
