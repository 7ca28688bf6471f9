//! Objects that are dropped, destroyed or refused, in any order.
#![allow(clippy::unwrap_used)] // A test.

use std::any::Any;
use std::time::{Duration, Instant};

use crate::support::{
    Filler, adopted, alone, await_queue, bridge_on, bridges, info, read_buffer, validation_messages, ways,
};
use bridge_wgpu::bridge::LiveObjects;
use bridge_wgpu::{
    Backend, Bridge, ComputeFirst, Error, Exchange, Frame, LatestInfo, RenderFirst, SharedBuffer, SharedTexture, Work,
    wgpu,
};
use test_support::open_descriptors;

const LEN: usize = 256;

fn numbers() -> SharedBuffer<u32> {
    SharedBuffer::new(LEN, wgpu::BufferUsages::COPY_SRC)
}

/// Returns a frame to submit.
fn frame(
    exchange: &mut Exchange<SharedBuffer<u32>>,
    filler: &Filler,
    base: u32,
) -> Frame<SharedBuffer<u32>, ComputeFirst> {
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, base, Duration::ZERO);
    turn.finish().unwrap()
}

#[test]
fn objects_outlive_their_exchange() {
    let _alone = alone();
    for bridge in bridges() {
        let before = LiveObjects::now();
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let frame = frame(&mut exchange, &Filler::new(&bridge), 7);
        bridge.submit([], frame).unwrap();
        let buffer = exchange.objects().clone();
        drop(exchange);
        assert_eq!(LiveObjects::now(), before, "the exchange is gone");
        assert_eq!(read_buffer(&bridge, &buffer), Filler::pattern(LEN, 7));
        let usage = wgpu::TextureUsages::TEXTURE_BINDING;
        let spec = SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, [16, 16], usage);
        let texture = Exchange::new(&bridge, &info("picture"), spec).unwrap().objects().clone();
        // This would crash if wgpu did not own the texture.
        drop(texture.create_view(&Default::default()));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn everything_is_dropped_in_every_order() {
    let _alone = alone();
    let before = LiveObjects::now();
    let all = test_support::orders(5);
    assert_eq!(all.len(), 120);
    for order in all {
        let Some(bridge) = bridge_on(Backend::Auto) else { return };
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let usage = wgpu::TextureUsages::RENDER_ATTACHMENT;
        let spec = SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, [16, 16], usage);
        let mut scene = Exchange::render_first(&bridge, &info("scene"), spec).unwrap();
        let filler = Filler::new(&bridge);
        // One frame in flight, one that is never submitted, and a turn of the other direction.
        let first = frame(&mut exchange, &filler, 1);
        bridge.submit([], first).unwrap();
        let second = frame(&mut exchange, &filler, 2);
        let turn = scene.begin().unwrap();
        let turn = bridge.submit([], turn).unwrap();
        let mut parts: Vec<Option<Box<dyn Any>>> = Vec::new();
        parts.push(Some(Box::new((exchange.objects().clone(), scene.objects().clone()))));
        parts.push(Some(Box::new((exchange, scene))));
        parts.push(Some(Box::new((second, turn))));
        parts.push(Some(Box::new((bridge.device().clone(), bridge.queue().clone()))));
        parts.push(Some(Box::new((bridge, filler))));
        for index in order {
            drop(parts[index].take());
        }
    }
    assert_eq!(LiveObjects::now(), before);
    assert_eq!(validation_messages(), [""; 0]);
}

/// Creates and drops exchanges of both directions and latest exchanges, each with one or two
/// frames.
fn come_and_go(bridge: &Bridge, filler: &Filler) {
    let mut exchange = Exchange::new(bridge, &info("numbers"), numbers()).unwrap();
    let first = frame(&mut exchange, filler, 1);
    bridge.submit([], first).unwrap();
    let unfinished = exchange.begin().unwrap();
    drop(unfinished);
    let usage = wgpu::TextureUsages::RENDER_ATTACHMENT;
    let spec = SharedTexture::<[u8; 4]>::new(wgpu::TextureFormat::Rgba8Unorm, [4, 4], usage);
    let mut scene = Exchange::render_first(bridge, &info("scene"), spec).unwrap();
    let turn = scene.begin().unwrap();
    drop(bridge.submit([], turn).unwrap());
    let info = LatestInfo { name: "latest", ..Default::default() };
    let (mut writer, mut reader) = Exchange::latest(bridge, &info, numbers()).unwrap();
    let mut turn = writer.begin().unwrap();
    match turn.work() {
        Work::Host(host) => host.run(|words| words.fill(1)).unwrap(),
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&[1; LEN], &mut cuda.resources).unwrap(),
        _ => unreachable!("no other backend is opened"),
    }
    turn.publish().unwrap();
    if let Some(newest) = reader.newest().unwrap() {
        bridge.submit([], newest).unwrap();
    }
}

