//! Tests of a worker that has closed its connection and owes several frames: each frame has its own
//! time limit, and there is none for all of them together.
#![allow(unsafe_code)] // Submitting, and the worker's signals.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::steps::{LIMIT, Peer, Words, offered};
use super::*;
use crate::compute::Compute;
use crate::compute::remote::Trust;
use crate::error::{Error, Result};
use crate::exchange::{Away, ExchangeInfo, State, StepAway};
use crate::remote::memory::{Given, Memory};
use crate::remote::part::{End as Handle, Settled};
use crate::remote::step::Step;
use crate::remote::terms::Terms;
use crate::remote::test_device::own_device;
use crate::remote::wake::Wake;
use bridge_ipc::{Direction, Listener};
use vk_export::{BufferAccess, ExportDevice};

/// A part whose frames do not overrun their own limits unless the program leaves. If a test counts
/// the queries, its copies are never done.
struct Steady(Step<Words>, Option<Arc<AtomicUsize>>);

/// The handle of an exchange for [`Steady`].
struct SteadyAway(StepAway<Words>);

impl Away for SteadyAway {
    type Resources = Words;

    fn state(&self) -> &Arc<State<Words>> {
        self.0.state()
    }

    fn come_back(&self, slot: usize) {
        self.0.come_back(slot);
    }

    fn away(&self) -> Vec<usize> {
        self.0.away()
    }

    fn on_change(&mut self, told: impl Fn() + Send + Sync + 'static) {
        self.0.on_change(told);
    }
}

impl Handle for SteadyAway {
    const DIRECTION: Direction = Direction::WorkerWrites;
    const TRUST: bool = true;
    type Part = Steady;

    fn memory(&self, terms: &Terms) -> Result<Memory<'_, ()>> {
        self.0.memory(terms)
    }
}

impl Part for Steady {
    type End = SteadyAway;
    type Slots = ();

    fn new(away: SteadyAway, given: Given<()>, wake: &Arc<Wake>) -> Self {
        Self(Step::new(away.0, given, wake), None)
    }

    fn hear(&mut self, said: &Message) -> Option<Outcome> {
        self.0.hear(said)
    }

    fn advance(&mut self) -> Result<Option<Outcome>, String> {
        self.0.advance()
    }

    fn is_busy(&self) -> bool {
        self.0.is_busy()
    }

    fn copies(&self) -> bool {
        let looks = self.1.as_ref();
        looks.map(|looks| looks.fetch_add(1, Ordering::Relaxed)).is_some()
    }

    fn retry(&self) -> Option<Duration> {
        self.0.retry()
    }

    fn close(&mut self) {
        self.0.close();
    }

    fn owed(&self) -> usize {
        self.0.owed()
    }

    fn needs_worker(&self) -> bool {
        self.0.needs_worker()
    }

    fn release(&mut self) {
        self.0.release();
    }

    fn overrun(&mut self, _limit: Duration, leaves: bool) -> Option<String> {
        leaves.then(|| "stands still".to_owned())
    }

    fn is_waited_for(&self) -> bool {
        self.0.is_waited_for()
    }

    fn waited_for(&self) -> Box<[u64]> {
        self.0.waited_for()
    }

    fn settle(&mut self, dead: bool) -> Settled {
        self.0.settle(dead)
    }

    fn stop(self, quiet: bool) -> (SteadyAway, bool) {
        let (away, recovered) = self.0.stop(quiet);
        (SteadyAway(away), recovered)
    }
}

/// A worker in step to which an exchange was offered.
struct Connected {
    worker: Peer,
    away: StepAway<Words>,
    control: Arc<Control>,
    status: Arc<Status>,
    connection: Connection,
}

/// Starts a worker that follows `script`, and offers it an exchange over a socket with this name.
fn connected(device: &ExportDevice, socket: &str, script: &str) -> Connected {
    let path = std::env::temp_dir().join(format!("bridge-{socket}-{}", std::process::id()));
    let listener = Listener::bind(&path).unwrap();
    let worker = Peer::start(&path, script);
    let compute = Compute::remote_of(device, false, Trust::Played).unwrap();
    let info = ExchangeInfo { name: "steps", ..Default::default() };
    let away = StepAway::new(&compute, &info, &Words::new(64, BufferAccess::TRANSFER_READ)).unwrap();
    let control = Arc::new(Control::new(&Arc::new(Wake::new().unwrap())));
    let status = Arc::new(Status::new("steps"));
    let connection = offered(&listener, device, &away);
    status.connected(worker.process());
    Connected { worker, away, control, status, connection }
}

