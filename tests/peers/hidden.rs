//! `CUDA_VISIBLE_DEVICES` hides the GPU that draws from CUDA. This needs its own process, because
//! the driver reads the variable once.

use std::process::Command;

use bridge::Compute;
use bridge::cuda_import::{CudaDevice, PeerAccess, peer_access, report};
use bridge_tests::{Filler, Peers, Readback, Rig};

use crate::{LEN, read, words};

/// Set in the process that does not see the GPU.
const HIDDEN: &str = "BRIDGE_TEST_HIDDEN";

#[test]
fn the_drawing_gpu_may_be_hidden_from_cuda() {
    let rig = Rig::open();
    if std::env::var_os(HIDDEN).is_some() {
        return without_seeing_it(&rig);
    }
    let Some(devices) = Peers::Other.devices(rig.device()) else { return };
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hidden::the_drawing_gpu_may_be_hidden_from_cuda", "--nocapture"])
        .env("CUDA_VISIBLE_DEVICES", format!("GPU-{}", devices[0].uuid()))
        .env(HIDDEN, rig.device().uuid().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stdout));
}

fn without_seeing_it(rig: &Rig) {
    let found = report().unwrap().devices;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(std::env::var(HIDDEN).unwrap(), rig.device().uuid().to_string(), "another GPU draws");
    assert_eq!(peer_access(found[0].uuid, rig.device().uuid()).unwrap(), PeerAccess::Hidden);
    let error = Compute::new(rig.device(), bridge::Backend::Cuda).unwrap_err().to_string();
    assert!(error.contains("CUDA_VISIBLE_DEVICES"), "{error}");
    let compute = Compute::on_peer(rig.device(), &CudaDevice::by_uuid(found[0].uuid).unwrap()).unwrap();
    let (filler, readback) = (Filler::new(&compute), Readback::new(rig.device(), crate::SIZE));
    let mut exchange = words(&compute, 2);
    for frame in 0..10 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, frame);
        let turn = turn.finish().unwrap();
        assert!(read(&readback, turn) == Filler::pattern(LEN, frame), "frame {frame}");
    }
    exchange.close().unwrap();
}
