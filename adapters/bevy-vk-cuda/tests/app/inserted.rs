//! Programs that insert or modify an asset which frames fill.
#![allow(clippy::unwrap_used)] // Tests.

use std::time::Duration;

use bevy::prelude::*;
use bevy::render::storage::ShaderBuffer;

use crate::support::simulation::{Filler, Painter, TEXELS, numbers, picture, seen, shows};
use crate::support::*;

/// The number of updates after which the read-back has reported any change.
const UPDATES: usize = 10;

/// Data of the same shape is written to the same texture, which shows the newest frame nevertheless.
#[test]
fn an_image_that_is_inserted_again_shows_the_newest_frame() {
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        camera(&mut app);
        let painter = Painter::new(&cuda(&app));
        let mut image = picture(&mut app, "picture", [TEXELS; 2]);
        square(&mut app, image.handle().clone());
        assert!(painter.paint(image.writer().unwrap(), TEXELS, 5).unwrap());
        until(&mut app, "the frame", |app| shows(app, 5));
        let data = vec![255; 4 * SIDE * SIDE];
        for is_modified in [false, true] {
            let mut images = app.world_mut().resource_mut::<Assets<Image>>();
            if is_modified {
                images.get_mut(image.handle()).unwrap().data = Some(data.clone());
            } else {
                let inserted = Image { data: Some(data.clone()), ..images.get(image.handle()).unwrap().clone() };
                images.insert(image.handle(), inserted).unwrap();
            }
            for _ in 0..UPDATES {
                app.update();
                assert!(shows(&app, 5), "modified: {is_modified}");
            }
        }
        assert_eq!(image.writer().unwrap().presented(), 1, "the frame counts once");
        // Later frames are shown as before.
        until(&mut app, "a free frame", |_| painter.paint(image.writer().unwrap(), TEXELS, 6).unwrap());
        until(&mut app, "the next frame", |app| shows(app, 6));
    }
    assert_eq!(errors(), [""; 0]);
}

#[test]
fn a_buffer_that_is_inserted_again_has_the_newest_frame() {
    const LEN: usize = 1000;
    let _alone = alone();
    for plugin in ways() {
        let mut app = app(plugin);
        let filler = Filler::new(&cuda(&app));
        let mut buffer = numbers(&mut app, LEN);
        read_buffer(&mut app, buffer.handle().clone());
        assert!(filler.fill(buffer.writer().unwrap(), LEN as u32, 50, Duration::ZERO).unwrap());
        until(&mut app, "the frame", |app| seen(app) == Some(50));
        for is_modified in [false, true] {
            let data = Some(vec![0; 4 * LEN]);
            let mut buffers = app.world_mut().resource_mut::<Assets<ShaderBuffer>>();
            if is_modified {
                buffers.get_mut(buffer.handle()).unwrap().data = data;
            } else {
                let inserted = ShaderBuffer { data, ..buffers.get(buffer.handle()).unwrap().clone() };
                buffers.insert(buffer.handle(), inserted).unwrap();
            }
            for _ in 0..UPDATES {
                app.update();
                assert_eq!(seen(&app), Some(50), "modified: {is_modified}");
            }
        }
        assert_eq!(buffer.writer().unwrap().presented(), 1, "the frame counts once");
        until(&mut app, "a free frame", |_| {
            filler.fill(buffer.writer().unwrap(), LEN as u32, 60, Duration::ZERO).unwrap()
        });
        until(&mut app, "the next frame", |app| seen(app) == Some(60));
    }
    assert_eq!(errors(), [""; 0]);
}
