//! Latest exchanges on the CPU backend, with a thread for each side. Whatever the timing and order
//! of both sides, the reader's frames are complete, in order and were published; nothing hangs, the
//! validation layer is silent, and no object is alive at the end.
#![allow(unsafe_code, clippy::unwrap_used)] // A failure here fails the case.

mod case;

use bridge::Backend;
use bridge_fuzz::fuzz;
use bridge_tests::Rig;

use case::held::Held;

/// The counts of which none may be zero in continuous integration.
const OPERATIONS: &[&str] = &[
    "cases of images",
    "frames drawn",
    "frames looked at again",
    "frames published",
    "frames read again",
    "lent turns dropped",
    "new frames looked at",
    "new frames read",
    "times that slots were brought back",
];

#[test]
fn latest() {
    let rig = Rig::open();
    fuzz("latest", &case::case(), OPERATIONS, |case| case::run(rig.device(), Backend::Host, &case, Held::Nothing));
}
