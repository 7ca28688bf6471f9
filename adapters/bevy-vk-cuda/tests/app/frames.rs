//! Bevy's materials show the frames that a simulation computes.
#![allow(clippy::unwrap_used)] // Tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};

use crate::support::simulation::{Filler, Painter, TEXELS, numbers, picture, seen, shows};
use crate::support::*;
use bevy::asset::RenderAssetUsages;
use bevy::prelude::*;
use bevy::render::render_resource::TextureFormat;
use bevy::render::storage::ShaderBuffer;
use bevy_vk_cuda::{CudaBuffer, CudaImage, CudaPlugin, Error, Frame, Way};

#[test]
fn a_material_shows_every_frame_and_keeps_the_last() {
    let _alone = alone();
    ways().into_iter().for_each(|plugin| shows_every_frame_and_keeps_the_last(app(plugin)));
    assert_eq!(errors(), [""; 0]);
}

/// Shows pictures in the app, whatever its renderer, and drops it.
pub(crate) fn shows_every_frame_and_keeps_the_last(mut app: App) {
    camera(&mut app);
    let painter = Painter::new(&cuda(&app));
    let mut image = picture(&mut app, "picture", [TEXELS; 2]);
    square(&mut app, image.handle().clone());
    for frame in 1..12 {
        until(&mut app, "a free frame", |_| painter.paint(image.writer().unwrap(), TEXELS, frame).unwrap());
        until(&mut app, "the frame", |app| shows(app, frame));
    }
    // The writer pauses: each of Bevy's frames shows the same frame.
    for _ in 0..20 {
        app.update();
        assert!(shows(&app, 11));
    }
    // Dropped while its texture is shown.
    drop(image);
    for _ in 0..20 {
        app.update();
        assert!(shows(&app, 11));
    }
    drop(app);
    assert_nothing_alive();
}

/// A plugin that is added after the renderer reports the mistake, and frames are shown
/// nevertheless.
#[test]
fn a_plugin_in_the_wrong_place_uploads() {
    let _alone = alone();
    let mut app = app_behind(CudaPlugin::default());
    let cuda = cuda(&app);
    assert_eq!(cuda.way(), Way::Upload);
    assert!(cuda.reason().contains("before `DefaultPlugins`"), "{}", cuda.reason());
    // The device's limits are respected.
    let mut images = app.world_mut().resource_mut::<Assets<Image>>();
    let large = CudaImage::<[u8; 4]>::new(&cuda, &mut images, "large", TextureFormat::Rgba8Unorm, [1 << 20, 1]);
    assert!(matches!(large, Err(Error::InvalidArgument { .. })));
    camera(&mut app);
    let painter = Painter::new(&cuda);
    let mut image = picture(&mut app, "picture", [TEXELS; 2]);
    square(&mut app, image.handle().clone());
    assert!(painter.paint(image.writer().unwrap(), TEXELS, 5).unwrap());
    until(&mut app, "the frame", |app| shows(app, 5));
    assert!(errors().iter().any(|line| line.contains("before `DefaultPlugins`")), "{:?}", errors());
    forget_errors();
}

/// With a writer that paints as fast as possible, each picture is whole, and none is older than the
/// one before.
#[test]
fn a_writer_on_a_thread_of_its_own_is_never_torn_and_never_backwards() {
    /// The maximum lead of the writer over the seen frames: the patterns repeat after 256.
    const AHEAD: u32 = 100;
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        camera(&mut app);
        let painter = Painter::new(&cuda(&app));
        let mut image = picture(&mut app, "picture", [TEXELS; 2]);
        square(&mut app, image.handle().clone());
        let mut writer = image.take_writer().unwrap();
        let seen = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&seen);
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut frame = 1;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let may_paint = frame < told.load(Ordering::Relaxed) + AHEAD;
                if may_paint && painter.paint(&mut writer, TEXELS, frame).unwrap() {
                    frame += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let shown = |app: &App, last: u32| (last.max(1)..last + AHEAD).find(|frame| shows(app, *frame));
        until(&mut app, "the first frame", |app| shown(app, 0).is_some());
        let (mut last, mut changes) = (0, 0);
        until(&mut app, "thirty pictures", |app| {
            let frame = shown(app, last);
            let frame = frame.unwrap_or_else(|| panic!("torn, or older than {last}"));
            changes += usize::from(frame > last);
            last = frame;
            seen.store(last, Ordering::Relaxed);
            changes == 30
        });
        drop(stop);
        thread.join().unwrap();
    }
    assert_eq!(errors(), [""; 0]);
}

