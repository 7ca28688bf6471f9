//! Tests of when the end of a process is reported: by its socket, by its pidfd, and by `wait` in
//! its parent. `docs/processes.md` contains the figures that this prints.

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::*;

/// A peer that waits for a message that cannot be sent receives the reason.
#[test]
fn peer_is_notified_of_an_unsendable_message() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    for error in [rustix::io::Errno::NOBUFS, rustix::io::Errno::TOOMANYREFS] {
        let (mut renderer, mut worker) = greeted(&listener);
        let failed = renderer.send_error(error).to_string();
        assert_eq!(failed.contains("ulimit -n"), error == rustix::io::Errno::TOOMANYREFS, "{failed}");
        assert!(renderer.has_ended());
        let Message::Bye { code: Code::Failure, text } = worker.receive(LIMIT).unwrap().message else { panic!() };
        assert!(!text.is_empty() && failed.starts_with(&text), "as much as there is room for: {text}");
    }
}
use crate::transport::peer::poll_until;

/// Environment variable with the number of kills per kind of process; 1 if it is not set.
const ROUNDS: &str = "BRIDGE_KILL_ROUNDS";
/// Set for the process that is killed: its kind, and the path to connect to.
const PEER: &str = "BRIDGE_IPC_TEST_ENDS";
const TEST: &str = "transport::tests::ends::process_end_is_reported_before_it_is_reaped";

/// Kinds of processes to kill.
const KINDS: [&str; 4] = ["nothing", "stopped", "256 MiB", BUSY];
/// Slows everything that runs at the same time; skipped if [`ROUNDS`] is not set.
const BUSY: &str = "8 busy threads";

/// Durations since the kill.
struct Times {
    socket: Duration,
    pidfd: Duration,
    reaped: Duration,
}

#[test]
fn process_end_is_reported_before_it_is_reaped() {
    if let Ok(place) = std::env::var(PEER) {
        return live(&place);
    }
    let _alone = alone();
    let rounds = std::env::var(ROUNDS).ok().map(|rounds| rounds.parse::<usize>().unwrap());
    let kinds = KINDS.iter().enumerate().filter(|(_, kind)| rounds.is_some() || **kind != BUSY);
    let rounds = rounds.unwrap_or(1);
    let columns = ["a process with", "kill to socket", "socket to pidfd", "pidfd to reaped", "socket first"];
    println!("{:16} {:>24} {:>24} {:>24} {:>14}", columns[0], columns[1], columns[2], columns[3], columns[4]);
    for (number, kind) in kinds {
        let times: Vec<_> = (0..rounds).map(|_| kill(number)).collect();
        let column = |of: fn(&Times) -> Duration| {
            let mut column: Vec<_> = times.iter().map(of).collect();
            column.sort_unstable();
            format!("{:.1?}, at most {:.1?}", column[rounds / 2], column[rounds - 1])
        };
        let socket = column(|times| times.socket);
        let pidfd = column(|times| times.pidfd.saturating_sub(times.socket));
        let reaped = column(|times| times.reaped.saturating_sub(times.pidfd));
        let first = times.iter().filter(|times| times.socket <= times.pidfd).count();
        println!("{kind:16} {socket:>24} {pidfd:>24} {reaped:>24} {:>14}", format!("{first} of {rounds}"));
    }
}

/// The body of the process that is killed.
fn live(place: &str) {
    let (kind, path) = place.split_once(' ').unwrap();
    let mut worker = Connection::connect(path, &ConnectInfo::default()).unwrap();
    let _memory = (KINDS[kind.parse::<usize>().unwrap()] == "256 MiB").then(|| vec![1u8; 256 << 20]);
    if KINDS[kind.parse::<usize>().unwrap()] == BUSY {
        (0..8).for_each(|_| drop(std::thread::spawn(|| while std::hint::black_box(true) {})));
    }
    worker.send(&Message::Hello(hello(Role::Worker)), None, LIMIT).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

fn kill(kind: usize) -> Times {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::bind(folder.path().join("s")).unwrap();
    let place = format!("{kind} {}", listener.path().display());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST])
        .env(PEER, place)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut connection = listener.accept(LIMIT).unwrap().unwrap();
    connection.handshake(&hello(Role::Renderer), LIMIT).unwrap();
    let pid = Pid::from_child(&child);
    if KINDS[kind] == "stopped" {
        kill_process(pid, Signal::STOP).unwrap();
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    }
    let start = Instant::now();
    kill_process(pid, Signal::KILL).unwrap();
    let (mut socket, mut pidfd) = (None, None);
    while socket.is_none() || pidfd.is_none() {
        let mut fds = [PollFd::new(&connection, PollFlags::IN), PollFd::new(connection.peer(), PollFlags::IN)];
        // A reported end stays reported, so only the other descriptor is polled then.
        let left = match (socket, pidfd) {
            (Some(_), _) => &mut fds[1..],
            (_, Some(_)) => &mut fds[..1],
            _ => &mut fds[..],
        };
        assert!(poll_until(left, start.checked_add(LIMIT)).unwrap() > 0, "its end is not reported");
        let now = start.elapsed();
        let [ended, dead] = fds.map(|fd| !fd.revents().is_empty());
        socket = socket.or(ended.then_some(now));
        pidfd = pidfd.or(dead.then_some(now));
    }
    // The process has not been reaped yet.
    child.wait().unwrap();
    Times { socket: socket.unwrap(), pidfd: pidfd.unwrap(), reaped: start.elapsed() }
}
