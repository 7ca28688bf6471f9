//! Objects that frames copy out, where wgpu refuses the submission.
#![allow(clippy::unwrap_used)] // A test.

use bridge_wgpu::{Error, Exchange, SharedBuffer, SharedTexture, wgpu};

use crate::refused::read_texture;
use crate::support::{alone, info, validation_messages, ways};

const LEN: usize = 512;

/// A frame whose copy wgpu refuses, for a buffer that is mapped or a texture that was destroyed,
/// behind one of another exchange: that one's texture is not taken for copied.
#[test]
fn textures_that_wgpu_hands_over_keep_what_they_hold() {
    let _alone = alone();
    for bridge in ways() {
        let usage = wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST;
        let spec = || SharedTexture::<u32>::new(wgpu::TextureFormat::R32Uint, [64, 8], usage);
        let mut first = Exchange::render_first(&bridge, &info("first"), spec()).unwrap();
        let mut gone = Exchange::render_first(&bridge, &info("gone"), spec()).unwrap();
        let mappable = SharedBuffer::<u32>::new(LEN, wgpu::BufferUsages::MAP_WRITE);
        let mut mapped = Exchange::render_first(&bridge, &info("mapped"), mappable).unwrap();
        let seen = first.objects().clone();
        gone.objects().destroy();
        for word in 1..4u32 {
            // The texture is written to, and so a target of copies. Before, it was not initialized.
            let words = [word; LEN];
            let bytes: Vec<_> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
            bridge.queue().write_texture(seen.as_image_copy(), &bytes, layout, seen.size());
            bridge.queue().submit([]);
            let frames = (first.begin().unwrap(), gone.begin().unwrap());
            let error = bridge.submit([], frames).unwrap_err();
            assert!(matches!(error, Error::Refused { call: "Queue::submit", .. }), "{error}");
            assert_eq!(read_texture(&bridge, &seen), words);
            bridge.queue().write_texture(seen.as_image_copy(), &bytes, layout, seen.size());
            bridge.queue().submit([]);
            mapped.objects().map_async(wgpu::MapMode::Write, .., |result| result.unwrap());
            bridge.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            let frames = (first.begin().unwrap(), mapped.begin().unwrap());
            let error = bridge.submit([], frames).unwrap_err();
            assert!(error.to_string().contains("mapped"), "{error}");
            mapped.objects().unmap();
            assert_eq!(read_texture(&bridge, &seen), words);
            let frames = (first.begin().unwrap(), mapped.begin().unwrap());
            let (one, other) = bridge.submit([], frames).unwrap();
            one.finish().unwrap();
            other.finish().unwrap();
        }
    }
    assert_eq!(validation_messages(), [""; 0]);
}
