//! Two rates: the engine draws complete states, regardless of how long the next state takes.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use ash::vk;
use bridge::cuda_import::cudarc::driver::sys;
use bridge::{Backend, BufferAccess, BufferSpec, ComputeWrite, Exchange, LatestInfo, LatestReader, LatestWriter, Work};
use engine_core::recorder::Recorder;
use engine_core::system::Semaphores;
use engine_core::{Captured, Outcome, Pass, System};
use engine_example::script::World;
use engine_example::splice::SplicedLatest;

use crate::common;
use crate::gate::Gate;

type Spec = BufferSpec<u32>;

const LEN: usize = 4096;
const NAME: &str = "state";
/// The timeout of a wait that is expected to end.
const LONG: Duration = Duration::from_secs(60);

/// Samples the newest state in each frame; or, deliberately wrong, continues to use the buffer of a
/// turn that has ended.
struct Sampler {
    lent: Option<SplicedLatest<Spec>>,
    reader: LatestReader<Spec>,
    seen: Arc<Mutex<Seen>>,
    keeps: Arc<AtomicBool>,
}

/// The first state that was sampled.
#[derive(Default)]
struct Seen {
    first: Option<(vk::Buffer, usize)>,
}

// SAFETY: the state is read after the turn's acquire and submitted with its semaphores; without a
// turn, plain words are read while they are written, which gives wrong data but no other error. The
// test keeps the exchange until the engine has waited.
unsafe impl System for Sampler {
    fn name(&self) -> &'static str {
        NAME
    }

    fn begin(&mut self, _: u64) -> Result<()> {
        if self.keeps.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(turn) = self.reader.newest()? else { return Ok(()) };
        let slot = turn.slot();
        let lent = SplicedLatest::new(turn)?;
        self.seen.lock().unwrap().first.get_or_insert((lent.resources().as_raw(), slot));
        self.lent = Some(lent);
        Ok(())
    }

    fn before(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        if pass != Pass::Scene {
            return;
        }
        let buffer = match &self.lent {
            Some(lent) => {
                lent.acquire(recorder);
                lent.resources().as_raw()
            }
            None => self.seen.lock().unwrap().first.unwrap().0,
        };
        recorder.sample_buffer(NAME, buffer, 4 * LEN as u64);
    }

    fn semaphores(&self, pass: Pass, semaphores: &mut Semaphores) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            lent.semaphores(semaphores);
        }
    }

    fn submitted(&mut self, pass: Pass, accepted: bool) -> Result<()> {
        if let Some(lent) = self.lent.take_if(|_| pass == Pass::Scene) {
            lent.submitted(accepted);
        }
        Ok(())
    }
}

/// Publishes a complete state, and returns after it is finished.
fn publish(mut turn: ComputeWrite<Spec>, state: u32) {
    fill(turn.work(), 0..LEN, state);
    turn.publish().unwrap().wait(LONG).unwrap();
}

/// Publishes a state whose first half is written, and whose second half is written after the gate
/// is opened.
fn publish_half(mut turn: ComputeWrite<Spec>, state: u32) -> Gate {
    fill(turn.work(), 0..LEN / 2, state);
    let gate = Gate::hold(turn.work());
    fill(turn.work(), LEN / 2..LEN, state);
    turn.publish().unwrap();
    gate.await_stop(LONG);
    gate
}

/// Enqueues the writing of these words.
fn fill(work: Work<'_, Spec>, words: Range<usize>, state: u32) {
    match work {
        Work::Host(host) => host.run(move |all| all[words].fill(state)).unwrap(),
        Work::Cuda(cuda) => {
            cuda.stream.context().bind_to_thread().unwrap();
            let start = cuda.resources.as_raw() + (words.start * size_of::<u32>()) as u64;
            // SAFETY: words of the turn's own slot, on the turn's stream, whose context is current.
            unsafe { memset_d32_async(start, state, words.len(), cuda.stream.cu_stream()) }
        }
        _ => panic!("no such compute side was asked for"),
    }
}

