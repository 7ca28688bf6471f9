//! The order between both sides of an image, with negative controls that show that a wrong order is
//! detected.

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::CudaSlice;
use bridge::{
    Compute, ComputeTurn, Exchange, ExchangeInfo, ImageAccess, ImageSpec, QueueKind, RenderTurn, TimelinePoint, Work,
};
use bridge_tests::{Commands, Gate, Rig};

use crate::transfer::Transfer;

const SIDE: u32 = 32;
const TEXELS: usize = (SIDE * SIDE) as usize;

type Heights = ImageSpec<f32>;

fn exchange(compute: &Compute) -> Exchange<Heights> {
    let spec = Heights::new(vk::Format::R32_SFLOAT, [SIDE, SIDE], ImageAccess::TRANSFER_READ);
    Exchange::new(compute, &ExchangeInfo { name: "order", slots: 1, timeout: Rig::LONG, ..Default::default() }, spec)
        .unwrap()
}

/// Fills images without waiting for the stream: the values are already on the GPU.
struct Painter(Vec<Option<CudaSlice<f32>>>);

impl Painter {
    /// Creates a painter for the values 1 to `most`.
    fn new(compute: &Compute, most: u8) -> Self {
        let paint = |value: u8| {
            compute.cuda().map(|cuda| {
                let slice = cuda.stream().clone_htod(&vec![f32::from(value); TEXELS]).unwrap();
                cuda.stream().synchronize().unwrap();
                slice
            })
        };
        Self((1..=most).map(paint).collect())
    }

    fn paint(&self, turn: &mut ComputeTurn<Heights>, value: u8) {
        match (turn.work(), &self.0[usize::from(value) - 1]) {
            (Work::Cuda(mut cuda), Some(paint)) => cuda.resources.copy_from_buffer(cuda.stream, 0, .., paint).unwrap(),
            (Work::Host(host), _) => {
                host.run(move |mut image| image.rows_mut().for_each(|row| row.fill(value.into()))).unwrap();
            }
            (Work::Cuda(_), None) => panic!("a painter of another backend"),
            _ => unreachable!("no other backend is opened here"),
        }
    }
}

fn record(commands: &Commands, transfer: &Transfer, turn: &RenderTurn<Heights>) -> vk::CommandBuffer {
    let image = turn.resources();
    commands.record(turn, |commands| transfer.record_download(commands, &image, 4))
}

fn assert_holds(transfer: &Transfer, value: u8, otherwise: &str) {
    let bytes = transfer.bytes(4 * TEXELS);
    assert!(bytes == f32::from(value).to_le_bytes().repeat(TEXELS), "{otherwise}");
}

fn submit(turn: RenderTurn<Heights>, commands: vk::CommandBuffer) -> TimelinePoint {
    // SAFETY: recorded with the turn's barriers; every test waits for the point.
    unsafe { turn.submit(&[commands]) }.unwrap()
}

/// Vulkan waits for a slow computation; the negative control: without its wait, it reads the
/// previous image.
pub(crate) fn vulkan_waits_for_a_slow_image(rig: &Rig, compute: &Compute) {
    let (commands, transfer) = (Commands::new(rig.device()), Transfer::new(rig.device(), 4 * TEXELS));
    let painter = Painter::new(compute, 3);
    let mut exchange = exchange(compute);
    let mut begin = |gate: &Gate, value| {
        let mut turn = exchange.begin().unwrap();
        gate.hold(&mut turn);
        painter.paint(&mut turn, value);
        turn.finish().unwrap()
    };
    for value in [1, 2] {
        let gate = Gate::on(compute);
        let turn = begin(&gate, value);
        let recorded = record(&commands, &transfer, &turn);
        let point = submit(turn, recorded);
        assert!(!point.is_reached().unwrap(), "Vulkan did not wait");
        gate.open();
        point.wait(Rig::LONG).unwrap();
        assert_holds(&transfer, value, "Vulkan did not read what was computed");
    }

    let gate = Gate::on(compute);
    let turn = begin(&gate, 3);
    let computed = turn.computed();
    let recorded = record(&commands, &transfer, &turn);
    let turn = turn.lend().unwrap();
    let (infos, signals) = ([vk::CommandBufferSubmitInfo::default().command_buffer(recorded)], [turn.parts().signal()]);
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
    // SAFETY: wrong on purpose: the turn's wait is missing. Texels of any bits are numbers.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: it was submitted, but without its wait.
    unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
    assert_holds(&transfer, 2, "without its wait Vulkan has to read the image before");
    gate.open();
    computed.wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}

/// With one slot, the compute side waits for a slow reader; the negative control: a reader that the
/// exchange does not know of sees the next image.
pub(crate) fn computing_waits_for_a_slow_reader_of_an_image(rig: &Rig, compute: &Compute) {
    let (commands, transfer) = (Commands::new(rig.device()), Transfer::new(rig.device(), 4 * TEXELS));
    let painter = Painter::new(compute, 4);
    let mut exchange = exchange(compute);
    let mut begin = |value| {
        let mut turn = exchange.begin().unwrap();
        painter.paint(&mut turn, value);
        turn.finish().unwrap()
    };
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let turn = begin(1);
    let recorded = record(&commands, &transfer, &turn);
    let read = submit(turn, recorded);
    let next = begin(2);
    assert!(!read.is_reached().unwrap() && !next.computed().is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    read.wait(Rig::LONG).unwrap();
    assert_holds(&transfer, 1, "the next image was written over the one that Vulkan was reading");
    next.computed().wait(Rig::LONG).unwrap();
    next.skip();

    let gate = Gate::new(rig.device());
    let turn = begin(3);
    turn.computed().wait(Rig::LONG).unwrap();
    let recorded = record(&commands, &transfer, &turn);
    let turn = turn.lend().unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(recorded)];
    let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos);
    // SAFETY: the commands' resources live until the queue is idle, which the gate's drop waits
    // for.
    unsafe { rig.device().queue().submit(&[batch], vk::Fence::null()) }.unwrap();
    // SAFETY: wrong on purpose: they were submitted, but without the turn's semaphores.
    unsafe { turn.not_submitted() };
    let next = begin(4);
    next.computed().wait(Rig::LONG).unwrap();
    drop(gate);
    assert_holds(&transfer, 4, "a reader that nobody waits for has to be overwritten");
    next.skip();
    exchange.close().unwrap();
}
