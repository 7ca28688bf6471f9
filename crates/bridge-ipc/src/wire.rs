//! The encoding of the messages: little-endian structs without padding, which C can declare
//! unchanged.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of the longest message in bytes.
pub const MAX_MESSAGE_SIZE: usize = size_of::<Refused>();
/// The first bytes of a Hello.
pub(crate) const MAGIC: [u8; 8] = *b"VKCUDAIP";
/// Exchange number that represents the connection as a whole.
pub(crate) const CONNECTION: u32 = u32::MAX;

/// Size of a name in bytes.
pub(crate) const NAME: usize = 64;
/// Size of a text in bytes.
pub(crate) const TEXT: usize = 192;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) kind: U16,
    pub(crate) descriptors: U16,
    pub(crate) length: U32,
}

macro_rules! wire {
    ($($name:ident = $kind:literal, $descriptors:literal { $($field:ident: $ty:ty,)* })*) => {
        $(
            #[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
            #[repr(C)]
            pub(crate) struct $name {
                pub(crate) header: Header,
                $(pub(crate) $field: $ty,)*
            }
            impl $name {
                pub(crate) const KIND: u16 = $kind;
                pub(crate) const HEADER: Header = Header {
                    kind: U16::new($kind),
                    descriptors: U16::new($descriptors),
                    length: U32::new(size_of::<Self>() as u32),
                };
            }
        )*
        /// For each message: name, kind, number of descriptors, size, and for each field: name,
        /// offset, size.
        #[cfg(test)]
        pub(crate) const TABLES: &[(&str, u16, u16, usize, &[(&str, usize, usize)])] = &[$((
            stringify!($name),
            $kind,
            $descriptors,
            size_of::<$name>(),
            &[$((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$ty>()),)*],
        ),)*];
    };
}

wire! {
    Hello = 1, 0 {
        magic: [u8; 8],
        version: U32,
        oldest: U32,
        pid: U32,
        role: U32,
        backends: U32,
        handles: U32,
        device_uuid: [u8; 16],
        driver_version: U32,
        flags: U32,
        name: [u8; NAME],
    }
    Offer = 2, 0 {
        exchange: U32,
        direction: U32,
        slots: U32,
        resources: U32,
        writer_in_flight: U32,
        reader_in_flight: U32,
        flags: U32,
        reserved: U32,
        name: [u8; NAME],
    }
    Resource = 3, 1 {
        exchange: U32,
        slot: U32,
        index: U32,
        kind: U32,
        handle: U32,
        flags: U32,
        device_uuid: [u8; 16],
        allocation_size: U64,
        offset: U64,
        size: U64,
        element_size: U32,
        channel: U32,
        channels: U32,
        format: U32,
        width: U32,
        height: U32,
        depth: U32,
        levels: U32,
        layers: U32,
        reserved: U32,
    }
    Timeline = 4, 1 {
        exchange: U32,
        side: U32,
        handle: U32,
        reserved: U32,
        device_uuid: [u8; 16],
        value: U64,
    }
    Ready = 5, 0 {
        exchange: U32,
        reserved: U32,
    }
    Refused = 6, 0 {
        exchange: U32,
        code: U32,
        text: [u8; TEXT],
    }
    Free = 7, 0 {
        exchange: U32,
        slot: U32,
        value: U64,
    }
    Publish = 8, 0 {
        exchange: U32,
        slot: U32,
        frame: U64,
        value: U64,
    }
    Torn = 9, 0 {
        exchange: U32,
        slot: U32,
        frame: U64,
    }
    Close = 10, 0 {
        exchange: U32,
        reserved: U32,
    }
    Bye = 11, 0 {
        code: U32,
        reserved: U32,
        text: [u8; TEXT],
    }
    Done = 12, 0 {
        exchange: U32,
        slot: U32,
        frame: U64,
    }
}

/// The supported image formats: number of the `VkFormat`, channel type as in `Resource::channel`,
/// number of channels.
pub const FORMATS: &[(u32, u32, u32)] = &[
    (9, 1, 1),
    (10, 2, 1),
    (13, 1, 1),
    (14, 2, 1),
    (16, 1, 2),
    (17, 2, 2),
    (20, 1, 2),
    (21, 2, 2),
    (37, 1, 4),
    (38, 2, 4),
    (41, 1, 4),
    (42, 2, 4),
    (43, 1, 4),
    (44, 1, 4),
    (50, 1, 4),
    (70, 3, 1),
    (71, 4, 1),
    (74, 3, 1),
    (75, 4, 1),
    (76, 7, 1),
    (77, 3, 2),
    (78, 4, 2),
    (81, 3, 2),
    (82, 4, 2),
    (83, 7, 2),
    (91, 3, 4),
    (92, 4, 4),
    (95, 3, 4),
    (96, 4, 4),
    (97, 7, 4),
    (98, 5, 1),
    (99, 6, 1),
    (100, 8, 1),
    (101, 5, 2),
    (102, 6, 2),
    (103, 8, 2),
    (107, 5, 4),
    (108, 6, 4),
    (109, 8, 4),
];

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
