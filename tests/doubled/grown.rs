//! Each CUDA call that growing a buffer or resizing an image makes fails once: the error names the
//! call, the exchange continues with what it had, nothing is leaked, and a second attempt works.

use std::collections::BTreeSet;

use bridge::ash::vk;
use bridge::cuda_import::leaks;
use bridge::{Compute, Exchange, ImageAccess, ImageSpec, LiveObjects, Resources, Result, Work};
use bridge_tests::{Peers, Rig};
use driver_double::Double;

use crate::peer_images::live_objects;
use crate::{LEN, Words, info, with_compute, with_double, words};

type Image = ImageSpec<u32>;

/// `CUDA_ERROR_OUT_OF_MEMORY`
const NO_MEMORY: u32 = 2;
/// Calls whose failure may not be an error: they restore a thread's state, or order a stream, which
/// is tried again with a wait on the host.
const REPAIRED: [&str; 4] =
    ["cuThreadExchangeStreamCaptureMode", "cuCtxGetCurrent", "cuCtxSetCurrent", "cuStreamIsCapturing"];
const SLOTS: usize = 2;
const SIDE: u32 = 16;

/// Resources of an exchange that are replaced with larger ones.
trait Replaced: Resources + Sized {
    /// The calls that must be among those that failed: with memory of the drawing GPU itself, and
    /// with memory that any GPU maps.
    const CALLS: [&'static [&'static str]; 2];

    fn spec() -> Self;

    /// Returns `true` if these are all words of a slot that was not replaced and contains `value`.
    fn is_untouched(words: &[u32], value: u32) -> bool;

    fn enlarge(exchange: &mut Exchange<Self>) -> Result<()>;

    /// Runs a frame that writes `value` everywhere if it is given. Returns the slot and the words
    /// that Vulkan sees.
    fn frame(exchange: &mut Exchange<Self>, value: Option<u32>) -> (usize, Vec<u32>);

    /// Returns `true` if these are all words of a slot that contained `value` before it was
    /// replaced.
    fn is_kept(words: &[u32], value: u32) -> bool;
}

impl Replaced for Words {
    const CALLS: [&'static [&'static str]; 2] = [
        &[
            "cuImportExternalMemory",
            "cuExternalMemoryGetMappedBuffer",
            "cuMemcpyDtoDAsync_v2",
            "cuSignalExternalSemaphoresAsync",
        ],
        &[
            "cuMemImportFromShareableHandle",
            "cuMemMap",
            "cuMemSetAccess",
            "cuMemcpyDtoDAsync_v2",
            "cuSignalExternalSemaphoresAsync",
        ],
    ];

    fn spec() -> Self {
        words()
    }

    fn is_untouched(words: &[u32], value: u32) -> bool {
        words == [value; LEN]
    }

    fn enlarge(exchange: &mut Exchange<Self>) -> Result<()> {
        exchange.grow(2 * LEN)
    }

    fn frame(exchange: &mut Exchange<Self>, value: Option<u32>) -> (usize, Vec<u32>) {
        let mut turn = exchange.begin().unwrap();
        let slot = turn.slot();
        if let Some(value) = value {
            let Work::Cuda(mut cuda) = turn.work() else { unreachable!("no other backend is opened") };
            cuda.stream.memcpy_htod(&vec![value; cuda.resources.len()], &mut cuda.resources).unwrap();
        }
        (slot, turn.finish().unwrap().read_back(Rig::LONG).unwrap())
    }

    fn is_kept(words: &[u32], value: u32) -> bool {
        words.len() == 2 * LEN && words[..LEN] == [value; LEN]
    }
}

impl Replaced for Image {
    const CALLS: [&'static [&'static str]; 2] = [
        &["cuImportExternalMemory", "cuExternalMemoryGetMappedMipmappedArray", "cuSignalExternalSemaphoresAsync"],
        &["cuMemImportFromShareableHandle", "cuMemMap", "cuMemSetAccess", "cuSignalExternalSemaphoresAsync"],
    ];

    fn spec() -> Self {
        Self::new(vk::Format::R32_UINT, [SIDE; 2], ImageAccess::TRANSFER_READ)
    }

    fn is_untouched(words: &[u32], value: u32) -> bool {
        words == [value; (SIDE * SIDE) as usize]
    }

    fn enlarge(exchange: &mut Exchange<Self>) -> Result<()> {
        exchange.resize([2 * SIDE; 2])
    }

    fn frame(exchange: &mut Exchange<Self>, value: Option<u32>) -> (usize, Vec<u32>) {
        let [width, height, _] = exchange.resources().extent();
        let mut turn = exchange.begin().unwrap();
        let slot = turn.slot();
        if let Some(value) = value {
            let Work::Cuda(mut cuda) = turn.work() else { unreachable!("no other backend is opened") };
            let texels = vec![value; (width * height) as usize];
            cuda.resources.write_from_host(cuda.stream, 0, .., &texels).unwrap();
        }
        (slot, turn.finish().unwrap().read_back(Rig::LONG).unwrap())
    }

    // The contents of new images are undefined.
    fn is_kept(words: &[u32], _: u32) -> bool {
        words.len() == (4 * SIDE * SIDE) as usize
    }
}

