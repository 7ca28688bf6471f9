//! Waits and copies that are left out, as if the bridge, an engine or a program had forgotten them,
//! must be detected.

use std::panic::{self, AssertUnwindSafe};

use bridge::ExportDevice;
use bridge_fuzz::{case_of_seed, silently};
use driver_double::Planted;
use proptest::prelude::*;

use crate::latest::held::Held;
use crate::op::{Fate, Op, RingOp};
use crate::world::Trial;
use crate::{Case, driver, latest, run};

/// Maximum number of cases for each fault.
const CASES: u64 = 200;
/// Number of cases run without the fault.
const CONTROLS: u64 = 2;

/// Words of the expected failures: the contents of a frame are those of another frame, or only part
/// of them.
const WORDS: &[&str] = &["a frame is not its own", "CUDA reads another frame", "of frame"];

const WAIT: &str = "cuWaitExternalSemaphoresAsync";
const COPY: &str = "cuMemcpy3DAsync_v2";
const COPY_OF_BUFFERS: &str = "cuMemcpyDtoDAsync_v2";
const WAIT_OF_GRAPH: &str = "cuGraphExecExternalSemaphoresWaitNodeSetParams";

/// A call that is left out.
struct Fault {
    what: &'static str,
    /// The cases that contain the call.
    cases: fn() -> BoxedStrategy<Case>,
    /// The CUDA call that does nothing, or `None` if the engine does not wait instead.
    call: Option<&'static str>,
}

const FAULTS: &[Fault] = &[
    Fault { what: "frames", cases: || frames(false, false, Frames::Whole), call: Some(WAIT) },
    Fault { what: "frames in a pool", cases: || frames(false, true, Frames::Whole), call: Some(WAIT) },
    Fault { what: "lent turns", cases: || frames(false, false, Frames::Lent), call: Some(WAIT) },
    Fault { what: "an engine's submissions", cases: || frames(false, false, Frames::Lent), call: None },
    Fault { what: "graphs", cases: || frames(false, false, Frames::Graphs), call: Some(WAIT_OF_GRAPH) },
    Fault { what: "frames of images", cases: || frames(true, false, Frames::Whole), call: Some(WAIT) },
    Fault { what: "lent turns of images", cases: || frames(true, false, Frames::Lent), call: Some(WAIT) },
    Fault { what: "an engine's submissions of images", cases: || frames(true, false, Frames::Lent), call: None },
    Fault { what: "graphs of images", cases: || frames(true, false, Frames::Graphs), call: Some(WAIT_OF_GRAPH) },
    Fault { what: "copies into images", cases: || frames(true, false, Frames::Whole), call: Some(COPY) },
    Fault { what: "split work", cases: || frames(false, false, Frames::Split), call: Some(WAIT) },
    Fault {
        what: "copies from memory of kernels",
        cases: || frames(false, false, Frames::Memory),
        call: Some(COPY_OF_BUFFERS),
    },
    Fault {
        what: "copies into larger buffers",
        cases: || frames(false, false, Frames::Grown),
        call: Some(COPY_OF_BUFFERS),
    },
    Fault { what: "a latest exchange that CUDA writes", cases: || latest_of(false, false), call: Some(WAIT) },
    Fault { what: "a latest exchange that CUDA reads", cases: || latest_of(true, false), call: Some(WAIT) },
    Fault { what: "a latest exchange of images that CUDA writes", cases: || latest_of(false, true), call: Some(WAIT) },
    Fault { what: "a latest exchange of images that CUDA reads", cases: || latest_of(true, true), call: Some(WAIT) },
];

#[derive(Debug, Clone, Copy)]
enum Frames {
    Whole,
    Lent,
    Graphs,
    Split,
    Memory,
    /// The buffers grow between a frame and one whose compute side writes nothing.
    Grown,
}

/// Generates an exchange in which CUDA writes first, with such frames, some of which are waited
/// for.
fn frames(images: bool, pooled: bool, frames: Frames) -> BoxedStrategy<Case> {
    let frame = (any::<bool>(), prop::bool::weighted(0.2), 300usize..1000).prop_map(move |(fill, waits, words)| {
        let mut ops = match frames {
            Frames::Whole => vec![RingOp::Frame { fill }],
            Frames::Lent => {
                vec![RingOp::Begin, RingOp::Work, RingOp::Finish, RingOp::Lent { fill, fate: Fate::Reported }]
            }
            Frames::Graphs => vec![RingOp::Graph { fill }],
            Frames::Split => {
                vec![RingOp::Begin, RingOp::Split { outside: false }, RingOp::Finish, RingOp::Submit { fill }]
            }
            Frames::Memory => vec![RingOp::Begin, RingOp::Memory, RingOp::Finish, RingOp::Submit { fill }],
            Frames::Grown => vec![
                RingOp::Frame { fill },
                RingOp::Grow { words },
                RingOp::Begin,
                RingOp::Finish,
                RingOp::Submit { fill: false },
            ],
        };
        ops.extend(waits.then_some(RingOp::Wait));
        ops
    });
    let open = (1usize..4).prop_map(move |slots| Op::Open { vulkan_first: false, slots, pooled, images });
    (open, prop::collection::vec(frame, 1..20))
        .prop_map(|(open, frames)| {
            let ops = frames.into_iter().flatten().map(|op| Op::On(0, op));
            Case::InStep(std::iter::once(open).chain(ops).collect())
        })
        .boxed()
}

/// Generates a latest exchange that loses no compute side.
fn latest_of(render_first: bool, images: bool) -> BoxedStrategy<Case> {
    latest::case().prop_map(move |case| Case::Latest(case.plain(render_first, images))).boxed()
}

/// Checks that each fault is detected, and that nothing is detected without one.
pub(crate) fn are_found(device: &ExportDevice) {
    // The cases panic.
    let wrong: Vec<_> = silently(|| FAULTS.iter().filter_map(|fault| is_found(device, fault).err()).collect());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn is_found(device: &ExportDevice, fault: &Fault) -> Result<(), String> {
    let what = fault.what;
    let mut control = (0..CONTROLS).filter_map(|seed| failure(device, fault, seed, false));
    if let Some(why) = control.next() {
        return Err(format!("{what}: with every call, {why}"));
    }
    let found = (0..CASES).find_map(|seed| failure(device, fault, seed, true).map(|why| (seed, why)));
    let (seed, why) = found.ok_or_else(|| format!("{what}: it is not found"))?;
    println!("{what}: found at seed {seed}");
    if WORDS.iter().any(|words| why.contains(words)) { Ok(()) } else { Err(format!("{what}: found as {why}")) }
}

/// Returns why the case of a seed fails, if it does.
fn failure(device: &ExportDevice, fault: &Fault, seed: u64, planted: bool) -> Option<String> {
    let case = case_of_seed(&(fault.cases)(), seed);
    driver::plant(fault.call.filter(|_| planted).map(|call| (Planted::Skipped, call)));
    let trial = match fault.call {
        Some(_) => Trial { held: Held::Queue, engine_forgets: false },
        None => Trial { held: Held::Streams, engine_forgets: planted },
    };
    let failed = panic::catch_unwind(AssertUnwindSafe(|| run(device, &case, trial))).err();
    driver::plant(None);
    failed.map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}
