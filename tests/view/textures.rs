//! Shared images, drawn directly from their memory: each pixel equals that of the same values in a
//! buffer.

use bridge::half::f16;
use bridge::{Compute, Exchange, ImageAccess, ImageSpec, LatestInfo, LiveObjects, RenderTurn, Texel, Work, ash::vk};
use bridge_tests::Rig;
use bridge_view::{ColorMap, Element, ImageFormat, Look, View};

use crate::{PIXELS, SIZE, info, noise, pixels, shown, view};

const RGBA: vk::Format = vk::Format::R8G8B8A8_UNORM;

/// Returns texels of any type from their bytes.
fn texels<T: Texel>(bytes: &[u8]) -> Vec<T> {
    bytemuck::pod_collect_to_vec(bytes)
}

fn spec<T: Texel>(format: vk::Format, size: [u32; 2]) -> ImageSpec<T> {
    ImageSpec::new(format, size, ImageAccess::COMPUTE_SAMPLED)
}

/// Enqueues the writing of these texels, with `width` texels per row.
fn write<T: Texel>(work: Work<'_, ImageSpec<T>>, width: usize, texels: Vec<T>) {
    match work {
        Work::Cuda(mut cuda) => cuda.resources.write_from_host(cuda.stream, 0, .., &texels).unwrap(),
        Work::Host(host) => host
            .run(move |mut image| {
                for (row, texels) in image.rows_mut().zip(texels.chunks_exact(width)) {
                    row.copy_from_slice(texels);
                }
            })
            .unwrap(),
        _ => panic!("no such backend is tested"),
    }
}

fn finished<T: Texel>(exchange: &mut Exchange<ImageSpec<T>>, width: u32, bytes: &[u8]) -> RenderTurn<ImageSpec<T>> {
    let mut turn = exchange.begin().unwrap();
    write(turn.work(), width as usize, texels(bytes));
    turn.finish().unwrap()
}

/// Returns the picture of an image with these bytes.
fn sampled<T: Texel>(view: &mut View, spec: ImageSpec<T>, look: &Look, bytes: &[u8]) -> Vec<[u8; 4]> {
    let [width, ..] = spec.extent();
    let mut exchange = Exchange::new(view.compute(), &info(), spec).unwrap();
    let turn = finished(&mut exchange, width, bytes);
    view.show_texture(turn, look).unwrap();
    assert!(view.draw().unwrap(), "the frame is new");
    pixels(view)
}

/// Returns the bytes of `count` floats between -0.5 and 2 that half floats represent exactly.
fn floats(count: usize, element: Element) -> Vec<u8> {
    let values = noise(count, 11).into_iter().map(|byte| f32::from(byte) / 102.0 - 0.5).map(f16::from_f32);
    match element {
        Element::F16 => values.flat_map(f16::to_ne_bytes).collect(),
        _ => values.flat_map(|value| f32::from(value).to_ne_bytes()).collect(),
    }
}

fn near(found: &[u8], expected: &[u8]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| found.abs_diff(*expected) <= 1)
}

pub(crate) fn images_of_every_type_are_drawn_as_buffers_are(_: &Rig, compute: &Compute) {
    fn check<T: Texel>(view: &mut View, format: vk::Format, channels: u32, element: Element) {
        let count = PIXELS * channels as usize;
        let bytes = if element == Element::U8 { noise(count, channels) } else { floats(count, element) };
        let looks = [
            Look::default(),
            Look { exposure: -1.0, linear: true, ..Look::default() },
            Look { color_map: ColorMap::Viridis, ..Look::default() },
        ];
        for look in looks {
            let buffer = ImageFormat::new(SIZE, channels, element).unwrap();
            let expected = shown(view, buffer, &look, &bytes);
            // Draws another image in between, so that a picture that did not change is detected.
            sampled::<[u8; 4]>(view, spec(RGBA, SIZE), &look, &[0; 4 * PIXELS]);
            let found = sampled::<T>(view, spec(format, SIZE), &look, &bytes);
            for (pixel, (found, expected)) in found.iter().zip(&expected).enumerate() {
                // Two shaders with the same arithmetic: compilers may round it differently.
                let same = found == expected || look != Look::default() && near(found, expected);
                assert!(same, "{format:?}: pixel {pixel} is {found:?}, not {expected:?}, with {look:?}");
            }
        }
    }
    let mut view = view(compute);
    check::<u8>(&mut view, vk::Format::R8_UNORM, 1, Element::U8);
    check::<[u8; 2]>(&mut view, vk::Format::R8G8_UNORM, 2, Element::U8);
    check::<[u8; 4]>(&mut view, RGBA, 4, Element::U8);
    check::<f16>(&mut view, vk::Format::R16_SFLOAT, 1, Element::F16);
    check::<[f16; 2]>(&mut view, vk::Format::R16G16_SFLOAT, 2, Element::F16);
    check::<[f16; 4]>(&mut view, vk::Format::R16G16B16A16_SFLOAT, 4, Element::F16);
    check::<f32>(&mut view, vk::Format::R32_SFLOAT, 1, Element::F32);
    check::<[f32; 2]>(&mut view, vk::Format::R32G32_SFLOAT, 2, Element::F32);
    check::<[f32; 4]>(&mut view, vk::Format::R32G32B32A32_SFLOAT, 4, Element::F32);
}

