//! Faults that the target must detect: waits that Vulkan functions leave out, work and contents
//! that are altered as if the bridge had altered them, and calls that return something else than
//! the model predicts.
#![allow(clippy::unwrap_used)] // A failure here fails the case.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bridge::{Backend, ExportDevice, LiveObjects};
use bridge_fuzz::{case_of_seed, failure_of, silently};
use bridge_tests::Engine;

use crate::{op, world};

/// Maximum number of cases for each fault.
const CASES: u64 = 200;
/// Number of cases run without a fault on each backend.
const CONTROLS: u64 = 4;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Planted {
    /// Submissions do not wait for the compute side.
    FrameDoesNotWait = 1,
    /// The thread of the CPU backend does not wait for Vulkan.
    ThreadDoesNotWait,
    /// A closure is accepted and does nothing.
    ClosureLeftOut,
    /// The last word of each piece that a closure writes is off by one.
    WordOffByOne,
    /// A closure over two turns gets each other's resources.
    TurnsSwapped,
    /// A recorded copy between two turns is left out.
    CopyLeftOut,
    /// A recorded fill is left out.
    FillLeftOut,
    /// A slot has the words of a frame filled with the next value.
    FrameOffByOne,
    /// Replaced buffers get the contents of another slot.
    SlotsSwapped,
    /// `begin` returns the number of the next frame.
    NumberOffByOne,
    /// `begin` does not report a lost turn.
    LossNotReported,
    /// The end of a frame has the next value.
    ValueOffByOne,
    /// `close` does not report an open turn.
    OpenTurnIgnored,
    /// A panic in a closure is not expected to fail the compute side.
    PanicIgnored,
    /// A closed exchange stays alive.
    ExchangeLeaked,
}

const BOTH: &[Backend] = &[Backend::Host, Backend::Inline];
const HOST: &[Backend] = &[Backend::Host];
const INLINE: &[Backend] = &[Backend::Inline];

/// Words of failures that find wrong contents.
const CONTENTS: &[&str] = &["a frame is not its own", "closures found", "streamed: ", "recorded work saw"];

/// The faults, each with the backends that have it and the words of which the failure must contain
/// one.
const FAULTS: &[(Planted, &[Backend], &[&str])] = &[
    (Planted::FrameDoesNotWait, HOST, CONTENTS),
    (Planted::ThreadDoesNotWait, HOST, CONTENTS),
    (Planted::ClosureLeftOut, HOST, CONTENTS),
    (Planted::WordOffByOne, HOST, CONTENTS),
    (Planted::TurnsSwapped, HOST, CONTENTS),
    (Planted::CopyLeftOut, INLINE, CONTENTS),
    (Planted::FillLeftOut, INLINE, CONTENTS),
    (Planted::FrameOffByOne, BOTH, CONTENTS),
    (Planted::SlotsSwapped, BOTH, CONTENTS),
    (Planted::NumberOffByOne, BOTH, &["begin gave a frame"]),
    (Planted::LossNotReported, BOTH, &["begin said: "]),
    (Planted::ValueOffByOne, BOTH, &["the frame ends at"]),
    (Planted::OpenTurnIgnored, BOTH, &["close said"]),
    (Planted::PanicIgnored, HOST, &["on purpose", "has failed"]),
    (Planted::ExchangeLeaked, BOTH, &["alive are"]),
];

/// The fault of the current case; 0 without one.
static NOW: AtomicU8 = AtomicU8::new(0);

impl Planted {
    pub(crate) fn is_now(self) -> bool {
        NOW.load(Ordering::SeqCst) == self as u8
    }
}

/// Returns how long the model waits for objects to end: a leak is planted only where nothing else
/// delays them.
pub(crate) fn patience(usual: Duration) -> Duration {
    if Planted::ExchangeLeaked.is_now() { Duration::from_millis(300) } else { usual }
}

/// The backend on which faults are planted.
struct Bench<'a> {
    engine: &'a Engine,
    device: &'a ExportDevice,
    backend: Backend,
    images: bool,
}

/// Checks that each fault is detected on each of its backends, and that nothing is detected without
/// one.
pub(crate) fn are_found(engine: &Engine, device: &ExportDevice) {
    let mut wrong = Vec::new();
    for &backend in BOTH {
        let bench = Bench { engine, device, backend, images: world::has_images(device, backend) };
        settle();
        for seed in 0..CONTROLS {
            assert_eq!(bench.failure(seed, None), None, "{backend}: seed {seed} fails without a fault");
        }
        // The cases panic.
        silently(|| {
            for (fault, _, words) in FAULTS.iter().filter(|(_, backends, _)| backends.contains(&backend)) {
                wrong.extend(bench.find(*fault, words).err());
            }
        });
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

impl Bench<'_> {
    fn find(&self, fault: Planted, words: &[&str]) -> Result<(), String> {
        let what = format!("{fault:?} on {}", self.backend);
        let found = (0..CASES).find_map(|seed| Some((seed, self.failure(seed, Some(fault))?)));
        let (seed, why) = found.ok_or_else(|| format!("{what}: it is not found"))?;
        println!("{what}: found at seed {seed}");
        if words.iter().any(|words| why.contains(words)) {
            return Ok(());
        }
        Err(format!("{what}: found at seed {seed}, as something else: {why}"))
    }

    /// Runs the operations of a seed, and returns the failure.
    fn failure(&self, seed: u64, fault: Option<Planted>) -> Option<String> {
        let (_, ops) = case_of_seed(&op::case(), seed);
        NOW.store(fault.map_or(0, |fault| fault as u8), Ordering::SeqCst);
        let failure = failure_of(|| {
            world::run(self.device, self.backend, self.images, &ops);
            self.engine.assert_silent();
        });
        NOW.store(0, Ordering::SeqCst);
        if failure.is_some() {
            settle();
            // What the layer reported belongs to this failure.
            let _ = failure_of(|| self.engine.assert_silent());
        }
        failure
    }
}

/// Waits until the objects of a failed case have ended, except those that it leaked.
fn settle() {
    let (mut before, mut same) = (LiveObjects::now(), 0);
    while same < 10 {
        std::thread::sleep(Duration::from_millis(5));
        let now = LiveObjects::now();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
}
