//! wgpu's commands with a frame run only after the computation of the frame.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bridge_wgpu::{Backend, Bridge, Exchange, Frame, SlotBuffer, wgpu};

use crate::support::asleep::Thread;
use crate::support::gate::Gate;
use crate::support::{Filler, alone, bridges, info, mapped, staging, validation_messages};

const LEN: usize = 1024;
/// The first number of the frame that is late.
const LATE: u32 = 50_000;
/// Many times the duration of a copy.
const A_WHILE: Duration = Duration::from_millis(300);

/// Returns the numbers that wgpu reads in the slot of a frame that a gate holds, after frames in
/// all slots. With `is_submitted`, the commands are submitted with the frame; otherwise without it,
/// which is wrong on purpose.
fn read(bridge: &Bridge, is_submitted: bool) -> (Vec<u32>, usize) {
    // SAFETY: the lent buffers are only used in the commands of their frames; in the negative
    // control, the commands run before, and only read plain words too early.
    let spec = unsafe { SlotBuffer::<u32>::new(LEN, wgpu::BufferUsages::COPY_SRC) };
    let mut exchange = Exchange::new(bridge, &info("late"), spec).unwrap();
    let (filler, seen) = (Filler::new(bridge), staging(bridge, 4 * LEN as u64));
    let copy = |buffer: &wgpu::Buffer| {
        let mut commands = bridge.device().create_command_encoder(&Default::default());
        commands.copy_buffer_to_buffer(buffer, 0, &seen, 0, None);
        commands.finish()
    };
    for slot in 0..exchange.slots() {
        let mut turn = exchange.begin().unwrap();
        assert_eq!(turn.slot(), slot);
        filler.fill_work(turn.work(), base(slot), Duration::ZERO);
        let frame = turn.finish().unwrap();
        let commands = copy(frame.objects().unwrap());
        bridge.submit([commands], frame).unwrap();
        assert_eq!(mapped(bridge, &seen), Filler::pattern(LEN, base(slot)));
    }
    let mut turn = exchange.begin().unwrap();
    let slot = turn.slot();
    let gate = Gate::hold(turn.work());
    filler.fill_work(turn.work(), LATE, Duration::ZERO);
    let frame = turn.finish().unwrap();
    let commands = copy(frame.objects().unwrap());
    let words = if is_submitted {
        submit_held(bridge, commands, frame, gate);
        mapped(bridge, &seen)
    } else {
        bridge.queue().submit([commands]);
        let words = mapped(bridge, &seen);
        gate.open();
        bridge.submit([], frame).unwrap();
        words
    };
    (words, slot)
}

/// Submits commands with a frame that a gate holds, and opens the gate after a time in which the
/// commands would have run if they did not wait.
fn submit_held(bridge: &Bridge, commands: wgpu::CommandBuffer, frame: Frame<SlotBuffer<u32>>, gate: Gate) {
    let computed = frame.computed();
    assert!(!computed.is_reached().unwrap(), "the gate holds nothing");
    let (submitted, (sender, receiver)) = (AtomicBool::new(false), mpsc::channel());
    std::thread::scope(|scope| {
        // Moved into this scope, so that a panic opens the gate before the thread is joined.
        let (gate, submitted) = (gate, &submitted);
        let submitting = scope.spawn(move || {
            sender.send(Thread::current()).unwrap();
            bridge.submit([commands], frame).unwrap();
            submitted.store(true, Ordering::SeqCst);
        });
        let thread = receiver.recv().unwrap();
        if bridge.backend() == Backend::Host {
            // With the CPU backend, the submission itself waits for the frame.
            assert!(thread.until_asleep(|| submitted.load(Ordering::SeqCst)), "it did not wait for the CPU");
        } else {
            submitting.join().unwrap();
            // The wait of a queue cannot be observed directly, but commands without the wait would
            // complete much earlier.
            let wait = wgpu::PollType::Wait { submission_index: None, timeout: Some(A_WHILE) };
            let polled = bridge.device().poll(wait);
            assert!(matches!(polled, Err(wgpu::PollError::Timeout)), "the queue did not wait: {polled:?}");
        }
        assert!(!computed.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
    });
}

fn base(slot: usize) -> u32 {
    1000 * (slot as u32 + 1)
}

#[test]
fn commands_wait_for_a_frame_that_is_late() {
    let _alone = alone();
    for bridge in bridges() {
        assert_eq!(read(&bridge, true).0, Filler::pattern(LEN, LATE));
    }
    assert_eq!(validation_messages(), [""; 0]);
}

/// Negative control of the test above.
#[test]
fn without_their_frame_commands_read_the_one_before() {
    let _alone = alone();
    for bridge in bridges() {
        let (words, slot) = read(&bridge, false);
        assert_eq!(words, Filler::pattern(LEN, base(slot)), "it has to be what the slot held");
    }
    assert_eq!(validation_messages(), [""; 0]);
}
