//! Commands of a frame with staged images, and cleanup if a staged image cannot be created.
//! Neither the validation layer nor a tolerant driver would show mistakes here. This is one test,
//! because functions of the device are replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

mod hooks;

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{
    Backend, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LiveObjects, RenderTurn, Resources, TimelinePoint,
};
use bridge_tests::{Commands, Engine, Linear, Rig, instance_with};

use hooks::{Event, LiveCounts, fail, live_counts, recorded};

const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
const SRC: vk::ImageLayout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
const DST: vk::ImageLayout = vk::ImageLayout::TRANSFER_DST_OPTIMAL;
const COPY: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::ALL_TRANSFER;

#[test]
fn staged_images_are_copied_between_the_barriers_and_leave_nothing() {
    let engine = Engine::new(Some(hooks::hook));
    let mut info = engine.info();
    info.instance = instance_with(Linear::Missing, &info.entry, &info.instance);
    // SAFETY: the engine's own handles, which outlive the device.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let before = live_counts();
    a_frame_that_reads_is_copied_in(&device, &compute);
    a_frame_that_writes_is_copied_in_and_out(&device, &compute);
    the_first_hand_over_copies_nothing(&device, &compute);
    an_engines_submission_waits_where_the_copies_are(&compute);
    assert_eq!(live_counts(), before, "everything was freed");
    every_call_that_fails_is_an_error_and_leaves_nothing(&compute);
    drop(compute);
    drop(device);
    engine.assert_silent();
}

fn info() -> ExchangeInfo<'static> {
    ExchangeInfo { name: "staging", slots: 1, timeout: Rig::LONG, ..Default::default() }
}

/// Two mip levels of two layers.
fn spec(accesses: ImageAccess) -> ImageSpec<u32> {
    ImageSpec::new(vk::Format::R32_UINT, [6, 5], accesses).with_array_layers(2).with_mip_levels(2)
}

/// The image barriers of a frame's events: their layouts and stages.
fn transitions(events: &[Event]) -> Vec<(vk::ImageLayout, vk::ImageLayout)> {
    let images = events.iter().filter_map(|event| match event {
        Event::Barriers { images, .. } => Some(images),
        _ => None,
    });
    images.flatten().map(|barrier| (barrier.old_layout, barrier.new_layout)).collect()
}

/// Checks that the event copies whole levels of all layers, in `layout`, between the image and
/// consecutive rows. Returns the buffer of the rows.
fn check_copy(event: &Event, image: vk::Image, layout: vk::ImageLayout) -> vk::Buffer {
    let Event::Copy { buffer, image: copied, layout: in_layout, regions, into_image } = event else {
        panic!("{event:?}")
    };
    assert_eq!((*copied, *in_layout, *into_image), (image, layout, layout == DST));
    let regions: Vec<_> = regions
        .iter()
        .map(|region| {
            let vk::Extent3D { width, height, depth } = region.image_extent;
            let vk::ImageSubresourceLayers { mip_level, base_array_layer, layer_count, .. } = region.image_subresource;
            assert_eq!((region.image_offset.x, region.image_offset.y, base_array_layer), (0, 0, 0));
            assert_eq!(region.buffer_offset % 16, 0);
            (mip_level, layer_count, [width, height, depth])
        })
        .collect();
    assert_eq!(regions, [(0, 2, [6, 5, 1]), (1, 2, [3, 2, 1])]);
    *buffer
}

fn a_frame_that_reads_is_copied_in(device: &ExportDevice, compute: &Compute) {
    let mut exchange = Exchange::new(compute, &info(), spec(ImageAccess::TRANSFER_READ)).unwrap();
    exchange.initialize().unwrap();
    let commands = Commands::new(device);
    let turn = exchange.begin().unwrap().finish().unwrap();
    let image = turn.resources().as_raw();
    recorded();
    let raw = commands.record(&turn, |_| {});
    let events = recorded();
    // The release has nothing to wait for and nothing to copy.
    let [acquire, copy, enter, leave] = events.as_slice() else { panic!("{events:#?}") };
    let rows = check_copy(copy, image, DST);
    assert_eq!(transitions(&events), [(GENERAL, DST), (DST, SRC), (SRC, GENERAL)]);
    let (Event::Barriers { buffers, images }, Event::Barriers { images: entered, .. }) = (acquire, enter) else {
        panic!("{events:#?}")
    };
    assert_eq!(buffers.len(), 1);
    assert_eq!((buffers[0].buffer, buffers[0].size), (rows, vk::WHOLE_SIZE));
    assert!(buffers[0].src_stage_mask.contains(vk::PipelineStageFlags2::HOST | COPY));
    assert!(buffers[0].src_access_mask.contains(vk::AccessFlags2::HOST_WRITE));
    assert_eq!(images[0].image, image);
    assert_eq!(images[0].src_queue_family_index, images[0].dst_queue_family_index);
    assert_eq!((images[0].subresource_range.level_count, images[0].subresource_range.layer_count), (2, 2));
    assert!(images[0].src_stage_mask.contains(COPY), "behind the semaphore wait, and the frame before");
    assert_eq!(entered[0].src_access_mask, vk::AccessFlags2::TRANSFER_WRITE);
    let Event::Barriers { buffers, .. } = leave else { panic!("{events:#?}") };
    assert!(buffers.is_empty(), "the host only writes what was read");
    submit(turn, raw).wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}

