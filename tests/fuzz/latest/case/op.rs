//! The operations of a case.

use proptest::prelude::*;

/// The operations of both threads.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) render_first: bool,
    pub(crate) images: bool,
    pub(crate) issued: bool,
    pub(crate) writer_in_flight: usize,
    pub(crate) reader_in_flight: usize,
    pub(crate) more_slots: usize,
    pub(crate) writer: Vec<Write>,
    pub(crate) reader: Vec<Read>,
    /// Whether the handles are closed together. Otherwise each thread drops its own handle when it
    /// is done.
    pub(crate) closes: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    /// A frame that takes this many microseconds on the CPU; the duration of Vulkan frames varies.
    Frame(u16),
    Skip,
    Drop,
    /// A lent turn on the Vulkan side, which is submitted or not, and reported or not. On the
    /// compute side, a frame.
    Lend {
        submits: bool,
        reports: bool,
    },
    /// Waits for the last frame.
    Wait,
    Pause(u16),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    Frame,
    Skip,
    Drop,
    /// A lent turn on the Vulkan side, which is submitted or not, and reported or not. On the
    /// compute side, a frame.
    Lend {
        submits: bool,
        reports: bool,
    },
    /// Brings back lost slots.
    Initialize,
    /// Waits for the oldest turn; `WaitForAll` waits for all turns.
    Wait,
    WaitForAll,
    Pause(u16),
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let write = prop_oneof![
        12 => (0u16..300).prop_map(Write::Frame),
        1 => Just(Write::Skip),
        1 => Just(Write::Drop),
        2 => any::<(bool, bool)>().prop_map(|(submits, reports)| Write::Lend { submits, reports }),
        2 => Just(Write::Wait),
        2 => (0u16..1000).prop_map(Write::Pause),
    ];
    let read = prop_oneof![
        12 => Just(Read::Frame),
        1 => Just(Read::Skip),
        1 => Just(Read::Drop),
        2 => any::<(bool, bool)>().prop_map(|(submits, reports)| Read::Lend { submits, reports }),
        1 => Just(Read::Initialize),
        2 => Just(Read::Wait),
        1 => Just(Read::WaitForAll),
        2 => (0u16..1000).prop_map(Read::Pause),
    ];
    let kind = (any::<bool>(), prop::bool::weighted(0.3), any::<bool>());
    let shape = (kind, 1usize..4, 1usize..4, 0usize..3, any::<bool>());
    (shape, prop::collection::vec(write, 1..120), prop::collection::vec(read, 1..120)).prop_map(
        |(((render_first, images, issued), writer_in_flight, reader_in_flight, more_slots, closes), writer, reader)| {
            Case {
                render_first,
                images,
                issued,
                writer_in_flight,
                reader_in_flight,
                more_slots,
                writer,
                reader,
                closes,
            }
        },
    )
}

impl Case {
    /// Returns the case with this direction and kind of resources, and with frames that neither
    /// side loses.
    #[allow(dead_code)] // Used by the other target.
    pub(crate) fn plain(mut self, render_first: bool, images: bool) -> Self {
        (self.render_first, self.images) = (render_first, images);
        for step in &mut self.writer {
            if !matches!(step, Write::Wait | Write::Pause(_)) {
                *step = Write::Frame(0);
            }
        }
        for step in &mut self.reader {
            if !matches!(step, Read::Wait | Read::WaitForAll | Read::Pause(_)) {
                *step = Read::Frame;
            }
        }
        self
    }

    pub(crate) fn info(&self) -> bridge::LatestInfo<'static> {
        bridge::LatestInfo {
            name: "fuzzed",
            slots: Some(self.writer_in_flight + self.reader_in_flight + 2 + self.more_slots),
            writer_in_flight: self.writer_in_flight,
            reader_in_flight: self.reader_in_flight,
            newest: if self.issued { bridge::Newest::Published } else { bridge::Newest::Finished },
            timeout: bridge_tests::Rig::LONG,
            ..Default::default()
        }
    }
}
