//! Images for CUDA on another GPU: rows that the hand-over copies, and what happens to them if a
//! call fails.

use std::collections::BTreeMap;

use bridge::ash::vk;
use bridge::cuda_import::leaks;
use bridge::cudarc::driver::{CudaSlice, DriverError};
use bridge::{
    Compute, ComputeTurn, Direction, Error, Exchange, ImageAccess, ImageSpec, LiveObjects, QueueKind, RenderFirst,
    RenderTurn, Work,
};
use bridge_tests::{Commands, Gate, Peers, Rig, assert_silent};
use driver_double::{Double, Planted};

use crate::{double, info, with_compute};

/// Three levels of two layers: no CUDA array can have these.
const EXTENT: [u32; 2] = [13, 9];
const LEVELS: u32 = 3;
const LAYERS: u32 = 2;
/// Texels of the largest level, with its layers.
const TEXELS: usize = 13 * 9 * 2;

const ACCESSES: ImageAccess = ImageAccess::TRANSFER_READ.union(ImageAccess::TRANSFER_WRITE);

type Image = ImageSpec<u32>;

fn spec() -> Image {
    Image::new(vk::Format::R32_UINT, EXTENT, ImageAccess { layout: vk::ImageLayout::GENERAL, ..ACCESSES })
        .with_array_layers(LAYERS)
        .with_mip_levels(LEVELS)
}

/// A compute side on another GPU than the one that draws.
fn peer(rig: &Rig) -> Compute {
    let devices = Peers::Other.devices(rig.device()).unwrap();
    let compute = Compute::on_peer(rig.device(), &devices[0]).unwrap();
    assert_ne!(compute.cuda().unwrap().device().uuid(), rig.device().uuid());
    compute
}

/// Runs a test in its own process, and checks that nothing is left and that no rule was broken.
fn with_peer(name: &str, test: fn(&Double, &Rig, &Compute)) {
    with_compute(name, peer, test);
}

/// Like [`with_peer`], with the waits of CUDA's streams left out.
fn without_waits(name: &str, test: fn(&Double, &Rig, &Compute)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let compute = peer(&rig);
    double.plant(Planted::Skipped, "cuWaitExternalSemaphoresAsync", 0);
    test(&double, &rig, &compute);
}

/// Values on the peer GPU, and space there for what is read.
struct Peer {
    paints: Vec<CudaSlice<u32>>,
    seen: CudaSlice<u32>,
}

impl Peer {
    fn new(compute: &Compute) -> Self {
        let stream = compute.cuda().unwrap().stream();
        let paints = (0..4u32).map(|value| stream.clone_htod(&vec![value; TEXELS]).unwrap()).collect();
        Self { paints, seen: stream.alloc_zeros(TEXELS).unwrap() }
    }

    /// Enqueues: set all texels of the first level to a value, and those of each other level to one
    /// that identifies it.
    fn write<D: Direction>(&self, turn: &mut ComputeTurn<Image, D>, value: usize) -> Result<(), Error> {
        let Work::Cuda(mut cuda) = turn.work() else { unreachable!("no other backend is opened") };
        let stream = cuda.stream;
        for level in 1..LEVELS {
            let [width, height, _] = cuda.resources.image().level_extent(level);
            let texels = self.paints[level as usize].slice(..(width * height * LAYERS) as usize);
            cuda.resources.copy_from_buffer(stream, level, .., &texels)?;
        }
        Ok(cuda.resources.copy_from_buffer(stream, 0, .., &self.paints[value])?)
    }

    /// Enqueues a copy of the first level.
    fn read(&mut self, turn: &mut ComputeTurn<Image, RenderFirst>) -> Result<(), Error> {
        let Work::Cuda(cuda) = turn.work() else { unreachable!("no other backend is opened") };
        Ok(cuda.resources.copy_to_buffer(cuda.stream, 0, .., &mut self.seen)?)
    }

    /// Returns what was read by a turn that has ended.
    fn copied_texels(&self) -> Result<Vec<u32>, DriverError> {
        self.seen.stream().clone_dtoh(&self.seen)
    }
}

/// Submits commands that clear the whole image to a value.
fn draw(
    rig: &Rig,
    commands: &Commands,
    turn: RenderTurn<Image, RenderFirst>,
    value: u32,
) -> Result<ComputeTurn<Image, RenderFirst>, Error> {
    let image = turn.resources();
    let recorded = commands.record(&turn, |recording| {
        let color = vk::ClearColorValue { uint32: [value; 4] };
        let device = rig.device().as_raw();
        // SAFETY: recording; the image is in that layout.
        unsafe { device.cmd_clear_color_image(recording, image.as_raw(), image.layout(), &color, &[image.range()]) };
    });
    // SAFETY: recorded with the turn's barriers; noted below, and therefore waited for before the
    // commands are recorded again.
    let turn = unsafe { turn.submit(&[recorded]) }?;
    commands.note(turn.rendered());
    Ok(turn)
}

