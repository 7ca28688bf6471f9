//! Copies between images and cudarc's slices on other streams: a slice is freed after its copy, and
//! written before it.
#![allow(unsafe_code, clippy::unwrap_used, reason = "waits and borrowed streams are unsafe")]
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::common::world::{TEXELS, Texel, device, import_image, import_memory, import_semaphore, map, map_image};
use crate::common::{assert_clean, kinds};
use cuda_import::cudarc::driver::sys::CUresult;
use cuda_import::cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError};
use cuda_import::{CudaDevice, Error, ImageProblem, ImportedSemaphore, MappedImage, SemaphoreKind, query, wait_one};
use driver_double::Double;

/// A timeline that a stream waits for.
pub(crate) struct Hold<'d> {
    double: &'d Double,
    number: u64,
    timeline: ImportedSemaphore,
}

impl<'d> Hold<'d> {
    pub(crate) fn new(double: &'d Double, device: &CudaDevice, stream: &CudaStream) -> Self {
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = import_semaphore(device, exported, SemaphoreKind::Timeline);
        // SAFETY: `release` signals, and the timeline lives until then.
        unsafe { wait_one(stream, &timeline, 1) }.unwrap();
        Self { double, number, timeline }
    }

    pub(crate) fn release(self) {
        self.double.signal(self.number, 1);
        drop(self.timeline);
    }
}

/// Streams of one context, of several context objects. The program keeps `lent`, which `borrowed`
/// wraps.
struct Streams {
    created: Arc<CudaStream>,
    /// The only created stream of its context object, which `borrowed` shares.
    only: Option<Arc<CudaStream>>,
    borrowed: Arc<CudaStream>,
    /// Of an object without created streams.
    default: Arc<CudaStream>,
    _lent: Arc<CudaStream>,
}

impl Streams {
    fn new(device: &CudaDevice) -> Self {
        let library = CudaContext::new(0).unwrap();
        let lent = device.new_stream().unwrap();
        // SAFETY: the stream lives as long as this.
        let borrowed = unsafe { library.wrap_borrowed_stream(lent.cu_stream()) };
        Self {
            created: device.new_stream().unwrap(),
            only: Some(library.new_stream().unwrap()),
            borrowed,
            default: CudaContext::new(0).unwrap().default_stream(),
            _lent: lent,
        }
    }

    /// Pairs of a slice's stream and a copy's stream.
    fn pairs(&self, home: &Arc<CudaStream>) -> Vec<[Arc<CudaStream>; 2]> {
        let only = self.only.as_ref().unwrap();
        let pairs = [
            [&self.created, home],
            [home, &self.created],
            [&self.borrowed, only],
            [only, &self.borrowed],
            [&self.default, home],
            [home, &self.default],
            [&self.default, &self.borrowed],
        ];
        pairs.map(|pair| pair.map(Arc::clone)).into()
    }
}

/// Copies in one direction on `stream`.
pub(crate) fn copy(image: &mut MappedImage<Texel>, stream: &CudaStream, slice: &mut CudaSlice<Texel>, into: bool) {
    match into {
        true => image.view_mut().copy_from_buffer(stream, 0, .., slice).unwrap(),
        false => image.view().copy_to_buffer(stream, 0, .., slice).unwrap(),
    }
}

/// Whatever cudarc has recorded: it skips the waits of a slice that is dropped while the context
/// object has an error, which also a refused use of a view leaves there.
#[test]
fn a_slice_is_freed_after_its_copy() {
    let Some(double) = Double::in_child("slices::a_slice_is_freed_after_its_copy") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let mut image = map_image(&import_image(&double, &device), &home);
    let buffer = map(&import_memory(&double, &device), &home);
    let streams = Streams::new(&device);
    for [own, stream] in streams.pairs(&home) {
        for into in [false, true] {
            for has_error in [false, true] {
                let mut slice = own.alloc_zeros::<Texel>(TEXELS).unwrap();
                let hold = Hold::new(&double, &device, &stream);
                copy(&mut image, &stream, &mut slice, into);
                if has_error {
                    drop(buffer.view().device_ptr(&own.context().per_thread_stream()));
                }
                drop(slice);
                let _ = (own.context().check_err(), home.context().check_err());
                assert!(!query(&own).unwrap(), "it waits for the copy");
                hold.release();
                assert_eq!(double.findings(), Vec::new(), "{own:?}, {stream:?}, {into}, {has_error}");
            }
        }
    }
    drop((image, buffer, home, streams, device));
    assert_clean(&double);
}