/// Calls `cuMemsetD32Async`.
unsafe fn memset_d32_async(start: sys::CUdeviceptr, word: u32, count: usize, stream: sys::CUstream) {
    // SAFETY: the caller guarantees it.
    unsafe { sys::cuMemsetD32Async(start, word, count, stream) }.result().unwrap();
}

/// Draws a frame and returns its words.
fn draw(world: &mut World) -> Vec<u32> {
    assert_eq!(world.engine.frame(true).unwrap(), Outcome::Drawn);
    world.engine.wait().unwrap();
    let words = |frame: Captured| bytemuck::pod_collect_to_vec(frame.sample(NAME));
    world.engine.finished().pop().map(words).unwrap()
}

/// Returns the state of a frame.
///
/// # Errors
/// The state is torn.
fn state_of(words: &[u32]) -> Result<u32> {
    let other = words.iter().position(|word| *word != words[0]);
    ensure!(words.len() == LEN && other.is_none(), "torn: state {} up to word {other:?}", words[0]);
    Ok(words[0])
}

/// An engine that has drawn states 1 and 2, and the writer of the states.
struct Rates {
    // Field order is drop order.
    world: World,
    writer: LatestWriter<Spec>,
    seen: Arc<Mutex<Seen>>,
    keeps: Arc<AtomicBool>,
}

impl Rates {
    fn new(backend: Backend) -> Option<Self> {
        let mut world = common::world(backend)?;
        world.engine.resize([32, 32]).unwrap();
        let info = LatestInfo { name: NAME, timeout: LONG, ..LatestInfo::default() };
        let spec = Spec::new(LEN, BufferAccess::TRANSFER_READ);
        let (mut writer, reader) = Exchange::latest(&world.compute, &info, spec).unwrap();
        let (seen, keeps) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        publish(writer.begin().unwrap(), 1);
        let sampler = Sampler { lent: None, reader, seen: Arc::clone(&seen), keeps: Arc::clone(&keeps) };
        world.engine.add(Box::new(sampler)).unwrap();
        assert_eq!(state_of(&draw(&mut world)).unwrap(), 1);
        publish(writer.begin().unwrap(), 2);
        // Returns the slot of state 1 to the writer.
        assert_eq!(state_of(&draw(&mut world)).unwrap(), 2);
        Some(Self { world, writer, seen, keeps })
    }

    /// Writes and draws states until one is half written in the slot of state 1.
    fn half_in_the_first_slot(&mut self) -> (u32, Gate) {
        let slot = self.seen.lock().unwrap().first.unwrap().1;
        let slots = u32::try_from(self.writer.slots()).unwrap();
        for state in 3..=3 + slots {
            let turn = self.writer.begin().unwrap();
            if turn.slot() == slot {
                return (state, publish_half(turn, state));
            }
            // Slots that were never read are written before those that were.
            publish(turn, state);
            assert_eq!(state_of(&draw(&mut self.world)).unwrap(), state);
        }
        panic!("no state comes to slot {slot}");
    }
}

#[test]
fn a_slow_state_is_not_drawn_in_part() {
    let _alone = crate::serialize();
    for backend in common::BACKENDS {
        let Some(mut rates) = Rates::new(backend) else { return };
        let (state, gate) = rates.half_in_the_first_slot();
        for _ in 0..10 {
            assert_eq!(state_of(&draw(&mut rates.world)).unwrap(), state - 1);
        }
        gate.open();
        publish(rates.writer.begin().unwrap(), state + 1);
        assert_eq!(state_of(&draw(&mut rates.world)).unwrap(), state + 1);
    }
}

/// The negative control of the test above: an engine that draws outside of its turn.
#[test]
fn without_a_turn_a_torn_state_is_drawn() {
    let _alone = crate::serialize();
    for backend in common::BACKENDS {
        let Some(mut rates) = Rates::new(backend) else { return };
        let (state, gate) = rates.half_in_the_first_slot();
        rates.keeps.store(true, Ordering::Relaxed);
        let words = draw(&mut rates.world);
        let error = state_of(&words).unwrap_err().to_string();
        assert!(error.contains(&format!("torn: state {state} up to word Some({})", LEN / 2)), "{error}");
        assert!(words[LEN / 2..] == [1; LEN / 2], "the rest has to be that of state 1");
        gate.open();
    }
}