#[test]
fn a_storage_buffer_has_every_frame() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let filler = Filler::new(&cuda(&app));
        let mut buffer = numbers(&mut app, 1000);
        assert_eq!((buffer.len(), buffer.is_empty()), (1000, false));
        read_buffer(&mut app, buffer.handle().clone());
        for frame in 1..8 {
            let base = frame * 10_000;
            let fill = |buffer: &mut CudaBuffer<u32>| filler.fill(buffer.writer().unwrap(), 1000, base, Duration::ZERO);
            until(&mut app, "a free frame", |_| fill(&mut buffer).unwrap());
            until(&mut app, "the frame", |app| seen(app) == Some(base));
        }
    }
    assert_eq!(errors(), [""; 0]);
}

/// With a slow simulation on a separate thread, the buffer that Bevy sees is whole and never older
/// than before.
#[test]
fn a_large_buffer_is_never_torn_and_never_backwards() {
    const LEN: u32 = 1 << 18;
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let filler = Filler::new(&cuda(&app));
        let mut buffer = numbers(&mut app, LEN as usize);
        read_buffer(&mut app, buffer.handle().clone());
        let mut writer = buffer.take_writer().unwrap();
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut frame = 1;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                frame += u32::from(filler.fill(&mut writer, LEN, frame, Duration::from_millis(1)).unwrap());
                std::thread::yield_now();
            }
        });
        let (mut last, mut changes, end) = (0, 0, Instant::now() + Duration::from_secs(60));
        while changes < 40 && Instant::now() < end {
            app.update();
            if let Some(frame) = seen(&app) {
                assert!(frame >= last, "{frame} after {last}");
                changes += u32::from(frame > last);
                last = frame;
            }
        }
        assert_eq!(changes, 40);
        stop.send(()).unwrap();
        thread.join().unwrap();
    }
    assert_eq!(errors(), [""; 0]);
}

/// A name may contain NUL, although it is used for messages and for a thread's name, which must
/// not.
#[test]
fn a_name_may_hold_any_text() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let painter = Painter::new(&cuda(&app));
        let mut image = picture(&mut app, "a\0b", [8; 2]);
        assert_eq!((image.size(), image.format()), ([8; 2], TextureFormat::Rgba8UnormSrgb));
        assert!(painter.paint(image.writer().unwrap(), 8, 1).unwrap());
        until(&mut app, "the frame", |_| image.writer().unwrap().presented() == 1);
    }
    assert_eq!(errors(), [""; 0]);
}

#[test]
fn a_frame_that_fails_or_runs_nothing_is_not_shown() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        camera(&mut app);
        let painter = Painter::new(&cuda(&app));
        let mut image = picture(&mut app, "picture", [TEXELS; 2]);
        square(&mut app, image.handle().clone());
        assert!(painter.paint(image.writer().unwrap(), TEXELS, 3).unwrap());
        until(&mut app, "the frame", |app| shows(app, 3));
        let writer = image.writer().unwrap();
        if cuda(&app).way() != Way::Cuda {
            let mut called = false;
            let published = writer.write::<Error>(|_| {
                called = true;
                Ok(())
            });
            assert!(called && !published.unwrap(), "the frame is skipped");
        }
        let failed = writer.write(|_| Err(own("on purpose")));
        assert!(matches!(failed, Err(Failed::Own("on purpose"))));
        let failed = writer.write(|work| {
            if let Frame::Cpu(cpu) = work {
                cpu.run(|mut rows| rows.fill_with(|_, _| [9; 4]))?;
            }
            Err(own("behind its work"))
        });
        assert!(matches!(failed, Err(Failed::Own("behind its work"))));
        for _ in 0..10 {
            app.update();
            assert!(shows(&app, 3));
        }
        until(&mut app, "a free frame", |_| painter.paint(image.writer().unwrap(), TEXELS, 4).unwrap());
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

