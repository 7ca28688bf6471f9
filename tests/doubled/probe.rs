//! The probe of another GPU, on a queue that does not get to it.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bridge::ash::vk;
use bridge::vk_export::QueueLock;
use bridge::{Compute, Error, ExportDevice, LiveObjects, QueueKind};
use bridge_tests::{Engine, Gate, Peers, Rig, assert_silent};

use crate::double;

/// Vulkan's copy out of the probed buffer outlives the probe's time limit: the buffer is kept.
#[test]
fn a_buffer_that_is_still_copied_is_kept() {
    let Some(_double) = double("probe::a_buffer_that_is_still_copied_is_kept") else { return };
    let rig = Rig::open();
    let devices = Peers::Other.devices(rig.device()).unwrap();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let error = Compute::on_peer(rig.device(), &devices[0]).unwrap_err().to_string();
    assert!(error.contains("its memory cannot be written there"), "{error}");
    gate.open();
    // SAFETY: the test's own device, which nothing else uses.
    unsafe { rig.device().as_raw().device_wait_idle() }.unwrap();
    // Destroying a buffer while commands use it would violate VUID-vkDestroyBuffer-buffer-00922.
    assert_silent(rig.device());
}

/// The copy of the second GPU of a group does not end: the error names that GPU, although closing
/// what was mapped then fails as well.
#[test]
fn the_stalled_gpu_is_named() {
    let Some(double) = double("probe::the_stalled_gpu_is_named") else { return };
    let rig = Rig::open();
    let devices = Peers::Both.devices(rig.device()).unwrap();
    double.hold_device_work(Some(i32::try_from(devices[1].ordinal()).unwrap()));
    let error = Compute::group(rig.device(), &devices).unwrap_err();
    let Error::NoPeer { cuda_uuid, reason, .. } = &error else { panic!("{error}") };
    assert!(*cuda_uuid == devices[1].uuid() && reason.contains("a copy did not finish"), "{error}");
    double.hold_device_work(None);
    assert_silent(rig.device());
}

/// CUDA reports no peer access to the drawing GPU: the error names both GPUs, the missing access,
/// and what to do, and nothing is left.
#[test]
fn gpus_without_peer_access_are_refused() {
    let Some(double) = double("probe::gpus_without_peer_access_are_refused") else { return };
    let rig = Rig::open();
    let devices = Peers::Both.devices(rig.device()).unwrap();
    let (drawing, before) = (rig.device(), LiveObjects::now());
    double.set_peer_access(false);
    let created = [Compute::on_peer(drawing, &devices[0]), Compute::group(drawing, &devices)];
    for error in created.map(Result::unwrap_err) {
        let Error::NoPeer { vulkan_uuid, cuda_uuid, .. } = &error else { panic!("{error}") };
        assert!(*vulkan_uuid == drawing.uuid() && *cuda_uuid == devices[0].uuid(), "{error}");
        let text = error.to_string();
        let uuids = [drawing.uuid(), devices[0].uuid()].map(|uuid| uuid.to_string());
        let named = [drawing.name(), devices[0].name(), &uuids[0], &uuids[1]];
        let advice = ["cuDeviceCanAccessPeer", "NVLink", "nvidia-smi topo -p2p rw"];
        assert!(named.iter().chain(&advice).all(|part| text.contains(part)), "{text}");
    }
    assert_eq!(LiveObjects::now(), before);
    // A GPU has access to its own memory, and the other has it as soon as CUDA says so.
    drop(Compute::on_peer(drawing, &devices[1]).unwrap());
    double.set_peer_access(true);
    drop(Compute::group(drawing, &devices).unwrap());
    assert_eq!(LiveObjects::now(), before);
    assert_silent(drawing);
    drop(devices);
    let findings = double.findings_at_exit();
    assert!(findings.is_empty(), "{findings:#?}");
}

type Signal = unsafe extern "system" fn(vk::Device, *const c_void) -> vk::Result;

static SIGNAL: OnceLock<Signal> = OnceLock::new();
/// The number of the next calls of `vkSignalSemaphore` that fail.
static REFUSED: AtomicUsize = AtomicUsize::new(0);
/// `true` if the calls that fail make the signal nevertheless.
static MADE: AtomicBool = AtomicBool::new(false);

unsafe extern "system" fn signal(device: vk::Device, info: *const c_void) -> vk::Result {
    if REFUSED.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        if MADE.load(Ordering::SeqCst) {
            // SAFETY: forwarded to the real function.
            let _ = unsafe { SIGNAL.get().unwrap()(device, info) };
        }
        return vk::Result::ERROR_OUT_OF_HOST_MEMORY;
    }
    // SAFETY: forwarded to the real function.
    unsafe { SIGNAL.get().unwrap()(device, info) }
}

fn hook(name: &CStr, real: *const c_void) -> *const c_void {
    if name != c"vkSignalSemaphore" {
        return real;
    }
    // SAFETY: the function of that name has this type.
    let _ = SIGNAL.set(unsafe { std::mem::transmute::<*const c_void, Signal>(real) });
    signal as *const c_void
}

/// Needs no lock: the test is the engine's only thread.
struct Lock;

impl QueueLock for Lock {
    fn with(&self, _: vk::Queue, f: &mut dyn FnMut()) {
        f();
    }
}

/// CUDA's stream waits for a signal that Vulkan's driver refuses: nothing else would make it, and
/// the context could no longer free anything.
#[test]
fn a_refused_signal_is_repeated() {
    with_refused("probe::a_refused_signal_is_repeated", 2);
}

/// A signal that was made despite the error is not made again.
#[test]
fn a_performed_signal_is_not_repeated_after_an_error() {
    MADE.store(true, Ordering::SeqCst);
    with_refused("probe::a_performed_signal_is_not_repeated_after_an_error", 1);
}

fn with_refused(name: &str, refused: usize) {
    let Some(double) = double(name) else { return };
    let engine = Engine::new(Some(hook));
    let mut info = engine.info();
    info.queue_lock = Some(Arc::new(Lock));
    // SAFETY: the engine's own handles, which outlive everything that is created from them here.
    let device = unsafe { ExportDevice::adopt(info) }.unwrap();
    let devices = Peers::Other.devices(&device).unwrap();
    REFUSED.store(refused, Ordering::SeqCst);
    let compute = Compute::on_peer(&device, &devices[0]);
    assert_eq!(REFUSED.load(Ordering::SeqCst), 0, "it was not the probe's signal");
    drop(compute.unwrap());
    drop((devices, device));
    engine.assert_silent();
    let findings = double.findings_at_exit();
    assert!(findings.is_empty(), "{findings:#?}");
}
