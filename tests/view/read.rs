//! Reading the picture back into memory that the compute side reads.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bridge::{Compute, ComputeTurn, Exchange, LiveObjects, QueueKind, RenderFirst, Resources, Work, vk_export};
use bridge_tests::{Gate, Rig, assert_silent};
use bridge_view::{Element, Error, ImageFormat, Look, PictureSlot, View, ViewInfo};

use crate::{PIXELS, SIZE, info, noise, pixels, shown, view};

/// Draws two images, reads each, and compares the contents of the turn that `read` returns.
fn comes_back<R: PictureSlot + Resources>(
    view: &mut View,
    spec: R,
    read: impl Fn(&mut ComputeTurn<R, RenderFirst>) -> Box<dyn FnOnce() -> Vec<[u8; 4]>>,
) {
    let mut slots = Exchange::render_first(view.compute(), &info(), spec).unwrap();
    let nothing = view.read(slots.begin().unwrap());
    assert!(matches!(nothing, Err(Error::NothingDrawn)), "{nothing:?}");
    let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
    for seed in 0..4 {
        let image = noise(4 * PIXELS, seed);
        let expected = shown(view, format, &Look::default(), &image);
        assert_eq!(expected.as_flattened(), image);
        let mut turn = view.read(slots.begin().unwrap()).unwrap();
        let found = read(&mut turn);
        turn.finish().unwrap().wait(Rig::LONG).unwrap();
        assert!(found() == expected, "picture {seed}");
        assert!(pixels(view) == expected, "the picture is still there");
    }
}

pub(crate) fn the_picture_is_saved_as_png_only(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    shown(&mut view, ImageFormat::new(SIZE, 4, Element::U8).unwrap(), &Look::default(), &noise(4 * PIXELS, 7));
    let folder = std::env::temp_dir().join(format!("bridge-view-{}-{}", std::process::id(), compute.backend()));
    std::fs::create_dir_all(&folder).unwrap();
    let jpg = view.save_png(folder.join("picture.jpg"));
    assert!(matches!(jpg, Err(Error::InvalidArgument { .. })), "{jpg:?}");
    let nowhere = view.save_png(folder.join("no folder/picture.png"));
    assert!(matches!(nowhere, Err(Error::File { .. })), "{nowhere:?}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is written");
    for name in ["picture.png", "picture.PNG", "picture"] {
        view.save_png(folder.join(name)).unwrap();
        assert!(std::fs::read(folder.join(name)).unwrap() == view.png().unwrap(), "{name}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

pub(crate) fn the_picture_is_copied_into_memory_of_its_size(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let mut memory = vec![7; 4 * PIXELS];
    for len in [0, 4 * PIXELS - 1, 4 * PIXELS + 4] {
        let refused = view.pixels_into(&mut vec![7; len]);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    }
    view.pixels_into(&mut memory).unwrap();
    assert!(memory.chunks_exact(4).all(|pixel| pixel == [0, 0, 0, 255]), "black before the first");
    let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
    for seed in 0..4 {
        let image = noise(4 * PIXELS, seed);
        shown(&mut view, format, &Look::default(), &image);
        view.pixels_into(&mut memory).unwrap();
        assert!(memory == image, "picture {seed}");
        let refused = view.pixels_into(&mut memory[1..]);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    }
}

/// A copy that exceeds the time limit keeps the picture and the memory that it writes; otherwise
/// the validation layer reports that they are freed. The next copy has memory of its own.
pub(crate) fn a_late_copy_of_the_picture_keeps_its_memory(_: &Rig, compute: &Compute) {
    let (device, before) = (compute.device(), LiveObjects::now());
    let mut late_view = View::headless(compute, &ViewInfo { size: SIZE, timeout: Duration::from_secs(3) }).unwrap();
    let (image, mut memory) = (noise(4 * PIXELS, 5), vec![7; 4 * PIXELS]);
    let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
    shown(&mut late_view, format, &Look::default(), &image);
    let late = |view: &mut View, memory: &mut [u8]| {
        let gate = Gate::new(device);
        gate.hold_queue(device, QueueKind::Graphics);
        let error = view.pixels_into(memory).unwrap_err();
        let is_late = matches!(error, Error::Bridge(bridge::Error::Vulkan(vk_export::Error::Unfinished { .. })));
        assert!(is_late, "{error:?}");
        gate
    };
    drop(late(&mut late_view, &mut memory));
    assert!(memory.iter().all(|byte| *byte == 7), "nothing was copied");
    // The limit of a copy that is late may be too short for one that is not.
    let start = Instant::now();
    while let Err(error) = late_view.pixels_into(&mut memory) {
        assert!(start.elapsed() < Rig::LONG, "{error}");
    }
    assert!(memory == image, "after the late copy");
    let gate = late(&mut late_view, &mut memory);
    drop(late_view);
    assert_ne!(LiveObjects::now(), before, "what the copy uses is kept");
    drop(gate);
    // Copies of the device free what earlier ones have used.
    let start = Instant::now();
    while LiveObjects::now() != before {
        assert!(start.elapsed() < Rig::LONG, "alive: {}", LiveObjects::now());
        shown(&mut view(compute), format, &Look::default(), &image);
    }
    assert_silent(device);
}

pub(crate) fn the_picture_is_read_into_a_buffer(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let spec = view.picture_spec().unwrap();
    comes_back(&mut view, spec, |turn| match turn.work() {
        Work::Cuda(cuda) => {
            let found = cuda.stream.clone_dtoh(&cuda.resources).unwrap();
            Box::new(|| found)
        }
        Work::Host(host) => {
            let (sender, receiver) = mpsc::channel();
            host.run(move |slot| sender.send(slot.to_vec()).unwrap()).unwrap();
            Box::new(move || receiver.recv().unwrap())
        }
        _ => panic!("no such backend is tested"),
    });
}

pub(crate) fn the_picture_is_read_into_an_image(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let spec = view.picture_image_spec();
    comes_back(&mut view, spec, |turn| match turn.work() {
        Work::Cuda(cuda) => {
            let mut found = vec![[0; 4]; PIXELS];
            cuda.resources.read_to_host(cuda.stream, 0, .., &mut found).unwrap();
            Box::new(|| found)
        }
        Work::Host(host) => {
            let (sender, receiver) = mpsc::channel();
            host.run(move |image| sender.send(image.rows().flatten().copied().collect()).unwrap()).unwrap();
            Box::new(move || receiver.recv().unwrap())
        }
        _ => panic!("no such backend is tested"),
    });
}