/// The control of the test above: a copy of cudarc's own.
#[test]
fn a_slice_that_cudarc_frees_too_early_is_found() {
    let Some(double) = Double::in_child("slices::a_slice_that_cudarc_frees_too_early_is_found") else { return };
    let device = device();
    let [own, stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let [source, mut sink] = [(); 2].map(|()| own.alloc_zeros::<u8>(8).unwrap());
    let hold = Hold::new(&double, &device, &stream);
    stream.memcpy_dtod(&source, &mut sink).unwrap();
    let refused = DriverError(CUresult::CUDA_ERROR_NOT_PERMITTED);
    own.context().record_err(Err::<(), _>(refused));
    drop(sink);
    hold.release();
    assert_eq!(kinds(&double.findings()), ["out-of-bounds"], "the copy is into unmapped memory");
}

/// The other streams of the context object may be gone when the slice is dropped. cudarc then
/// assumes that there is only one.
#[test]
fn a_slice_is_freed_after_its_copy_without_other_streams() {
    let Some(double) = Double::in_child("slices::a_slice_is_freed_after_its_copy_without_other_streams") else {
        return;
    };
    let device = device();
    let home = device.new_stream().unwrap();
    let mut image = map_image(&import_image(&double, &device), &home);
    for into in [false, true] {
        let mut streams = Streams::new(&device);
        let mut slice = streams.borrowed.alloc_zeros::<Texel>(TEXELS).unwrap();
        let only = streams.only.take().unwrap();
        let hold = Hold::new(&double, &device, &only);
        copy(&mut image, &only, &mut slice, into);
        drop(only);
        assert!(!streams.borrowed.context().is_in_multi_stream_mode());
        drop(slice);
        hold.release();
        assert_eq!(double.findings(), Vec::new(), "{into}");
    }
    drop((image, home, device));
    assert_clean(&double);
}

#[test]
fn a_copy_waits_for_the_stream_of_its_slice() {
    let Some(double) = Double::in_child("slices::a_copy_waits_for_the_stream_of_its_slice") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let mut image = map_image(&import_image(&double, &device), &home);
    let streams = Streams::new(&device);
    for [own, stream] in streams.pairs(&home) {
        image.view_mut().write_from_host(&home, 0, .., &[[1; 4]; TEXELS]).unwrap();
        let mut slice = own.alloc_zeros::<Texel>(TEXELS).unwrap();
        let hold = Hold::new(&double, &device, &own);
        own.memcpy_htod(&[[2; 4]; TEXELS], &mut slice).unwrap();
        copy(&mut image, &stream, &mut slice, true);
        assert!(!query(&stream).unwrap());
        // Later work on the slice's stream comes after the copy.
        own.memset_zeros(&mut slice).unwrap();
        hold.release();
        let mut read = [[0; 4]; TEXELS];
        image.view().read_to_host(&home, 0, .., &mut read).unwrap();
        assert_eq!(read, [[2; 4]; TEXELS]);
    }
    drop((image, home, streams, device));
    assert_clean(&double);
}

/// A use on a third stream waits for the copy, although an error was recorded before the copy's
/// guard ends.
#[test]
fn a_later_use_on_a_third_stream_waits_for_the_copy() {
    let Some(double) = Double::in_child("slices::a_later_use_on_a_third_stream_waits_for_the_copy") else { return };
    let device = device();
    let [home, own, third] = [(); 3].map(|()| device.new_stream().unwrap());
    // Its object has no created stream: cudarc records no event there.
    let default = CudaContext::new(0).unwrap().default_stream();
    let image = map_image(&import_image(&double, &device), &home);
    for stream in [&own, &home, &default] {
        let mut slice = own.alloc_zeros::<Texel>(TEXELS).unwrap();
        let hold = Hold::new(&double, &device, stream);
        image.view().copy_to_buffer(stream, 0, .., &mut slice).unwrap();
        third.memset_zeros(&mut slice).unwrap();
        assert!(!query(&third).unwrap());
        hold.release();
    }
    drop((image, home, own, third, default, device));
    assert_clean(&double);
}

#[test]
fn streams_that_no_event_orders_are_refused() {
    let Some(double) = Double::in_child("slices::streams_that_no_event_orders_are_refused") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let mut image = map_image(&import_image(&double, &device), &home);
    let per_thread = home.context().per_thread_stream();
    let mut slice = per_thread.alloc_zeros::<Texel>(TEXELS).unwrap();
    let copies = [
        image.view_mut().copy_from_buffer(&home, 0, .., &slice),
        image.view_mut().copy_from_buffer(&home, 0, .., &slice.as_view()),
        image.view().copy_to_buffer(&home, 0, .., &mut slice),
        image.view().copy_to_buffer(&home, 0, .., &mut slice.as_view_mut()),
    ];
    for copied in copies {
        let error = copied.unwrap_err();
        assert!(matches!(error, Error::Image { problem: ImageProblem::UnorderedSlice, .. }), "{error}");
    }
    drop((slice, per_thread, image, home, device));
    assert_clean(&double);
}

/// Whatever fails, a slice can be dropped when the copy returns. If the streams cannot be ordered
/// after the copy was enqueued, the host waits for it.
#[test]
fn no_failure_frees_a_slice_before_its_copy() {
    let Some(double) = Double::in_child("slices::no_failure_frees_a_slice_before_its_copy") else { return };
    let device = device();
    let [home, own] = [(); 2].map(|()| device.new_stream().unwrap());
    let mut image = map_image(&import_image(&double, &device), &home);
    for into in [false, true] {
        let mut waited = Vec::new();
        for nth in 1.. {
            let mut slice = own.alloc_zeros::<Texel>(TEXELS).unwrap();
            let hold = Hold::new(&double, &device, &home);
            double.forget_calls();
            let (copied, hit) = std::thread::scope(|scope| {
                let number = hold.number;
                let (double, home, image) = (&double, &home, &mut image);
                let copying = scope.spawn(move || {
                    // cudarc frees a slice in whatever context is current if an error is recorded.
                    home.context().bind_to_thread().unwrap();
                    double.fail_nth(nth, 2, false);
                    let copied = match into {
                        true => image.view_mut().copy_from_buffer(home, 0, .., &slice),
                        false => image.view().copy_to_buffer(home, 0, .., &mut slice),
                    };
                    let has_waited = double.value(number) == 1;
                    let hit = double.disarm();
                    drop(slice);
                    (copied.map(|()| has_waited), hit)
                });
                double.wait_until_ended_or_blocked(&copying);
                hold.release();
                copying.join().unwrap()
            });
            let Some(hit) = hit else { break };
            assert_eq!(double.findings(), Vec::new(), "{hit:?}, {into}");
            let _ = device.context().check_err();
            if let Ok(true) = copied {
                waited.push(hit.name);
            }
        }
        // cudarc's event and the other one are recorded; the slice's stream waits for the latter.
        let of_the_end =
            waited.iter().filter(|name| !["cuCtxGetCurrent", "cuStreamIsCapturing"].contains(&name.as_ref()));
        assert_eq!(of_the_end.collect::<Vec<_>>(), ["cuEventRecord", "cuEventRecord", "cuStreamWaitEvent"]);
    }
    drop((image, home, own, device));
    assert_eq!(double.findings_at_exit(), Vec::new());
    // Events that the driver refused to destroy.
    assert!(double.live().iter().all(|left| left.refused), "{:?}", double.live());
}
