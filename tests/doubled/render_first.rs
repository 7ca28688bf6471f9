//! Vulkan writes and CUDA reads.

use std::sync::Arc;

use bridge::cudarc::driver::{CudaSlice, CudaStream};
use bridge::{Compute, ComputeTurn, Error, Exchange, QueueKind, RenderFirst, RenderTurn, Stage, Work};
use bridge_tests::{Commands, Gate, Rig};
use driver_double::Double;

use crate::{LEN, Words, info, words};

/// Copies the contents of a turn's buffer, on its stream.
pub(crate) struct Reader {
    stream: Arc<CudaStream>,
    copy: CudaSlice<u32>,
}

impl Reader {
    pub(crate) fn new(compute: &Compute) -> Self {
        let stream = Arc::clone(compute.cuda().unwrap().stream());
        let copy = stream.alloc_zeros(LEN).unwrap();
        Self { stream, copy }
    }

    pub(crate) fn read(&mut self, turn: &mut ComputeTurn<Words, RenderFirst>) {
        let Work::Cuda(cuda) = turn.work() else { unreachable!("no other backend is opened") };
        cuda.stream.memcpy_dtod(&cuda.resources.as_view(), &mut self.copy).unwrap();
    }

    /// Returns the copy; its turn has ended.
    pub(crate) fn words(&self) -> Vec<u32> {
        self.stream.clone_dtoh(&self.copy).unwrap()
    }
}

/// Submits a fill of the turn's buffer.
pub(crate) fn draw(
    commands: &Commands,
    turn: RenderTurn<Words, RenderFirst>,
    word: u32,
) -> ComputeTurn<Words, RenderFirst> {
    let recorded = commands.fill(&turn, turn.resources().as_raw(), word);
    // SAFETY: recorded with the turn's barriers; noted below, and therefore waited for before the
    // commands are recorded again.
    let turn = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands.note(turn.rendered());
    turn
}

pub(crate) fn every_frame_crosses_intact(rig: &Rig, compute: &Compute) {
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    for slots in 1..=3 {
        let mut exchange = Exchange::render_first(compute, &info(slots), words()).unwrap();
        for frame in 0..30 {
            let mut turn = draw(&commands, exchange.begin().unwrap(), frame + 7);
            reader.read(&mut turn);
            turn.finish().unwrap().wait(Rig::LONG).unwrap();
            assert!(reader.words() == [frame + 7; LEN], "frame {frame} of {slots} slots");
        }
        exchange.close().unwrap();
    }
}

/// Reads while the queue has not overwritten frame 1 with frame 2 yet: the reader sees frame
/// `seen`.
pub(crate) fn after_slow_commands(rig: &Rig, compute: &Compute, seen: u32) {
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    let mut exchange = Exchange::render_first(compute, &info(1), words()).unwrap();
    let turn = draw(&commands, exchange.begin().unwrap(), 1);
    turn.rendered().wait(Rig::LONG).unwrap();
    turn.finish().unwrap().wait(Rig::LONG).unwrap();

    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let mut turn = draw(&commands, exchange.begin().unwrap(), 2);
    reader.read(&mut turn);
    let (rendered, read) = (turn.rendered(), turn.finish().unwrap());
    assert!(!rendered.is_reached().unwrap(), "the gate holds nothing");
    assert_eq!(read.is_reached().unwrap(), seen == 1, "what the stream does before the gate opens");
    gate.open();
    read.wait(Rig::LONG).unwrap();
    rendered.wait(Rig::LONG).unwrap();
    assert!(reader.words() == [seen; LEN]);
    exchange.close().unwrap();
}

/// `CUDA_ERROR_OUT_OF_MEMORY`
const NO_MEMORY: u32 = 2;

/// The signal of a frame fails, as does the one at its turn's end, and the next attempt. Until a
/// signal is made, Vulkan must not get the slot, because CUDA still reads it.
pub(crate) fn signals_fail(double: &Double, rig: &Rig, compute: &Compute) {
    const SIGNAL: &str = "cuSignalExternalSemaphoresAsync";
    let commands = Commands::new(rig.device());
    let mut reader = Reader::new(compute);
    let mut exchange = Exchange::render_first(compute, &info(1), words()).unwrap();
    let mut turn = draw(&commands, exchange.begin().unwrap(), 1);
    turn.rendered().wait(Rig::LONG).unwrap();
    double.hold_work();
    reader.read(&mut turn);
    double.forget_calls();
    double.fail_named(SIGNAL, 4, NO_MEMORY);
    let error = turn.finish().unwrap_err().to_string();
    assert!(error.contains(SIGNAL), "{error}");
    // The first error reports that the turn was lost, the second that there is no slot.
    for _ in 0..2 {
        let error = exchange.begin().unwrap_err();
        assert!(matches!(error, Error::TurnLost { stage: Stage::Compute, .. }), "{error}");
    }
    let tried: Vec<_> = double.calls().into_iter().filter(|call| call.name == SIGNAL).map(|call| call.code).collect();
    assert_eq!(tried, [NO_MEMORY; 4], "of `finish`, the turn's end, and each `begin`");

    let turn = draw(&commands, exchange.begin().unwrap(), 2);
    let rendered = turn.rendered();
    turn.skip().unwrap();
    assert!(!rendered.is_reached().unwrap(), "Vulkan draws over what CUDA still reads");
    double.release_work();
    rendered.wait(Rig::LONG).unwrap();
    assert!(reader.words() == [1; LEN]);
    exchange.close().unwrap();
}
