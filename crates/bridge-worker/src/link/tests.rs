//! Tests of the end of a connection, with a renderer in this process, which keeps running, or in a
//! separate process.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use bridge_ipc::{ConnectInfo, Direction, Hello, Listener, Offer, Role};

use super::state::EXIT_GRACE;
use super::*;

#[path = "calls_tests.rs"]
mod calls;

const LIMIT: Duration = Duration::from_secs(20);
/// Set for a process that runs a renderer: the path at which it listens.
const RENDERER_PATH: &str = "BRIDGE_LINK_RENDERER";
/// The part that this renderer plays, one of the following.
const PART: &str = "BRIDGE_LINK_RENDERER_PART";
/// The renderer closes its end of the socket without a message, and keeps running.
const HANGS_UP: &str = "hangs up";
/// The renderer starts a child that inherits its end of the socket, and waits to be killed.
const LEAVES_A_CHILD: &str = "leaves a child";
/// The renderer sends many messages, then Bye, and ends.
const ENDS: &str = "ends";

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bridge-worker-{name}-{}", std::process::id()))
}

fn accept(listener: &Listener) -> Connection {
    let mut connection = listener.accept(LIMIT).unwrap().unwrap();
    connection.handshake(&Hello { host: true, ..Hello::new(Role::Renderer, "renderer") }, LIMIT).unwrap();
    connection
}

fn connect(path: &Path, limit: Duration) -> Arc<Link> {
    let mut connection = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let hello = Hello { host: true, ..Hello::new(Role::Worker, "worker") };
    connection.send(&Message::Hello(hello), None, LIMIT).unwrap();
    Link::new(connection, limit).unwrap()
}

fn offer(exchange: u32) -> Offer {
    let (direction, trust, name) = (Direction::WorkerWrites, false, "x".to_owned());
    let (slots, resources, writer_in_flight, reader_in_flight) = (1, 1, 1, 1);
    Offer { exchange, direction, slots, resources, writer_in_flight, reader_in_flight, trust, name }
}

/// Returns the worker's end and the renderer's end, both in this process.
fn linked(name: &str, limit: Duration) -> (Arc<Link>, Connection) {
    let folder = folder(name);
    let listener = Listener::bind(&folder).unwrap();
    let renderer = std::thread::spawn(move || accept(&listener));
    let link = connect(&folder, limit);
    (link, renderer.join().unwrap())
}

fn socket(connection: &Connection) -> UnixStream {
    UnixStream::from(connection.as_fd().try_clone_to_owned().unwrap())
}

/// Closes the socket without a message, like a process that is killed.
fn hang_up(connection: &Connection) {
    socket(connection).shutdown(std::net::Shutdown::Both).unwrap();
}