/// Counts live objects and open descriptors, once they equal `before` or a limit has passed.
fn settled(before: Option<&(LiveObjects, usize)>) -> (LiveObjects, usize) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let now = (LiveObjects::now(), open_descriptors());
        if before.is_none_or(|before| now == *before) || Instant::now() > end {
            return now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_thousand_come_and_go_and_leave_nothing() {
    let _alone = alone();
    for bridge in ways() {
        let filler = Filler::new(&bridge);
        // Objects that a first use keeps permanently are not a leak.
        let empty = LiveObjects::now();
        come_and_go(&bridge, &filler);
        let after = settled(Some(&(empty, open_descriptors())));
        assert_eq!(after.0, empty);
        for _ in 0..334 {
            come_and_go(&bridge, &filler);
        }
        assert_eq!(settled(Some(&after)), after);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Records a command buffer that wgpu refuses, because it uses a destroyed buffer.
fn refused(bridge: &Bridge) -> wgpu::CommandBuffer {
    let buffer = crate::support::staging(bridge, 16);
    let mut commands = bridge.device().create_command_encoder(&Default::default());
    commands.clear_buffer(&buffer, 0, None);
    buffer.destroy();
    commands.finish()
}

#[test]
fn a_refused_submission_costs_its_frame_alone() {
    let _alone = alone();
    for bridge in ways() {
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut back = Exchange::render_first(&bridge, &info("back"), numbers()).unwrap();
        let filler = Filler::new(&bridge);
        for round in 0..10 {
            let frames = (frame(&mut exchange, &filler, 1000 + round), back.begin().unwrap());
            let error = bridge.submit([refused(&bridge)], frames).unwrap_err();
            assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
            assert!(error.to_string().contains("destroyed"), "{error}");
            // Nothing is left in the queue, and no slot is missing: the next frames can be
            // submitted immediately.
            for next in 0..4 {
                let frames = (frame(&mut exchange, &filler, 10 * round + next), back.begin().unwrap());
                let (_, turn) = bridge.submit([], frames).unwrap();
                turn.finish().unwrap();
                assert_eq!(read_buffer(&bridge, exchange.objects()), Filler::pattern(LEN, 10 * round + next));
            }
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn a_device_that_was_destroyed_is_an_error() {
    let _alone = alone();
    for bridge in ways() {
        let before = LiveObjects::now();
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let filler = Filler::new(&bridge);
        let (first, second) = (frame(&mut exchange, &filler, 1), frame(&mut exchange, &filler, 2));
        bridge.submit([], first).unwrap();
        let commands = bridge.device().create_command_encoder(&Default::default());
        bridge.device().destroy();
        let error = bridge.submit([], second).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. } | Error::Refused { .. }), "{error}");
        // Without a frame, there are no semaphores that would show the error.
        let none = None::<Frame<SharedBuffer<u32>>>;
        let error = bridge.submit([], none).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        let none = Vec::<Frame<SharedBuffer<u32>>>::new();
        let error = bridge.submit([commands.finish()], none).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. } | Error::Refused { .. }), "{error}");
        drop(exchange);
        assert_eq!(LiveObjects::now(), before, "the first frame is seen to end");
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu calls the program's callbacks during a submission, and the program may make any call there.
#[test]
fn callbacks_of_a_submission_wait_for_nothing() {
    let _alone = alone();
    let all = bridges().map(|bridge| (bridge, 0)).chain(adopted().map(|bridge| (bridge, 1)));
    for (bridge, unconfirmed) in all {
        let filler = Filler::new(&bridge);
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let mut other = Exchange::new(&bridge, &info("others"), numbers()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (inner, held) = (bridge.clone(), frame(&mut other, &filler, 1));
        // Receives errors of the callback outside of a submission.
        bridge.device().on_uncaptured_error(std::sync::Arc::new(|error| eprintln!("{error}")));
        bridge.queue().submit([]);
        bridge.queue().on_submitted_work_done(move || {
            let error = inner.submit([], held).err().map(|error| error.to_string());
            // wgpu's errors in a callback are not errors of the submission.
            drop(inner.device().create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE,
                mapped_at_creation: false,
            }));
            drop(other);
            sender.send(error).unwrap();
        });
        // The following submissions call the callback.
        let mut results = Vec::new();
        for base in 0..3 {
            let turn = frame(&mut exchange, &filler, base);
            // The first submission is complete by then, as the next one will find.
            await_queue(&bridge);
            results.push(bridge.submit([], turn));
        }
        let error = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        // One of the submissions called it. On an adopted device, it is unknown whose error it is.
        let is_unconfirmed = |result: &&Result<_, _>| matches!(result, Err(Error::Unconfirmed { .. }));
        let counts = [results.iter().filter(is_unconfirmed).count(), results.iter().filter(|one| one.is_err()).count()];
        assert!(
            error.as_ref().is_some_and(|error| error.contains("callback")) && counts == [unconfirmed; 2],
            "{error:?}, {results:?}"
        );
        while exchange.begin().map(|turn| turn.skip().unwrap()).is_err() {}
        for base in 10..16 {
            let turn = frame(&mut exchange, &filler, base);
            bridge.submit([], turn).unwrap();
            assert_eq!(read_buffer(&bridge, exchange.objects()), Filler::pattern(LEN, base));
        }
        let before = LiveObjects::now();
        drop(exchange);
        assert!(LiveObjects::now().exchanges < before.exchanges);
        assert_eq!(LiveObjects::now().leaked_buffers, before.leaked_buffers);
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn frames_of_one_exchange_or_of_another_bridge_are_refused() {
    let _alone = alone();
    for (bridge, other) in bridges().zip(bridges()) {
        let mut exchange = Exchange::new(&bridge, &info("numbers"), numbers()).unwrap();
        let filler = Filler::new(&bridge);
        let error = other.submit([], frame(&mut exchange, &filler, 1)).unwrap_err();
        assert!(error.to_string().contains("another wgpu device"), "{error}");
        assert!(exchange.begin().is_err(), "the frame was lost");
        let frames = vec![frame(&mut exchange, &filler, 1), frame(&mut exchange, &filler, 2)];
        let error = bridge.submit([], frames).unwrap_err();
        assert!(matches!(error, Error::Bridge(bridge_wgpu::bridge::Error::OutOfOrder { .. })), "{error}");
        // Each lost frame is reported once.
        while exchange.begin().map(|turn| turn.skip().unwrap()).is_err() {}
        let next = frame(&mut exchange, &filler, 3);
        bridge.submit([], next).unwrap();
        assert_eq!(read_buffer(&bridge, exchange.objects()), Filler::pattern(LEN, 3));
    }
}

#[test]
fn what_cannot_be_shared_is_said() {
    let _alone = alone();
    let Some(bridge) = bridge_on(Backend::Host) else { return };
    let fails = |error: Option<Error>| error.expect("it was shared").to_string();
    let odd = SharedBuffer::<u8>::new(5, wgpu::BufferUsages::COPY_SRC);
    assert!(fails(Exchange::new(&bridge, &info("odd"), odd).err()).contains("multiples of 4"));
    let empty = SharedBuffer::<u32>::new(0, wgpu::BufferUsages::COPY_SRC);
    fails(Exchange::new(&bridge, &info("empty"), empty).err());
    // wgpu refuses the combination of both mapping usages.
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
    let error = fails(Exchange::new(&bridge, &info("mapped"), SharedBuffer::<u32>::new(4, usage)).err());
    assert!(error.contains("create_buffer"), "{error}");
    let depth =
        SharedTexture::<f32>::new(wgpu::TextureFormat::Depth32Float, [4, 4], wgpu::TextureUsages::RENDER_ATTACHMENT);
    let error = fails(Exchange::<_, RenderFirst>::render_first(&bridge, &info("depth"), depth).err());
    assert!(error.contains("R32_SFLOAT"), "{error}");
    // With a number of slots that the bridge refuses, nothing is created.
    let slots = usize::MAX;
    let invalid = |error: Option<Error>| {
        let error = error.expect("it was shared");
        assert!(matches!(error, Error::Bridge(bridge_wgpu::bridge::Error::InvalidArgument { .. })), "{error}");
    };
    let many = bridge_wgpu::ExchangeInfo { slots, ..info("many") };
    invalid(Exchange::new(&bridge, &many, numbers()).err());
    let many = LatestInfo { name: "many", slots: Some(slots), ..Default::default() };
    invalid(Exchange::latest(&bridge, &many, numbers()).err());
    invalid(Exchange::latest_render_first(&bridge, &many, numbers()).err());
    assert_eq!(validation_messages(), [""; 0]);
}
