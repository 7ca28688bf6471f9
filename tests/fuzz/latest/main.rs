//! Latest exchanges on the CPU backend, with a thread for each side: whatever the two do, when and
//! in whatever order, the reader's frames are whole, never go back and are none but those that were
//! published; nothing hangs, the validation layer is silent, and in the end nothing is alive.
#![allow(unsafe_code, clippy::unwrap_used)] // What fails here fails the case.

mod case;

use bridge::Backend;
use bridge_fuzz::fuzz;
use bridge_tests::Rig;

use case::held::Held;

#[test]
fn latest() {
    let rig = Rig::open();
    fuzz("latest", &case::case(), |case| case::run(rig.device(), Backend::Host, &case, Held::Nothing));
}
