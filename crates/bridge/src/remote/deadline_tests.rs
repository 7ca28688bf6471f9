//! A worker that has hung up and finishes each of its frames in time, and never all of them: the
//! limits of frames do not add up.

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
use vk_export::BufferAccess;

/// Frames of which none overruns a limit of its own.
struct Steady(Step<Words>);

/// The handle behind them.
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
        Self(Step::new(away.0, given, wake))
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

    fn overrun(&mut self, _limit: Duration) -> Option<String> {
        None
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

/// Without the limit of all of them together the thread would wait for as long as the worker lives.
#[test]
fn the_limits_of_owed_frames_do_not_add_up() {
    let Some(device) = own_device() else { return };
    let path = std::env::temp_dir().join(format!("bridge-deadline-{}", std::process::id()));
    let listener = Listener::bind(&path).unwrap();
    let mut worker = Peer::start(&path, "hangs-up");
    let compute = Compute::remote_of(&device, false, Trust::Played).unwrap();
    let info = ExchangeInfo { name: "steps", ..Default::default() };
    let away = StepAway::new(&compute, &info, &Words::new(64, BufferAccess::TRANSFER_READ)).unwrap();
    let steps = away.steps();
    let (control, status) = (Arc::new(Control::new(&Arc::new(Wake::new().unwrap()))), Arc::new(Status::new("steps")));
    let connection = offered(&listener, &device, &away);
    status.connected(worker.process());
    let part = Steady::new(SteadyAway(away), Given::Slots(()), control.wake());
    let (told, timeout) = (Arc::clone(&status), Duration::from_millis(200));
    let listening = Listening { connection, part, control, status, timeout, held: 0, deaf: false };
    let thread = std::thread::spawn(move || listening.run());
    let points = [(); 2].map(|()| {
        let turn = steps.take(LIMIT, || false).unwrap();
        #[allow(unsafe_code)]
        // SAFETY: no commands use the slot, so that nothing is to be acquired or released.
        unsafe { turn.submit(&[]) }.unwrap()
    });
    worker.go_on();
    // Nobody else ends it.
    points.iter().for_each(|point| point.wait(LIMIT).unwrap());
    thread.join().unwrap();
    let Error::PeerLost { reason, dead: true, torn, .. } = told.error().unwrap() else { panic!() };
    assert!(reason.contains("what it had announced within 200ms, and was killed"), "{reason}");
    assert!(*torn == [0, 1] && !worker.is_alive());
}
