//! A worker that computes with CUDA, with a scripted renderer: its turn is forgotten.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use crate::common::assert_clean;
use crate::common::renderer::{Exports, Renderer, connect};
use crate::common::world::import_semaphore;
use bridge_worker::bridge_ipc::{Listener, Message};
use bridge_worker::{Buffer, Work};
use cuda_import::{SemaphoreKind, report};
use driver_double::Double;

/// `CUDA_ERROR_NOT_READY`
const NOT_READY: u32 = 600;

/// The time that dropping a writer waits for its work.
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// An exchange is closed and its memory freed only after work on the program's own streams, even if
/// the turn was forgotten.
#[test]
fn a_forgotten_turn_is_waited_for() {
    let Some(double) = Double::in_child("forgotten::a_forgotten_turn_is_waited_for") else { return };
    // A machine may delay the renderer's thread until the drop has given up.
    let is_shown = (0..5).any(|_| {
        let waited = drop_with_a_forgotten_turn(&double);
        if waited >= DROP_LIMIT {
            double.forget();
        }
        waited < DROP_LIMIT
    });
    assert!(is_shown, "dropping waits for longer than the work takes");
    assert_clean(&double);
}

/// Drops a writer whose turn is forgotten, while another stream writes its slot until the worker
/// waits. Returns the time that the drop took. If it is [`DROP_LIMIT`] or longer, the objects are
/// leaked and nothing was checked.
fn drop_with_a_forgotten_turn(double: &Double) -> Duration {
    let gpu = report().unwrap().devices[0].uuid;
    let exports = Exports::new(double);
    let exported = double.export_semaphore(true);
    let gate = exported.number;
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    std::thread::scope(|scope| {
        let renderer = scope.spawn(|| {
            let mut renderer = Renderer::offer(&listener, gpu, false, &exports.all());
            renderer.receive();
            renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
            let mut early = None;
            double.wait_until("the worker to wait, or to close the exchange", |double| {
                let waits = double.calls().iter().any(|call| call.name == "cuStreamQuery" && call.code == NOT_READY);
                early = renderer.connection.receive(Duration::ZERO).ok();
                waits || early.is_some()
            });
            double.signal(gate, 1);
            (early, renderer)
        });
        let worker = connect(listener.path()).unwrap();
        let mut writer = worker.latest::<Buffer<f32>>("x").unwrap();
        let device = worker.cuda().unwrap().clone();
        let semaphore = import_semaphore(&device, exported, SemaphoreKind::Timeline);
        let foreign_stream = device.new_stream().unwrap();
        // SAFETY: the renderer's thread signals it, and it is destroyed after that.
        unsafe { cuda_import::wait_one(&foreign_stream, &semaphore, 1) }.unwrap();
        let mut turn = writer.begin().unwrap();
        let Work::Cuda(mut cuda) = turn.work() else { panic!("computes with CUDA") };
        foreign_stream.memset_zeros(&mut cuda.resources).unwrap();
        std::mem::forget(turn);
        let start = Instant::now();
        drop((writer, worker));
        let waited = start.elapsed();
        let (early, mut renderer) = renderer.join().unwrap();
        if waited < DROP_LIMIT {
            assert!(early.is_none(), "{early:?} while the slot is written");
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
        }
        drop((foreign_stream, semaphore));
        waited
    })
}
