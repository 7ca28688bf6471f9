//! Contents cross bit for bit, whatever the format and the shape.

use bridge::ash::vk;
use bridge::cuda_import::{Texel, half::f16};
use bridge::{
    Backend, BufferSpec, Compute, ComputeTurn, Consumer, Direction, Error, Exchange, ExchangeInfo, FORMATS, FormatInfo,
    ImageConsumer, ImageSpec, Work,
    vk_export::{self, mip_count},
};
use bridge_tests::{Need, Readback, Rig, skip, skip_case};

use crate::transfer::{Transfer, noise, size_of_image};

/// Room for the largest image here, with padding.
const ROOM: usize = 256 << 10;

/// Calls `$body` with the texel type of a format.
macro_rules! with_texel {
    ($texel:expr, $body:ident ( $($arg:expr),* )) => {{
        use bridge::cuda_import::ChannelType::*;
        let texel = $texel;
        match (texel.channel, texel.channels) {
            (U8, 1) => $body::<u8>($($arg),*), (U8, 2) => $body::<[u8; 2]>($($arg),*), (U8, _) => $body::<[u8; 4]>($($arg),*),
            (I8, 1) => $body::<i8>($($arg),*), (I8, 2) => $body::<[i8; 2]>($($arg),*), (I8, _) => $body::<[i8; 4]>($($arg),*),
            (U16, 1) => $body::<u16>($($arg),*), (U16, 2) => $body::<[u16; 2]>($($arg),*), (U16, _) => $body::<[u16; 4]>($($arg),*),
            (I16, 1) => $body::<i16>($($arg),*), (I16, 2) => $body::<[i16; 2]>($($arg),*), (I16, _) => $body::<[i16; 4]>($($arg),*),
            (U32, 1) => $body::<u32>($($arg),*), (U32, 2) => $body::<[u32; 2]>($($arg),*), (U32, _) => $body::<[u32; 4]>($($arg),*),
            (I32, 1) => $body::<i32>($($arg),*), (I32, 2) => $body::<[i32; 2]>($($arg),*), (I32, _) => $body::<[i32; 4]>($($arg),*),
            (F16, 1) => $body::<f16>($($arg),*), (F16, 2) => $body::<[f16; 2]>($($arg),*), (F16, _) => $body::<[f16; 4]>($($arg),*),
            (F32, 1) => $body::<f32>($($arg),*), (F32, 2) => $body::<[f32; 2]>($($arg),*), (F32, _) => $body::<[f32; 4]>($($arg),*),
        }
    }};
}

/// Texels of all levels and layers.
fn count([width, height, depth]: [usize; 3], levels: u32, layers: usize) -> usize {
    let side = |n: usize, level: u32| (n >> level).max(1);
    let texels = (0..levels).map(|level| side(width, level) * side(height, level) * side(depth, level));
    texels.sum::<usize>() * layers
}

/// What is tried, with the number of texels that each has.
fn shapes<T: Texel>(format: vk::Format, consumer: ImageConsumer) -> Vec<(&'static str, ImageSpec<T>, usize)> {
    let d1 = || ImageSpec::d1(format, 37, consumer);
    let d2 = || ImageSpec::new(format, [37, 19], consumer);
    let d3 = || ImageSpec::d3(format, [9, 7, 5], consumer);
    let cube = || ImageSpec::cube(format, 16, consumer);
    vec![
        ("1D", d1(), 37),
        ("1D, mips", d1().all_mips(), count([37, 1, 1], 6, 1)),
        ("1D array", d1().layers(3), 3 * 37),
        ("2D", d2(), 37 * 19),
        ("2D, mips", d2().all_mips(), count([37, 19, 1], 6, 1)),
        ("2D array", d2().layers(3), 3 * 37 * 19),
        ("2D array, mips", d2().layers(2).all_mips(), count([37, 19, 1], 6, 2)),
        ("2D array of one", d2().layers(1), 37 * 19),
        ("3D", d3(), 9 * 7 * 5),
        ("3D, mips", d3().all_mips(), count([9, 7, 5], 4, 1)),
        ("cube", cube(), 6 * 256),
        ("cube, mips", cube().all_mips(), count([16, 16, 1], 5, 6)),
        ("cube array", cube().layers(2), 12 * 256),
    ]
}

