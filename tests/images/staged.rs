//! Images that the CPU cannot map: a program uses them like images that it can map.

use std::sync::mpsc::channel;

use bridge::ash::vk;
use bridge::{
    Compute, ComputeTurn, Direction, Exchange, ExchangeInfo, ImageAccess, ImageSpec, RenderFirst, RenderTurn,
    SharedImage, Work, format_support,
};
use bridge_tests::{Commands, Rig};

use crate::transfer::Transfer;

const SIDE: u32 = 16;
const TEXELS: usize = (SIDE * SIDE) as usize;
const COPIED: ImageAccess = ImageAccess::TRANSFER_READ.union(ImageAccess::TRANSFER_WRITE);

type Words = ImageSpec<u32>;

fn spec(accesses: ImageAccess) -> Words {
    Words::new(vk::Format::R32_UINT, [SIDE, SIDE], accesses)
}

fn info() -> ExchangeInfo<'static> {
    ExchangeInfo { name: "staged", slots: 1, timeout: Rig::LONG, ..Default::default() }
}

/// Makes the compute side write `row`, after it has read the image; returns the texels that it
/// read. `None` writes no row.
fn compute<D: Direction>(turn: &mut ComputeTurn<Words, D>, row: Option<(usize, u32)>) -> Vec<u32> {
    let (sender, seen) = channel();
    match turn.work() {
        Work::Cuda(mut cuda) => {
            let mut texels = vec![0; TEXELS];
            cuda.resources.read_to_host(cuda.stream, 0, .., &mut texels).unwrap();
            sender.send(texels.clone()).unwrap();
            if let Some((row, value)) = row {
                let start = row * SIDE as usize;
                texels[start..start + SIDE as usize].fill(value);
                cuda.resources.write_from_host(cuda.stream, 0, .., &texels).unwrap();
            }
        }
        Work::Host(host) => host
            .run(move |mut image| {
                sender.send(image.rows().flatten().copied().collect()).unwrap();
                if let Some((row, value)) = row {
                    image.row_mut(row).unwrap().fill(value);
                }
            })
            .unwrap(),
        _ => unreachable!("no other backend is opened here"),
    }
    seen.recv_timeout(Rig::LONG).unwrap()
}

/// Records the writing of one row of the image, if any, and a copy of the whole image.
fn record<D: Direction>(
    rig: &Rig,
    commands: &Commands,
    transfer: &mut Transfer,
    turn: &RenderTurn<Words, D>,
    row: Option<(u32, u32)>,
) -> vk::CommandBuffer {
    commands.finish();
    if let Some((_, value)) = row {
        transfer.fill(&value.to_le_bytes().repeat(SIDE as usize));
    }
    let image = turn.resources();
    commands.record(turn, |commands| {
        if let Some((row, _)) = row {
            transfer.record_upload_of_row(commands, &image, row, SIDE);
            between(rig, commands, &image);
        }
        transfer.record_download(commands, &image, 4);
    })
}

/// Records a barrier between copies into and out of an image.
fn between(rig: &Rig, commands: vk::CommandBuffer, image: &bridge::RenderImage<'_>) {
    let stages = vk::PipelineStageFlags2::ALL_TRANSFER;
    let barrier = [vk::ImageMemoryBarrier2::default()
        .image(image.as_raw())
        .subresource_range(image.range())
        .old_layout(image.layout())
        .new_layout(image.layout())
        .src_stage_mask(stages)
        .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
        .dst_stage_mask(stages)
        .dst_access_mask(vk::AccessFlags2::TRANSFER_READ)];
    let memory = [vk::MemoryBarrier2::default()
        .src_stage_mask(stages)
        .src_access_mask(vk::AccessFlags2::TRANSFER_READ)
        .dst_stage_mask(stages)
        .dst_access_mask(vk::AccessFlags2::TRANSFER_WRITE)];
    let dependency = vk::DependencyInfo::default().image_memory_barriers(&barrier).memory_barriers(&memory);
    // SAFETY: recording; the image belongs to the turn and is in that layout.
    unsafe { rig.device().cmd_pipeline_barrier2(commands, &dependency) };
}

