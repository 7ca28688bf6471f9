//! Running a frame's commands and reading back a slot on the host, each in one call.
#![allow(unsafe_code, clippy::unwrap_used)] // Recorded commands.

use std::time::Duration;

use bridge::ash::vk;
use bridge::{
    BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, ImageAccess, ImageSpec, LatestInfo, QueueKind,
    Stage, Work,
};
use bridge_tests::{Filler, Gate, Rig, on_another_gpu_alone, on_both_backends};

on_both_backends!(
    buffers_are_read_back,
    images_are_read_back_without_padding,
    resources_that_cannot_be_copied_from_are_refused,
    commands_run_between_the_barriers,
    frames_that_vulkan_begins_run_once_too,
    a_limit_is_kept_and_the_exchange_continues,
    commands_that_time_out_are_freed_once_they_have_run,
);

on_another_gpu_alone!(images_are_read_back_without_padding);

const LEN: usize = 1000;

fn info(name: &str) -> ExchangeInfo<'_> {
    ExchangeInfo { name, slots: 2, ..Default::default() }
}

fn numbers(compute: &Compute, accesses: BufferAccess) -> Exchange<BufferSpec<u32>> {
    Exchange::new(compute, &info("numbers"), BufferSpec::new(LEN, accesses)).unwrap()
}

fn buffers_are_read_back(_: &Rig, compute: &Compute) {
    let (mut exchange, filler) = (numbers(compute, BufferAccess::TRANSFER_READ), Filler::new(compute));
    for frame in 0..5 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 100 * frame);
        let read = turn.finish().unwrap().read_back(Rig::LONG).unwrap();
        assert_eq!(read, Filler::pattern(LEN, 100 * frame), "frame {frame}");
    }
    exchange.close().unwrap();
}

fn images_are_read_back_without_padding(_: &Rig, compute: &Compute) {
    // A width that is not a multiple of any row pitch.
    let [width, height] = [37, 5];
    let spec = ImageSpec::<[u8; 4]>::new(
        vk::Format::R8G8B8A8_UNORM,
        [width, height],
        ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ,
    );
    let mut exchange = Exchange::new(compute, &info("image"), spec).unwrap();
    let expected: Vec<[u8; 4]> = (0..(width * height) as u8).map(|i| [i, 255 - i, 7, i / 2]).collect();
    for _ in 0..3 {
        let mut turn = exchange.begin().unwrap();
        let texels = expected.clone();
        match turn.work() {
            Work::Cuda(mut cuda) => cuda.resources.write_from_host(cuda.stream, 0, .., &texels).unwrap(),
            Work::Host(host) => host
                .run(move |mut image| {
                    image.rows_mut().zip(texels.chunks(37)).for_each(|(row, texels)| row.copy_from_slice(texels));
                    assert!(image.rows().flatten().eq(&texels), "rows that were written are read");
                })
                .unwrap(),
            _ => unreachable!("no other backend is opened here"),
        }
        assert_eq!(turn.finish().unwrap().read_back(Rig::LONG).unwrap(), expected);
    }
    exchange.close().unwrap();
}

fn resources_that_cannot_be_copied_from_are_refused(_: &Rig, compute: &Compute) {
    let mut exchange = numbers(compute, BufferAccess::VERTEX_INPUT);
    let error = exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("frame 0 of exchange \"numbers\"") && text.contains("TRANSFER_READ"), "{text}");
    assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 0, stage: Stage::Render, .. })));
    exchange.begin().unwrap().finish().unwrap().skip();
    exchange.close().unwrap();

    // The usages suffice, but the image is in a layout that copies cannot read.
    let copied = ImageAccess::TRANSFER_READ;
    let usage = copied.usage | vk::ImageUsageFlags::SAMPLED;
    let sampled = ImageAccess { usage, layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL, ..copied };
    let spec = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [4, 4], sampled);
    let mut exchange = Exchange::new(compute, &info("image"), spec).unwrap();
    let error = exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap_err();
    assert!(error.to_string().contains("TRANSFER_READ"), "{error}");
}

fn commands_run_between_the_barriers(rig: &Rig, compute: &Compute) {
    let mut exchange = numbers(compute, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE);
    let filler = Filler::new(compute);
    for frame in 0..3 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 3);
        let mut len = 0;
        let fill = |commands, buffer: bridge::RenderBuffer<'_, u32>| {
            len = buffer.len();
            // SAFETY: recording; the buffer is acquired, and filling is among its uses.
            unsafe { rig.device().as_raw().cmd_fill_buffer(commands, buffer.as_raw(), 0, vk::WHOLE_SIZE, frame) };
        };
        // SAFETY: the fill keeps its Valid Usage, see above.
        unsafe { turn.finish().unwrap().run_once(Rig::LONG, fill) }.unwrap();
        assert_eq!(len, LEN);
        // The other slot is skipped; then the slot that was filled is read without being written.
        exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();
        let read = exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();
        assert!(read.iter().all(|word| *word == frame), "frame {frame}: {:?}", &read[..4]);
        exchange.begin().unwrap().finish().unwrap().skip();
    }
    exchange.close().unwrap();
}