/// Reads the rows while the queue has not drawn frame 2 over frame 1 and copied it into them yet:
/// the reader sees frame `seen`.
fn after_slow_commands(rig: &Rig, compute: &Compute, seen: u32) {
    let commands = Commands::new(rig.device());
    let mut peer = Peer::new(compute);
    let mut exchange = Exchange::render_first(compute, &info(1), spec()).unwrap();
    let turn = draw(rig, &commands, exchange.begin().unwrap(), 1).unwrap();
    turn.rendered().wait(Rig::LONG).unwrap();
    turn.finish().unwrap().wait(Rig::LONG).unwrap();

    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let mut turn = draw(rig, &commands, exchange.begin().unwrap(), 2).unwrap();
    peer.read(&mut turn).unwrap();
    let (rendered, read) = (turn.rendered(), turn.finish().unwrap());
    assert!(!rendered.is_reached().unwrap(), "the gate holds nothing");
    assert_eq!(read.is_reached().unwrap(), seen == 1, "what the stream does before the gate opens");
    gate.open();
    read.wait(Rig::LONG).unwrap();
    rendered.wait(Rig::LONG).unwrap();
    assert_eq!(peer.copied_texels().unwrap(), [seen; TEXELS]);
    exchange.close().unwrap();
}

#[test]
fn cuda_on_another_gpu_waits_for_slow_commands() {
    let name = "peer_images::cuda_on_another_gpu_waits_for_slow_commands";
    with_peer(name, |_, rig, compute| after_slow_commands(rig, compute, 2));
}

#[test]
fn without_its_wait_the_peer_reads_the_previous_frame() {
    let name = "peer_images::without_its_wait_the_peer_reads_the_previous_frame";
    without_waits(name, |_, rig, compute| after_slow_commands(rig, compute, 1));
}

/// `CUDA_ERROR_OUT_OF_MEMORY`
const NO_MEMORY: u32 = 2;

/// Frames in both directions; in the first direction, the images are replaced between frames.
fn frames(
    rig: &Rig,
    compute: &Compute,
    commands: &Commands,
    peer: &mut Peer,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut exchange = Exchange::new(compute, &info(2), spec().with_extent([8, 8, 1]))?;
    exchange.resize(EXTENT)?;
    for value in [1, 2] {
        let mut turn = exchange.begin()?;
        peer.write(&mut turn, value)?;
        let seen = turn.finish()?.read_back(Rig::LONG)?;
        assert_eq!(seen, [value as u32; TEXELS]);
    }
    exchange.close()?;
    let mut exchange = Exchange::render_first(compute, &info(1), spec())?;
    for value in [7, 8] {
        let mut turn = draw(rig, commands, exchange.begin()?, value)?;
        peer.read(&mut turn)?;
        turn.finish()?.wait(Rig::LONG)?;
        assert_eq!(peer.copied_texels()?, [value; TEXELS]);
    }
    Ok(exchange.close()?)
}

/// Each CUDA call that frames of images make, from the first import to the last free, fails once.
/// What remains is counted as leaked; after a failed call that does not free anything, nothing
/// remains.
#[test]
fn leaks_of_a_failed_call_are_counted() {
    let name = "peer_images::leaks_of_a_failed_call_are_counted";
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let compute = peer(&rig);
    let (commands, mut peer) = (Commands::new(rig.device()), Peer::new(&compute));
    // Lets the driver and the bridge create what they need for the first use.
    frames(&rig, &compute, &commands, &mut peer).unwrap();
    let mut hit = Vec::new();
    for nth in 1.. {
        let (before, live, leaked_before) = (LiveObjects::now(), live_objects(&double), leaks());
        double.fail_nth(nth, NO_MEMORY, false);
        let outcome = frames(&rig, &compute, &commands, &mut peer);
        let Some(call) = double.disarm() else {
            outcome.unwrap();
            break;
        };
        let now = LiveObjects::now();
        let leaked = now.leaked_images - before.leaked_images;
        assert_eq!(now.images - before.images, leaked, "call {nth}, {}", call.name);
        assert_eq!((now.buffers, now.exchanges, now.turns), (before.buffers, before.exchanges, before.turns));
        if leaks() == leaked_before && leaked == 0 {
            assert_eq!(live_objects(&double), live, "call {nth}, {}: {outcome:?} {now}", call.name);
        } else {
            let makes = MAKES.contains(&call.name.as_str());
            assert!(!makes, "call {nth}, {}: {leaked} images are leaked, where nothing was in use", call.name);
        }
        if let Err(error) = outcome {
            assert!(error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"), "call {nth}, {}: {error}", call.name);
        }
        hit.push(call.name);
        // Errors in destructors are stored there, and would be returned by the next call.
        let _ = compute.cuda().unwrap().device().context().check_err();
    }
    let expected = MAKES.iter().chain(&["cuMemUnmap", "cuMemAddressFree", "cuMemRelease"]);
    for name in expected {
        assert!(hit.iter().any(|hit| hit == name), "{name} is not called: {hit:?}");
    }
    assert_silent(rig.device());
}

/// Calls after whose failure nothing remains.
const MAKES: [&str; 6] = [
    "cuMemImportFromShareableHandle",
    "cuMemAddressReserve",
    "cuMemMap",
    "cuMemSetAccess",
    "cuImportExternalSemaphore",
    "cuMemcpy3DAsync_v2",
];

/// The objects that the driver has, except for those that it refused to destroy.
pub(crate) fn live_objects(double: &Double) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for live in double.live().iter().filter(|live| !live.refused) {
        *kinds.entry(live.kind().to_owned()).or_default() += 1;
    }
    kinds
}