fn read(transfer: &Transfer) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(&transfer.bytes(4 * TEXELS))
}

fn rows(of: impl Fn(usize) -> u32) -> Vec<u32> {
    (0..TEXELS).map(|texel| of(texel / SIDE as usize)).collect()
}

/// Each side writes one row per frame, and reads the rows of all earlier frames, its own and those
/// of the other side, in both directions.
pub(crate) fn each_side_keeps_what_the_other_did_not_write(rig: &Rig, compute_side: &Compute) {
    let (commands, mut transfer) = (Commands::new(rig.device()), Transfer::new(rig.device(), 8 * TEXELS));
    let mut exchange = Exchange::new(compute_side, &info(), spec(COPIED)).unwrap();
    let mut expected = [0; SIDE as usize];
    for frame in 0..8u32 {
        let mut turn = exchange.begin().unwrap();
        let (mine, yours) = (2 * frame as usize, 2 * frame + 1);
        // The first frame writes every row, because new contents are undefined.
        if frame == 0 {
            (0..SIDE as usize).for_each(|row| drop(compute(&mut turn, Some((row, 7)))));
            expected.fill(7);
        }
        let seen = compute(&mut turn, Some((mine, 100 + frame)));
        assert_eq!(seen, rows(|row| expected[row]), "the compute side, frame {frame}");
        expected[mine] = 100 + frame;
        expected[yours as usize] = 200 + frame;
        let turn = turn.finish().unwrap();
        let recorded = record(rig, &commands, &mut transfer, &turn, Some((yours, 200 + frame)));
        // SAFETY: recorded with the turn's barriers, waited for here.
        unsafe { turn.submit(&[recorded]) }.unwrap().wait(Rig::LONG).unwrap();
        assert_eq!(read(&transfer), rows(|row| expected[row]), "Vulkan, frame {frame}");
    }
    exchange.close().unwrap();

    let mut exchange = Exchange::render_first(compute_side, &info(), spec(COPIED)).unwrap();
    for frame in 0..9u32 {
        let turn = exchange.begin().unwrap();
        let written = (frame > 0).then(|| (2 * frame - 1, 300 + frame));
        let recorded = record(rig, &commands, &mut transfer, &turn, written);
        // SAFETY: recorded with the turn's barriers, waited for here.
        let mut turn = unsafe { turn.submit(&[recorded]) }.unwrap();
        turn.rendered().wait(Rig::LONG).unwrap();
        if let Some((row, value)) = written {
            expected[row as usize] = value;
            assert_eq!(read(&transfer), rows(|row| expected[row]), "Vulkan first, frame {frame}");
            assert_eq!(compute(&mut turn, None), rows(|row| expected[row]), "compute second, frame {frame}");
        } else {
            expected.fill(9);
            (0..SIDE as usize).for_each(|row| drop(compute(&mut turn, Some((row, 9)))));
        }
        let mine = (2 * frame as usize) % 16;
        compute(&mut turn, Some((mine, 400 + frame)));
        expected[mine] = 400 + frame;
        turn.finish().unwrap().wait(Rig::LONG).unwrap();
    }
    exchange.close().unwrap();
}

