//! Images: the leader has them as rows, which kernels access by address.

use bridge::ash::vk;
use bridge::cuda_import::{self, ImageProblem, TextureInfo, leaks};
use bridge::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::{
    Compute, ComputeTurn, Error, Exchange, ExchangeInfo, FrameGraph, ImageAccess, ImageSpec, LiveObjects, Work,
};
use bridge_tests::{Filler, Gate, Rig, open_descriptors};

use crate::Intruder;

const EXTENT: [u32; 2] = [37, 19];
const TEXELS: usize = 37 * 19;

type Image = ImageSpec<u32>;

fn images(compute: &Compute, slots: usize) -> Exchange<Image> {
    let spec = Image::new(vk::Format::R32_UINT, EXTENT, ImageAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "pictures", slots, timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, spec).unwrap()
}

/// Enqueues on the leader's stream: set the texel at x, y to `base + y * width + x`.
fn paint(kernels: &Intruder, turn: &mut ComputeTurn<Image>, base: u32) {
    paint_work(kernels, turn.work(), base);
}

fn paint_work(kernels: &Intruder, work: Work<'_, Image>, base: u32) {
    let Work::Cuda(cuda) = work else { unreachable!("no other backend is opened") };
    let mut rows = cuda.resources.rows(0).unwrap();
    assert_eq!((rows.extent(), rows.slices(), rows.row_pitch()), ([EXTENT[0], EXTENT[1], 1], 1, 4 * 37));
    let len = u32::try_from(rows.len()).unwrap();
    let mut launch = cuda.stream.launch_builder(&kernels.fill);
    launch.arg(&mut rows).arg(&len).arg(&base).arg(&0u64);
    // SAFETY: the kernel's four parameters, of these types; it writes as many words as the level
    // has texels.
    unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }.unwrap();
}

/// Through the view with cudarc, and with launches of kernels that the compute side has loaded.
pub(crate) fn kernels_write_an_image_by_its_rows(_: &Rig, compute: &Compute) {
    let kernels = Intruder::new(compute, 0);
    let module = compute.load("probe", bridge_tests::PROBE).unwrap();
    let fill = module.kernel("fill_after").unwrap();
    let mut exchange = images(compute, 2);
    for frame in 0..6u32 {
        let mut turn = exchange.begin().unwrap();
        if frame % 2 == 0 {
            paint(&kernels, &mut turn, 1000 * frame);
        } else {
            let work = turn.work().kernels().unwrap();
            let rows = work.resources.rows(0).unwrap();
            assert!(work.resources.has_rows());
            assert_eq!((rows.extent(), rows.slices(), rows.texels().len()), ([37, 19, 1], 1, TEXELS));
            let len = TEXELS as u32;
            let config = bridge::LaunchConfig::for_elements(u64::from(len), 256);
            // SAFETY: the kernel's four parameters, of these types, and it writes `len` texels.
            unsafe { work.launch(&fill, &config, (rows.texels(), len, 1000 * frame, 0u64)) }.unwrap();
        }
        let turn = turn.finish().unwrap();
        assert!(turn.resources().is_staged() && turn.resources().handover().is_none());
        assert!(turn.read_back(Rig::LONG).unwrap() == Filler::pattern(TEXELS, 1000 * frame), "frame {frame}");
    }
    exchange.close().unwrap();
}

/// The address of the slot's rows is captured.
pub(crate) fn graphs_write_an_image_by_its_rows(_: &Rig, compute: &Compute) {
    let kernels = Intruder::new(compute, 0);
    let mut exchange = images(compute, 2);
    let mut graph = FrameGraph::new(&exchange);
    for frame in 0..8u32 {
        let record = |slot, work: Work<'_, Image>| {
            paint_work(&kernels, work, 100 * slot as u32 + 9);
            Ok(())
        };
        // SAFETY: the kernel outlives the graph, and writes to the turn's image alone.
        let turn = unsafe { exchange.compute_with(&mut graph, record) }.unwrap();
        let expected = Filler::pattern(TEXELS, 100 * turn.slot() as u32 + 9);
        assert!(turn.read_back(Rig::LONG).unwrap() == expected, "frame {frame}");
        if frame == 3 {
            exchange.resize([64, 8]).unwrap();
            exchange.resize(EXTENT).unwrap();
        }
    }
    drop(graph);
    exchange.close().unwrap();
}

