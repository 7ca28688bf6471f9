//! Tests of frames that a worker had finished when it was lost or disconnected.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc;

use bridge_ipc::{Handle, Resource, Uuid};

use super::*;
use crate::compute;
use crate::remote::copy::SlotMemory;

/// The way in which a worker process ends.
const PART: &str = "BRIDGE_LINK_WORKER_PART";

/// A finished frame is shown even if a Close follows it at once and is not read yet.
#[test]
fn frame_before_an_unread_close_is_shown() {
    let Some(mut scene) = Scene::new("in-front") else { return };
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let (mut connection, slots) = connect(&path);
        publish(&mut connection, slots[0], 0);
        connection.send(&Message::Close { exchange: EXCHANGE }, None, LIMIT).unwrap();
        connection
    });
    let (mut listening, gpu) = scene.prepare();
    // Gives the worker its slots.
    listening.advance().unwrap();
    let connection = worker.join().unwrap();
    gpu(1);
    scene.control.stop();
    let stored = listening.run();
    assert!(matches!(scene.lost(), Error::PeerLost { owed: 0, frame: Some(0), .. }), "{}", scene.lost());
    assert_eq!(scene.new_frame(), 0);
    assert!(stored.previous.is_none() && stored.handle.remote_slots().is_empty(), "it is done with its slots");
    drop(connection);
    stored.handle.close(scene.reader).unwrap();
}

/// All messages that have arrived are read if the program disconnects the worker, also if there are
/// more than the thread reads at once.
#[test]
fn what_has_arrived_is_read_however_much_it_is() {
    const MANY: usize = MAX_READS / 2 + 1;
    let Some(mut scene) = Scene::with_slots("however-much", Some(MANY)) else { return };
    let path = scene.path();
    let worker = std::thread::spawn(move || {
        let (mut connection, slots) = connect_to(&path, MANY);
        let (last, others) = slots.split_last().unwrap();
        for (&slot, frame) in others.iter().zip(0..) {
            publish(&mut connection, slot, frame);
            connection.send(&Message::Torn { exchange: EXCHANGE, slot, frame }, None, LIMIT).unwrap();
        }
        publish(&mut connection, *last, MANY as u64 - 1);
        connection.send(&Message::Close { exchange: EXCHANGE }, None, LIMIT).unwrap();
        connection
    });
    let (mut listening, gpu) = scene.prepare();
    // Gives the worker its slots.
    listening.advance().unwrap();
    let connection = worker.join().unwrap();
    gpu(MANY as u64);
    scene.control.stop();
    let stored = listening.run();
    assert_eq!(scene.new_frame(), 0, "the only complete frame");
    assert!(stored.previous.is_none() && stored.handle.remote_slots().is_empty(), "it has closed the exchange");
    drop(connection);
    stored.handle.close(scene.reader).unwrap();
}

/// The reason for the loss of a worker is reported, even if its process ends immediately after.
#[test]
fn loss_is_reported_with_the_reason_of_the_worker() {
    let says: [(&str, &str); 5] = [
        ("fails", "worker process PID has closed the connection: out of tea, and has ended;"),
        ("lies", "worker process PID is cut off: "),
        ("closes", "worker process PID has closed the exchange, and has ended;"),
        ("ends", "worker process PID has closed the connection: the worker has ended;"),
        ("dies", "worker process PID has ended;"),
    ];
    let part = std::env::var(PART);
    if let (Ok(path), Ok(part)) = (std::env::var(PLACE), &part) {
        let mut connection = taken(Path::new(&path));
        match &**part {
            "fails" => connection.close(Code::Failure, "out of tea"),
            "lies" => _ = rustix::io::write(&connection, b"no message").unwrap(),
            "closes" => connection.send(&Message::Close { exchange: EXCHANGE }, None, LIMIT).unwrap(),
            "ends" => connection.close(Code::Done, "the worker has ended"),
            // Without a word.
            _ => {}
        }
        std::process::exit(0);
    }
    for (part, reported) in says {
        let Some(mut scene) = Scene::new(part) else { return };
        let test = "remote::listening::tests::ends::loss_is_reported_with_the_reason_of_the_worker";
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(PLACE, scene.path())
            .env(PART, part)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (listening, _gpu) = scene.prepare();
        process.wait().unwrap();
        let stored = listening.run();
        let error = scene.lost();
        let (reported, text) = (reported.replace("PID", &process.id().to_string()), error.to_string());
        let is_told = text.contains(&reported) && (part != "lies" || text.contains("closed, and has ended;"));
        assert!(is_told && matches!(error, Error::PeerLost { dead: true, .. }), "{part}: {text}");
        stored.handle.close(scene.reader).unwrap();
    }
}

