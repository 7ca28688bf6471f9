//! Tests of the encoding of messages: encoded messages are decoded to equal ones, and no bytes from
//! a peer make the decoder panic.

#![allow(clippy::unwrap_used, reason = "a test")]

use bridge_ipc::{
    BufferDescriptor, Channel, Code, Direction, FORMATS, Handle, Hello, ImageDescriptor, ImageShape, MAX_MESSAGE_SIZE,
    Message, Offer, Resource, ResourceKind, Role, Session, Side, Timeline, Uuid, VERSION,
};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 _.-]{1,64}", Just("größe".to_owned())]
}

fn hello() -> impl Strategy<Value = Hello> {
    (any::<(u32, u32, u32, bool, bool, bool, u128, u32)>(), any::<bool>(), name()).prop_map(|(numbers, trust, name)| {
        let (version, oldest, pid, renderer, cuda, host, uuid, driver_version) = numbers;
        let role = if renderer { Role::Renderer } else { Role::Worker };
        // The version ranges overlap: others are refused because of the versions alone.
        let (version, oldest) = (version.max(VERSION), oldest % (VERSION + 1));
        Hello {
            version,
            oldest,
            pid,
            role,
            cuda,
            host,
            device_uuid: Uuid::from_u128(uuid),
            driver_version,
            trust,
            name,
        }
    })
}

fn offer() -> impl Strategy<Value = Offer> {
    (0..u32::MAX, any::<bool>(), 1..=64u32, 1..=16u32, 1..=64u32, 1..=64u32, any::<bool>(), name()).prop_map(
        |(exchange, worker, slots, resources, writer_in_flight, reader_in_flight, trust, name)| Offer {
            exchange,
            direction: if worker { Direction::WorkerWrites } else { Direction::RendererWrites },
            slots,
            resources,
            writer_in_flight,
            reader_in_flight,
            trust,
            name,
        },
    )
}

fn channel(number: u32) -> Channel {
    use Channel::*;
    [U8, I8, U16, I16, U32, I32, F16, F32].into_iter().find(|channel| channel.number() == number).unwrap()
}

fn kind() -> impl Strategy<Value = ResourceKind> {
    let buffer = (1..1000u64, 1..100u32).prop_map(|(len, element_size)| {
        ResourceKind::Buffer(BufferDescriptor { size: len * u64::from(element_size), element_size })
    });
    let image = (0..FORMATS.len(), 0..4u32, 1..500u32, 1..500u32, 1..4u32, any::<[bool; 2]>()).prop_map(
        |(format, shape, width, height, depth, [color_attachment, layered])| {
            let (format, number, channels) = FORMATS[format];
            let (shape, extent, layers, layered) = match shape {
                0 => (ImageShape::D1, [width, 1, 1], depth, layered),
                1 => (ImageShape::D2, [width, height, 1], depth, layered),
                2 => (ImageShape::D3, [width, height, depth], 1, false),
                _ => (ImageShape::Cube, [width, width, 1], 6 * depth, layered),
            };
            let levels = 1 + depth.min(extent.into_iter().max().unwrap().ilog2());
            let channel = channel(number);
            ResourceKind::Image(ImageDescriptor {
                shape,
                extent,
                levels,
                layers,
                channel,
                channels,
                format,
                color_attachment,
                layered,
            })
        },
    );
    prop_oneof![buffer, image]
}

