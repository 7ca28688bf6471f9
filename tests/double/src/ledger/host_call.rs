//! Calls of host functions. Each runs on its own thread without the lock of the ledger, and may
//! take any amount of time: only its stream waits until it returns.

use std::thread;

use crate::abi::UNKNOWN;
use crate::finding::Refusal;
use crate::gate;
use crate::host_function::HostFunction;
use crate::ledger::Ledger;
use crate::ledger::queue::Work;

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