/// If a program replaces the asset by one of another size, no frame is copied into it.
#[test]
fn an_asset_that_was_replaced_by_a_smaller_one_is_not_written() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        camera(&mut app);
        let painter = Painter::new(&cuda(&app));
        let filler = Filler::new(&cuda(&app));
        let mut image = picture(&mut app, "large picture", [TEXELS; 2]);
        let mut buffer = numbers(&mut app, 100_000);
        let small = Image::new_target_texture(8, 8, TextureFormat::Rgba8UnormSrgb, None);
        let world = app.world_mut();
        world.resource_mut::<Assets<Image>>().insert(image.handle().id(), small).unwrap();
        let small = ShaderBuffer::with_size(16, RenderAssetUsages::RENDER_WORLD);
        world.resource_mut::<Assets<ShaderBuffer>>().insert(buffer.handle().id(), small).unwrap();
        assert!(painter.paint(image.writer().unwrap(), TEXELS, 1).unwrap());
        assert!(filler.fill(buffer.writer().unwrap(), 100_000, 1, Duration::ZERO).unwrap());
        (0..20).for_each(|_| app.update());
    }
    let replaced = errors().iter().filter(|line| line.contains("its asset was replaced by one of")).count();
    assert_eq!(replaced, 2 * ways().len());
    assert_eq!(errors().len(), replaced, "and nothing else is wrong: {:?}", errors());
    forget_errors();
}

/// While an asset has another size, its writer reports it, and frames are shown again once the
/// asset has its original size.
#[test]
fn frames_go_on_once_an_asset_is_of_its_size_again() {
    const LEN: u32 = 1000;
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let (painter, filler) = (Painter::new(&cuda(&app)), Filler::new(&cuda(&app)));
        let mut image = picture(&mut app, "picture", [TEXELS; 2]);
        let mut buffer = numbers(&mut app, LEN as usize);
        read_buffer(&mut app, buffer.handle().clone());
        let (pictures, contents) = (image.handle().id(), buffer.handle().id());
        let replace = |app: &mut App, texels: u32, bytes: usize| {
            let texture = Image::new_target_texture(texels, texels, TextureFormat::Rgba8UnormSrgb, None);
            app.world_mut().resource_mut::<Assets<Image>>().insert(pictures, texture).unwrap();
            let bytes = ShaderBuffer::with_size(bytes, RenderAssetUsages::RENDER_WORLD);
            app.world_mut().resource_mut::<Assets<ShaderBuffer>>().insert(contents, bytes).unwrap();
        };
        let mut write = |base: u32| {
            let painted = painter.paint(image.writer().unwrap(), TEXELS, base);
            [painted, filler.fill(buffer.writer().unwrap(), LEN, base, Duration::ZERO)]
        };
        let told = |result: &Result<bool, Error>| matches!(result, Err(Error::NotPresented { retried: true, .. }));
        until(&mut app, "free frames", |_| write(10_000).into_iter().all(Result::unwrap));
        until(&mut app, "the frame", |app| seen(app) == Some(10_000));
        replace(&mut app, 8, 16);
        until(&mut app, "the errors of both", |_| write(20_000).iter().all(told));
        replace(&mut app, TEXELS, 4 * LEN as usize);
        until(&mut app, "the ends of both errors", |_| write(30_000).iter().all(|result| !told(result)));
        until(&mut app, "the frame behind it", |app| {
            assert!(write(40_000).iter().all(Result::is_ok));
            seen(app) == Some(40_000)
        });
    }
    let replaced = errors().iter().filter(|line| line.contains("its asset was replaced by one of")).count();
    assert_eq!((replaced, errors().len()), (2 * ways().len(), replaced), "each is logged once: {:?}", errors());
    forget_errors();
}

#[test]
fn what_cannot_be_is_said() {
    let _alone = alone();
    for plugin in ways().into_iter().take(2) {
        let mut app = app(plugin);
        let cuda = cuda(&app);
        assert_ne!(cuda.way(), Way::Cuda);
        assert!(cuda.load("none", "not PTX").unwrap().is_none(), "there is nothing to load kernels into");
        let world = app.world_mut();
        let mut images = world.resource_mut::<Assets<Image>>();
        let mut refused = |format, size| {
            CudaImage::<[u8; 4]>::new(&cuda, &mut images, "picture", format, size).err().unwrap().to_string()
        };
        assert!(refused(TextureFormat::Rgba8Unorm, [0, 4]).contains("0x4"), "the size");
        for format in [TextureFormat::R32Float, TextureFormat::Rgba16Float] {
            assert!(refused(format, [4, 4]).contains(&format!("a texel of {format:?}")), "the texel");
        }
        for (len, text) in [(3, "multiple of 4"), (0, "0 bytes")] {
            let error = CudaBuffer::<u8>::new(&cuda, &mut world.resource_mut(), "bytes", len).err().unwrap();
            assert!(error.to_string().contains(text), "{error}");
        }
        let error = CudaBuffer::<u32>::new(&cuda, &mut world.resource_mut(), "words", usize::MAX).err().unwrap();
        assert!(error.to_string().contains("more than can be addressed"), "{error}");
    }
}
