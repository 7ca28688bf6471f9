//! Frames on queues other than the main one have the same contents and order.
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::time::Duration;

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, QueueKind, Work};
use bridge_tests::{
    Filler, Gate, Need, Readback, Rig, on_both_backends, on_host_without_linear_images, skip, skip_case,
};

on_both_backends!(
    frames_cross_on_every_queue,
    images_cross_on_every_queue,
    without_the_wait_every_queue_reads_stale_data,
    work_that_a_queue_does_not_support_is_refused,
);

on_host_without_linear_images!(images_cross_on_every_queue);

const LEN: usize = 64 << 10;
const SIZE: u64 = 4 * LEN as u64;

fn frames_cross_on_every_queue(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    for kind in [QueueKind::Graphics, QueueKind::Compute, QueueKind::Transfer] {
        let info = ExchangeInfo { name: "queues", slots: 2, queue: kind, timeout: Rig::LONG, ..Default::default() };
        let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
        if rig.device().queue_of(kind).is_none() {
            let error = Exchange::new(compute, &info, spec).unwrap_err().to_string();
            assert!(error.contains(&format!("has no {kind} queue")), "{error}");
            skip_case(Need::Other, &format!("a {kind} queue"), &error);
            continue;
        }
        let mut exchange = Exchange::new(compute, &info, spec).unwrap();
        let readback = Readback::on(rig.device(), SIZE, kind);
        for frame in 0..10u32 {
            let mut turn = exchange.begin().unwrap();
            filler.fill_after(&mut turn, frame * 1000, Duration::from_millis(u64::from(frame % 3) * 5));
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), SIZE);
            assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, frame * 1000), "frame {frame}, {kind}");
        }
        exchange.close().unwrap();
    }
}

/// Images whose rows have an odd number of bytes, with several levels; a transfer-only queue copies
/// them at offsets that are multiples of 4, and only as a whole.
fn images_cross_on_every_queue(rig: &Rig, compute: &Compute) {
    const EXTENT: [u32; 2] = [37, 19];
    for kind in [QueueKind::Graphics, QueueKind::Compute, QueueKind::Transfer] {
        if rig.device().queue_of(kind).is_none() {
            skip_case(Need::Other, &format!("a {kind} queue"), &format!("there is no {kind} queue here"));
            continue;
        }
        let info = ExchangeInfo { name: "queues", slots: 2, queue: kind, timeout: Rig::LONG, ..Default::default() };
        for accesses in [ImageAccess::TRANSFER_READ, ImageAccess::TRANSFER_READ | ImageAccess::TRANSFER_WRITE] {
            let spec = ImageSpec::<u8>::new(vk::Format::R8_UINT, EXTENT, accesses).with_full_mip_chain();
            let mut exchange = Exchange::new(compute, &info, spec).unwrap();
            for frame in 0..6u8 {
                let texels: Vec<u8> = (0..EXTENT[0] * EXTENT[1]).map(|texel| texel as u8 ^ (37 * frame)).collect();
                let mut turn = exchange.begin().unwrap();
                match turn.work() {
                    Work::Cuda(mut cuda) => cuda.resources.write_from_host(cuda.stream, 0, .., &texels).unwrap(),
                    Work::Host(host) => {
                        let texels = texels.clone();
                        host.run(move |mut image| {
                            let rows = texels.chunks(EXTENT[0] as usize);
                            image.rows_mut().zip(rows).for_each(|(row, texels)| row.copy_from_slice(texels));
                        })
                        .unwrap();
                    }
                    _ => unreachable!("no other backend is opened here"),
                }
                let seen = turn.finish().unwrap().read_back(Rig::LONG).unwrap();
                assert!(seen == texels, "frame {frame}, {kind}, {accesses:?}");
            }
            exchange.close().unwrap();
        }
    }
}

/// Negative control of the buffers above, on each queue: without the turn's wait, the queue reads
/// the previous frame.
fn without_the_wait_every_queue_reads_stale_data(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    for kind in [QueueKind::Graphics, QueueKind::Compute, QueueKind::Transfer] {
        let Some(queue) = rig.device().queue_of(kind) else {
            skip_case(Need::Other, &format!("a {kind} queue"), &format!("there is no {kind} queue here"));
            continue;
        };
        let readback = Readback::on(rig.device(), SIZE, kind);
        let gate = Gate::on(compute);
        let info = ExchangeInfo { name: "queues", slots: 1, queue: kind, timeout: Rig::LONG, ..Default::default() };
        let mut exchange =
            Exchange::new(compute, &info, BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, 1000);
        let turn = turn.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, 1000), "{kind}");

        let mut turn = exchange.begin().unwrap();
        gate.hold(&mut turn);
        filler.fill(&mut turn, 2000);
        let turn = turn.finish().unwrap();
        let computed = turn.computed();
        let commands = readback.record(&turn, &[source]);
        let turn = turn.lend().unwrap();
        let (infos, signals) =
            ([vk::CommandBufferSubmitInfo::default().command_buffer(commands)], [turn.parts().signal()]);
        let batch = vk::SubmitInfo2::default().command_buffer_infos(&infos).signal_semaphore_infos(&signals);
        // SAFETY: incorrect on purpose: the turn's wait is missing. The memory is plain words.
        unsafe { queue.submit(&[batch], vk::Fence::null()) }.unwrap();
        // SAFETY: it was submitted, although without its wait.
        unsafe { turn.submitted() }.wait(Rig::LONG).unwrap();
        assert!(
            readback.words() == Filler::pattern(LEN, 1000),
            "without its wait the {kind} queue has to read stale data"
        );
        gate.open();
        computed.wait(Rig::LONG).unwrap();
        exchange.close().unwrap();
    }
}

fn work_that_a_queue_does_not_support_is_refused(rig: &Rig, compute: &Compute) {
    if rig.device().queue_of(QueueKind::Transfer).is_none() {
        return skip(Need::Other, "there is no transfer queue here");
    }
    let info = ExchangeInfo { name: "queues", queue: QueueKind::Transfer, ..Default::default() };
    let drawn = BufferSpec::<u32>::new(LEN, BufferAccess::VERTEX_INPUT);
    let error = Exchange::new(compute, &info, drawn).unwrap_err().to_string();
    assert!(error.contains("transfer queue does not support VERTEX_INPUT"), "{error}");
}
