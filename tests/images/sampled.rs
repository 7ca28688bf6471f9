//! The values that a kernel samples through a texture object equal those of a reference on the CPU.

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::cuda_import::{AddressMode, Filter, ReadMode, Texel, TextureInfo, half::f16};
use bridge::{Compute, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Work};
use bridge_tests::{PROBE, Rig};

use crate::transfer::{Transfer, noise};

const WIDTH: usize = 37;
const HEIGHT: usize = 19;
const SAMPLES: usize = 4096;

/// Hardware filters with 8-bit weights (CUDA programming guide, "Linear Filtering"): half a step on
/// each of two axes, for values from 0 to 1, plus the rounding of 8-bit texels.
const TOLERANCE: f32 = 2.0 / 512.0 + 0.001;

/// A texel as the sampler returns it, from 0 to 1; missing channels are 0.
trait Sampled: Texel {
    /// The tolerance of a single texel that is not interpolated: the rounding of the conversion
    /// from 8 bits to a number.
    const EXACT: f32 = 0.0;
    fn from_noise(byte: [u8; 4]) -> Self;
    fn value(self) -> [f32; 4];
}

impl Sampled for [u8; 4] {
    const EXACT: f32 = 1e-6;

    fn from_noise(bytes: [u8; 4]) -> Self {
        bytes
    }
    fn value(self) -> [f32; 4] {
        self.map(|byte| f32::from(byte) / 255.0)
    }
}

impl Sampled for [f16; 4] {
    fn from_noise(bytes: [u8; 4]) -> Self {
        bytes.map(|byte| f16::from_f32(f32::from(byte) / 255.0))
    }
    fn value(self) -> [f32; 4] {
        self.map(f32::from)
    }
}

impl Sampled for f32 {
    fn from_noise([byte, ..]: [u8; 4]) -> Self {
        Self::from(byte) / 255.0
    }
    fn value(self) -> [f32; 4] {
        [self, 0.0, 0.0, 0.0]
    }
}

/// Applies an address mode to an index that may be outside of the image.
fn address(mode: AddressMode, index: i64, size: usize) -> Option<usize> {
    let size = i64::try_from(size).unwrap();
    let inside = match mode {
        AddressMode::Clamp => index.clamp(0, size - 1),
        AddressMode::Border => return usize::try_from(index).ok().filter(|_| index < size),
        AddressMode::Wrap => index.rem_euclid(size),
        AddressMode::Mirror => {
            let there_and_back = index.rem_euclid(2 * size);
            there_and_back.min(2 * size - 1 - there_and_back)
        }
        other => panic!("no reference for {other:?}"),
    };
    usize::try_from(inside).ok()
}

/// Returns the nearest texel at a position in units of texels; `None` for the border.
fn nearest<T: Sampled>(texels: &[T], info: &TextureInfo, x: f64, y: f64) -> Option<[f32; 4]> {
    let [mode, ..] = info.address_modes;
    let (x, y) = (address(mode, x.floor() as i64, WIDTH)?, address(mode, y.floor() as i64, HEIGHT)?);
    Some(texels[y * WIDTH + x].value())
}

/// Returns the interpolation of the four texels around a position.
fn linear<T: Sampled>(texels: &[T], info: &TextureInfo, x: f64, y: f64) -> [f32; 4] {
    let texel = |x: i64, y: i64| nearest(texels, info, x as f64, y as f64).unwrap_or(info.border);
    let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
    let (a, b) = ((x - 0.5 - left) as f32, (y - 0.5 - top) as f32);
    let (left, top) = (left as i64, top as i64);
    let corners = [texel(left, top), texel(left + 1, top), texel(left, top + 1), texel(left + 1, top + 1)];
    let weights = [(1.0 - a) * (1.0 - b), a * (1.0 - b), (1.0 - a) * b, a * b];
    std::array::from_fn(|channel| corners.iter().zip(weights).map(|(corner, weight)| corner[channel] * weight).sum())
}

/// Returns the difference between a sample and the expected value. A NaN difference stays NaN.
fn difference<T: Sampled>(got: &[f32], want: [f32; 4]) -> f32 {
    let channels = T::FORMAT.channels as usize;
    got.iter().zip(want).take(channels).map(|(got, want)| (got - want).abs()).fold(0.0, larger_or_nan)
}

/// Returns the larger of two differences; unlike `f32::max`, it keeps NaN.
fn larger_or_nan(one: f32, other: f32) -> f32 {
    if one.is_nan() || one > other { one } else { other }
}

/// Returns the difference of a sample minus its tolerance; on the edge between texels, each of them
/// counts as the nearest.
fn excess<T: Sampled>(texels: &[T], info: &TextureInfo, at: [f32; 2], got: &[f32], edges: &mut usize) -> f32 {
    const EDGE: f64 = 1e-3;
    let (x, y) = (f64::from(at[0]) * WIDTH as f64, f64::from(at[1]) * HEIGHT as f64);
    if info.filter == Filter::Linear {
        return difference::<T>(got, linear(texels, info, x, y)) - TOLERANCE;
    }
    let around = [-EDGE, EDGE];
    let texel = |x: f64, y: f64| (x.floor() as i64, y.floor() as i64);
    *edges += usize::from(texel(x - EDGE, y - EDGE) != texel(x + EDGE, y + EDGE));
    let any = around.into_iter().flat_map(|dx| around.map(|dy| nearest(texels, info, x + dx, y + dy)));
    any.map(|texel| match texel {
        Some(texel) => difference::<T>(got, texel) - T::EXACT,
        // The border may be stored in the texel's format.
        None => difference::<T>(got, info.border) - TOLERANCE,
    })
    .reduce(|one, other| if one.is_nan() || one < other { one } else { other })
    .unwrap()
}

