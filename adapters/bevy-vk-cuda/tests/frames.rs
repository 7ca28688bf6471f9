//! What a simulation computes is what Bevy's materials show.
#![allow(clippy::unwrap_used)] // Tests.

mod support;

use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use bevy::prelude::*;
use bevy::render::render_resource::TextureFormat;
use bevy::render::storage::ShaderBuffer;
use bevy_vk_cuda::bridge::ImageSpec;
use bevy_vk_cuda::{Cuda, CudaBuffer, CudaImage, CudaWriter, Error, Frame, Way};
use support::*;

type Picture = CudaImage<[u8; 4]>;

fn picture(app: &mut App, name: &str, size: [u32; 2]) -> Picture {
    let cuda = cuda(app);
    let mut images = app.world_mut().resource_mut::<Assets<Image>>();
    Picture::new(&cuda, &mut images, name, TextureFormat::Rgba8UnormSrgb, size).unwrap()
}

fn numbers(app: &mut App, len: usize) -> CudaBuffer<u32> {
    let cuda: Cuda = cuda(app);
    CudaBuffer::new(&cuda, &mut app.world_mut().resource_mut::<Assets<ShaderBuffer>>(), "numbers", len).unwrap()
}

/// A texel that tells the frame and the place.
fn texel(frame: u8, x: usize, y: usize) -> [u8; 4] {
    [frame.wrapping_mul(17), (x * 4) as u8, (y * 4) as u8, 255]
}

fn paint(writer: &mut CudaWriter<ImageSpec<[u8; 4]>>, frame: u8) -> Result<bool, Error> {
    writer.write(|work| match work {
        Frame::Cpu(cpu) => cpu.run(move |mut rows| rows.fill_with(|x, y| texel(frame, x, y))),
        _ => panic!("no CUDA was asked for"),
    })
}

/// The camera's picture is all of one frame, texel for texel.
fn shows(app: &App, frame: u8) -> bool {
    let seen = &app.world().resource::<Seen>().picture;
    let expected = (0..SIDE * SIDE).map(|at| texel(frame, at % SIDE, at / SIDE));
    // The texture is filtered, at the centres of its texels.
    let near = |(seen, expected): (&[u8], [u8; 4])| seen.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
    seen.len() == 4 * SIDE * SIDE && seen.chunks_exact(4).zip(expected).all(near)
}

#[test]
fn a_material_shows_every_frame_and_keeps_the_last() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        camera(&mut app);
        let mut image = picture(&mut app, "picture", [SIDE as u32; 2]);
        square(&mut app, image.handle().clone());
        for frame in 1..12 {
            until(&mut app, "a free frame", |_| paint(image.writer().unwrap(), frame).unwrap());
            until(&mut app, "the frame", |app| shows(app, frame));
        }
        // The writer pauses: the same frame again and again.
        for _ in 0..20 {
            app.update();
            assert!(shows(&app, 11));
        }
        // Removed, while its texture is shown.
        drop(image);
        for _ in 0..20 {
            app.update();
            assert!(shows(&app, 11));
        }
        drop(app);
        assert_nothing_alive();
    }
    assert_eq!(errors(), [""; 0]);
}

/// A number in three digits, far enough apart for what filters and colour spaces round.
fn digits(number: u32) -> [u8; 4] {
    let digit = |place: u32| (number >> place & 15) as u8 * 16 + 8;
    [digit(0), digit(4), digit(8), 255]
}

fn number(texel: &[u8]) -> u32 {
    texel[..3].iter().rev().fold(0, |number, digit| number * 16 + u32::from(digit / 16))
}