fn frames_that_vulkan_begins_run_once_too(rig: &Rig, compute: &Compute) {
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_WRITE);
    let mut exchange = Exchange::render_first(compute, &info("first"), spec).unwrap();
    for frame in 1..4 {
        let fill = |commands, buffer: bridge::RenderBuffer<'_, u32>| {
            // SAFETY: recording; the buffer is acquired, and filling is among its uses.
            unsafe { rig.device().as_raw().cmd_fill_buffer(commands, buffer.as_raw(), 0, vk::WHOLE_SIZE, frame) };
        };
        // SAFETY: the fill keeps its Valid Usage, see above.
        let mut turn = unsafe { exchange.begin().unwrap().run_once(Rig::LONG, fill) }.unwrap();
        assert!(turn.rendered().is_reached().unwrap());
        let (told, seen) = std::sync::mpsc::channel();
        match turn.work() {
            Work::Cuda(cuda) => told.send(cuda.stream.clone_dtoh(&cuda.resources).unwrap()).unwrap(),
            Work::Host(host) => host.run(move |words| told.send(words.to_vec()).unwrap()).unwrap(),
            _ => unreachable!("no other backend is opened here"),
        }
        turn.finish().unwrap().wait(Rig::LONG).unwrap();
        assert_eq!(seen.recv().unwrap(), [frame; LEN]);
    }
    exchange.close().unwrap();
}

fn a_limit_is_kept_and_the_exchange_continues(_: &Rig, compute: &Compute) {
    let (mut exchange, filler) = (numbers(compute, BufferAccess::TRANSFER_READ), Filler::new(compute));
    for base in 0..2 {
        let mut turn = exchange.begin().unwrap();
        let gate = Gate::on(compute);
        gate.hold(&mut turn);
        filler.fill(&mut turn, base);
        let error = turn.finish().unwrap().read_back(Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
        gate.open();
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 10 + base);
        assert_eq!(turn.finish().unwrap().read_back(Rig::LONG).unwrap(), Filler::pattern(LEN, 10 + base));
    }
    exchange.close().unwrap();
}

/// The commands of a frame that timed out, and the memory that they copy to, are kept exactly until
/// they have run.
fn commands_that_time_out_are_freed_once_they_have_run(rig: &Rig, compute: &Compute) {
    let allocated = || rig.device().allocated_bytes();
    let is_timeout = |error| matches!(error, Error::Timeout { .. });
    let before = allocated();
    let mut exchange = numbers(compute, BufferAccess::TRANSFER_READ);
    let with_slots = allocated();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    for frame in 1..=2 {
        let turn = exchange.begin().unwrap().finish().unwrap();
        assert!(is_timeout(turn.read_back(Duration::ZERO).unwrap_err()));
        assert_eq!(allocated().allocations, with_slots.allocations + frame, "it may still be written to");
    }
    gate.open();
    exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();
    // They are freed whatever the next frame does with its slot.
    exchange.begin().unwrap().skip().unwrap();
    assert_eq!(allocated(), with_slots);

    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let turn = exchange.begin().unwrap().finish().unwrap();
    assert!(is_timeout(turn.read_back(Duration::ZERO).unwrap_err()));
    gate.open();
    exchange.close().unwrap();
    assert_eq!(allocated(), before, "its end has seen them run");

    let info = LatestInfo { timeout: Rig::LONG, ..LatestInfo::default() };
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let (mut writer, mut reader) = Exchange::latest(compute, &info, spec).unwrap();
    let with_slots = allocated();
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let turn = reader.newest().unwrap().unwrap();
    assert!(is_timeout(turn.read_back(Duration::ZERO).unwrap_err()));
    // Opens the gate, and waits for the queue.
    drop(gate);
    assert_eq!(allocated().allocations, with_slots.allocations + 1, "nobody has looked");
    writer.begin().unwrap().publish().unwrap().wait(Rig::LONG).unwrap();
    assert_eq!(allocated(), with_slots, "a frame of the writer's");
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let turn = reader.newest().unwrap().unwrap();
    assert!(is_timeout(turn.read_back(Duration::ZERO).unwrap_err()));
    drop(gate);
    reader.newest().unwrap().unwrap().skip();
    assert_eq!(allocated(), with_slots, "a turn of the reader's");
    writer.close(reader).unwrap();
    assert_eq!(allocated(), before);
}