fn samples_agree<T: Sampled>(rig: &Rig, compute: &Compute, format: vk::Format) {
    let Some(cuda) = compute.cuda() else { return };
    let module = cuda.device().context().load_module(PROBE.into()).unwrap();
    let sample = module.load_function("sample").unwrap();
    let random = noise(3, 4 * WIDTH * HEIGHT);
    let texels: Vec<T> = random.chunks(4).map(|bytes| T::from_noise(bytes.try_into().unwrap())).collect();
    // From one image width before the image to one after it, to test the address modes.
    let places: Vec<u16> = bytemuck::pod_collect_to_vec(&noise(4, 4 * SAMPLES));
    let at: Vec<[f32; 2]> =
        places.chunks(2).map(|place| [place[0], place[1]].map(|n| f32::from(n) / 65536.0 * 3.0 - 1.0)).collect();
    let on_device = cuda.stream().clone_htod(bytemuck::cast_slice::<_, f32>(&at)).unwrap();

    let mut transfer = Transfer::new(rig.device(), 64 << 10);
    let accesses = ImageAccess::TRANSFER_WRITE | ImageAccess::SAMPLED;
    let info = ExchangeInfo { name: "texture", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let extent = [WIDTH, HEIGHT].map(|n| u32::try_from(n).unwrap());
    let mut exchange = Exchange::render_first(compute, &info, ImageSpec::<T>::new(format, extent, accesses)).unwrap();
    let read = if T::FORMAT.channel.is_integer() { ReadMode::NormalizedFloat } else { ReadMode::Element };
    for mode in [AddressMode::Clamp, AddressMode::Wrap, AddressMode::Mirror, AddressMode::Border] {
        for filter in [Filter::Nearest, Filter::Linear] {
            let border = if T::FORMAT.channels == 4 { [0.25, 0.5, 0.75, 1.0] } else { [0.25, 0.0, 0.0, 0.0] };
            let texture =
                TextureInfo { address_modes: [mode; 3], filter, read_mode: read, border, ..Default::default() };
            let mut turn = transfer.write(exchange.begin().unwrap(), size_of::<T>(), bytemuck::cast_slice(&texels));
            let mut sampled = cuda.stream().alloc_zeros::<f32>(4 * SAMPLES).unwrap();
            let Work::Cuda(work) = turn.work() else { panic!("not CUDA") };
            let object = work.resources.texture(&texture).unwrap();
            let len = u32::try_from(SAMPLES).unwrap();
            let mut launch = work.stream.launch_builder(&sample);
            launch.arg(&object).arg(&on_device).arg(&mut sampled).arg(&len);
            // SAFETY: the kernel's four parameters; it reads and writes `len` elements.
            unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }.unwrap();
            turn.finish().unwrap().wait(Rig::LONG).unwrap();
            let sampled = cuda.stream().clone_dtoh(&sampled).unwrap();
            let (mut worst, mut edges) = (f32::MIN, 0);
            for (at, got) in at.iter().zip(sampled.chunks(4)) {
                worst = larger_or_nan(excess(&texels, &texture, *at, got, &mut edges), worst);
            }
            assert!(worst <= 0.0, "{format:?}, {mode:?}, {filter:?}: off by {worst} more than may be");
            assert!(edges < SAMPLES / 20, "{edges} of {SAMPLES} samples are on the edge between texels");
        }
    }
}

/// Checks the comparison above on machines without a GPU.
#[test]
fn a_wrong_sample_is_detected() {
    let texels = [[0u8, 51, 102, 255]; WIDTH * HEIGHT];
    let [right, wrong] = [[0.0, 0.2, 0.4, 1.0], [0.0, 0.2, 0.41, 1.0]];
    for filter in [Filter::Nearest, Filter::Linear] {
        let info = TextureInfo { filter, ..Default::default() };
        let seen = |got: [f32; 4]| excess(&texels, &info, [0.4, 0.6], &got, &mut 0);
        assert!(seen(right) <= 0.0, "{filter:?}: {}", seen(right));
        assert!(seen(wrong) > 0.0, "{filter:?}");
        for channel in 0..4 {
            let mut none = right;
            none[channel] = f32::NAN;
            assert!(larger_or_nan(seen(none), -1.0).is_nan(), "{filter:?}: channel {channel} is no number");
            assert!(larger_or_nan(-1.0, seen(none)).is_nan(), "{filter:?}: channel {channel} is no number");
        }
    }
    // A difference of one 8-bit step is detected without a filter.
    let info = TextureInfo { filter: Filter::Nearest, ..Default::default() };
    assert!(excess(&texels, &info, [0.4, 0.6], &[1.0 / 255.0, 0.2, 0.4, 1.0], &mut 0) > 0.0);
}

pub(crate) fn textures_match_a_reference(rig: &Rig, compute: &Compute) {
    samples_agree::<[u8; 4]>(rig, compute, vk::Format::R8G8B8A8_UNORM);
    samples_agree::<[f16; 4]>(rig, compute, vk::Format::R16G16B16A16_SFLOAT);
    samples_agree::<f32>(rig, compute, vk::Format::R32_SFLOAT);
}