/// Lets the compute side write all of an image.
pub(crate) fn compute_writes<T: Texel, D: Direction>(turn: &mut ComputeTurn<ImageSpec<T>, D>, bytes: &[u8]) {
    let texels: Vec<T> = bytemuck::pod_collect_to_vec(bytes);
    match turn.work() {
        Work::Cuda(mut cuda) => {
            let image = cuda.resources.image();
            let (levels, layers) = (image.levels(), image.layers() as usize);
            let sizes: Vec<_> =
                (0..levels).map(|l| image.level_extent(l).map(|n| n as usize).iter().product()).collect();
            let mut rest = texels.as_slice();
            for (level, size) in (0..).zip(sizes) {
                let size: usize = size;
                let (now, after) = rest.split_at(size * layers);
                cuda.resources.write_from_host(cuda.stream, level, .., now).unwrap();
                rest = after;
            }
        }
        Work::Host(host) => host
            .run(move |mut image| {
                let mut rest = texels.as_slice();
                for level in 0..image.levels() {
                    for layer in 0..image.layers() {
                        let mut plane = image.plane_mut(level, layer).unwrap();
                        for z in 0..plane.extent()[2] {
                            for row in plane.rows_mut(z) {
                                let (now, after) = rest.split_at(row.len());
                                row.copy_from_slice(now);
                                rest = after;
                            }
                        }
                    }
                }
            })
            .unwrap(),
    }
}

/// What the compute side sees of an image, once it is its turn.
pub(crate) fn compute_reads<T: Texel>(turn: ComputeTurn<ImageSpec<T>, bridge::RenderFirst>) -> Vec<u8> {
    let mut turn = turn;
    let (sender, receiver) = std::sync::mpsc::channel::<Vec<T>>();
    match turn.work() {
        Work::Cuda(cuda) => {
            let image = cuda.resources.image();
            for level in 0..image.levels() {
                let len: usize = image.level_extent(level).map(|n| n as usize).iter().product();
                let mut texels = vec![T::zeroed(); len * image.layers() as usize];
                cuda.resources.read_to_host(cuda.stream, level, .., &mut texels).unwrap();
                sender.send(texels).unwrap();
            }
        }
        Work::Host(host) => {
            let sender = sender.clone();
            host.run(move |mut image| {
                for level in 0..image.levels() {
                    for layer in 0..image.layers() {
                        let mut plane = image.plane_mut(level, layer).unwrap();
                        for z in 0..plane.extent()[2] {
                            plane.rows_mut(z).for_each(|row| sender.send(row.to_vec()).unwrap());
                        }
                    }
                }
            })
            .unwrap();
        }
    }
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    drop(sender);
    receiver.into_iter().flat_map(|texels| bytemuck::cast_slice::<T, u8>(&texels).to_vec()).collect()
}

/// Whether an image of this shape could be made; everything else than "there is no such image" fails the test.
fn made<X>(result: Result<X, Error>) -> Option<X> {
    match result {
        Ok(made) => Some(made),
        Err(
            Error::NotMappable { .. }
            | Error::Vulkan(vk_export::Error::UnsupportedImage { .. } | vk_export::Error::NotExportable { .. }),
        ) => None,
        Err(error) => panic!("{error}"),
    }
}

/// What became of an image.
#[derive(Debug, PartialEq)]
pub(crate) enum Crossing {
    /// Whole, both ways.
    Whole,
    /// The device makes no such image.
    Missing,
    /// With other contents.
    Differs(String),
}

/// Both ways through one image of so many texels.
pub(crate) fn cross<T: Texel>(
    compute: &Compute,
    transfer: &mut Transfer,
    what: &str,
    spec: &ImageSpec<T>,
    texels: usize,
) -> Crossing {
    let (texel, len) = (size_of::<T>(), size_of::<T>() * texels);
    let differs = |frame: u64, way: &str, got: &[u8], want: &[u8]| {
        let first = got.iter().zip(want).position(|(got, want)| got != want).map(|at| at / texel);
        Crossing::Differs(format!("{what}: {way}, frame {frame}, from texel {first:?} of {texels} on"))
    };
    let info = ExchangeInfo { name: what, slots: 2, timeout: Rig::LONG, ..Default::default() };
    let there = Exchange::new(compute, &info, spec.clone());
    if let Err(error @ Error::Cuda(_)) = &there {
        return Crossing::Differs(format!("{what}: {error}"));
    }
    let Some(mut there) = made(there) else { return Crossing::Missing };
    for frame in 0..3 {
        let bytes = noise(frame + 1, len);
        let mut turn = there.begin().unwrap();
        compute_writes(&mut turn, &bytes);
        let turn = turn.finish().unwrap();
        assert_eq!(size_of_image(&turn.resources(), texel), len, "{what}");
        let got = transfer.read(turn, texel);
        if got != bytes {
            return differs(frame, "compute to Vulkan", &got, &bytes);
        }
    }
    there.close().unwrap();
    let Some(mut back) = made(Exchange::render_first(compute, &info, spec.clone())) else { return Crossing::Missing };
    for frame in 0..3 {
        let bytes = noise(frame + 77, len);
        let got = compute_reads(transfer.write(back.begin().unwrap(), texel, &bytes));
        if got != bytes {
            return differs(frame, "Vulkan to compute", &got, &bytes);
        }
    }
    back.close().unwrap();
    Crossing::Whole
}

