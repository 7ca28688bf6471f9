//! Images, and several resources at once.

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::CudaSlice;
use bridge::{
    BufferAccess, BufferSpec, Compute, ComputeWrite, Exchange, ExportDevice, ImageAccess, ImageSpec, LatestInfo,
    LatestWriter, Newest, RenderRead, Work,
};
use bridge_tests::{Commands, Gate, Readback, Rig, SeenWaits};

use crate::info;

const SIDE: u32 = 32;
const TEXELS: usize = (SIDE * SIDE) as usize;
const MAX_VALUE: u8 = 8;

type Heights = ImageSpec<f32>;
type All = (BufferSpec<f32>, Vec<Heights>);

fn spec() -> Heights {
    Heights::new(vk::Format::R32_SFLOAT, [SIDE, SIDE], ImageAccess::TRANSFER_READ)
}

/// Returns the value of all texels of a frame.
fn value(frame: u64) -> u8 {
    u8::try_from(frame % u64::from(MAX_VALUE)).unwrap()
}

/// The contents that images are filled with on CUDA, already on the GPU.
struct Paints(Vec<Option<CudaSlice<f32>>>);

impl Paints {
    fn new(compute: &Compute) -> Self {
        let paint = |value| {
            compute.cuda().map(|cuda| {
                let slice = cuda.stream().clone_htod(&vec![f32::from(value); TEXELS]).unwrap();
                cuda.stream().synchronize().unwrap();
                slice
            })
        };
        Self((0..MAX_VALUE).map(paint).collect())
    }

    fn of(&self, value: u8) -> &CudaSlice<f32> {
        self.0[usize::from(value)].as_ref().unwrap()
    }
}

fn publish(writer: &mut LatestWriter<Heights>, paints: &Paints) {
    let mut turn = writer.begin().unwrap();
    fill(&mut turn, paints);
    turn.publish().unwrap().wait(Rig::LONG).unwrap();
}

fn fill(turn: &mut ComputeWrite<Heights>, paints: &Paints) {
    let value = value(turn.frame());
    match turn.work() {
        Work::Host(host) => {
            host.run(move |mut image| image.rows_mut().for_each(|row| row.fill(value.into()))).unwrap();
        }
        Work::Cuda(mut cuda) => cuda.resources.copy_from_buffer(cuda.stream, 0, .., paints.of(value)).unwrap(),
        _ => unreachable!("no other backend is opened here"),
    }
}

pub(crate) fn images_keep_their_contents_between_turns(_: &Rig, compute: &Compute) {
    let (mut writer, mut reader) = Exchange::latest(compute, &info(), spec()).unwrap();
    let paints = Paints::new(writer.compute());
    let mut frame = 0;
    for round in 0..30 {
        publish(&mut writer, &paints);
        for again in 0..3 {
            let turn = reader.newest().unwrap().unwrap();
            assert_eq!((turn.frame(), turn.is_new()), (frame, again == 0));
            assert_eq!(turn.read_back(Rig::LONG).unwrap(), vec![f32::from(value(frame)); TEXELS]);
        }
        frame += 1;
        if round % 3 == 0 {
            publish(&mut writer, &paints);
            frame += 1;
            // A frame that is chosen but not taken, because the turn is not submitted.
            drop(reader.newest().unwrap());
            let turn = reader.newest().unwrap().unwrap();
            assert!(turn.is_new());
            turn.skip();
        }
    }
    // Frames that are never taken.
    for _ in 0..30 {
        publish(&mut writer, &paints);
    }
    let turn = reader.newest().unwrap().unwrap();
    let frame = turn.frame();
    assert_eq!(turn.read_back(Rig::LONG).unwrap(), vec![f32::from(value(frame)); TEXELS]);
    writer.close(reader).unwrap();
}

