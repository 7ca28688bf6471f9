//! Tests of a worker on the CPU with a scripted renderer.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod ending;
mod importing;
mod in_step;
mod names;
mod reading;
mod reading_in_step;
#[path = "../scripted/mod.rs"]
mod scripted;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bridge_ipc::{
    Channel, Code, Direction, Hello, ImageDescriptor, ImageShape, Listener, MappedMemory, Message, ResourceKind, Role,
};
use bridge_worker::{Buffer, Error, HostWork, Image, LatestWriter, Read, Work};

use test_support::Task;

use scripted::{LIMIT, Renderer, both, connect, floats, listen};

fn picture() -> ResourceKind {
    ResourceKind::Image(ImageDescriptor {
        shape: ImageShape::D2,
        extent: [4, 2, 1],
        levels: 2,
        layers: 1,
        channel: Channel::U8,
        channels: 4,
        format: 37,
        color_attachment: false,
        layered: false,
    })
}

fn read_floats(memory: &MappedMemory, len: usize) -> Vec<f32> {
    let mut bytes = vec![0; len * 4];
    assert!(memory.read(16, &mut bytes));
    bytes.chunks_exact(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect()
}

fn host<'a, R: bridge_worker::Resources>(work: Work<'a, R>) -> HostWork<'a, R> {
    match work {
        Work::Host(host) => host,
        _ => panic!("computes on the CPU"),
    }
}

/// A time limit that no call reaches.
const FAR: Duration = Duration::from_secs(60);

#[test]
fn frames_arrive_complete() {
    const FRAMES: u64 = 200;
    both(
        |listener| {
            let mut renderer = Renderer::accept(listener);
            let memory = renderer.offer(1, "x", &[floats(100), picture()]);
            assert_eq!(renderer.receive(), Message::Ready { exchange: 1 });
            for slot in 0..2 {
                renderer.send(Message::Free { exchange: 1, slot, value: 0 });
            }
            for expected in 0..FRAMES {
                let Message::Publish { slot, frame, value, .. } = renderer.receive() else { panic!() };
                assert_eq!((frame, value), (expected, expected + 1));
                let [buffer, image] = &memory[slot as usize][..] else { panic!() };
                assert_eq!(read_floats(buffer, 100), vec![frame as f32; 100]);
                let mut texels = [0; 40];
                // 32 bytes of the first level, then 8 of the second.
                assert!(image.read(16, &mut texels));
                assert_eq!(texels, [frame as u8; 40]);
                renderer.answer(Message::Free { exchange: 1, slot, value });
            }
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
            renderer.answer(Message::Close { exchange: 1 });
            assert!(matches!(renderer.receive(), Message::Bye { code: Code::Done, .. }));
        },
        |worker| {
            let mut writer = worker.latest::<(Buffer<f32>, Image<[u8; 4]>)>("x").unwrap();
            assert_eq!((writer.slots(), writer.name()), (2, "x"));
            for frame in 0..FRAMES {
                let mut turn = writer.begin().unwrap();
                assert_eq!(turn.frame(), frame);
                let (mut buffer, mut image) = host(turn.work()).resources;
                buffer.write_from(0, &vec![frame as f32; buffer.len()]).unwrap();
                for level in 0..image.levels() {
                    image.write_from(level, 0, &vec![[frame as u8; 4]; image.level_len(level)]).unwrap();
                }
                assert!(matches!(buffer.write_from(99, &[0.0; 2]), Err(Error::OutOfRange { start: 99, end: 101, .. })));
                assert!(image.write_from(2, 0, &[[0; 4]]).is_err() && image.write_from(1, 2, &[[0; 4]]).is_err());
                turn.publish().unwrap();
            }
        },
    );
}

#[test]
fn turn_without_a_frame_returns_its_slot() {
    both(
        |listener| {
            let mut renderer = Renderer::accept(listener);
            renderer.offer(1, "x", &[floats(4)]);
            renderer.receive();
            renderer.send(Message::Free { exchange: 1, slot: 1, value: 0 });
            assert_eq!(renderer.receive(), Message::Publish { exchange: 1, slot: 1, frame: 0, value: 1 });
            renderer.receive();
        },
        |worker| {
            let mut writer = worker.latest::<Buffer<u32>>("x").unwrap();
            writer.begin().unwrap().skip().unwrap();
            drop(writer.begin().unwrap());
            writer.begin().unwrap().publish().unwrap();
        },
    );
}

#[test]
fn a_slot_is_waited_for_with_a_limit() {
    let (_folder, listener) = listen();
    let waited = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut renderer = Renderer::accept(&listener);
            renderer.offer(1, "x", &[floats(4)]);
            renderer.receive();
            waited.wait();
            renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
            renderer.receive();
        });
        let worker = connect(listener.path(), names::SHORT).unwrap();
        let mut writer = names::in_the_end(|| worker.latest::<Buffer<f32>>("x"));
        let error = writer.begin().err().unwrap();
        assert!(matches!(&error, Error::Timeout { what, .. } if what.contains("free slot of \"x\"")), "{error}");
        assert!(matches!(worker.latest::<Buffer<f32>>("y"), Err(Error::Timeout { .. })));
        waited.wait();
        names::in_the_end(|| writer.begin()?.publish());
        thread.join().unwrap();
    });
}