fn walk<R: Replaced>(double: &Double, compute: &Compute, is_peer: bool) {
    let mut called = BTreeSet::new();
    for nth in 1.. {
        let (before, live, leaked) = (LiveObjects::now(), live_objects(double), leaks());
        let mut exchange = Exchange::new(compute, &info(SLOTS), R::spec()).unwrap();
        let mut written = [0; SLOTS];
        for value in 1..=2 {
            let (slot, seen) = R::frame(&mut exchange, Some(value));
            assert!(seen.iter().all(|word| *word == value));
            written[slot] = value;
        }
        assert!(!written.contains(&0), "a slot was not used");
        let alive = LiveObjects::now();

        double.fail_nth(nth, NO_MEMORY, false);
        let replaced = R::enlarge(&mut exchange);
        let hit = double.disarm().map(|call| call.name);
        let failed = hit.as_ref().filter(|name| !(REPAIRED.contains(&name.as_str()) && replaced.is_ok()));
        if let Some(name) = failed {
            called.insert(name.clone());
            let what = format!("call {nth}, {name}");
            let text = replaced.expect_err(&what).to_string();
            assert!(text.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{what}: {text}");
            let now = LiveObjects::now();
            assert_eq!((now.exchanges, now.timelines), (alive.exchanges, alive.timelines), "{what}");
            for _ in 0..SLOTS {
                let (slot, seen) = R::frame(&mut exchange, None);
                assert!(R::is_untouched(&seen, written[slot]), "{what}, slot {slot}");
            }
            R::enlarge(&mut exchange).expect(&what);
        } else {
            replaced.unwrap();
        }
        for _ in 0..SLOTS {
            let (slot, seen) = R::frame(&mut exchange, None);
            assert!(R::is_kept(&seen, written[slot]), "call {nth}, {hit:?}, slot {slot}");
        }
        exchange.close().unwrap();
        assert_eq!((LiveObjects::now(), leaks()), (before, leaked), "call {nth}, {hit:?}");
        assert_eq!(live_objects(double), live, "call {nth}, {hit:?}");
        if hit.is_none() {
            break;
        }
    }
    let missing: Vec<_> = R::CALLS[usize::from(is_peer)].iter().filter(|name| !called.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} never failed: {called:?}");
}

fn walk_both(double: &Double, compute: &Compute, is_peer: bool) {
    // Lets the driver and the bridge create what they need for the first use.
    for _ in 0..2 {
        let mut exchange = Exchange::new(compute, &info(SLOTS), words()).unwrap();
        Words::frame(&mut exchange, Some(1));
        Words::enlarge(&mut exchange).unwrap();
        exchange.close().unwrap();
    }
    walk::<Words>(double, compute, is_peer);
    walk::<Image>(double, compute, is_peer);
}

#[test]
fn every_call_may_fail() {
    with_double("grown::every_call_may_fail", |double, _, compute| walk_both(double, compute, false));
}

#[test]
fn every_call_may_fail_on_the_drawing_gpu_as_a_peer() {
    on_peers("grown::every_call_may_fail_on_the_drawing_gpu_as_a_peer", Peers::Own);
}

#[test]
fn every_call_may_fail_on_another_gpu() {
    on_peers("grown::every_call_may_fail_on_another_gpu", Peers::Other);
}

#[test]
fn every_call_may_fail_on_two_gpus() {
    on_peers("grown::every_call_may_fail_on_two_gpus", Peers::Both);
}

fn on_peers(name: &str, peers: Peers) {
    let make = |rig: &Rig| Compute::group(rig.device(), &peers.devices(rig.device()).unwrap()).unwrap();
    with_compute(name, make, |double, _, compute| walk_both(double, compute, true));
}
