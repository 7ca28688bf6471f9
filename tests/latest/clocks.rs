//! Two clocks of fixed rates, moved by hand: what each side gets depends on the rates only, and not
//! on the speed of the machine.

use std::collections::VecDeque;

use bridge::{Compute, Exchange, ExchangeInfo};
use bridge_tests::{Filler, Readback, Rig};

use crate::{LEN, SIZE, Words, base, frame_of, info, publish, read, words};

/// Ticks per second: a simulation, and a display.
const SIMULATION: u64 = 400;
const DISPLAY: u64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tick {
    Write,
    Read,
}

/// Returns the ticks of both sides during a second, in order of time. If both tick at once, the
/// writer is first.
fn second(writer: u64, reader: u64) -> Vec<Tick> {
    // The times are in units of `1 / (writer * reader)` seconds.
    let writes = (0..writer).map(|i| (i * reader, Tick::Write));
    let mut ticks: Vec<_> = writes.chain((0..reader).map(|i| (i * writer, Tick::Read))).collect();
    ticks.sort();
    ticks.into_iter().map(|(_, tick)| tick).collect()
}

/// A frame that was read, and the number of frames whose time had come.
struct Seen {
    frame: u64,
    due: u64,
}

/// Checks that each tick of the reader has the newest frame whose time had come.
fn check(seen: &[Seen]) -> Result<(), String> {
    match seen.iter().zip(0..).find(|(one, _)| one.frame + 1 != one.due) {
        None => Ok(()),
        Some((one, tick)) => Err(format!("tick {tick} of the reader has frame {}, {} were due", one.frame, one.due)),
    }
}

/// A simulation at 400 Hz and a display at 60 Hz, and the other way round: each tick of the writer
/// publishes its frame, and each tick of the reader has the newest.
pub(crate) fn both_sides_keep_their_rates(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    for [writer_rate, reader_rate] in [[SIMULATION, DISPLAY], [DISPLAY, SIMULATION]] {
        let (mut writer, mut reader) = words(compute, &info());
        let (mut seen, mut due) = (Vec::new(), 0);
        for tick in second(writer_rate, reader_rate) {
            match tick {
                Tick::Write => {
                    publish(&mut writer, &filler, 0).wait(Rig::LONG).unwrap();
                    due += 1;
                }
                Tick::Read => seen.push(Seen { frame: read(&mut reader, &readback).unwrap(), due }),
            }
        }
        check(&seen).unwrap();
        // No frame but the newest is read; a slower writer's frames are read several times.
        let mut frames: Vec<_> = seen.iter().map(|one| one.frame).collect();
        frames.dedup();
        assert_eq!((due, seen.len() as u64, frames.len() as u64), (writer_rate, reader_rate, DISPLAY));
        writer.close(reader).unwrap();
    }
}

/// Negative control: in step, the display has every frame in order, so the simulation is held up at
/// the display's rate, and the check fails.
pub(crate) fn in_step_the_slower_rate_is_that_of_both(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let info = ExchangeInfo { name: "in step", slots: 3, timeout: Rig::LONG, ..Default::default() };
    let spec = Words::new(LEN, bridge::BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let (mut finished, mut seen, mut due, mut held_up) = (VecDeque::new(), Vec::new(), 0, 0);
    for tick in second(SIMULATION, DISPLAY) {
        match tick {
            Tick::Write => {
                due += 1;
                if finished.len() == info.slots {
                    held_up += 1;
                    continue;
                }
                let mut turn = exchange.begin().unwrap();
                let base = base(turn.frame());
                filler.fill(&mut turn, base);
                finished.push_back(turn.finish().unwrap());
            }
            Tick::Read => {
                let turn = finished.pop_front().unwrap();
                let source = (turn.resources().as_raw(), SIZE);
                let words = readback.run(turn, &[source]);
                seen.push(Seen { frame: frame_of(&words[..LEN]).unwrap(), due });
            }
        }
    }
    assert_eq!(check(&seen).unwrap_err(), "tick 1 of the reader has frame 1, 7 were due");
    assert!(seen.iter().zip(0..).all(|(one, tick)| one.frame == tick));
    assert_eq!(due, SIMULATION);
    // The last frames are in the slots.
    assert_eq!(due - held_up, DISPLAY + finished.len() as u64);
    finished.into_iter().for_each(|turn| turn.skip());
    exchange.close().unwrap();
}