/// An image without an exchange: the functions that record its hand-overs record everything
/// required.
pub(crate) fn an_image_without_an_exchange_is_handed_over(rig: &Rig, compute: &Compute) {
    let mut transfer = Transfer::new(rig.device(), 4 * TEXELS);
    let shared = SharedImage::new(compute, "alone", &spec(COPIED)).unwrap();
    assert_eq!(shared.handover().is_none(), shared.is_staged());
    let device = rig.device();
    let run = |record: &dyn Fn(vk::CommandBuffer)| {
        // SAFETY: the recorded commands use only the image and the memory, which outlive the call.
        unsafe { device.run_once(device.queue(), "alone", Rig::LONG, record) }.unwrap();
    };
    // SAFETY: recording, and the image is new.
    run(&|commands| unsafe { shared.record_initial(commands) });
    for round in 0..3u32 {
        let (mine, yours) = (rows(|row| 10 * round + row as u32), rows(|row| 1000 * round + row as u32));
        write(compute, &shared, &mine);
        run(&|commands| {
            // SAFETY: recording; the compute side has written before this submission.
            unsafe { shared.record_acquire(commands) };
            transfer.record_download_of(commands, shared.vulkan(), vk::ImageLayout::GENERAL);
            // SAFETY: recording, and acquired.
            unsafe { shared.record_release(commands) };
        });
        assert_eq!(read(&transfer), mine, "Vulkan, round {round}");
        transfer.fill(bytemuck::cast_slice(&yours));
        run(&|commands| {
            // SAFETY: as above.
            unsafe { shared.record_acquire(commands) };
            transfer.record_upload_of(commands, shared.vulkan(), vk::ImageLayout::GENERAL);
            // SAFETY: as above.
            unsafe { shared.record_release(commands) };
        });
        assert_eq!(seen(compute, &shared), yours, "the compute side, round {round}");
    }
}

fn write(compute: &Compute, shared: &SharedImage<u32>, texels: &[u32]) {
    // SAFETY: the compute side owns the image, and nothing else uses it.
    if let Some(mut image) = unsafe { shared.host_mut() } {
        image.rows_mut().zip(texels.chunks(SIDE as usize)).for_each(|(row, texels)| row.copy_from_slice(texels));
        return;
    }
    let stream = compute.cuda().unwrap().stream();
    // SAFETY: as above; waited for here.
    unsafe { shared.cuda_mut() }.unwrap().write_from_host(stream, 0, .., texels).unwrap();
    stream.synchronize().unwrap();
}

fn seen(compute: &Compute, shared: &SharedImage<u32>) -> Vec<u32> {
    // SAFETY: the compute side owns the image, and nothing else uses it.
    if let Some(image) = unsafe { shared.host_mut() } {
        return image.rows().flatten().copied().collect();
    }
    let (stream, mut texels) = (compute.cuda().unwrap().stream(), vec![0; TEXELS]);
    // SAFETY: as above; the call returns after the texels have arrived.
    unsafe { shared.cuda_mut() }.unwrap().read_to_host(stream, 0, .., &mut texels).unwrap();
    texels
}

/// Both kinds of images report that they are staged, and an image's usage follows from its
/// accesses.
pub(crate) fn staged_images_report_it(rig: &Rig, compute: &Compute) {
    for (accesses, copied_back) in
        [(ImageAccess::TRANSFER_READ, false), (COPIED, true), (ImageAccess::COLOR_ATTACHMENT, true)]
    {
        let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [5, 3], accesses);
        let mut exchange = Exchange::new(compute, &info(), spec.clone()).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        let image = turn.resources();
        assert!(image.is_staged() && image.handover().is_none());
        assert_eq!((image.accesses(), image.vulkan().tiling()), (accesses, vk::ImageTiling::OPTIMAL));
        let expected = accesses.usage | vk::ImageUsageFlags::TRANSFER_DST;
        let back = if copied_back { vk::ImageUsageFlags::TRANSFER_SRC } else { vk::ImageUsageFlags::empty() };
        assert_eq!(image.vulkan().usage(), expected | back);
        turn.skip();
        let shared = SharedImage::new(compute, "alone", &spec).unwrap();
        assert!(shared.is_staged() && shared.handover().is_none());
    }
    // The rig's own device may have a different driver: a plain image may be mapped there.
    let plain = Compute::new(rig.device(), bridge::Backend::Host).unwrap();
    assert!(format_support(&plain).iter().filter(|support| support.sampled).all(|support| support.shared));
}