/// `check` does not wait while the connection lasts; once it has ended, `check` waits for the end
/// of the process for the caller's time.
#[test]
fn check_waits_for_process_end_within_the_callers_limit() {
    let (link, renderer) = linked("look", LIMIT);
    let start = Instant::now();
    link.check(LIMIT).unwrap();
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    hang_up(&renderer);
    for left in [Duration::ZERO, EXIT_GRACE * 4] {
        let (start, ended) = (Instant::now(), link.check(left).unwrap_err());
        // Without time left, the process may still be ending.
        assert_eq!(matches!(ended, Ended::Timeout), left.is_zero(), "{ended:?}");
        assert!(matches!(ended, Ended::Timeout | Ended::Closed(_)), "{ended:?}");
        assert!(start.elapsed() >= left && start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    }
}

/// `try_find` reads the socket at most once per millisecond.
#[test]
fn try_find_rarely_reads_the_socket() {
    let (link, mut renderer) = linked("hand", LIMIT);
    let told = |link: &Link| link.try_find(|state| (!state.connection.has_ended()).then_some(()));
    assert!(told(&link).is_some(), "nothing was read so far");
    renderer.close(Code::Done, "for a test");
    link.state().last_check = Some(Instant::now() + LIMIT);
    assert!(told(&link).is_some(), "it has looked");
    link.state().last_check = Some(Instant::now().checked_sub(CHECK_INTERVAL).unwrap());
    assert!(told(&link).is_none());
    // The next call that waits reports how the connection has ended.
    assert!(matches!(link.check(LIMIT), Err(Ended::Closed(bridge_ipc::Error::Closed { reason: Some(_), .. }))));
}

/// `try_read` reads messages although no check of the process is due, and any wait is such a check.
#[test]
fn try_read_reads_messages_between_checks_of_the_process() {
    let (link, mut renderer) = linked("between", LIMIT);
    link.check(LIMIT).unwrap();
    assert!(link.state().last_check.is_some_and(|checked| checked.elapsed() < LIMIT));
    renderer.close(Code::Done, "for a test");
    let later = Some(Instant::now() + LIMIT);
    link.state().last_check = later;
    assert!(link.try_find(|_| Some(())).is_some(), "it reads nothing");
    assert!(link.try_read(|_| Some(())).is_none());
    assert_eq!(link.state().last_check, later, "the process was checked");
}

/// A protocol violation that `try_find` finds without reporting it is reported by the next call.
#[test]
fn violation_found_by_try_find_is_reported_by_the_next_call() {
    let (link, renderer) = linked("passing", LIMIT);
    socket(&renderer).write_all(b"no message").unwrap();
    assert!(link.try_find(|_| Some(())).is_none());
    let Err(Ended::Closed(told)) = link.check(LIMIT) else { panic!() };
    assert!(told.to_string().contains("invalid message"), "{told}");
}

/// Not a test: a renderer in a separate process, which plays a [part](PART).
#[test]
fn the_renderer() {
    let Some(place) = std::env::var_os(RENDERER_PATH) else { return };
    let listener = Listener::bind(PathBuf::from(place)).unwrap();
    println!("listens");
    let connection = accept(&listener);
    match std::env::var(PART).unwrap().as_str() {
        HANGS_UP => hang_up(&connection),
        LEAVES_A_CHILD => {
            let inherited = connection.as_fd().try_clone_to_owned().unwrap();
            // Ends with the test, since it reads from the test's pipe.
            let mut child = Command::new("cat").stdout(inherited).spawn().unwrap();
            println!("is inherited");
            child.wait().unwrap();
        }
        ENDS => {
            let mut connection = connection;
            // As many messages as are read at once, followed by the Bye. Written directly to the
            // socket, because the session would wait for the worker's answers.
            for exchange in 0..u32::try_from(MAX_READS / 2).unwrap() {
                for message in [Message::Offer(offer(exchange)), Message::Close { exchange }] {
                    socket(&connection).write_all(&message.encode().unwrap()).unwrap();
                }
            }
            return connection.close(Code::Done, "for a test");
        }
        other => panic!("{other}"),
    }
    std::thread::sleep(LIMIT * 2);
}

/// Starts a renderer that plays a part, and connects to it.
fn play(name: &str, part: &str) -> (Child, Lines<BufReader<ChildStdout>>, Arc<Link>) {
    let folder = folder(name);
    let mut renderer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "link::tests::the_renderer"])
        .env(RENDERER_PATH, &folder)
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(renderer.stdout.take().unwrap()).lines();
    await_word(&mut said, "listens");
    let link = connect(&folder, LIMIT);
    // A renderer that is killed leaves it behind; one that has ended has removed it.
    let _ = std::fs::remove_file(&folder);
    (renderer, said, link)
}

/// Waits until the renderer has printed this word.
fn await_word(said: &mut Lines<BufReader<ChildStdout>>, word: &str) {
    assert!(said.map_while(Result::ok).any(|line| line.ends_with(word)), "{word}");
}

/// The end of a killed renderer is noticed even if a forked child holds its end of the socket, so
/// that the socket does not report it.
#[test]
fn process_end_is_noticed_although_a_child_holds_the_socket() {
    let (mut renderer, mut said, link) = play("inherited", LEAVES_A_CHILD);
    await_word(&mut said, "is inherited");
    let child = renderer.stdin.take();
    let look = |link: &Link| {
        link.state().last_check = Some(Instant::now().checked_sub(CHECK_INTERVAL).unwrap());
        link.try_find(|_| Some(()))
    };
    assert!(look(&link).is_some());
    renderer.kill().unwrap();
    renderer.wait().unwrap();
    // Both for a thread that could read, and for one that finds another thread at the socket.
    for waiting in [false, true] {
        link.state().waiting = waiting;
        assert!(look(&link).is_none(), "{waiting}");
        assert!(link.try_find(|_| Some(())).is_none(), "what a call has found is forgotten");
    }
    link.state().waiting = false;
    assert!(matches!(link.wait_for(LIMIT, |_| Some(())), Err(Ended::Dead)));
    drop(child);
}

/// Calls that have time left wait for the end of the process concurrently, and do not delay calls
/// that have none.
#[test]
fn calls_wait_for_process_end_concurrently() {
    let (mut renderer, _said, link) = play("beside", HANGS_UP);
    let bye = Message::Bye { code: Code::Done, text: String::new() };
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| link.wait_for(LIMIT, |_| None::<()>).unwrap_err());
        while link.state().silent_exit_deadline.is_none() {
            std::thread::yield_now();
        }
        let others = [
            scope.spawn(|| link.check(LIMIT).unwrap_err()),
            scope.spawn(|| link.wait_for(LIMIT, |_| None::<()>).unwrap_err()),
            scope.spawn(|| link.transmit(link.state(), &bye, LIMIT).unwrap_err()),
        ];
        assert!(matches!(link.check(Duration::ZERO), Err(Ended::Closed(_) | Ended::Timeout)));
        assert!(link.state().is_closed(0));
        link.close(0);
        link.bye();
        assert!(!waits.is_finished(), "they have waited for it");
        renderer.kill().unwrap();
        for ended in [waits].into_iter().chain(others).map(|call| call.join().unwrap()) {
            assert!(matches!(ended, Ended::Dead), "{ended:?}");
        }
    });
    assert!(matches!(link.check(Duration::ZERO), Err(Ended::Dead)));
    renderer.wait().unwrap();
}