/// The images of a lent turn whose submission is unknown have an unknown layout.
pub(crate) fn images_of_unknown_layout_are_initialized_again(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    for happens in [false, true] {
        let (mut writer, mut reader) = Exchange::latest(compute, &info(), spec()).unwrap();
        let paints = Paints::new(writer.compute());
        for round in 0..6 {
            publish(&mut writer, &paints);
            let seen = reader.newest().unwrap().unwrap().read_back(Rig::LONG).unwrap();
            assert_eq!(seen.len(), TEXELS);
            publish(&mut writer, &paints);
            let turn = reader.newest().unwrap().unwrap();
            let raw = commands.begin();
            // SAFETY: recording, of the right family, submitted with this turn or not at all.
            unsafe { turn.record_acquire(raw) };
            commands.end();
            if happens {
                lose(rig.device(), turn, raw);
            } else {
                drop(turn.lend().unwrap());
            }
            assert_eq!(reader.retired(), 2, "round {round}");
            reader.initialize().unwrap();
            assert_eq!(reader.retired(), 0);
        }
        for _ in 0..12 {
            publish(&mut writer, &paints);
            let turn = reader.newest().unwrap().unwrap();
            let frame = turn.frame();
            assert_eq!(turn.read_back(Rig::LONG).unwrap(), vec![f32::from(value(frame)); TEXELS]);
        }
        writer.close(reader).unwrap();
    }
}

/// A read is lost while it waits for its frame: the recovery of its slots waits for the read, which
/// sees the whole frame.
///
/// If the frame's signal is submitted after the submission that waits for it, the validation layer
/// (1.4.364) does not recognize that a fence after both was waited for, and reports the hand-over
/// as a write after a read; if the signal is first, it does. The specification makes no such
/// difference: the first synchronization scope of a fence's signal includes "all commands that
/// occur earlier in submission order" ("Fences"). The layer of the device whose waits are detected
/// does not check for such hazards.
pub(crate) fn images_are_recovered_after_a_read(_: &Rig, compute: &Compute) {
    for held in [false, true] {
        let seen = held.then(|| SeenWaits::like(compute));
        let compute = seen.as_ref().map_or(compute, SeenWaits::compute);
        let info = LatestInfo { newest: Newest::Published, ..info() };
        let (mut writer, mut reader) = Exchange::latest(compute, &info, spec()).unwrap();
        let paints = Paints::new(writer.compute());
        let readback = Readback::new(compute.device(), 4 * TEXELS as u64);
        publish(&mut writer, &paints);
        let gate = Gate::on(writer.compute());
        let mut turn = writer.begin().unwrap();
        gate.hold_work(turn.work());
        fill(&mut turn, &paints);
        let published = turn.publish().unwrap();
        if !held {
            gate.open();
            published.wait(Rig::LONG).unwrap();
        }
        let turn = reader.newest().unwrap().unwrap();
        assert_eq!(turn.frame(), 1);
        let image = turn.resources();
        let raw = readback.record_read_all(&turn, &[], &[(image.as_raw(), image.layout(), [SIDE, SIDE])]);
        lose(compute.device(), turn, raw);
        assert_eq!(reader.retired(), 1);
        let mut bring_back = || {
            reader.initialize().unwrap();
            assert!(published.is_reached().unwrap(), "nothing was waited for");
        };
        match &seen {
            Some(seen) => {
                let ((), waited, _gate) = seen.open_once_waited(gate, bring_back);
                assert!(waited, "the slot is back while it is read");
            }
            None => bring_back(),
        }
        assert_eq!(reader.retired(), 0);
        assert_eq!(readback.words()[..TEXELS], vec![f32::from(value(1)).to_bits(); TEXELS]);
        writer.close(reader).unwrap();
    }
}

/// Submits a read without reporting it.
fn lose(device: &ExportDevice, turn: RenderRead<Heights>, commands: vk::CommandBuffer) {
    let turn = turn.lend().unwrap();
    let (parts, infos) = (turn.parts(), [vk::CommandBufferSubmitInfo::default().command_buffer(commands)]);
    let signals = [parts.signal()];
    let batch = vk::SubmitInfo2::default()
        .wait_semaphore_infos(parts.waits())
        .command_buffer_infos(&infos)
        .signal_semaphore_infos(&signals);
    // SAFETY: the parts of an open turn, and its commands, which `initialize` waits for.
    unsafe { device.queue().submit(&[batch], vk::Fence::null()) }.unwrap();
}

fn fill_all(turn: &mut ComputeWrite<All>, paints: &Paints) {
    let value = value(turn.frame());
    match turn.work() {
        Work::Host(host) => host
            .run(move |(words, images)| {
                words.fill(value.into());
                images.for_each(|mut image| image.rows_mut().for_each(|row| row.fill(value.into())));
            })
            .unwrap(),
        Work::Cuda(cuda) => {
            let (mut words, images) = cuda.resources;
            cuda.stream.memcpy_dtod(paints.of(value), &mut words).unwrap();
            images.for_each(|mut image| image.copy_from_buffer(cuda.stream, 0, .., paints.of(value)).unwrap());
        }
        _ => unreachable!("no other backend is opened here"),
    }
}