fn resource() -> impl Strategy<Value = Resource> {
    (any::<(u32, u32, u32, bool, bool, u128)>(), kind(), 0..100u64, 0..1000u64).prop_map(
        |(numbers, kind, place, rest)| {
            let (exchange, slot, index, file, dedicated, uuid) = numbers;
            let handle = if file { Handle::Memfd } else { Handle::OpaqueFd };
            let (dedicated, offset) = (dedicated && !file, place * 16);
            let device_uuid = if file { Uuid::nil() } else { Uuid::from_u128(uuid) };
            let resource =
                Resource { exchange, slot, index, kind, handle, dedicated, device_uuid, allocation_size: 0, offset };
            Resource { allocation_size: offset + resource.min_size().unwrap() + rest, ..resource }
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let numbers = any::<(u32, u32, u64, u64)>();
    let text = "[^\\p{Cc}]{0,40}";
    prop_oneof![
        hello().prop_map(Message::Hello),
        offer().prop_map(Message::Offer),
        resource().prop_map(Message::Resource),
        any::<(u32, bool, u128, u64)>().prop_map(|(exchange, computed, uuid, value)| {
            let side = if computed { Side::Computed } else { Side::Rendered };
            Message::Timeline(Timeline { exchange, side, device_uuid: Uuid::from_u128(uuid), value })
        }),
        any::<u32>().prop_map(|exchange| Message::Ready { exchange }),
        (proptest::option::of(0..u32::MAX), 0..9u32, text).prop_map(|(exchange, number, text)| Message::Refused {
            exchange,
            code: code(number),
            text
        }),
        numbers.prop_map(|(exchange, slot, value, _)| Message::Free { exchange, slot, value }),
        numbers.prop_map(|(exchange, slot, frame, value)| Message::Publish { exchange, slot, frame, value }),
        numbers.prop_map(|(exchange, slot, frame, _)| Message::Torn { exchange, slot, frame }),
        numbers.prop_map(|(exchange, slot, frame, _)| Message::Done { exchange, slot, frame }),
        any::<u32>().prop_map(|exchange| Message::Close { exchange }),
        (0..9u32, text).prop_map(|(number, text)| Message::Bye { code: code(number), text }),
    ]
}

fn code(number: u32) -> Code {
    use Code::*;
    [Done, Version, Backend, Device, Resource, Protocol, Failure].get(number as usize).copied().unwrap_or(Other(number))
}

/// Returns `true` if encoding the message gives the same bytes. The Hello of a newer version may
/// have bits that are ignored here.
fn is_whole(message: &Message, bytes: &[u8]) -> bool {
    let encoded = message.encode().unwrap();
    match message {
        Message::Hello(hello) if hello.version > VERSION => Message::decode(&encoded).as_ref() == Ok(message),
        _ => encoded == bytes,
    }
}

proptest! {
    #[test]
    fn encoded_messages_decode_to_the_same_message(message in message()) {
        let bytes = message.encode().unwrap();
        prop_assert!(bytes.len() <= MAX_MESSAGE_SIZE);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert!(is_whole(&message, &bytes));
        }
    }

    /// A changed message is refused, or is another valid message: no field is used without
    /// validation.
    #[test]
    fn modified_bytes_are_another_message_or_an_error(
        message in message(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut bytes = message.encode().unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(Message::decode(&bytes).is_err());
        } else if let Ok(message) = Message::decode(&bytes) {
            prop_assert!(is_whole(&message, &bytes));
        }
    }

    /// No messages in any order from either side cause a panic.
    #[test]
    fn messages_in_any_order_never_panic(said in proptest::collection::vec((any::<bool>(), message()), 0..40), renderer in any::<bool>()) {
        let mut session = Session::new(if renderer { Role::Renderer } else { Role::Worker });
        for (own, message) in said {
            let _ = if own { session.send(&message) } else { session.receive(&message).map(|_| ()) };
        }
    }
}

#[test]
fn names_and_texts_are_checked() {
    let hello = |name: &str| Message::Hello(Hello { name: name.to_owned(), ..Hello::new(Role::Worker, "w") }).encode();
    assert!(hello("").is_err());
    assert!(hello(&"x".repeat(65)).is_err());
    assert!(hello("a\nb").is_err(), "a line break would forge a line of a log");
    assert!(hello(&"x".repeat(64)).is_ok());
    let text = format!("{}ö\n", "x".repeat(191));
    let Message::Bye { text, .. } =
        Message::decode(&Message::Bye { code: Code::Done, text }.encode().unwrap()).unwrap()
    else {
        panic!()
    };
    assert_eq!(text, "x".repeat(191), "cut between characters");
}

/// Offsets in a Hello, as in docs/ipc.md.
const BACKENDS: usize = 32;
const HANDLES: usize = 36;
const FLAGS: usize = 60;

/// The Hello of a side that also supports a newer version is accepted, whatever bits that version
/// adds to it.
#[test]
fn unknown_bits_in_the_hello_of_a_newer_version_are_ignored() {
    let bits = |field: usize, set: u32, cleared: u32| {
        move |bytes: &mut Vec<u8>| {
            let old = u32::from_le_bytes(bytes[field..field + 4].try_into().unwrap());
            bytes[field..field + 4].copy_from_slice(&(old & !cleared | set).to_le_bytes());
        }
    };
    let changed = |version: u32, change: &dyn Fn(&mut Vec<u8>)| {
        let hello = Hello { version, cuda: true, host: true, trust: true, ..Hello::new(Role::Renderer, "r") };
        let mut bytes = Message::Hello(hello.clone()).encode().unwrap();
        change(&mut bytes);
        Message::decode(&bytes).map(|message| message == Message::Hello(hello))
    };
    for field in [BACKENDS, HANDLES, FLAGS] {
        for set in [1 << 3, 1 << 31, !7] {
            let change = bits(field, set, 0);
            assert_eq!(changed(VERSION + 1, &change), Ok(true), "{field} {set:#x}");
            for version in 2..=VERSION {
                assert!(changed(version, &change).is_err(), "{field} {set:#x} of version {version}");
            }
        }
    }
    // A backend that both versions have requires the same handles as here.
    assert!(changed(VERSION + 1, &bits(HANDLES, 8, 1)).is_err());
    // A handle that the newer version's own backends use.
    let mut bytes = Message::Hello(Hello { host: true, ..Hello::new(Role::Renderer, "r") }).encode().unwrap();
    bytes[16..20].copy_from_slice(&(VERSION + 1).to_le_bytes());
    bits(BACKENDS, 4, 0)(&mut bytes);
    bits(HANDLES, 1, 0)(&mut bytes);
    let Ok(Message::Hello(hello)) = Message::decode(&bytes) else { panic!() };
    assert_eq!((hello.cuda, hello.host), (false, true));
}

/// A message that every peer would reject is not encoded.
#[test]
fn messages_that_no_peer_accepts_are_not_encoded() {
    let offer = Offer {
        exchange: 0,
        direction: Direction::WorkerWrites,
        slots: 1,
        resources: 1,
        writer_in_flight: 1,
        reader_in_flight: 1,
        trust: false,
        name: "x".into(),
    };
    let image = ImageDescriptor {
        shape: ImageShape::D2,
        extent: [4, 4, 1],
        levels: 1,
        layers: 1,
        channel: Channel::U8,
        channels: 1,
        format: 9,
        color_attachment: false,
        layered: false,
    };
    let resource = |image| {
        Message::Resource(Resource {
            exchange: 0,
            slot: 0,
            index: 0,
            kind: ResourceKind::Image(image),
            handle: Handle::OpaqueFd,
            dedicated: false,
            device_uuid: Uuid::nil(),
            allocation_size: 1 << 30,
            offset: 0,
        })
    };
    let refused = |exchange| Message::Refused { exchange, code: Code::Failure, text: String::new() };
    let hello = |version, trust| Message::Hello(Hello { version, trust, host: true, ..Hello::new(Role::Worker, "w") });
    let valid = [Message::Offer(offer.clone()), resource(image), refused(Some(0)), hello(2, true)];
    assert!(valid.iter().all(|message| message.encode().is_ok()));
    let invalid = [
        Message::Offer(Offer { exchange: u32::MAX, ..offer.clone() }),
        Message::Offer(Offer { slots: 0, ..offer.clone() }),
        Message::Offer(Offer { resources: 17, ..offer.clone() }),
        Message::Offer(Offer { writer_in_flight: 0, ..offer.clone() }),
        Message::Offer(Offer { reader_in_flight: 65, ..offer }),
        resource(ImageDescriptor { levels: 0, ..image }),
        resource(ImageDescriptor { levels: u32::MAX, ..image }),
        resource(ImageDescriptor { layers: 0, ..image }),
        resource(ImageDescriptor { layers: (1 << 16) + 1, ..image }),
        resource(ImageDescriptor { channels: u32::MAX, ..image }),
        refused(Some(u32::MAX)),
        hello(1, true),
    ];
    for message in invalid {
        assert!(message.encode().is_err(), "{message:?}");
    }
}

#[test]
fn memory_file_with_a_gpu_is_refused() {
    let kind = ResourceKind::Buffer(BufferDescriptor { size: 64, element_size: 4 });
    let resource = Resource {
        exchange: 0,
        slot: 0,
        index: 0,
        kind,
        handle: Handle::Memfd,
        dedicated: false,
        device_uuid: Uuid::nil(),
        allocation_size: 64,
        offset: 0,
    };
    let mut bytes = Message::Resource(resource).encode().unwrap();
    // A byte of the UUID.
    bytes[40] = 1;
    assert!(Message::decode(&bytes).unwrap_err().to_string().contains("must not name a GPU"));
}

#[test]
fn mip_levels_are_consecutive() {
    let image = ImageDescriptor {
        shape: ImageShape::D2,
        extent: [5, 3, 1],
        levels: 3,
        layers: 2,
        channel: Channel::U8,
        channels: 1,
        format: 9,
        color_attachment: false,
        layered: false,
    };
    let (levels, size) = image.layout().unwrap();
    let places: Vec<_> = levels.iter().map(|level| (level.offset, level.row, level.size)).collect();
    assert_eq!((places, size), (vec![(0, 5, 30), (32, 2, 4), (48, 1, 2)], 50));
    assert_eq!(ImageDescriptor { extent: [u32::MAX, u32::MAX, 1], layers: 1 << 16, ..image }.layout(), None);
}
