//! A worker in step that computes with CUDA and signals the timeline that only the renderer may
//! signal: Vulkan's progress.
#![allow(unsafe_code)] // Imports and signals.

use std::path::Path;
use std::time::Duration;

use bridge::{Error, ExchangeInfo};
use bridge_ipc::{ConnectInfo, Connection, Hello, Message, Role, Side, Timeline};
use bridge_tests::Rig;
use bridge_worker::cuda_import::{CudaDevice, ImportedSemaphore, SemaphoreKind, signal_one};

use crate::scene::Scene;
use crate::steps::{Stepping, submit};
use crate::worker::{Process, forever, report_state};

const ADDRESS_VARIABLE: &str = "BRIDGE_TEST_LYING_WORKER";
/// A limit that no test reaches while it waits for the end of a worker.
const LIMIT: Duration = Duration::from_secs(20);
/// The value that the worker signals in place of Vulkan.
const FALSE_VALUE: u64 = 1000;

fn start(path: &Path) -> Process {
    Process::start("lying_worker_process", ADDRESS_VARIABLE, path)
}

/// Runs a worker that has announced a frame which never comes, and signals that Vulkan has finished
/// with it, if this process is one.
pub(crate) fn run_if_child() {
    let Some(path) = std::env::var_os(ADDRESS_VARIABLE) else { return };
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let device_uuid = connection.peer_hello().unwrap().device_uuid;
    let device = CudaDevice::by_uuid(device_uuid).unwrap();
    let hello = Hello { cuda: true, trust: true, device_uuid, ..Hello::new(Role::Worker, "liar") };
    connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    let rendered = loop {
        let received = connection.receive(LIMIT).unwrap();
        if let Message::Timeline(Timeline { side: Side::Rendered, .. }) = received.message {
            break received.descriptor.unwrap();
        }
    };
    // SAFETY: a timeline that Vulkan exported on this GPU, as the message says.
    let rendered = unsafe { ImportedSemaphore::import(&device, rendered, SemaphoreKind::Timeline, "lie") }.unwrap();
    connection.send(&Message::Ready { exchange: 0 }, None, LIMIT).unwrap();
    let Message::Free { slot, .. } = connection.receive(LIMIT).unwrap().message else { panic!() };
    connection.send(&Message::Publish { exchange: 0, slot, frame: 0, value: 1 }, None, LIMIT).unwrap();
    let stream = device.new_stream().unwrap();
    // SAFETY: the timeline lives until the process ends. It violates on purpose the rule that only
    // the renderer signals this timeline.
    unsafe { signal_one(&stream, &rendered, FALSE_VALUE) }.unwrap();
    stream.synchronize().unwrap();
    report_state();
    forever();
}

/// The renderer uses a timeline that the worker does not have, so its wait ends only when the work
/// has completed, and its slots and commands stay in use until then.
#[test]
fn a_false_signal_of_a_worker_is_ignored() {
    let Some(mut stepping) = Stepping::with_cuda() else { return };
    let mut worker = start(&stepping.scene.path());
    let info = ExchangeInfo { name: "steps", timeout: LIMIT, ..Default::default() };
    let mut steps = stepping.accept().exchange(&info, Scene::spec()).unwrap();
    let point = submit(steps.next(LIMIT).unwrap().expect("no frame is announced"));
    worker.wait_for_state();
    assert!(!point.is_reached().unwrap(), "the worker's word is taken for Vulkan's");
    assert!(matches!(point.wait(Rig::MOMENT), Err(Error::Timeout { .. })));
    worker.kill();
    point.wait(LIMIT).unwrap();
    let error = Stepping::dead(&steps);
    assert!(matches!(&error, Error::PeerLost { .. }), "{error}");
    // No worker has signaled on the next worker's timelines.
    let _next = stepping.accept_next(&mut steps, 2);
    steps.close().unwrap();
}