fn a_frame_that_writes_is_copied_in_and_out(device: &ExportDevice, compute: &Compute) {
    let accesses = ImageAccess { layout: GENERAL, ..ImageAccess::TRANSFER_WRITE };
    let mut exchange = Exchange::render_first(compute, &info(), spec(accesses)).unwrap();
    exchange.initialize().unwrap();
    let commands = Commands::new(device);
    let turn = exchange.begin().unwrap();
    let image = turn.resources().as_raw();
    recorded();
    let raw = commands.record(&turn, |_| {});
    let events = recorded();
    let [_, copy_in, _, leave, copy_out, release] = events.as_slice() else { panic!("{events:#?}") };
    let rows = check_copy(copy_in, image, DST);
    assert_eq!(check_copy(copy_out, image, SRC), rows);
    assert_eq!(transitions(&events), [(GENERAL, DST), (DST, GENERAL), (GENERAL, SRC), (SRC, GENERAL)]);
    let (Event::Barriers { buffers: turned, .. }, Event::Barriers { buffers, .. }) = (leave, release) else {
        panic!("{events:#?}")
    };
    assert_eq!((turned[0].src_stage_mask, turned[0].dst_access_mask), (COPY, vk::AccessFlags2::TRANSFER_WRITE));
    assert_eq!((buffers[0].buffer, buffers[0].src_stage_mask), (rows, COPY));
    assert!(buffers[0].src_access_mask.contains(vk::AccessFlags2::TRANSFER_WRITE));
    assert_eq!(buffers[0].dst_stage_mask, vk::PipelineStageFlags2::HOST);
    assert!(buffers[0].dst_access_mask.contains(vk::AccessFlags2::HOST_READ));

    // SAFETY: recorded with the turn's barriers; waited for here.
    let turn = unsafe { turn.submit(&[raw]) }.unwrap();
    commands.note(turn.rendered());
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}

fn the_first_hand_over_copies_nothing(device: &ExportDevice, compute: &Compute) {
    let mut exchange = Exchange::new(compute, &info(), spec(ImageAccess::SAMPLED)).unwrap();
    assert!(exchange.needs_initial());
    let commands = Commands::new(device);
    let raw = commands.begin();
    recorded();
    // SAFETY: recording, for the queue's family.
    let initial = unsafe { exchange.record_initial(raw) }.unwrap();
    let events = recorded();
    commands.end();
    assert_eq!(transitions(&events), [(vk::ImageLayout::UNDEFINED, GENERAL)]);
    // It is preceded by a memory barrier after all previous hand-overs.
    let [Event::Barriers { buffers, images }, Event::Barriers { .. }] = events.as_slice() else {
        panic!("{events:#?}")
    };
    assert!(buffers.is_empty() && images.is_empty(), "{events:#?}");
    // SAFETY: it was not submitted, and will not be.
    unsafe { initial.not_submitted() };
    exchange.initialize().unwrap();
    exchange.close().unwrap();
}

fn an_engines_submission_waits_where_the_copies_are(compute: &Compute) {
    let mut exchange = Exchange::new(compute, &info(), spec(ImageAccess::SAMPLED)).unwrap();
    exchange.initialize().unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
    let parts = turn.parts();
    assert!(
        parts.waits()[0].stage_mask.contains(COPY | ImageAccess::SAMPLED.stages),
        "{:?}",
        parts.waits()[0].stage_mask
    );
    assert!(parts.legacy().wait_stages()[0].contains(vk::PipelineStageFlags::TRANSFER));
    // SAFETY: it was not submitted, and will not be.
    unsafe { turn.not_submitted() };
    exchange.close().unwrap();
}

/// An allocation or other call fails, at every place where there is one. The images have two slots,
/// so that some were already created.
fn every_call_that_fails_is_an_error_and_leaves_nothing(compute: &Compute) {
    let info = ExchangeInfo { slots: 2, ..info() };
    let make = || Exchange::new(compute, &info, spec(ImageAccess::COLOR_ATTACHMENT | ImageAccess::SAMPLED));
    let (vulkan, objects): (LiveCounts, _) = (live_counts(), LiveObjects::now());
    let mut said = Vec::new();
    for nth in 0.. {
        fail(Some(nth));
        let made = make();
        let failed = fail(None);
        match made {
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("OUT_OF_DEVICE_MEMORY") && error.contains("staging["), "{error}");
                said.push(error);
            }
            Ok(exchange) => {
                assert!(!failed, "a failed call was not noticed");
                drop(exchange);
                assert_eq!(live_counts(), vulkan, "dropped");
                break;
            }
        }
        assert_eq!((live_counts(), LiveObjects::now()), (vulkan, objects), "after failure {nth}");
    }
    // For each slot: an image, its memory and its view, and the rows and their memory.
    assert!(said.len() >= 14, "{said:#?}");
    assert!(
        said.iter().any(|error| error.contains("staging[1].rows") && error.contains("vkAllocateMemory")),
        "{said:#?}"
    );
}

fn submit<R: Resources>(turn: RenderTurn<R>, commands: vk::CommandBuffer) -> TimelinePoint {
    // SAFETY: recorded with the turn's barriers; the caller waits for the point.
    unsafe { turn.submit(&[commands]) }.unwrap()
}
