//! An image that is transferred in both directions, and the tally of many images.

use bridge::cuda_import::Texel;
use bridge::{Compute, ComputeTurn, Direction, Error, Exchange, ExchangeInfo, ImageSpec, Work, vk_export};
use bridge_tests::{Need, Rig, skip_case};

use crate::transfer::{Transfer, noise, size_of_image};

/// Makes the compute side write the whole image.
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
        _ => unreachable!("no other backend is opened here"),
    }
}

/// Returns the contents of an image as the compute side reads them in its turn.
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
        _ => unreachable!("no other backend is opened here"),
    }
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    drop(sender);
    receiver.into_iter().flat_map(|texels| bytemuck::cast_slice::<T, u8>(&texels).to_vec()).collect()
}

/// Returns the result if an image of this shape can be created; any error other than an unsupported
/// image fails the test.
pub(crate) fn supported<X>(result: Result<X, Error>) -> Option<X> {
    match result {
        Ok(made) => Some(made),
        Err(Error::Vulkan(vk_export::Error::UnsupportedImage { .. } | vk_export::Error::NotExportable { .. })) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The result of an image's transfer.
#[derive(Debug, PartialEq)]
pub(crate) enum Crossing {
    /// Unchanged in both directions.
    Intact,
    /// The device does not support such an image.
    Missing,
    /// The contents differ.
    Differs(String),
}

/// Transfers an image of this number of texels in both directions.
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
    let Some(mut there) = supported(there) else { return Crossing::Missing };
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
    let Some(mut back) = supported(Exchange::render_first(compute, &info, spec.clone())) else {
        return Crossing::Missing;
    };
    for frame in 0..3 {
        let bytes = noise(frame + 77, len);
        let got = compute_reads(transfer.write(back.begin().unwrap(), texel, &bytes));
        if got != bytes {
            return differs(frame, "Vulkan to compute", &got, &bytes);
        }
    }
    back.close().unwrap();
    Crossing::Intact
}

/// The number of images that were transferred, the unsupported ones, and those with different
/// contents.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) intact: usize,
    pub(crate) missing: Vec<String>,
    different: Vec<String>,
}

impl Tally {
    pub(crate) fn add<T: Texel>(
        &mut self,
        compute: &Compute,
        transfer: &mut Transfer,
        what: String,
        spec: &ImageSpec<T>,
        texels: usize,
    ) {
        match cross(compute, transfer, &what, spec, texels) {
            Crossing::Intact => self.intact += 1,
            Crossing::Missing => self.missing.push(what),
            Crossing::Differs(how) => self.different.push(how),
        }
    }

    /// Prints the results, and fails the test if contents differ.
    pub(crate) fn report(&self, rig: &Rig, compute: &Compute, name: &str) {
        println!("{name}: {} images crossed both ways on {}", self.intact, compute.backend());
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