/// How many images crossed, which there are not, and which came out differently.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    missing: Vec<String>,
    different: Vec<String>,
}

impl Tally {
    fn add<T: Texel>(
        &mut self,
        compute: &Compute,
        transfer: &mut Transfer,
        what: String,
        spec: &ImageSpec<T>,
        texels: usize,
    ) {
        match cross(compute, transfer, &what, spec, texels) {
            Crossing::Whole => self.whole += 1,
            Crossing::Missing => self.missing.push(what),
            Crossing::Differs(how) => self.different.push(how),
        }
    }

    /// Says what crossed, and fails the test for what crossed wrongly.
    fn report(&self, rig: &Rig, compute: &Compute, name: &str) {
        println!("{name}: {} images crossed both ways on {}", self.whole, compute.backend());
        if !self.missing.is_empty() {
            let (device, missing) = (rig.device().name(), &self.missing);
            skip_case(
                Need::Other,
                name,
                &format!("{device} does not make {} images: {}", missing.len(), missing.join("; ")),
            );
        }
        assert!(self.different.is_empty(), "{} images differ: {:#?}", self.different.len(), self.different);
    }
}

const COPIED: ImageConsumer = ImageConsumer::TRANSFER_READ.union(ImageConsumer::TRANSFER_WRITE);

fn every_shape<T: Texel>(compute: &Compute, transfer: &mut Transfer, format: vk::Format, tally: &mut Tally) {
    for (shape, spec, texels) in shapes::<T>(format, COPIED) {
        tally.add(compute, transfer, format!("{format:?}, {shape}"), &spec, texels);
    }
}

pub(crate) fn every_format_crosses_in_every_shape(rig: &Rig, compute: &Compute) {
    let mut transfer = Transfer::new(rig.device(), ROOM);
    let mut tally = Tally::default();
    for FormatInfo { vulkan: format, texel, .. } in FORMATS {
        with_texel!(texel, every_shape(compute, &mut transfer, *format, &mut tally));
    }
    tally.report(rig, compute, "every format");
    // Every driver makes a plain 2D image of every format here, if only to copy it.
    assert!(tally.whole >= FORMATS.len(), "{}", tally.whole);
    // What CUDA shares, every shape of it.
    assert!(compute.backend() == Backend::Host || tally.missing.is_empty(), "{:?}", tally.missing);
}

/// Every length of a mip chain, over sizes that are powers of two and sizes that are not, with layers and without. What CUDA
/// would place elsewhere than Vulkan is refused.
pub(crate) fn every_mip_chain_crosses_or_is_refused(rig: &Rig, compute: &Compute) {
    fn chains<T: Texel>(compute: &Compute, transfer: &mut Transfer, format: vk::Format, tally: &mut Tally) {
        for [width, height] in [[37, 19], [64, 32], [100, 100], [16, 128], [5, 300], [128, 128], [1, 1], [511, 3]] {
            let all = mip_count([width, height, 1]);
            for layers in [0, 1, 2, 3, 7] {
                for levels in 1..=all {
                    let mut spec = ImageSpec::<T>::new(format, [width, height], COPIED).mips(levels);
                    if layers > 0 {
                        spec = spec.layers(layers);
                    }
                    let texels = count([width as usize, height as usize, 1], levels, layers.max(1) as usize);
                    let what = format!("{format:?}, {width} x {height}, {levels} levels, {layers} layers");
                    let lies_elsewhere = layers > 0 && levels > 1 && (layers == 1 || levels < all);
                    if lies_elsewhere && compute.backend() == Backend::Cuda {
                        let error = Exchange::new(compute, &ExchangeInfo::default(), spec).unwrap_err().to_string();
                        assert!(error.contains("CUDA does not place"), "{what}: {error}");
                    } else {
                        tally.add(compute, transfer, what, &spec, texels);
                    }
                }
            }
        }
        for side in [8, 16, 33, 100] {
            for cubes in [1, 2] {
                for levels in [1, mip_count([side, side, 1])] {
                    let spec = ImageSpec::<T>::cube(format, side, COPIED).mips(levels);
                    let spec = if cubes > 1 { spec.layers(cubes) } else { spec };
                    let texels = count([side as usize, side as usize, 1], levels, 6 * cubes as usize);
                    tally.add(
                        compute,
                        transfer,
                        format!("{format:?}, {cubes} cubes of {side}, {levels} levels"),
                        &spec,
                        texels,
                    );
                }
            }
        }
        for levels in 1..=4 {
            let spec = ImageSpec::<T>::d3(format, [9, 7, 5], COPIED).mips(levels);
            tally.add(
                compute,
                transfer,
                format!("{format:?}, 3D, {levels} levels"),
                &spec,
                count([9, 7, 5], levels, 1),
            );
        }
        for levels in [1, 6] {
            let spec = ImageSpec::<T>::d1(format, 37, COPIED).mips(levels).layers(3);
            tally.add(
                compute,
                transfer,
                format!("{format:?}, 1D array, {levels} levels"),
                &spec,
                count([37, 1, 1], levels, 3),
            );
        }
    }
    let mut transfer = Transfer::new(rig.device(), 64 * ROOM);
    let mut tally = Tally::default();
    chains::<u8>(compute, &mut transfer, vk::Format::R8_UNORM, &mut tally);
    chains::<[u8; 4]>(compute, &mut transfer, vk::Format::R8G8B8A8_UNORM, &mut tally);
    chains::<[f32; 4]>(compute, &mut transfer, vk::Format::R32G32B32A32_SFLOAT, &mut tally);
    tally.report(rig, compute, "every mip chain");
}