#[test]
fn mismatched_resource_is_refused_and_the_renderer_notified() {
    both(
        |listener| {
            let mut renderer = Renderer::accept(listener);
            for (exchange, kinds) in [(1, vec![floats(4)]), (2, vec![floats(4), floats(4)]), (3, vec![picture()])] {
                renderer.offer(exchange, "x", &kinds);
                match renderer.receive() {
                    Message::Refused { exchange: Some(of), code: Code::Resource, text } => {
                        assert!(of == exchange && text.contains("requested"), "{text}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            renderer.offer(4, "x", &[floats(4)]);
            assert_eq!(renderer.receive(), Message::Ready { exchange: 4 });
            renderer.receive();
        },
        |worker| {
            for _ in 0..3 {
                let refused = worker.latest::<Image<f32>>("x").unwrap_err();
                assert!(matches!(refused, Error::Mismatch { .. }), "{refused}");
            }
            worker.latest::<Buffer<i32>>("x").unwrap();
        },
    );
}

#[test]
fn closed_exchange_is_distinguished_from_renderer_loss() {
    both(
        |listener| {
            let mut renderer = Renderer::accept(listener);
            for exchange in 1..=2 {
                renderer.offer(exchange, "x", &[floats(4)]);
                renderer.receive();
            }
            renderer.send(Message::Close { exchange: 1 });
            assert_eq!(renderer.receive(), Message::Close { exchange: 1 });
            renderer.connection.close(Code::Done, "the window was closed");
        },
        |worker| {
            let mut first = worker.latest::<Buffer<f32>>("x").unwrap();
            let mut second = worker.latest::<Buffer<f32>>("x").unwrap();
            let error = first.begin().err().unwrap();
            assert!(matches!(error, Error::Closed { .. }), "{error}");
            drop(first);
            let error = second.begin().err().unwrap();
            assert!(
                matches!(&error, Error::Closed { reason, .. } if reason.contains("the window was closed")),
                "{error}"
            );
        },
    );
}

#[test]
fn disallowed_backend_is_an_error() {
    let (_folder, listener) = listen();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut connection = listener.accept(LIMIT).unwrap().unwrap();
            let hello = Hello { cuda: true, ..Hello::new(Role::Renderer, "renderer") };
            let told = connection.handshake(&hello, LIMIT).unwrap_err().to_string();
            assert!(told.contains("does not allow"), "{told}");
        });
        let error = connect(listener.path(), LIMIT).unwrap_err();
        assert!(matches!(error, Error::NoBackend { .. }), "{error}");
        thread.join().unwrap();
    });
}

/// Messages for one exchange can be read by the thread of another.
#[test]
fn exchanges_run_on_separate_threads() {
    const FRAMES: u64 = 300;
    both(
        |listener| {
            let mut renderer = Renderer::accept(listener);
            for exchange in 1..=3 {
                renderer.offer(exchange, &format!("x{exchange}"), &[floats(4)]);
            }
            let (mut published, mut closed, mut ready) = (0, 0, 0);
            while closed < 3 {
                match renderer.receive() {
                    Message::Ready { exchange } => {
                        renderer.send(Message::Free { exchange, slot: 0, value: 0 });
                        ready += 1;
                    }
                    Message::Publish { exchange, slot, value, .. } => {
                        published += 1;
                        // The exchange may be closed by now.
                        renderer.answer(Message::Free { exchange, slot, value });
                    }
                    Message::Close { exchange } => {
                        renderer.answer(Message::Close { exchange });
                        closed += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((ready, published), (3, 3 * FRAMES));
        },
        |worker| {
            let writers: Vec<_> =
                (1..=3).map(|number| worker.latest::<Buffer<f32>>(&format!("x{number}")).unwrap()).collect();
            std::thread::scope(|scope| {
                for mut writer in writers {
                    scope.spawn(move || (0..FRAMES).for_each(|_| writer.begin().unwrap().publish().unwrap()));
                }
            });
        },
    );
}

/// The renderer runs in a separate process, which is this test again, and is killed.
#[test]
fn the_end_of_the_renderer_ends_the_wait_at_once() {
    const PATH: &str = "BRIDGE_WORKER_TEST_SOCKET";
    if let Some(path) = std::env::var_os(PATH) {
        let listener = Listener::bind(PathBuf::from(path)).unwrap();
        let mut renderer = Renderer::accept(&listener);
        renderer.offer(1, "x", &[floats(4)]);
        renderer.receive();
        renderer.send(Message::Free { exchange: 1, slot: 0, value: 0 });
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_end_of_the_renderer_ends_the_wait_at_once"])
        .env(PATH, &path)
        .spawn()
        .unwrap();
    let start = Instant::now();
    let worker = loop {
        match connect(&path, FAR) {
            Ok(worker) => break worker,
            Err(_) if start.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    };
    let mut writer: LatestWriter<Buffer<f32>> = worker.latest("x").unwrap();
    writer.begin().unwrap().publish().unwrap();
    let start = Instant::now();
    let waits = Task::current();
    let mut child = std::thread::scope(|scope| {
        let killed = scope.spawn(move || {
            waits.wait_until_asleep(|| false);
            child.kill().unwrap();
            child
        });
        let error = writer.begin().err().unwrap();
        assert!(matches!(&error, Error::PeerLost { frame: 1, owed: None, .. }), "{error}");
        assert!(error.to_string().contains("renderer \"renderer\""), "{error}");
        killed.join().unwrap()
    });
    // The process was not reaped: a zombie counts as dead.
    assert!(matches!(writer.begin(), Err(Error::PeerLost { .. })), "again");
    drop((writer, worker));
    assert!(start.elapsed() < FAR / 2, "something is waited for up to its limit: {:?}", start.elapsed());
    child.wait().unwrap();
}
