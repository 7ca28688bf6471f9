//! The thread that detects signals of the underlying driver, so that streams which wait for them
//! continue.

use std::sync::Once;
use std::thread;
use std::time::Duration;

use crate::gate;

/// How long a signal may go undetected while a stream waits for one.
const PERIOD: Duration = Duration::from_micros(100);

/// Starts the thread, once.
pub(super) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // Without the thread, streams would continue with the next call.
        drop(thread::Builder::new().name("driver-double".to_owned()).spawn(watch));
    });
}

fn watch() {
    loop {
        let mut ledger = gate::ledger();
        if ledger.waits_for_vulkan() {
            if ledger.proceed() {
                gate::notify_change();
            }
            drop(ledger);
            thread::sleep(PERIOD);
        } else {
            drop(gate::wait_for_change(ledger));
        }
    }
}