/// A frame in the picture is whole and no older than one before, however fast the writer is.
#[test]
fn a_writer_on_a_thread_of_its_own_is_never_torn_and_never_backwards() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        camera(&mut app);
        let mut image = picture(&mut app, "picture", [SIDE as u32; 2]);
        square(&mut app, image.handle().clone());
        let mut writer = image.take_writer().unwrap();
        assert!(image.writer().is_none());
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut frame = 1u32;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let written = writer.write(|work| match work {
                    Frame::Cpu(cpu) => cpu.run(move |mut rows| {
                        rows.fill_with(|_, _| digits(frame));
                    }),
                    _ => panic!("no CUDA was asked for"),
                });
                frame += u32::from(written.unwrap());
                // Some frames in one of Bevy's, so that the numbers do not go round unseen.
                std::thread::sleep(Duration::from_millis(4));
            }
            frame
        });
        let (mut last, mut changes) = (0, 0);
        for _ in 0..150 {
            app.update();
            let seen = &app.world().resource::<Seen>().picture;
            let mut frames = seen.chunks_exact(4).map(number);
            // Black before the first.
            if let Some(frame) = frames.next().filter(|frame| *frame > 0) {
                let other = frames.find(|other| *other != frame);
                assert_eq!(other, None, "torn, beside {frame}");
                // The numbers go round.
                let step = frame.wrapping_sub(last) & 0xfff;
                assert!(last == 0 || step < 0x800, "{frame} after {last}");
                changes += usize::from(step > 0);
                last = frame;
            }
        }
        assert!(changes > 10, "{changes} frames seen");
        stop.send(()).unwrap();
        assert!(thread.join().unwrap() > 10);
    }
    assert_eq!(errors(), [""; 0]);
}

#[test]
fn a_storage_buffer_has_every_frame() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let mut buffer = numbers(&mut app, 1000);
        read_buffer(&mut app, buffer.handle().clone());
        for frame in 1..8u32 {
            let write = |buffer: &mut CudaBuffer<u32>| {
                buffer.writer().unwrap().write(|work| match work {
                    Frame::Cpu(cpu) => cpu.run(move |items| {
                        items.iter_mut().zip(0..).for_each(|(item, index)| *item = frame * 10_000 + index);
                    }),
                    _ => panic!("no CUDA was asked for"),
                })
            };
            until(&mut app, "a free frame", |_| write(&mut buffer).map_err(|error: Error| error).unwrap());
            let expected: Vec<u8> = (0..1000).flat_map(|index| (frame * 10_000 + index).to_ne_bytes()).collect();
            until(&mut app, "the frame", |app| app.world().resource::<Seen>().buffer == expected);
        }
    }
    assert_eq!(errors(), [""; 0]);
}

#[test]
fn a_frame_that_fails_or_runs_nothing_is_not_shown() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        camera(&mut app);
        let mut image = picture(&mut app, "picture", [SIDE as u32; 2]);
        square(&mut app, image.handle().clone());
        assert!(paint(image.writer().unwrap(), 3).unwrap());
        until(&mut app, "the frame", |app| shows(app, 3));
        let writer = image.writer().unwrap();
        assert!(writer.write::<Error>(|_| Ok(())).unwrap());
        let failed = writer.write(|_| Err(own("on purpose")));
        assert!(matches!(failed, Err(Failed::Own("on purpose"))));
        for _ in 0..10 {
            app.update();
            assert!(shows(&app, 3));
        }
        until(&mut app, "a free frame", |_| paint(image.writer().unwrap(), 4).unwrap());
        until(&mut app, "the frame after", |app| shows(app, 4));
    }
    assert_eq!(errors(), [""; 0]);
}

#[derive(Debug)]
enum Failed {
    Own(&'static str),
    Ours(#[allow(dead_code)] Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

fn own(text: &'static str) -> Failed {
    Failed::Own(text)
}

#[test]
fn what_cannot_be_is_said() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let cuda = cuda(&app);
        assert_ne!(cuda.way(), Way::Cuda);
        assert!(cuda.load("none", "not PTX").unwrap().is_none(), "there is nothing to load kernels into");
        let world = app.world_mut();
        let mut images = world.resource_mut::<Assets<Image>>();
        let mut refused = |format, size| {
            CudaImage::<[u8; 4]>::new(&cuda, &mut images, "picture", format, size).err().unwrap().to_string()
        };
        assert!(refused(TextureFormat::R32Float, [0, 4]).contains("0x4"), "the size");
        assert!(refused(TextureFormat::Rgba16Float, [4, 4]).contains("Rgba16Float"), "the texel");
        let error = CudaBuffer::<u8>::new(&cuda, &mut world.resource_mut(), "bytes", 3).err().unwrap();
        assert!(error.to_string().contains("multiple of 4"), "{error}");
    }
}