/// What else Vulkan may do with an image changes flags and perhaps the memory's layout, and not what crosses.
pub(crate) fn every_usage_crosses(rig: &Rig, compute: &Compute) {
    fn usages<T: Texel>(compute: &Compute, transfer: &mut Transfer, format: vk::Format, tally: &mut Tally) {
        for usage in [
            ImageConsumer::SAMPLED,
            ImageConsumer::STORAGE_READ_WRITE,
            ImageConsumer::COLOR_ATTACHMENT,
            ImageConsumer::SAMPLED | ImageConsumer::STORAGE_READ | ImageConsumer::COLOR_ATTACHMENT,
        ] {
            for (shape, spec, texels) in
                shapes::<T>(format, COPIED | usage).into_iter().filter(|s| s.0.starts_with("2D"))
            {
                tally.add(compute, transfer, format!("{format:?}, {shape}, {:?}", usage.usage), &spec, texels);
            }
        }
    }
    let mut transfer = Transfer::new(rig.device(), ROOM);
    let mut tally = Tally::default();
    usages::<[u8; 4]>(compute, &mut transfer, vk::Format::R8G8B8A8_UNORM, &mut tally);
    usages::<[f16; 4]>(compute, &mut transfer, vk::Format::R16G16B16A16_SFLOAT, &mut tally);
    usages::<f32>(compute, &mut transfer, vk::Format::R32_SFLOAT, &mut tally);
    tally.report(rig, compute, "every usage");
}

/// Two images and a buffer, with one wait and one signal a side.
pub(crate) fn images_and_buffers_cross_together(rig: &Rig, compute: &Compute) {
    const SIDE: u32 = 16;
    let color = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [SIDE, SIDE], ImageConsumer::TRANSFER_READ);
    let height = ImageSpec::<f32>::new(vk::Format::R32_SFLOAT, [SIDE, SIDE], ImageConsumer::TRANSFER_READ);
    let words = BufferSpec::<u32>::new(64, Consumer::TRANSFER_READ).named("words");
    let info = ExchangeInfo { name: "together", ..Default::default() };
    let spec = (color.named("color"), vec![height.named("height"); 2], words);
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
    let spec = ImageSpec::<[u8; 4]>::new(srgb, [16, 16], ImageConsumer::SAMPLED | ImageConsumer::TRANSFER_READ);
    let info = ExchangeInfo { name: "srgb", slots: 1, ..Default::default() };
    let Some(mut exchange) = made(Exchange::new(compute, &info, spec)) else {
        return skip(Need::Other, "there is no sampled LINEAR image with two formats here");
    };
    let mut turn = exchange.begin().unwrap();
    let bytes = noise(5, 4 * 256);
    compute_writes(&mut turn, &bytes);
    let turn = turn.finish().unwrap();
    let image = turn.resources();
    assert_eq!((image.format(), image.image().format()), (srgb, unorm));
    assert!(image.view().is_some() && image.view() != image.image().view(), "one view for each format");
    assert!(Transfer::new(rig.device(), ROOM).read(turn, 4) == bytes, "encoded bytes cross as they are");
}
