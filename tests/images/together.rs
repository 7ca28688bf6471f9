//! Several images and buffers in one frame, and formats that are viewed as another format.

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Work};
use bridge_tests::{Need, Readback, Rig, skip};

use crate::crossing::{compute_writes, supported};
use crate::shapes::ROOM;
use crate::transfer::{Transfer, noise};

/// Transfers two images and a buffer, with one wait and one signal per side.
pub(crate) fn images_and_buffers_cross_together(rig: &Rig, compute: &Compute) {
    const SIDE: u32 = 16;
    let color = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [SIDE, SIDE], ImageAccess::TRANSFER_READ);
    let height = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [SIDE, SIDE], ImageAccess::TRANSFER_READ);
    let words = BufferSpec::<u32>::new(64, BufferAccess::TRANSFER_READ).with_name("words");
    let info = ExchangeInfo { name: "together", ..Default::default() };
    let spec = (color.with_name("color"), vec![height.with_name("height"); 2], words);
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let readback = Readback::new(rig.device(), 256);
    for frame in 0..4u8 {
        let texels = SIDE as usize * SIDE as usize;
        let mut turn = exchange.begin().unwrap();
        match turn.work() {
            Work::Cuda(cuda) => {
                let (mut color, heights, mut words) = cuda.resources;
                color.write_from_host(cuda.stream, 0, .., &vec![[frame, 1, 2, 3]; texels]).unwrap();
                for (mut height, value) in heights.zip([0.5, 0.25]) {
                    height.write_from_host(cuda.stream, 0, .., &vec![value; texels]).unwrap();
                }
                cuda.stream.memcpy_htod(&[u32::from(frame); 64], &mut words).unwrap();
            }
            Work::Host(host) => host
                .run(move |(mut color, heights, words)| {
                    color.rows_mut().for_each(|row| row.fill([frame, 1, 2, 3]));
                    for (mut height, value) in heights.zip([0.5, 0.25]) {
                        height.rows_mut().for_each(|row| row.fill(value));
                    }
                    words.fill(u32::from(frame));
                })
                .unwrap(),
            _ => unreachable!("no other backend is opened here"),
        }
        let turn = turn.finish().unwrap();
        let (color, heights, words) = turn.resources();
        let images: Vec<_> = std::iter::once((color, 4)).chain(heights.map(|height| (height, 4))).collect();
        let words = (words.as_raw(), words.size());
        let transfers: Vec<_> = images.iter().map(|_| Transfer::new(rig.device(), ROOM)).collect();
        let commands = readback.record_with(&turn, &[words], |commands| {
            for ((image, texel), transfer) in images.iter().zip(&transfers) {
                transfer.record_download(commands, image, *texel);
            }
        });
        // SAFETY: recorded with the turn's barriers, waited for below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        point.wait(Rig::LONG).unwrap();
        assert_eq!(readback.words()[..64], [u32::from(frame); 64]);
        let got: Vec<_> = transfers.iter().map(|transfer| transfer.bytes(4 * texels)).collect();
        assert!(got[0].chunks(4).all(|texel| texel == [frame, 1, 2, 3]));
        assert!(got[1].chunks(4).all(|texel| texel == 0.5f32.to_le_bytes()));
        assert!(got[2].chunks(4).all(|texel| texel == 0.25f32.to_le_bytes()));
    }
    exchange.close().unwrap();
}

pub(crate) fn an_srgb_format_is_unorm_memory_under_an_srgb_view(rig: &Rig, compute: &Compute) {
    let (srgb, unorm) = (vk::Format::R8G8B8A8_SRGB, vk::Format::R8G8B8A8_UNORM);
    let spec = ImageSpec::<[u8; 4]>::new(srgb, [16, 16], ImageAccess::SAMPLED | ImageAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "srgb", slots: 1, ..Default::default() };
    let Some(mut exchange) = supported(Exchange::new(compute, &info, spec)) else {
        return skip(Need::Other, "there is no sampled LINEAR image with two formats here");
    };
    let mut turn = exchange.begin().unwrap();
    let bytes = noise(5, 4 * 256);
    compute_writes(&mut turn, &bytes);
    let turn = turn.finish().unwrap();
    let image = turn.resources();
    assert_eq!((image.format(), image.vulkan().format()), (srgb, unorm));
    assert!(image.view().is_some() && image.view() != image.vulkan().view(), "one view for each format");
    assert!(Transfer::new(rig.device(), ROOM).read(turn, 4) == bytes, "encoded bytes cross as they are");
}
