//! The barriers that a turn records, in both directions: every resource is acquired before and
//! released after, with the correct queue families, and images are transitioned to their layout in
//! between. Neither the validation layer nor a permissive driver would detect errors in these. One
//! test at a time, because the device's functions are replaced.
#![allow(unsafe_code, clippy::unwrap_used)] // A replaced Vulkan function.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, QueueLock};
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, CudaCompute, Direction, Exchange, ExchangeInfo, ImageAccess, ImageSpec,
    RenderImage, RenderTurn,
};
use bridge_tests::{Commands, Engine, Need, Peers, Rig, case_on, skip_case};

/// The buffer and image barriers of one dependency.
#[derive(Debug, Default)]
struct Dependency {
    buffers: Vec<vk::BufferMemoryBarrier2<'static>>,
    images: Vec<vk::ImageMemoryBarrier2<'static>>,
}

/// The function of the test's own engine.
static REAL: Mutex<Option<vk::PFN_vkCmdPipelineBarrier2>> = Mutex::new(None);
/// A lock, so that the tests run one at a time.
static TURN: Mutex<()> = Mutex::new(());
/// The recorded dependencies with such barriers.
static RECORDED: Mutex<Vec<Dependency>> = Mutex::new(Vec::new());

unsafe extern "system" fn listen(commands: vk::CommandBuffer, dependency: *const vk::DependencyInfo<'_>) {
    /// # Safety
    ///
    /// As for `from_raw_parts`, except that `data` may be null if `count` is 0.
    unsafe fn list<'a, T>(data: *const T, count: u32) -> &'a [T] {
        if count == 0 {
            return &[];
        }
        // SAFETY: guaranteed by the caller.
        unsafe { std::slice::from_raw_parts(data, usize::try_from(count).unwrap()) }
    }
    // SAFETY: the caller passes a valid structure.
    let info = unsafe { &*dependency };
    // SAFETY: an array of that many barriers, valid for the call.
    let buffers = unsafe { list(info.p_buffer_memory_barriers, info.buffer_memory_barrier_count) };
    // SAFETY: as above.
    let images = unsafe { list(info.p_image_memory_barriers, info.image_memory_barrier_count) };
    if !buffers.is_empty() || !images.is_empty() {
        // Their chains are empty, so copies are equivalent.
        RECORDED.lock().unwrap().push(Dependency {
            buffers: buffers.iter().map(|b| vk::BufferMemoryBarrier2 { _marker: PhantomData, ..*b }).collect(),
            images: images.iter().map(|i| vk::ImageMemoryBarrier2 { _marker: PhantomData, ..*i }).collect(),
        });
    }
    let real = REAL.lock().unwrap().unwrap();
    // SAFETY: forwarded to the real function.
    unsafe { real(commands, dependency) };
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkCmdPipelineBarrier2" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let real = unsafe { std::mem::transmute::<*const c_void, vk::PFN_vkCmdPipelineBarrier2>(real) };
    *REAL.lock().unwrap() = Some(real);
    listen as *const c_void
}

#[test]
fn every_resource_is_taken_over_and_given_back() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = Engine::new(Some(hook));
    for backend in [Backend::Host, Backend::Cuda] {
        // SAFETY: the engine's own handles, which outlive the loop.
        let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
        if let Some(compute) = case_on(&device, backend, "both directions") {
            compute_first(&device, &compute);
            render_first(&device, &compute);
        }
    }
}

/// A queue lock without a mutex: the probe submits, and the test is the engine's only thread.
struct Unlocked;

impl QueueLock for Unlocked {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// The same with another GPU, whose image barriers are for rows.
#[test]
fn every_resource_of_another_gpu_is_taken_over_and_given_back() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = Engine::new(Some(hook));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Unlocked));
    // SAFETY: the engine's own handles, which outlive the device.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let Some(devices) = Peers::Other.devices(&device) else { return };
    let compute = Compute::group(&device, &devices).unwrap();
    compute_first(&device, &compute);
    render_first(&device, &compute);
}

type Set = (BufferSpec<[f32; 4]>, Vec<BufferSpec<u32>>, Vec<ImageSpec<f32>>);

/// Returns a buffer that is drawn from, twenty that are copied, an image with its own layout and
/// one that stays in `GENERAL`.
fn set(drawn: BufferAccess, copied: BufferAccess, image: ImageAccess) -> Set {
    let general = ImageAccess { layout: vk::ImageLayout::GENERAL, ..image };
    let images = [image, general].map(|accesses| ImageSpec::new(vk::Format::R32_SFLOAT, [16, 16], accesses));
    (BufferSpec::new(64, drawn), vec![BufferSpec::new(64, copied); 20], images.into())
}

const INFO: fn() -> ExchangeInfo<'static> = || ExchangeInfo { name: "barriers", ..Default::default() };

