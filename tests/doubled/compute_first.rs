//! CUDA writes and Vulkan reads.

use bridge::cudarc::driver::DevicePtrMut;
use bridge::cudarc::driver::result::{memcpy_htod_async, memset_d8_async};
use bridge::{Compute, ComputeTurn, Exchange, QueueKind, Work};
use bridge_tests::{Gate, Readback, Rig};

use crate::{LEN, SIZE, Words, info, words};

/// Enqueues on the turn's stream: fill the buffer with `byte`, then set the first word to `frame`.
fn write(turn: &mut ComputeTurn<Words>, byte: u8, frame: u32) {
    let Work::Cuda(mut cuda) = turn.work() else { unreachable!("no other backend is opened") };
    let stream = cuda.stream;
    stream.context().bind_to_thread().unwrap();
    let (address, _order) = cuda.resources.device_ptr_mut(stream);
    // SAFETY: the turn's own buffer, on the turn's own stream.
    unsafe { memset_d8_async(address, byte, 4 * LEN, stream.cu_stream()) }.unwrap();
    // SAFETY: as above; the word is copied before the call returns.
    unsafe { memcpy_htod_async(address, &[frame], stream.cu_stream()) }.unwrap();
}

pub(crate) fn written(byte: u8, frame: u32) -> Vec<u32> {
    let mut words = vec![u32::from_ne_bytes([byte; 4]); LEN];
    words[0] = frame;
    words
}

pub(crate) fn every_frame_crosses_intact(rig: &Rig, compute: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    for slots in 1..=3 {
        let mut exchange = Exchange::new(compute, &info(slots), words()).unwrap();
        for frame in 0..30 {
            let byte = frame as u8 + 1;
            let mut turn = exchange.begin().unwrap();
            write(&mut turn, byte, frame);
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), SIZE);
            assert!(readback.run(turn, &[source]) == written(byte, frame), "frame {frame} of {slots} slots");
        }
        exchange.close().unwrap();
    }
}

/// Computes the second frame while the queue has not read the first one yet, with one slot: the
/// queue then reads frame `seen`.
pub(crate) fn with_a_slow_reader(rig: &Rig, compute: &Compute, seen: u8) {
    let readback = Readback::new(rig.device(), SIZE);
    let gate = Gate::new(rig.device());
    let mut exchange = Exchange::new(compute, &info(1), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    write(&mut turn, 1, 1);
    let turn = turn.finish().unwrap();
    turn.computed().wait(Rig::LONG).unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let read = unsafe { turn.submit(&[commands]) }.unwrap();

    let mut turn = exchange.begin().unwrap();
    write(&mut turn, 2, 2);
    let turn = turn.finish().unwrap();
    assert_eq!(turn.computed().is_reached().unwrap(), seen == 2, "what the stream does before the gate opens");
    gate.open();
    read.wait(Rig::LONG).unwrap();
    assert!(readback.words() == written(seen, u32::from(seen)));
    turn.computed().wait(Rig::LONG).unwrap();
    turn.skip();
    exchange.close().unwrap();
}
