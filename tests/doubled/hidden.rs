//! `CUDA_VISIBLE_DEVICES` hides one of two GPUs from CUDA: the double's list of devices lacks it.

use bridge::cuda_import::{CudaDevice, Error as CudaError, PeerAccess, peer_access};
use bridge::{Backend, Compute, Error, Exchange, ExportDevice, LiveObjects, Work};
use bridge_tests::{Peers, Rig, assert_silent};
use driver_double::Double;

use crate::{LEN, double, info, words};

/// `CUDA_ERROR_INVALID_DEVICE`, which a driver returns for objects of a GPU that it does not list.
const INVALID_DEVICE: u32 = 101;

/// Checks that an error of a peer names both GPUs, and gives advice that helps while `drawing` is
/// hidden.
fn check_hidden(error: Error, drawing: &ExportDevice, peer: &CudaDevice, failed: &str) {
    let Error::NoPeer { vulkan_uuid, cuda_uuid, .. } = &error else { panic!("{error}") };
    assert!(*vulkan_uuid == drawing.uuid() && *cuda_uuid == peer.uuid(), "{error}");
    let text = error.to_string();
    let uuids = [drawing.uuid(), peer.uuid()].map(|uuid| uuid.to_string());
    let named = [drawing.name(), peer.name(), &uuids[0], &uuids[1], failed];
    let advice = ["CUDA_VISIBLE_DEVICES", "let it see both", "`Compute::new`, which needs it to be visible to CUDA"];
    assert!(named.iter().chain(&advice).all(|part| text.contains(part)), "{text}");
    assert!(!text.contains("nvidia-smi topo"), "a missing link is not what was found: {text}");
}

/// The two GPUs: the one that draws is the first device of CUDA's list.
struct Gpus {
    drawing: ExportDevice,
    peer: CudaDevice,
}

impl Gpus {
    fn find(rig: &Rig) -> Self {
        let peer = Peers::Other.devices(rig.device()).unwrap().remove(0);
        assert_eq!(peer.ordinal(), 1);
        Self { drawing: rig.device().clone(), peer }
    }
}

/// Runs a test in its own process, and checks that nothing is left and that no rule was broken.
fn with_gpus(name: &str, test: fn(&Double, &Gpus)) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    let gpus = Gpus::find(&rig);
    let before = LiveObjects::now();
    test(&double, &gpus);
    assert_eq!(LiveObjects::now(), before);
    drop(gpus);
    let findings = double.findings_at_exit();
    assert!(findings.is_empty(), "{findings:#?}");
    assert_silent(rig.device());
}

/// Frames of a peer need no list with the GPU that draws; `Compute::new` does, and says so.
#[test]
fn a_peer_computes_for_a_hidden_gpu() {
    with_gpus("hidden::a_peer_computes_for_a_hidden_gpu", |double, Gpus { drawing, peer }| {
        double.hide_device(Some(0));
        assert_eq!(peer_access(peer.uuid(), drawing.uuid()).unwrap(), PeerAccess::Hidden);
        let text = Compute::new(drawing, Backend::Cuda).unwrap_err().to_string();
        let uuids = [drawing.uuid(), peer.uuid()].map(|uuid| uuid.to_string());
        for part in ["CUDA_VISIBLE_DEVICES", drawing.name(), peer.name(), &uuids[0], &uuids[1]] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let compute = Compute::on_peer(drawing, &CudaDevice::by_uuid(peer.uuid()).unwrap()).unwrap();
        let mut exchange = Exchange::new(&compute, &info(2), words()).unwrap();
        for value in 1..=4u32 {
            let mut turn = exchange.begin().unwrap();
            let Work::Cuda(mut cuda) = turn.work() else { unreachable!("no other backend is opened") };
            cuda.stream.memcpy_htod(&[value; LEN], &mut cuda.resources).unwrap();
            assert_eq!(turn.finish().unwrap().read_back(Rig::LONG).unwrap(), [value; LEN]);
        }
        exchange.grow(2 * LEN).unwrap();
        exchange.close().unwrap();
    });
}

/// A driver may refuse objects of a GPU that it does not list: the error of a peer and of a group
/// names both GPUs and the variable.
#[test]
fn what_fails_with_a_hidden_gpu_is_explained() {
    with_gpus("hidden::what_fails_with_a_hidden_gpu_is_explained", |double, Gpus { drawing, peer }| {
        double.hide_device(Some(0));
        for call in ["cuImportExternalSemaphore", "cuMemImportFromShareableHandle", "cuMemSetAccess"] {
            let create: [fn(&ExportDevice, &CudaDevice) -> bridge::Result<Compute>; 2] =
                [Compute::on_peer, |drawing, peer| Compute::group(drawing, std::slice::from_ref(peer))];
            for create in create {
                double.fail_named(call, 1, INVALID_DEVICE);
                check_hidden(create(drawing, peer).unwrap_err(), drawing, peer, call);
                assert!(double.disarm().is_some(), "{call} was not called");
            }
        }
        // Nothing of it remains in the way.
        drop(Compute::on_peer(drawing, peer).unwrap());
    });
}

/// A hidden GPU cannot be opened as a member of a group: the error names it and those that are
/// listed.
#[test]
fn a_hidden_member_of_a_group_is_named() {
    with_gpus("hidden::a_hidden_member_of_a_group_is_named", |double, Gpus { drawing, peer }| {
        let own = CudaDevice::by_uuid(drawing.uuid()).unwrap();
        for (hidden, listed) in [(&own, peer), (peer, &own)] {
            let ordinal = [&own, peer].iter().position(|device| device.uuid() == hidden.uuid());
            double.hide_device(ordinal.map(|ordinal| ordinal as i32));
            let error = CudaDevice::by_uuid(hidden.uuid()).unwrap_err();
            assert!(matches!(error, CudaError::NoSuchDevice { .. }), "{error}");
            let text = error.to_string();
            let named = [hidden.uuid().to_string(), listed.uuid().to_string(), listed.name().to_owned()];
            assert!(named.iter().all(|part| text.contains(part)), "{text}");
            assert!(text.contains("CUDA_VISIBLE_DEVICES"), "{text}");
        }
        // Opened before it was hidden, so that access cannot be asked for: both GPUs are named.
        let error = Compute::group(drawing, std::slice::from_ref(peer)).unwrap_err();
        let Error::NoPeer { vulkan_uuid, cuda_uuid, .. } = &error else { panic!("{error}") };
        assert!(*vulkan_uuid == drawing.uuid() && *cuda_uuid == peer.uuid(), "{error}");
        let text = error.to_string();
        assert!(text.contains(drawing.name()) && text.contains(peer.name()), "{text}");
        assert!(text.contains("CUDA_VISIBLE_DEVICES"), "{text}");
        double.hide_device(None);
        drop(Compute::group(drawing, &[peer.clone(), own]).unwrap());
    });
}
