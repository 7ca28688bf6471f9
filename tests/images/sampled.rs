//! What a kernel samples through a texture object is what a reference computes on the CPU.

use bridge::ash::vk;
use bridge::cuda_import::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::cuda_import::{AddressMode, Filter, ReadMode, Texel, TextureInfo, half::f16};
use bridge::{Compute, Exchange, ExchangeInfo, ImageConsumer, ImageSpec, Work};
use bridge_tests::{PROBE, Rig};

use crate::transfer::{Transfer, noise};

const WIDTH: usize = 37;
const HEIGHT: usize = 19;
const SAMPLES: usize = 4096;

/// Hardware filters with weights of 8 bits (CUDA programming guide, "Linear Filtering"): half a step on each of two axes,
/// over values from 0 to 1, and what rounding 8-bit texels adds.
const TOLERANCE: f32 = 2.0 / 512.0 + 0.001;

/// A texel as the sampler sees it, from 0 to 1; channels that there are not are 0.
trait Sampled: Texel {
    fn from_noise(byte: [u8; 4]) -> Self;
    fn value(self) -> [f32; 4];
}

impl Sampled for [u8; 4] {
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

/// The texel that an address mode makes of an index that may lie outside.
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
    };
    usize::try_from(inside).ok()
}

fn reference<T: Sampled>(texels: &[T], info: &TextureInfo, at: [f32; 2]) -> [f32; 4] {
    let [mode, ..] = info.address;
    let texel = |x: i64, y: i64| match (address(mode, x, WIDTH), address(mode, y, HEIGHT)) {
        (Some(x), Some(y)) => texels[y * WIDTH + x].value(),
        _ => info.border,
    };
    let (x, y) = (f64::from(at[0]) * WIDTH as f64, f64::from(at[1]) * HEIGHT as f64);
    if info.filter == Filter::Nearest {
        return texel(x.floor() as i64, y.floor() as i64);
    }
    let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
    let (a, b) = ((x - 0.5 - left) as f32, (y - 0.5 - top) as f32);
    let (left, top) = (left as i64, top as i64);
    let corners = [texel(left, top), texel(left + 1, top), texel(left, top + 1), texel(left + 1, top + 1)];
    let weights = [(1.0 - a) * (1.0 - b), a * (1.0 - b), (1.0 - a) * b, a * b];
    std::array::from_fn(|channel| corners.iter().zip(weights).map(|(corner, weight)| corner[channel] * weight).sum())
}

fn samples_agree<T: Sampled>(rig: &Rig, compute: &Compute, format: vk::Format) {
    let Some(cuda) = compute.cuda() else { return };
    let module = cuda.device().context().load_module(PROBE.into()).unwrap();
    let sample = module.load_function("sample").unwrap();
    let random = noise(3, 4 * WIDTH * HEIGHT);
    let texels: Vec<T> = random.chunks(4).map(|bytes| T::from_noise(bytes.try_into().unwrap())).collect();
    // From one image before it to one behind it, for the address modes.
    let places: Vec<u16> = bytemuck::pod_collect_to_vec(&noise(4, 4 * SAMPLES));
    let at: Vec<[f32; 2]> =
        places.chunks(2).map(|place| [place[0], place[1]].map(|n| f32::from(n) / 65536.0 * 3.0 - 1.0)).collect();
    let on_device = cuda.stream().clone_htod(bytemuck::cast_slice::<_, f32>(&at)).unwrap();

    let mut transfer = Transfer::new(rig.device(), 64 << 10);
    let consumer = ImageConsumer::TRANSFER_WRITE | ImageConsumer::SAMPLED;
    let info = ExchangeInfo { name: "texture", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let extent = [WIDTH, HEIGHT].map(|n| u32::try_from(n).unwrap());
    let mut exchange = Exchange::render_first(compute, &info, ImageSpec::<T>::new(format, extent, consumer)).unwrap();
    let read = if T::FORMAT.channel.is_integer() { ReadMode::NormalizedFloat } else { ReadMode::Element };
    for mode in [AddressMode::Clamp, AddressMode::Wrap, AddressMode::Mirror, AddressMode::Border] {
        for filter in [Filter::Nearest, Filter::Linear] {
            let border = if T::FORMAT.channels == 4 { [0.25, 0.5, 0.75, 1.0] } else { [0.25, 0.0, 0.0, 0.0] };
            let texture = TextureInfo { address: [mode; 3], filter, read, border, ..Default::default() };
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
            let mut worst = 0.0f32;
            for (at, got) in at.iter().zip(sampled.chunks(4)) {
                // Between two texels, the nearest is either.
                let on_edge = |place: f32, size: usize| {
                    let texels = f64::from(place) * size as f64;
                    (texels - texels.round()).abs() < 1e-3
                };
                if filter == Filter::Nearest && (on_edge(at[0], WIDTH) || on_edge(at[1], HEIGHT)) {
                    continue;
                }
                let want = reference(&texels, &texture, *at);
                let channels = T::FORMAT.channels as usize;
                for (got, want) in got.iter().zip(want).take(channels) {
                    worst = worst.max((got - want).abs());
                }
            }
            assert!(worst < TOLERANCE, "{format:?}, {mode:?}, {filter:?}: off by {worst}");
        }
    }
}

pub(crate) fn textures_are_what_a_reference_computes(rig: &Rig, compute: &Compute) {
    samples_agree::<[u8; 4]>(rig, compute, vk::Format::R8G8B8A8_UNORM);
    samples_agree::<[f16; 4]>(rig, compute, vk::Format::R16G16B16A16_SFLOAT);
    samples_agree::<f32>(rig, compute, vk::Format::R32_SFLOAT);
}