/// A published frame of a worker on the CPU whose copy is in progress is shown even if the program
/// replaces or disconnects the worker.
#[test]
fn frame_is_shown_after_its_copy_although_the_program_disconnects() {
    for hangs_up in [true, false] {
        let Some(device) = own_device() else { return };
        let path = std::env::temp_dir().join(format!("bridge-copies-{}-{hangs_up}", std::process::id()));
        let listener = Listener::bind(&path).unwrap();
        let worker = std::thread::spawn(move || {
            let mut connection = Connection::connect(&path, &ConnectInfo::default()).unwrap();
            let hello = Hello { host: true, ..Hello::new(Role::Worker, "worker") };
            connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
            while !matches!(connection.receive(LIMIT).unwrap().message, Message::Resource(_)) {}
            connection.send(&Message::Ready { exchange: EXCHANGE }, None, LIMIT).unwrap();
            connection
        });
        let mut connection = listener.accept(LIMIT).unwrap().unwrap();
        let hello = Hello { host: true, ..Hello::new(Role::Renderer, "test") };
        connection.handshake(&hello, LIMIT).unwrap();
        let info = LatestInfo { name: "frames", ..Default::default() };
        let compute = Compute::new(&device, compute::Backend::Host).unwrap();
        let spec = Words::new(LEN, BufferAccess::TRANSFER_READ);
        let (writer, mut reader) = Exchange::latest_for(&compute, &info, spec).unwrap();
        let mut memory = File::from(rustix::fs::memfd_create("frames", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        memory.write_all(&7u32.to_ne_bytes().repeat(LEN)).unwrap();
        offer(&mut connection, &memory);
        let mut worker = Some(worker.join().unwrap());
        assert_eq!(connection.receive(LIMIT).unwrap().message, Message::Ready { exchange: EXCHANGE });
        connection.send(&Message::Free { exchange: EXCHANGE, slot: 0, value: 0 }, None, LIMIT).unwrap();
        assert!(matches!(worker.as_mut().unwrap().receive(LIMIT).unwrap().message, Message::Free { .. }));

        // Blocks the thread that copies.
        let (open, gate) = mpsc::channel::<()>();
        let compute::side::Side::Host(stream) = writer.compute().side() else { panic!() };
        stream.run(move || gate.recv().unwrap()).unwrap();
        let waker = Arc::new(Waker::new().unwrap());
        let (control, status) = (Arc::new(Control::new(&waker)), Arc::new(Status::new("frames")));
        let files = AcceptedMemory::Files([Arc::from([SlotMemory::WorkerFile(memory)])].into());
        let part: LatestWriterPart<Words> = LatestWriterPart::new(writer, files, &waker);
        let (control_too, status_too, timeout) = (Arc::clone(&control), status.connect_worker(0), LIMIT);
        let listening = WorkerListener {
            connection,
            part,
            control: control_too,
            status: status_too,
            timeout,
            held: 1,
            receives_nothing: false,
        };
        let thread = std::thread::spawn(move || listening.run());
        publish(worker.as_mut().unwrap(), 0, 0);
        let lost = |status: &Status| {
            let start = Instant::now();
            while status.loss_error().is_none() {
                assert!(start.elapsed() < LIMIT);
                std::thread::yield_now();
            }
        };
        if hangs_up {
            drop(worker.take());
            lost(&status);
            control.stop();
        } else {
            control.stop();
            // The Bye.
            let reported = worker.as_mut().unwrap().receive(LIMIT);
            assert!(
                matches!(&reported, Ok(received) if matches!(received.message, Message::Bye { .. }))
                    || reported.is_err()
            );
        }
        open.send(()).unwrap();
        let stored = thread.join().unwrap();
        assert!(stored.handle.compute().side().drain(LIMIT).unwrap());
        let turn = reader.newest().unwrap().expect("the frame is lost");
        assert_eq!(turn.read_back(LIMIT).unwrap(), [7; LEN]);
        stored.handle.close(reader).unwrap();
    }
}

/// Offers an exchange of one slot, which the worker writes.
fn offer(connection: &mut Connection, memory: &File) {
    let offer = Offer {
        exchange: EXCHANGE,
        direction: Direction::WorkerWrites,
        slots: 1,
        resources: 1,
        writer_in_flight: 1,
        reader_in_flight: 1,
        trust: false,
        name: "frames".to_owned(),
    };
    connection.send(&Message::Offer(offer), None, LIMIT).unwrap();
    let resource = Resource {
        exchange: EXCHANGE,
        slot: 0,
        index: 0,
        kind: resource_kind::<u32>(LEN),
        handle: Handle::Memfd,
        dedicated: false,
        device_uuid: Uuid::nil(),
        allocation_size: LEN as u64 * 4,
        offset: 0,
    };
    connection.send(&Message::Resource(resource), Some(memory.as_fd()), LIMIT).unwrap();
}

#[test]
fn unfinished_frames_of_a_dead_worker_are_counted_as_pending() {
    if let Ok(path) = std::env::var(PLACE) {
        let (mut connection, slots) = connect(Path::new(&path));
        (0..2).for_each(|frame| publish(&mut connection, slots[frame as usize], frame));
        println!("there");
        std::thread::sleep(LIMIT);
        return;
    }
    let Some(mut scene) = Scene::new("death") else { return };
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("remote::listening::tests::ends::unfinished_frames_of_a_dead_worker_are_counted_as_pending")
        .env(PLACE, scene.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (thread, gpu) = scene.listen();
    gpu(1);
    assert_eq!(scene.new_frame(), 0);
    let mut message = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(message.any(|line| line.contains("there")), "it has not published both frames");
    process.kill().unwrap();
    process.wait().unwrap();
    // The thread ends by itself.
    let stored = thread.join().unwrap();
    let Error::PeerLost { dead, owed, held, frame, worker, .. } = scene.lost() else { panic!() };
    assert_eq!((dead, owed, held, frame, worker), (true, 1, 4, Some(0), process.id()));
    assert!(stored.previous.is_none() && stored.handle.remote_slots().is_empty(), "its slots are free");
    assert_eq!(scene.reader.newest().unwrap().unwrap().frame(), 0);
    stored.handle.close(scene.reader).unwrap();
}
