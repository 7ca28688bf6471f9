//! A writer that has a new frame for each of Bevy's.

use super::*;
use crate::ring::{COPYING, IN_FLIGHT};

/// Bevy's frames.
const FRAMES: u64 = 20;

/// Returns the number of frames that Bevy received if the last `in_flight` of its own are
/// unfinished when it begins another.
fn given(in_flight: u64) -> u64 {
    let mut scene = Scene::new(Way::Host);
    scene.insert(SIDE, 0);
    let mut one = scene.world.resource::<Cuda>().take_added().pop().unwrap();
    for serial in 1..=FRAMES {
        assert!(scene.write(serial as u8).unwrap());
        let start = Instant::now();
        while scene.image.writer().unwrap().unfinished().unwrap() > 0 {
            assert!(start.elapsed() < LIMIT, "the writer does not end");
            std::thread::yield_now();
        }
        let done = serial.saturating_sub(1 + in_flight);
        let (images, buffers) = (scene.world.resource(), scene.world.resource());
        let changed = (scene.world.resource(), scene.world.resource());
        let (device, queue) = (&scene.device, &scene.queue);
        let raw = raw_device(device);
        let mut frame = PresentFrame {
            device,
            raw,
            queue,
            images,
            buffers,
            changed,
            serial,
            done,
            commands: None,
            kept: Vec::new(),
        };
        one.present(&mut frame);
        let last = queue.submit(frame.commands.take().map(wgpu::CommandEncoder::finish));
        one.submitted(&mut frame, true);
        // The copy that has begun precedes it on the same queue.
        device.poll(wgpu::PollType::Wait { submission_index: Some(last), timeout: Some(LIMIT) }).unwrap();
    }
    scene.presented()
}

/// The copies are created in the first frame and used once that has ended. A frame that is copied
/// during one of Bevy's frames is shown in the next.
#[test]
fn each_of_bevys_frames_has_a_new_one() {
    let _alone = alone();
    for in_flight in 0..=IN_FLIGHT {
        assert_eq!(given(in_flight), FRAMES - 2 - in_flight, "{in_flight} in flight");
    }
}

/// The negative control. Here each copy has ended before the next frame, so one more of Bevy's
/// frames is possible.
#[test]
fn with_more_in_flight_than_copies_frames_are_left_out() {
    let _alone = alone();
    let in_flight = IN_FLIGHT + COPYING as u64;
    assert!(given(in_flight) < FRAMES - 2 - in_flight);
}
