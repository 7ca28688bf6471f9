//! Images that are dropped while the CPU computes one of their frames.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};

use bridge::{ImageSpec, LiveObjects};

use super::*;
use crate::writer::CudaWriter;

type Writer = CudaWriter<ImageSpec<[u8; 4]>>;

/// Outcome of a frame whose closure was enqueued.
#[derive(Debug, Clone, Copy)]
enum Then {
    Published,
    Failed,
    Panicked,
}

/// Begins a frame whose closure runs until the sender is dropped.
fn hold(writer: &mut Writer, then: Then) -> Sender<()> {
    let (gate, held) = channel::<()>();
    let written = catch_unwind(AssertUnwindSafe(|| {
        writer.write(|frame| {
            let Frame::Cpu(cpu) = frame else { panic!("the CPU was asked for") };
            cpu.run(move |_| {
                let _ = held.recv();
            })?;
            match then {
                Then::Published => Ok(()),
                Then::Failed => Err(Error::invalid("picture", "on purpose")),
                Then::Panicked => panic!("on purpose"),
            }
        })
    }));
    match then {
        Then::Published => assert!(written.unwrap().unwrap()),
        Then::Failed => assert!(written.unwrap().is_err()),
        Then::Panicked => assert!(written.is_err()),
    }
    gate
}

/// Returns the number of images and buffers in the render world.
fn kept(world: &World) -> usize {
    world.resource::<Presented>().all.len()
}

/// Bevy's thread keeps an object whose work is still running, whether or not the end of its frame
/// is known, and frees it when the work has ended.
#[test]
fn what_computes_a_frame_is_kept_until_it_has_ended() {
    let _alone = alone();
    for then in [Then::Published, Then::Failed, Then::Panicked] {
        let mut scene = Scene::new(Way::Host);
        scene.insert(SIDE, 0);
        scene.present();
        let leaked = LiveObjects::now().leaked_images;
        let gate = hold(scene.image.writer().unwrap(), then);
        let Scene { mut world, image, .. } = scene;
        drop(image);
        for _ in 0..3 {
            world.run_system_once(present).unwrap();
            assert_eq!(kept(&world), 1, "{then:?}: it was waited for");
        }
        drop(gate);
        let start = Instant::now();
        while kept(&world) > 0 {
            assert!(start.elapsed() < LIMIT, "{then:?}: it is kept for ever");
            world.run_system_once(present).unwrap();
        }
        assert_eq!(LiveObjects::now().leaked_images, leaked, "{then:?}");
    }
}

/// A writer that the program has taken keeps the resources that it writes to alive itself.
#[test]
fn nothing_is_kept_for_a_writer_that_goes_on() {
    let _alone = alone();
    let mut scene = Scene::new(Way::Host);
    let mut writer = scene.image.take_writer().unwrap();
    let gate = hold(&mut writer, Then::Published);
    let Scene { mut world, image, .. } = scene;
    drop(image);
    world.run_system_once(present).unwrap();
    assert_eq!(kept(&world), 0);
    drop(gate);
}