pub(crate) fn images_of_other_orders_and_encodings_are_drawn(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let bytes = noise(4 * PIXELS, 3);
    let plain = Look::default();
    let found = sampled::<[u8; 4]>(&mut view, spec(vk::Format::B8G8R8A8_UNORM, SIZE), &plain, &bytes);
    let turned: Vec<[u8; 4]> = bytes.chunks_exact(4).map(|texel| [texel[2], texel[1], texel[0], texel[3]]).collect();
    assert!(found == turned, "blue comes first in memory");
    // Sampling converts to linear values, which are encoded again.
    let linear = Look { linear: true, ..plain };
    let found = sampled::<[u8; 4]>(&mut view, spec(vk::Format::R8G8B8A8_SRGB, SIZE), &linear, &bytes);
    assert!(near(found.as_flattened(), &bytes), "sRGB and back");
    // The first byte of 16 bits determines the value, except for rounding.
    let words: Vec<u8> = noise(PIXELS, 5).into_iter().flat_map(|byte| (u16::from(byte) * 257).to_ne_bytes()).collect();
    let found = sampled::<u16>(&mut view, spec(vk::Format::R16_UNORM, SIZE), &plain, &words);
    let expected = noise(PIXELS, 5);
    assert!(found.iter().zip(&expected).all(|(found, gray)| *found == [*gray, *gray, *gray, 255]), "16 bits");
    let nan: Vec<u8> = (0..PIXELS).flat_map(|_| f32::NAN.to_ne_bytes()).collect();
    let found = sampled::<f32>(&mut view, spec(vk::Format::R32_SFLOAT, SIZE), &plain, &nan);
    assert!(found.iter().all(|pixel| *pixel == [255, 0, 255, 255]), "NaN stands out");
}

pub(crate) fn images_of_other_sizes_are_scaled_as_buffers_are(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    for size in [[1, 1], [5, 3], [2 * SIZE[0], 2 * SIZE[1]], [7, 61]] {
        let bytes = noise(4 * (size[0] * size[1]) as usize, size[0]);
        let format = ImageFormat::new(size, 4, Element::U8).unwrap();
        let expected = shown(&mut view, format, &Look::default(), &bytes);
        let found = sampled::<[u8; 4]>(&mut view, spec(RGBA, size), &Look::default(), &bytes);
        assert!(near(found.as_flattened(), expected.as_flattened()), "{size:?}");
        // Of several levels the first is drawn; with other accesses the image is in another layout.
        let accesses = ImageAccess::COMPUTE_SAMPLED | ImageAccess::TRANSFER_READ;
        let levels = ImageSpec::new(RGBA, size, accesses).with_full_mip_chain();
        let found = sampled::<[u8; 4]>(&mut view, levels, &Look::default(), &bytes);
        assert!(near(found.as_flattened(), expected.as_flattened()), "{size:?} with levels");
    }
}

/// Frames of an image, of a buffer and of another image alternate, with three in flight.
pub(crate) fn images_and_buffers_take_turns(_: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    {
        let mut view = view(compute);
        let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
        let mut image = Exchange::new(compute, &info(), spec::<[u8; 4]>(RGBA, SIZE)).unwrap();
        let mut gray = Exchange::new(compute, &info(), spec::<u8>(vk::Format::R8_UNORM, SIZE)).unwrap();
        let mut buffer = Exchange::new(compute, &info(), format.spec::<u8>().unwrap()).unwrap();
        for frame in 0..60_u32 {
            let bytes = noise(4 * PIXELS, frame);
            let look = Look::default();
            match frame % 3 {
                0 => view.show_texture(finished(&mut image, SIZE[0], &bytes), &look).unwrap(),
                1 => view.show_texture(finished(&mut gray, SIZE[0], &bytes[..PIXELS]), &look).unwrap(),
                _ => {
                    let mut turn = buffer.begin().unwrap();
                    crate::write(&mut turn, &bytes);
                    view.show_image(turn.finish().unwrap(), format, &look).unwrap();
                }
            }
            assert!(view.draw().unwrap());
            // Most frames are not waited for.
            if frame % 10 < 3 {
                let gray = |byte: &u8| [*byte, *byte, *byte, 255];
                let expected = if frame % 3 == 1 { bytes[..PIXELS].iter().map(gray).collect() } else { texels(&bytes) };
                assert!(pixels(&mut view) == expected, "frame {frame}");
            }
        }
    }
    assert_eq!(LiveObjects::now(), before);
}

pub(crate) fn images_of_a_latest_exchange_are_drawn(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let latest = LatestInfo { name: "latest", timeout: Rig::LONG, ..Default::default() };
    let (mut writer, mut reader) = Exchange::latest(compute, &latest, spec::<[u8; 4]>(RGBA, SIZE)).unwrap();
    for seed in 0..10 {
        let bytes = noise(4 * PIXELS, seed);
        let mut turn = writer.begin().unwrap();
        write(turn.work(), SIZE[0] as usize, texels(&bytes));
        turn.publish().unwrap().wait(Rig::LONG).unwrap();
        // Draws the same frame a second time as well.
        for _ in 0..2 {
            let turn = reader.newest().unwrap().expect("a frame is finished");
            view.show_texture(turn, &Look::default()).unwrap();
            assert!(view.draw().unwrap());
            assert!(pixels(&mut view).as_flattened() == bytes, "frame {seed}");
        }
    }
}