/// All resources of a slot are handed over together.
pub(crate) fn all_resources_are_of_one_frame(rig: &Rig, compute: &Compute) {
    let buffer = BufferSpec::new(TEXELS, BufferAccess::TRANSFER_READ);
    let (mut writer, mut reader) = Exchange::latest(compute, &info(), (buffer, vec![spec(), spec()])).unwrap();
    let paints = Paints::new(writer.compute());
    let copies = Readback::new(rig.device(), 3 * 4 * TEXELS as u64);
    for round in 0..40u64 {
        let mut turn = writer.begin().unwrap();
        fill_all(&mut turn, &paints);
        turn.publish().unwrap().wait(Rig::LONG).unwrap();
        if round % 3 == 1 {
            continue;
        }
        let turn = reader.newest().unwrap().unwrap();
        let frame = turn.frame();
        submit_all(turn, &copies);
        copies.finish();
        let bits = f32::from(value(frame)).to_bits();
        assert_eq!(copies.words()[..3 * TEXELS], vec![bits; 3 * TEXELS]);
    }
    writer.close(reader).unwrap();
}

fn submit_all(turn: RenderRead<All>, copies: &Readback) {
    let size = 4 * TEXELS as u64;
    let (buffer, images) = turn.resources();
    let images: Vec<_> = images.map(|image| (image.as_raw(), image.layout(), [SIDE, SIDE])).collect();
    let raw = copies.record_read_all(&turn, &[(buffer.as_raw(), size)], &images);
    // SAFETY: recorded with the turn's barriers; the copies are waited for.
    copies.note(unsafe { turn.submit(&[raw]) }.unwrap());
}

/// If Vulkan writes the images, the compute side reads the frame that its turn reports, also if
/// most frames are never read.
pub(crate) fn images_that_vulkan_writes_are_read_intact(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let spec = Heights::new(vk::Format::R32_SFLOAT, [SIDE, SIDE], ImageAccess::TRANSFER_WRITE);
    let (mut writer, mut reader) = Exchange::latest_render_first(compute, &info(), spec).unwrap();
    for round in 0..60u64 {
        let turn = writer.begin().unwrap();
        let raw = commands.begin();
        let (image, layout, range) = {
            let image = turn.resources();
            (image.as_raw(), image.layout(), [image.range()])
        };
        let color = vk::ClearColorValue { float32: [f32::from(value(turn.frame())); 4] };
        // SAFETY: recording, of the right family, submitted with this turn.
        unsafe { turn.record_acquire(raw) };
        // SAFETY: recording; the image may be written by transfers, and is in this layout.
        unsafe { rig.device().as_raw().cmd_clear_color_image(raw, image, layout, &color, &range) };
        // SAFETY: as above.
        unsafe { turn.record_release(raw) };
        commands.end();
        // SAFETY: recorded with the turn's barriers; waited for immediately.
        let point = unsafe { turn.submit(&[raw]) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        if round % 5 > 1 {
            continue;
        }
        for again in [false, true] {
            let mut turn = reader.newest().unwrap().unwrap();
            assert_eq!((turn.frame(), turn.is_new()), (round, !again));
            let (sender, seen) = std::sync::mpsc::channel();
            match turn.work() {
                Work::Host(host) => host
                    .run(move |mut image| {
                        let texels: Vec<f32> = image.rows_mut().flat_map(|row| row.to_vec()).collect();
                        sender.send(texels).unwrap();
                    })
                    .unwrap(),
                Work::Cuda(cuda) => {
                    let mut texels = vec![0.0; TEXELS];
                    cuda.resources.read_to_host(cuda.stream, 0, .., &mut texels).unwrap();
                    sender.send(texels).unwrap();
                }
                _ => unreachable!("no other backend is opened here"),
            }
            turn.finish().unwrap();
            assert_eq!(seen.recv_timeout(Rig::LONG).unwrap(), vec![f32::from(value(round)); TEXELS]);
        }
    }
    drop(commands);
    writer.close(reader).unwrap();
}
