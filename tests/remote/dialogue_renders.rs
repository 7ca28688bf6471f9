//! The renderer's side of a dialogue.

use std::path::Path;

use bridge_ipc::{
    BufferDescriptor, Code, Direction, Handle, Hello, Listener, MappedMemory, Message, Offer, Resource, ResourceKind,
    Role, SharedMemory, Uuid,
};

use crate::dialogue::{Counted, Dialogue, LIMIT, report_line, words};
use crate::worker::LEN;

/// The number of slots that a scripted renderer offers.
const SLOTS: u32 = 2;

pub(crate) fn render(dialogue: Dialogue, left: u32, path: &Path) -> Counted {
    let listener = Listener::bind(path).unwrap();
    report_line("@listens");
    let mut counted = Counted { connection: listener.accept(LIMIT).unwrap().unwrap(), left };
    let trust = dialogue.trust();
    counted.send(&Message::Hello(Hello { host: true, trust, ..Hello::new(Role::Renderer, "scripted") }));
    if dialogue == Dialogue::Declines {
        counted.send(&Message::Refused { exchange: None, code: Code::Backend, text: "nothing is drawn".into() });
        return counted;
    }
    counted.receive_until("Hello");
    let reads = dialogue.reads();
    let direction = if reads { Direction::RendererWrites } else { Direction::WorkerWrites };
    let name = if trust { "steps" } else { "remote" }.to_owned();
    let (slots, resources, writer_in_flight, reader_in_flight) = (SLOTS, 1, 1, 1);
    let offer = Offer { exchange: 0, direction, slots, resources, writer_in_flight, reader_in_flight, trust, name };
    counted.send(&Message::Offer(offer));
    let memory: Vec<_> = (0..SLOTS).map(|slot| offered(&mut counted, slot, reads)).collect();
    if dialogue == Dialogue::Refuses {
        counted.receive_until("Refused");
        // The worker disconnects.
        counted.receive_until("Bye");
        return counted;
    }
    counted.receive_until("Ready");
    if reads {
        paint(&mut counted, &memory);
        counted.send_bye();
        return counted;
    }
    (0..SLOTS).for_each(|slot| counted.send(&Message::Free { exchange: 0, slot, value: 0 }));
    for _ in 0..3 {
        let last = counted.receive_until(if trust { "Done" } else { "Publish" });
        let (Message::Done { slot, .. } | Message::Publish { slot, .. }) = last else { unreachable!() };
        counted.send(&Message::Free { exchange: 0, slot, value: 0 });
    }
    counted.send(&Message::Close { exchange: 0 });
    counted.receive_close();
    counted.receive_until("Bye");
    counted
}

fn offered(counted: &mut Counted, slot: u32, reads: bool) -> (SharedMemory, MappedMemory) {
    let bytes = LEN as u64 * 4;
    let (file, memory) = if reads {
        SharedMemory::new_read_only("frame", bytes).unwrap()
    } else {
        let file = SharedMemory::new("frame", bytes).unwrap();
        let memory = file.map().unwrap();
        (file, memory)
    };
    let resource = Resource {
        exchange: 0,
        slot,
        index: 0,
        kind: ResourceKind::Buffer(BufferDescriptor { size: bytes, element_size: 4 }),
        handle: Handle::Memfd,
        dedicated: false,
        device_uuid: Uuid::nil(),
        allocation_size: bytes,
        offset: 0,
    };
    counted.send_with(&Message::Resource(resource), Some(&file));
    (file, memory)
}

/// Publishes three frames, the last of which is withdrawn.
fn paint(counted: &mut Counted, memory: &[(SharedMemory, MappedMemory)]) {
    let mut slot = 0;
    for frame in 0..3 {
        if frame >= u64::from(SLOTS) {
            let Message::Free { slot: freed, .. } = counted.receive_until("Free") else { unreachable!() };
            slot = freed;
        }
        let bytes: Vec<u8> = words(frame, false).flat_map(u32::to_ne_bytes).collect();
        assert!(memory[slot as usize].1.write(0, &bytes));
        counted.send(&Message::Publish { exchange: 0, slot, frame, value: frame + 1 });
        if frame == 2 {
            counted.send(&Message::Torn { exchange: 0, slot, frame });
        }
        slot += 1;
    }
}