/// A worker may finish its second frame long after the limit for both frames together. A program
/// that leaves waits for at most the frame's own limit.
#[test]
fn disconnected_worker_has_the_limit_for_each_frame() {
    for leaves in [false, true] {
        let Some(device) = own_device() else { return };
        let Connected { mut worker, away, control, status, connection } = connected(&device, "deadline", "hangs-up");
        let steps = away.steps();
        let part = Steady::new(SteadyAway(away), Given::Slots(()), control.wake());
        let (told, asked, timeout) = (Arc::clone(&status), Arc::clone(&control), Duration::ZERO);
        let listening = Listening { connection, part, control, status, timeout, held: 0, deaf: false };
        let thread = std::thread::spawn(move || listening.run());
        let points = [(); 2].map(|()| {
            let turn = steps.take(LIMIT, || false).unwrap();
            // SAFETY: no commands use the slot, so nothing has to be acquired or released.
            unsafe { turn.submit(&[]) }.unwrap()
        });
        let finish = |value| {
            let state = steps.state();
            let semaphore = state.computed_semaphore().as_raw();
            let info = vk_export::ash::vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value);
            // SAFETY: VUID-VkSemaphoreSignalInfo-value-03258 to -03260: the values rise, and the
            // thread signals the timeline only once the worker is dead.
            unsafe { device.as_raw().signal_semaphore(&info) }.unwrap();
        };
        let owes = |frames: &[u64]| {
            let start = Instant::now();
            while told.error().is_none() || *told.owed() != *frames {
                assert!(start.elapsed() < LIMIT, "{:?}", told.owed());
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        worker.go_on();
        owes(&[0, 1]);
        finish(1);
        points[0].wait(LIMIT).unwrap();
        owes(&[1]);
        assert!(worker.is_alive() && !points[1].is_reached().unwrap());
        if leaves {
            asked.stop();
        } else {
            finish(2);
        }
        points[1].wait(LIMIT).unwrap();
        owes(&[]);
        asked.stop();
        thread.join().unwrap();
        let Error::PeerLost { reason, dead, torn, signaled, .. } = told.error().unwrap() else { panic!() };
        assert_eq!(
            (reason.contains("stands still, and was killed"), dead, worker.is_alive()),
            (leaves, leaves, !leaves)
        );
        let expected: (&[u64], _) = if leaves { (&[1], Some(2)) } else { (&[], None) };
        assert_eq!((&*torn, signaled), expected, "{reason}");
    }
}

/// A program that disconnects a dead worker gets an error with the frames that the worker owed and
/// the value that was signaled in its place.
#[test]
fn disconnecting_a_dead_worker_reports_its_pending_frames() {
    let Some(device) = own_device() else { return };
    let Connected { mut worker, away, control, status, connection } = connected(&device, "unwanted", "stays");
    let part = Step::new(away, Given::Slots(()), control.wake());
    let (told, asked, timeout) = (Arc::clone(&status), Arc::clone(&control), LIMIT);
    let mut listening = Listening { connection, part, control, status, timeout, held: 0, deaf: false };
    let start = Instant::now();
    while listening.part.owed() < 2 {
        assert!(start.elapsed() < LIMIT);
        listening.take_over().unwrap();
        assert!(listening.hear().is_ok());
    }
    worker.kill();
    asked.stop();
    // The error at the time of the loss: later calls may return more.
    let (tell, heard) = std::sync::mpsc::channel();
    let losing = Arc::clone(&told);
    told.on_loss(move || tell.send(losing.error()).unwrap());
    drop(listening.run());
    let Error::PeerLost { dead, owed, torn, signaled, .. } = heard.recv().unwrap().unwrap() else { panic!() };
    assert_eq!((dead, owed, &*torn, signaled), (true, 2, &[0, 1][..], Some(2)));
}

/// A program that has no more use for the frames of a worker does not wait for copies of them.
#[test]
fn leaving_program_does_not_wait_for_copies() {
    for goes_on in [true, false] {
        let Some(device) = own_device() else { return };
        let Connected { mut worker, away, control, status, connection } = connected(&device, "copied", "closes");
        let looks = Arc::new(AtomicUsize::new(0));
        let mut part = Steady::new(SteadyAway(away), Given::Slots(()), control.wake());
        part.1 = Some(Arc::clone(&looks));
        let timeout = LIMIT;
        if goes_on {
            control.stop();
        } else {
            control.discard();
        }
        Listening { connection, part, control, status, timeout, held: 0, deaf: false }.run();
        assert_eq!(looks.load(Ordering::Relaxed) > 0, goes_on);
        worker.kill();
    }
}