/// The turn's end waits for a copy on another stream of the leader, and so does Vulkan.
pub(crate) fn vulkan_waits_for_other_streams_of_the_leader(_: &Rig, compute: &Compute) {
    let device = compute.cuda().unwrap().device().clone();
    let beside = device.new_stream().unwrap();
    let source = beside.clone_htod(&vec![7u32; TEXELS]).unwrap();
    beside.synchronize().unwrap();
    let gate = Gate::on_stream(compute, 0, &beside);
    let mut exchange = images(compute, 1);
    let mut turn = exchange.begin().unwrap();
    gate.hold_stream();
    let Work::Cuda(mut cuda) = turn.work() else { unreachable!("no other backend is opened") };
    cuda.resources.copy_from_buffer(&beside, 0, .., &source).unwrap();
    let turn = turn.finish().unwrap();
    assert!(!turn.computed().is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    assert!(turn.read_back(Rig::LONG).unwrap() == [7; TEXELS], "Vulkan did not wait for the other stream");
    exchange.close().unwrap();
}

/// Operations that need an array are refused by name, and the turn continues.
pub(crate) fn the_view_reports_that_it_has_rows(_: &Rig, compute: &Compute) {
    let kernels = Intruder::new(compute, 0);
    let mut exchange = images(compute, 1);
    let mut turn = exchange.begin().unwrap();
    let Work::Cuda(cuda) = turn.work() else { unreachable!("no other backend is opened") };
    assert!(cuda.resources.image().has_rows());
    let refused = |error: cuda_import::Error| {
        assert!(matches!(error, cuda_import::Error::Image { problem: ImageProblem::InRows, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("pictures[0]") && text.contains("`ImageViewMut::rows`"), "{text}");
    };
    refused(cuda.resources.surface(0).unwrap_err());
    refused(cuda.resources.texture(&TextureInfo::default()).unwrap_err());
    let error = cuda.resources.rows(1).unwrap_err();
    assert!(matches!(error, cuda_import::Error::Image { problem: ImageProblem::NoSuchLevel { .. }, .. }), "{error}");
    let work = turn.work().kernels().unwrap();
    for error in [
        work.resources.surface(0).unwrap_err(),
        work.resources.texture(&TextureInfo::default()).unwrap_err(),
        work.resources.rows(1).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Cuda(_)), "{error}");
    }
    paint(&kernels, &mut turn, 5);
    assert!(turn.finish().unwrap().read_back(Rig::LONG).unwrap() == Filler::pattern(TEXELS, 5));
    exchange.close().unwrap();
}

/// Exchanges that are closed, dropped with a turn open, and resized.
pub(crate) fn images_leave_nothing(_: &Rig, compute: &Compute) {
    let kernels = Intruder::new(compute, 0);
    let round = || {
        let mut exchange = images(compute, 2);
        let mut turn = exchange.begin().unwrap();
        paint(&kernels, &mut turn, 3);
        assert!(turn.finish().unwrap().read_back(Rig::LONG).unwrap() == Filler::pattern(TEXELS, 3));
        exchange.resize([64, 8]).unwrap();
        exchange.resize(EXTENT).unwrap();
        let mut turn = exchange.begin().unwrap();
        paint(&kernels, &mut turn, 4);
        drop(turn.finish().unwrap());
        assert!(matches!(exchange.begin(), Err(Error::TurnLost { .. })));
        exchange.close().unwrap();
        drop(images(compute, 1).begin().unwrap());
    };
    // The driver opens descriptors of its own when an operation is used for the first time.
    (0..3).for_each(|_| round());
    let before = (open_descriptors(), leaks(), LiveObjects::now());
    (0..20).for_each(|_| round());
    assert_eq!(before, (open_descriptors(), leaks(), LiveObjects::now()));
}