/// Messages that the renderer sent before it ended as planned are read before its end is reported,
/// however many there are, and also while another thread is at the socket.
#[test]
fn messages_before_a_planned_end_are_read_before_process_end() {
    let looks: [fn(&Link); 3] = [
        |link| link.wait_for_frame(Duration::ZERO, true, |state| state.received_bye.then_some(())).unwrap(),
        |link| assert!(matches!(link.check(LIMIT), Err(Ended::Dead))),
        |link| assert!(link.try_find(|_| Some(())).is_none()),
    ];
    for (waiting, look) in [false, true].into_iter().flat_map(|waiting| looks.map(|look| (waiting, look))) {
        let (mut renderer, _said, link) = play("planned", ENDS);
        renderer.wait().unwrap();
        link.state().waiting = waiting;
        look(&link);
        assert!(link.state().received_bye, "{waiting}");
    }
}

/// Returns how long a call that has `left` waits for the end of the process from now on.
fn exit_limit(state: &mut State, error: &bridge_ipc::Error, left: Duration) -> Option<Duration> {
    state.exit_wait(error, left, Instant::now()).map(|wait| wait.limit)
}

/// While many renderers with stuck queues end at once, a driver may take longer than the default
/// limit. A worker with a longer limit waits for that long: its stream may wait for the dead
/// renderer, whose values are signaled only once it is known to be dead.
#[test]
fn slow_process_end_is_waited_for_up_to_the_workers_limit() {
    for (limit, most) in [(LONG_EXIT_GRACE * 4, LONG_EXIT_GRACE * 4), (EXIT_GRACE * 2, LONG_EXIT_GRACE)] {
        let (link, renderer) = linked("breath", limit);
        hang_up(&renderer);
        let mut state = link.state();
        let ended = state.read(MAX_READS).unwrap_err();
        let long = exit_limit(&mut state, &ended, LONG_EXIT_GRACE * 9).unwrap();
        assert!(long <= most && long > most / 2, "{long:?}");
        // The limit is for all calls together.
        assert!(exit_limit(&mut state, &ended, LONG_EXIT_GRACE * 9).unwrap() < long);
        assert_eq!(exit_limit(&mut state, &ended, Duration::ZERO), Some(Duration::ZERO));
    }
    let (link, renderer) = linked("breath", LIMIT);
    drop(renderer);
    let mut state = link.state();
    let told = state.read(MAX_READS).unwrap_err();
    assert_eq!(exit_limit(&mut state, &told, LONG_EXIT_GRACE * 9), Some(EXIT_GRACE), "it has said Bye");
}

/// A program that checks repeatedly, while the renderer keeps running without the connection, is
/// delayed only once.
#[test]
fn repeated_checks_of_an_ended_connection_wait_once() {
    for says_bye in [true, false] {
        let (link, mut renderer) = linked("once", LIMIT);
        if says_bye {
            renderer.close(Code::Done, "for a test");
        } else {
            hang_up(&renderer);
        }
        let mut state = link.state();
        let told = state.read(MAX_READS).unwrap_err();
        let first = exit_limit(&mut state, &told, LIMIT);
        assert!(first.is_some_and(|wait| !wait.is_zero()), "{says_bye}");
        assert!(exit_limit(&mut state, &told, LIMIT) <= first, "{says_bye}");
        // The first call has waited.
        let over = Some(Instant::now());
        if says_bye {
            state.explained_exit_deadline = over;
        } else {
            state.silent_exit_deadline = over;
        }
        for _ in 0..10 {
            assert_eq!(exit_limit(&mut state, &told, LIMIT), Some(Duration::ZERO), "{says_bye}");
        }
    }
}

/// Calls do not wait for a renderer whose invalid message ended the connection, and each of them
/// reports the reason.
#[test]
fn violation_by_the_renderer_is_reported_by_every_call() {
    let (link, renderer) = linked("broken", LIMIT);
    socket(&renderer).write_all(b"no message").unwrap();
    let Err(Ended::Closed(first)) = link.check(LIMIT) else { panic!() };
    assert!(matches!(first, bridge_ipc::Error::Malformed { .. }), "{first}");
    let start = Instant::now();
    for _ in 0..2 {
        let told = match link.wait_for(LIMIT, |_| None::<()>) {
            Err(Ended::Closed(bridge_ipc::Error::Closed { reason: Some((_, text)), .. })) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(told, first.to_string());
    }
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
}
