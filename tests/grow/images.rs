//! Images that are replaced with images of another size.

use bridge::ash::vk;
use bridge::{Compute, Exchange, ImageAccess, ImageSpec, LiveObjects, QueueKind, Work};
use bridge_tests::{Commands, Gate, Rig};

use crate::{USES, Words, info};

pub(crate) type Texels = ImageSpec<u32>;

const FORMAT: vk::Format = vk::Format::R32_UINT;
const READ: ImageAccess = ImageAccess::TRANSFER_READ;

pub(crate) fn images(compute: &Compute, slots: usize) -> Exchange<Texels> {
    Exchange::new(compute, &info(slots), Texels::new(FORMAT, [16, 16], READ)).unwrap()
}

pub(crate) fn fill(work: Work<'_, Texels>, texels: u32, value: u32) {
    match work {
        Work::Host(host) => host.run(move |mut image| image.rows_mut().for_each(|row| row.fill(value))).unwrap(),
        Work::Cuda(mut cuda) => {
            cuda.resources.write_from_host(cuda.stream, 0, .., &vec![value; texels as usize]).unwrap();
        }
        _ => unreachable!("no other backend is opened here"),
    }
}

pub(crate) fn images_follow_every_size(_: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let mut exchange = images(compute, 2);
    for (frame, size) in (0..).zip([[16, 16], [33, 7], [33, 7], [64, 64], [1, 1], [16, 16]]) {
        exchange.resize(size).unwrap();
        let [width, height] = size;
        assert_eq!(exchange.resources().extent(), [width, height, 1]);
        // One frame more than there are slots.
        for _ in 0..3 {
            let mut turn = exchange.begin().unwrap();
            fill(turn.work(), width * height, frame);
            let turn = turn.finish().unwrap();
            assert_eq!(turn.resources().extent(), [width, height, 1]);
            assert!(turn.read_back(Rig::LONG).unwrap() == vec![frame; (width * height) as usize], "{size:?}");
        }
        assert!(exchange.resize([0, height]).is_err(), "a minimized window");
        assert!(exchange.resize([u32::MAX, height]).is_err(), "more than the device has");
    }
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// The queue waits for a frame at the stages of its uses and of the hand-over's own copies, for the
/// first images and after each resize.
pub(crate) fn resized_images_are_waited_for_at_the_same_stages(_: &Rig, compute: &Compute) {
    let mut exchange = images(compute, 1);
    let mut stages = || {
        let turn = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
        let stages = turn.parts().waits()[0].stage_mask;
        // SAFETY: its parts were not used.
        unsafe { turn.not_submitted() };
        exchange.resize([exchange.resources().extent()[0] + 1, 16]).unwrap();
        stages
    };
    let first = stages();
    assert!(first.intersects(vk::PipelineStageFlags2::ALL_TRANSFER | vk::PipelineStageFlags2::ALL_COMMANDS));
    assert_eq!([stages(), stages()], [first; 2]);
    exchange.close().unwrap();
}

/// In both directions, resizing does not block the host while the queue is held, and the images
/// that the queue will use stay alive.
pub(crate) fn frames_in_flight_keep_their_images(rig: &Rig, compute: &Compute) {
    let commands = [(); 2].map(|()| Commands::new(rig.device()));
    let before = LiveObjects::now();
    let mut exchange = images(compute, 1);
    let spec = || Texels::new(FORMAT, [16, 16], READ);
    let mut vulkan_first = Exchange::render_first(compute, &info(1), spec()).unwrap();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let turn = exchange.begin().unwrap().finish().unwrap();
    let recorded = commands[0].record(&turn, |_| {});
    // SAFETY: recorded with the turn's barriers; waited for below.
    let first = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands[0].note(first);
    let turn = vulkan_first.begin().unwrap();
    let recorded = commands[1].record(&turn, |_| {});
    // SAFETY: as above.
    let turn = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands[1].note(turn.rendered());
    turn.finish().unwrap();

    let alive = LiveObjects::now().images;
    for size in [[32, 32], [48, 16]] {
        exchange.resize(size).unwrap();
        vulkan_first.resize(size).unwrap();
        exchange.begin().unwrap().skip().unwrap();
        vulkan_first.begin().unwrap().skip();
    }
    assert!(!gate.is_open());
    assert_eq!(LiveObjects::now().images, alive + 4, "what may still be in use is kept");
    gate.open();
    commands.iter().for_each(Commands::finish);
    let mut turn = exchange.begin().unwrap();
    fill(turn.work(), 48 * 16, 5);
    assert!(turn.finish().unwrap().read_back(Rig::LONG).unwrap() == [5; 48 * 16]);
    exchange.close().unwrap();
    vulkan_first.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// Nothing is copied, so the compute side has finished with the old images immediately; Vulkan has
/// not.
pub(crate) fn images_are_kept_for_a_slow_queue(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut exchange = images(compute, 1);
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let turn = exchange.begin().unwrap().finish().unwrap();
    let recorded = commands.record(&turn, |_| {});
    // SAFETY: recorded with the turn's barriers; waited for below.
    commands.note(unsafe { turn.submit(&[recorded]) }.unwrap());
    let alive = LiveObjects::now().images;
    exchange.resize([32, 32]).unwrap();
    // Gives images that are freed too early time to be detected; images that are kept correctly
    // pass regardless of the time.
    for _ in 0..20 {
        exchange.begin().unwrap().skip().unwrap();
        assert_eq!(LiveObjects::now().images, alive + 1, "what Vulkan still uses is kept");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    gate.open();
    commands.finish();
    exchange.close().unwrap();
}

/// Buffers keep their contents, the images beside them are new.
pub(crate) fn images_with_buffers(_: &Rig, compute: &Compute) {
    let spec = |side: u32| (Words::new((side * side) as usize, USES), Texels::new(FORMAT, [side, side], READ));
    let mut exchange = Exchange::new(compute, &info(1), spec(4)).unwrap();
    let mut turn = exchange.begin().unwrap();
    match turn.work() {
        Work::Host(host) => host.run(|(words, _)| words.fill(6)).unwrap(),
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&[6u32; 16], &mut cuda.resources.0).unwrap(),
        _ => unreachable!("no other backend is opened here"),
    }
    turn.finish().unwrap().skip();
    exchange.replace(spec(8)).unwrap();
    let mut turn = exchange.begin().unwrap();
    // Copies the buffer's first words to the image's first row.
    match turn.work() {
        Work::Host(host) => host
            .run(|(words, mut image)| {
                image.rows_mut().take(1).for_each(|row| row.copy_from_slice(&words[..8]));
                assert_eq!(words[15], 6);
            })
            .unwrap(),
        Work::Cuda(cuda) => assert_eq!(cuda.stream.clone_dtoh(&cuda.resources.0).unwrap()[..16], [6; 16]),
        _ => unreachable!("no other backend is opened here"),
    }
    turn.finish().unwrap().skip();
    exchange.close().unwrap();
}

/// Tests only the description: few drivers map images with mips for the CPU.
pub(crate) fn mips_follow(_: &Rig, _: &Compute) {
    let all = Texels::new(FORMAT, [16, 16], READ).with_full_mip_chain();
    assert_eq!(all.with_extent([64, 2, 1]), Texels::new(FORMAT, [64, 2], READ).with_full_mip_chain());
    assert_eq!(
        all.with_extent([1, 1, 1]).with_extent([8, 8, 1]),
        Texels::new(FORMAT, [8, 8], READ).with_full_mip_chain()
    );
    let three = Texels::new(FORMAT, [16, 16], READ).with_mip_levels(3);
    assert_eq!(three.with_extent([64, 64, 1]), Texels::new(FORMAT, [64, 64], READ).with_mip_levels(3));
    assert_eq!(three.with_extent([2, 2, 1]), Texels::new(FORMAT, [2, 2], READ).with_mip_levels(2));
    let volume = ImageSpec::<u32>::new_3d(FORMAT, [4, 4, 9], READ);
    assert_eq!(volume.with_extent([8, 8, 3]).extent(), [8, 8, 3]);
}
