//! The same tests with a writer in another process, which holds slots instead of having turns.

use super::sync::{Arc, mpsc, thread};
use super::{ChosenFrame, FRAMES, Newest, World, explore};

/// Runs a writer in another process: a thread of this process signals a finished frame once it is
/// chosen. `signals` says whether that signal is made for Vulkan to wait for.
fn run_remote_writer(signals: bool) {
    let world = World::new(Newest::Finished);
    let writer = Arc::clone(&world);
    let writer = thread::spawn(move || writer.write_remote());
    world.read_remote(signals);
    writer.join().unwrap();
    assert_eq!(world.ledger.lock().open_turns(), (None, None));
}

impl World {
    /// Records an event that may be waited for.
    fn change(&self) {
        let mut counter = self.changes.0.lock().unwrap();
        *counter += 1;
        self.changes.1.notify_all();
    }

    /// Writes frames to free slots, without waiting for the reader.
    fn write_remote(&self) {
        for frame in 0..FRAMES {
            let slot = loop {
                let (seen, read, written) = (self.changes.value(), self.read.value(), self.written.value());
                let sent = self.ledger.lock().send_slot(read, written);
                match sent {
                    Some((slot, _)) => break slot,
                    None => self.changes.wait(seen + 1),
                }
            };
            *self.slots[slot].lock().unwrap() = None;
            *self.slots[slot].lock().unwrap() = Some(frame);
            assert_eq!(self.ledger.lock().publish_remote(slot), Some(frame));
            self.change();
        }
    }

    /// Reads the frames that it gets, up to the last one, and skips every third turn.
    fn read_remote(self: &Arc<Self>, signals: bool) {
        let ((queue, jobs), (host, signaled)) = (mpsc::channel::<(ChosenFrame, u64)>(), mpsc::channel::<u64>());
        let world = Arc::clone(self);
        let gpu = thread::spawn(move || {
            for (chosen, value) in jobs {
                world.written.wait(chosen.value);
                assert_eq!(*world.slots[chosen.slot].lock().unwrap(), Some(chosen.frame), "the slot is written");
                world.read.signal(value);
                world.change();
            }
        });
        let world = Arc::clone(self);
        let signaler = thread::spawn(move || {
            for value in signaled {
                world.written.signal(value);
                world.change();
            }
        });
        let (mut last, mut again, mut made, mut value, mut turns) = (None, false, 0, 0_u64, 0);
        while last != Some(FRAMES - 1) {
            let seen = self.changes.value();
            let signal = |_| {
                made += u64::from(signals);
                if signals {
                    host.send(made).unwrap();
                }
                Ok(made)
            };
            let chosen = self.ledger.newest(|| Ok(self.written.value()), || Ok(()), signal).unwrap().unwrap();
            let Some(chosen) = chosen else {
                self.changes.wait(seen + 1);
                continue;
            };
            assert!(chosen.value > 0, "nothing puts Vulkan behind frame {}", chosen.frame);
            assert_eq!((Some(chosen.frame) >= last, chosen.is_new), (true, Some(chosen.frame) > last), "{chosen:?}");
            turns += 1;
            let known = std::mem::replace(&mut again, !chosen.is_new) && !chosen.is_new;
            if known || turns % 3 == 0 {
                self.ledger.lock().skip_read();
                self.change();
                if known {
                    // The first change is this thread's own.
                    self.changes.wait(seen + 2);
                }
                continue;
            }
            (last, value) = (Some(chosen.frame), value + 1);
            queue.send((chosen, value)).unwrap();
            self.ledger.lock().read(value);
            self.change();
        }
        drop((queue, host));
        gpu.join().unwrap();
        signaler.join().unwrap();
        assert!(made <= FRAMES, "{made} signals for {FRAMES} frames");
    }
}

#[test]
fn chosen_frames_of_a_remote_writer_are_signaled() {
    explore(|| run_remote_writer(true));
}

/// The negative control: no signal is made.
#[test]
#[should_panic(expected = "nothing puts Vulkan behind frame")]
fn choosing_without_a_signal_is_detected() {
    explore(|| run_remote_writer(false));
}