/// If samplers can filter only OPTIMAL images, a sampled image is not mapped; an image that is only
/// copied still is.
pub(crate) fn images_that_cannot_be_filtered_in_rows_are_staged(_: &Rig, compute: &Compute) {
    let image = |accesses| {
        let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [5, 3], accesses);
        SharedImage::new(compute, "filtered", &spec).unwrap()
    };
    assert!(image(ImageAccess::SAMPLED).is_staged());
    let support = format_support(compute);
    let rgba = support.iter().find(|support| support.format.vulkan == vk::Format::R8G8B8A8_UNORM).unwrap();
    assert!(rgba.filtered && rgba.shared);
    let copied = image(ImageAccess::TRANSFER_READ);
    if copied.is_staged() {
        bridge_tests::skip_case(bridge_tests::Need::Other, "mapped", "the device maps no such image");
    } else {
        assert_eq!(copied.vulkan().tiling(), vk::ImageTiling::LINEAR);
        assert!(copied.handover().is_some());
    }
}

/// The negative control: commands without the hand-over, and so without its copies, see the
/// previous contents.
pub(crate) fn omitted_copies_leave_the_previous_contents(rig: &Rig, compute_side: &Compute) {
    let (commands, mut transfer) = (Commands::new(rig.device()), Transfer::new(rig.device(), 8 * TEXELS));
    let mut exchange = Exchange::new(compute_side, &info(), spec(general(COPIED))).unwrap();
    let fill = |turn: &mut ComputeTurn<Words>, value| match turn.work() {
        Work::Host(host) => host.run(move |mut image| image.rows_mut().for_each(|row| row.fill(value))).unwrap(),
        Work::Cuda(_) => panic!("the CPU was asked for"),
        _ => unreachable!("no other backend is opened here"),
    };
    for (value, seen, handed_over) in [(1, 1, true), (2, 1, false), (3, 3, true)] {
        let mut turn = exchange.begin().unwrap();
        fill(&mut turn, value);
        let turn = turn.finish().unwrap();
        let recorded = if handed_over {
            record(rig, &commands, &mut transfer, &turn, None)
        } else {
            let recorded = commands.begin();
            transfer.record_download(recorded, &turn.resources(), 4);
            commands.end();
            recorded
        };
        // SAFETY: wrong on purpose if the hand-over is omitted: the image is still in the layout of
        // its accesses.
        unsafe { turn.submit(&[recorded]) }.unwrap().wait(Rig::LONG).unwrap();
        assert_eq!(read(&transfer), rows(|_| seen), "frame of {value}");
    }
    exchange.close().unwrap();

    let mut exchange = Exchange::render_first(compute_side, &info(), spec(general(COPIED))).unwrap();
    for (value, handed_over) in [(1u32, true), (2, false), (3, true)] {
        let turn = exchange.begin().unwrap();
        commands.finish();
        transfer.fill(&value.to_le_bytes().repeat(TEXELS));
        let image = turn.resources();
        let recorded = if handed_over {
            commands.record(&turn, |commands| transfer.record_upload(commands, &image, 4))
        } else {
            let recorded = commands.begin();
            transfer.record_upload(recorded, &image, 4);
            commands.end();
            recorded
        };
        // SAFETY: as above.
        let mut turn: ComputeTurn<Words, RenderFirst> = unsafe { turn.submit(&[recorded]) }.unwrap();
        commands.note(turn.rendered());
        let seen = if handed_over { value } else { 1 };
        assert_eq!(compute(&mut turn, None), rows(|_| seen), "frame of {value}");
        turn.finish().unwrap().wait(Rig::LONG).unwrap();
    }
    exchange.close().unwrap();
}

/// Returns the same accesses with the layout that the image has between turns.
fn general(accesses: ImageAccess) -> ImageAccess {
    ImageAccess { layout: vk::ImageLayout::GENERAL, ..accesses }
}