fn compute_first(device: &ExportDevice, compute: &Compute) {
    let drawn = BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ;
    let set = set(drawn, BufferAccess::TRANSFER_READ, ImageAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &INFO(), set).unwrap();
    exchange.initialize().unwrap();
    let commands = Commands::new(device);
    let turn = exchange.begin().unwrap().finish().unwrap();
    let (recorded, [acquired, released]) =
        recorded(device, compute, &commands, &turn, vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
    assert!(
        acquired.dst_access_mask.contains(vk::AccessFlags2::VERTEX_ATTRIBUTE_READ | vk::AccessFlags2::TRANSFER_READ)
    );
    assert!(released.src_stage_mask.contains(vk::PipelineStageFlags2::VERTEX_INPUT));
    let host = compute.backend() == Backend::Host;
    assert_eq!(acquired.src_access_mask.contains(vk::AccessFlags2::HOST_WRITE), host);

    // SAFETY: recorded with the turn's barriers; waited for here.
    unsafe { turn.submit(&[recorded]) }.unwrap().wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}

fn render_first(device: &ExportDevice, compute: &Compute) {
    let set = set(
        BufferAccess::COMPUTE_READ_WRITE | BufferAccess::TRANSFER_WRITE,
        BufferAccess::TRANSFER_WRITE,
        ImageAccess::TRANSFER_WRITE,
    );
    let mut exchange = Exchange::render_first(compute, &INFO(), set).unwrap();
    exchange.initialize().unwrap();
    let commands = Commands::new(device);
    let turn = exchange.begin().unwrap();
    let (recorded, [acquired, released]) =
        recorded(device, compute, &commands, &turn, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
    assert!(acquired.dst_access_mask.contains(vk::AccessFlags2::TRANSFER_WRITE));
    assert!(released.src_stage_mask.contains(vk::PipelineStageFlags2::ALL_TRANSFER));
    assert!(released.src_access_mask.contains(vk::AccessFlags2::TRANSFER_WRITE), "what was drawn is made available");
    let host = compute.backend() == Backend::Host;
    assert_eq!(released.dst_access_mask.contains(vk::AccessFlags2::HOST_READ), host);

    // SAFETY: recorded with the turn's barriers; waited for here.
    let turn = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands.note(turn.rendered());
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    exchange.close().unwrap();
}

/// Records a frame and checks the handles, families, ranges and layouts of all its barriers.
/// Returns those of the first buffer.
fn recorded<D: Direction>(
    device: &ExportDevice,
    compute: &Compute,
    commands: &Commands,
    turn: &RenderTurn<Set, D>,
    layout: vk::ImageLayout,
) -> (vk::CommandBuffer, [vk::BufferMemoryBarrier2<'static>; 2]) {
    const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
    RECORDED.lock().unwrap().clear();
    let raw = commands.record(turn, |_| {});
    let recorded = std::mem::take(&mut *RECORDED.lock().unwrap());
    let (Some(acquired), Some(released)) = (recorded.first(), recorded.last()) else { panic!("{recorded:#?}") };

    let (drawn, copied, images) = turn.resources();
    let buffers: Vec<_> = std::iter::once(drawn.as_raw()).chain(copied.map(|copied| copied.as_raw())).collect();
    let images: Vec<_> = images.collect();
    let family = device.queue().family();
    let nobody = (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED);
    let (taken, given) = match compute.backend() {
        Backend::Cuda => ((vk::QUEUE_FAMILY_EXTERNAL, family), (family, vk::QUEUE_FAMILY_EXTERNAL)),
        _ => (nobody, nobody),
    };
    for (dependency, families) in [(acquired, taken), (released, given)] {
        // The rows of staged images follow these.
        let barriers = &dependency.buffers[..buffers.len()];
        assert_eq!(barriers.iter().map(|b| b.buffer).collect::<Vec<_>>(), buffers);
        assert!(barriers.iter().all(|b| (b.offset, b.size) == (0, vk::WHOLE_SIZE)));
        assert!(barriers.iter().all(|b| (b.src_queue_family_index, b.dst_queue_family_index) == families));
    }
    let first = [acquired.buffers[0], released.buffers[0]];
    if compute.cuda().is_some_and(CudaCompute::is_peer) {
        assert!(images.iter().all(RenderImage::is_staged));
        for (dependency, families) in [(acquired, taken), (released, given)] {
            let rows = &dependency.buffers[buffers.len()..];
            assert_eq!(rows.len(), images.len(), "whatever is copied");
            assert!(rows.iter().all(|b| (b.src_queue_family_index, b.dst_queue_family_index) == families));
            // Only Vulkan uses the image.
            let own = |b: &vk::ImageMemoryBarrier2<'_>| (b.src_queue_family_index, b.dst_queue_family_index) == nobody;
            assert!(dependency.images.iter().all(own));
        }
        return (raw, first);
    }
    if images.iter().any(RenderImage::is_staged) {
        // The test `staging` checks the barriers of staged images, on every device.
        skip_case(Need::Other, "barriers of images", "the CPU does not map such images on this device");
        return (raw, first);
    }
    let [acquired, entered, left, released] = recorded.as_slice() else { panic!("{recorded:#?}") };
    let image = |index: usize| images[index].as_raw();
    // The image that stays in `GENERAL` has no transition.
    for (dependency, families, from, to, of) in [
        (acquired, taken, GENERAL, GENERAL, vec![image(0), image(1)]),
        (entered, nobody, GENERAL, layout, vec![image(0)]),
        (left, nobody, layout, GENERAL, vec![image(0)]),
        (released, given, GENERAL, GENERAL, vec![image(0), image(1)]),
    ] {
        let barriers = &dependency.images;
        assert_eq!(barriers.iter().map(|i| i.image).collect::<Vec<_>>(), of);
        for barrier in barriers {
            assert_eq!((barrier.old_layout, barrier.new_layout), (from, to));
            assert_eq!((barrier.src_queue_family_index, barrier.dst_queue_family_index), families);
            let (range, whole) = (barrier.subresource_range, images[0].range());
            let numbers =
                |r: vk::ImageSubresourceRange| (r.base_mip_level, r.level_count, r.base_array_layer, r.layer_count);
            assert_eq!((range.aspect_mask, numbers(range)), (whole.aspect_mask, numbers(whole)));
        }
    }
    assert!(entered.buffers.is_empty() && left.buffers.is_empty());
    (raw, first)
}
