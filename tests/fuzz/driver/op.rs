//! The operations of a case. Indices are taken modulo the number of existing objects.

use driver_double::Refused;
use proptest::prelude::*;

/// One operation with its circumstances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) fault: Option<Fault>,
    /// `true` if it runs on a separate thread.
    pub(crate) on_other_thread: bool,
    pub(crate) current: Current,
}

/// A driver call that fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Number of the call within the operation, starting at 1.
    pub(crate) nth: u64,
    pub(crate) code: u32,
    /// `true` if the context is lost as well.
    pub(crate) sticky: bool,
}

/// The context that is current on the thread when the operation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Current {
    None,
    Own,
    Unrelated,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Import {
        dedicated: bool,
    },
    ImportImage,
    /// Maps bytes. `offset` is in bytes, `len` in elements.
    Map {
        memory: u8,
        offset: u64,
        len: usize,
        home: u8,
    },
    MapImage {
        memory: u8,
        home: u8,
    },
    MapBlock {
        memory: u8,
        home: u8,
    },
    Part {
        block: u8,
        offset: u64,
        len: usize,
        home: u8,
    },
    Write {
        array: u8,
        stream: u8,
        start: u8,
        len: u8,
    },
    Copy {
        from: u8,
        to: u8,
        stream: u8,
    },
    /// A copy on the home stream.
    CopyFrom {
        from: u8,
        to: u8,
    },
    Read {
        array: u8,
        stream: u8,
    },
    Join {
        array: u8,
    },
    OnImage {
        image: u8,
        stream: u8,
        level: u8,
        layer: u8,
        with: ImageOp,
    },
    /// Creates a timeline, which the exporting side or a stream signals.
    Timeline {
        by: Option<u8>,
    },
    /// The exporting side enqueues a signal.
    Submit {
        timeline: u8,
    },
    /// The oldest signal of the exporting side completes.
    Complete,
    Wait {
        timeline: u8,
        stream: u8,
    },
    Signal {
        timeline: u8,
    },
    Binary,
    /// Signals a binary semaphore, or waits for it if it is signaled.
    Flip {
        binary: u8,
        stream: u8,
        exporter: bool,
    },
    Mark {
        stream: u8,
    },
    OnMark {
        mark: u8,
        stream: u8,
        with: MarkOp,
    },
    Query {
        stream: u8,
    },
    Capture {
        stream: u8,
        array: u8,
        other: u8,
        how: CaptureKind,
    },
    Launch {
        graph: u8,
    },
    /// Holds the work of all streams until `Go`.
    Hold,
    Go,
    /// Sets what imports do from now on with descriptors that they refuse.
    Refuse(Refused),
    End {
        what: ObjectKind,
        which: u8,
        how: Ending,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ImageOp {
    Write,
    Read,
    ToArray { array: u8 },
    FromArray { array: u8 },
    Objects,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum MarkOp {
    HoldBack,
    Move,
    Ask,
}

/// How a graph is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CaptureKind {
    /// Writes an array.
    Write,
    /// Copies an array to another.
    Copy,
    /// The closure fails after it has recorded work.
    Error,
    /// The closure panics.
    Panic,
    /// Uses an array on a stream other than the lent one.
    Elsewhere,
    /// Begins another capture inside.
    Nested,
    /// Enqueues a wait for a semaphore inside.
    Wait,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ObjectKind {
    Array,
    Image,
    Block,
    Memory,
    Timeline,
    Binary,
    Graph,
    Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Drop,
    Close,
    Forget,
}

fn place() -> impl Strategy<Value = (u64, usize)> {
    let offset = prop_oneof![
        6 => (0u64..16).prop_map(|at| at * 256),
        1 => Just(6),
        1 => 3900u64..5000,
    ];
    let len = prop_oneof![8 => 1usize..96, 1 => Just(0), 1 => 900usize..1100];
    (offset, len)
}

fn make() -> impl Strategy<Value = Op> {
    let home = 0u8..16;
    prop_oneof![
        3 => any::<bool>().prop_map(|dedicated| Op::Import { dedicated }),
        1 => Just(Op::ImportImage),
        6 => (any::<u8>(), place(), home.clone())
            .prop_map(|(memory, (offset, len), home)| Op::Map { memory, offset, len, home }),
        2 => (any::<u8>(), home.clone()).prop_map(|(memory, home)| Op::MapImage { memory, home }),
        1 => (any::<u8>(), home.clone()).prop_map(|(memory, home)| Op::MapBlock { memory, home }),
        4 => (any::<u8>(), place(), home)
            .prop_map(|(block, (offset, len), home)| Op::Part { block, offset, len, home }),
        3 => any::<Option<u8>>().prop_map(|by| Op::Timeline { by }),
        1 => Just(Op::Binary),
    ]
}

fn use_arrays() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any::<(u8, u8, u8, u8)>().prop_map(|(array, stream, start, len)| Op::Write { array, stream, start, len }),
        4 => any::<(u8, u8, u8)>().prop_map(|(from, to, stream)| Op::Copy { from, to, stream }),
        1 => any::<(u8, u8)>().prop_map(|(from, to)| Op::CopyFrom { from, to }),
        2 => any::<(u8, u8)>().prop_map(|(array, stream)| Op::Read { array, stream }),
        2 => any::<u8>().prop_map(|array| Op::Join { array }),
    ]
}

fn use_images() -> impl Strategy<Value = Op> {
    let with = prop_oneof![
        3 => Just(ImageOp::Write),
        2 => Just(ImageOp::Read),
        3 => any::<u8>().prop_map(|array| ImageOp::ToArray { array }),
        3 => any::<u8>().prop_map(|array| ImageOp::FromArray { array }),
        1 => Just(ImageOp::Objects),
    ];
    (any::<(u8, u8, u8, u8)>(), with).prop_map(|((image, stream, level, layer), with)| Op::OnImage {
        image,
        stream,
        level,
        layer,
        with,
    })
}

fn order() -> impl Strategy<Value = Op> {
    let with = prop_oneof![Just(MarkOp::HoldBack), Just(MarkOp::Move), Just(MarkOp::Ask)];
    prop_oneof![
        4 => any::<u8>().prop_map(|timeline| Op::Submit { timeline }),
        1 => Just(Op::Complete),
        6 => any::<(u8, u8)>().prop_map(|(timeline, stream)| Op::Wait { timeline, stream }),
        6 => any::<u8>().prop_map(|timeline| Op::Signal { timeline }),
        2 => any::<(u8, u8, bool)>().prop_map(|(binary, stream, exporter)| Op::Flip { binary, stream, exporter }),
        1 => any::<u8>().prop_map(|stream| Op::Mark { stream }),
        2 => (any::<(u8, u8)>(), with).prop_map(|((mark, stream), with)| Op::OnMark { mark, stream, with }),
        1 => any::<u8>().prop_map(|stream| Op::Query { stream }),
        1 => Just(Op::Hold),
        1 => Just(Op::Go),
        1 => prop_oneof![Just(Refused::Measured), Just(Refused::LeftOpen), Just(Refused::Closed)].prop_map(Op::Refuse),
    ]
}

fn graphs() -> impl Strategy<Value = Op> {
    let how = prop_oneof![
        8 => Just(CaptureKind::Write),
        6 => Just(CaptureKind::Copy),
        1 => Just(CaptureKind::Error),
        1 => Just(CaptureKind::Panic),
        1 => Just(CaptureKind::Elsewhere),
        1 => Just(CaptureKind::Nested),
        1 => Just(CaptureKind::Wait),
    ];
    prop_oneof![
        1 => (any::<(u8, u8, u8)>(), how)
            .prop_map(|((stream, array, other), how)| Op::Capture { stream, array, other, how }),
        3 => any::<u8>().prop_map(|graph| Op::Launch { graph }),
    ]
}

fn ends() -> impl Strategy<Value = Op> {
    let what = prop_oneof![
        5 => Just(ObjectKind::Array),
        2 => Just(ObjectKind::Image),
        1 => Just(ObjectKind::Block),
        2 => Just(ObjectKind::Memory),
        1 => Just(ObjectKind::Timeline),
        1 => Just(ObjectKind::Binary),
        2 => Just(ObjectKind::Graph),
        1 => Just(ObjectKind::Mark),
    ];
    let how = prop_oneof![4 => Just(Ending::Drop), 4 => Just(Ending::Close), 1 => Just(Ending::Forget)];
    (what, any::<u8>(), how).prop_map(|(what, which, how)| Op::End { what, which, how })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        22 => make(),
        32 => use_arrays(),
        8 => use_images(),
        24 => order(),
        10 => graphs(),
        8 => ends(),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let code = prop_oneof![Just(1), Just(2), Just(999), Just(700)];
    (1u64..14, code, prop::bool::weighted(0.04)).prop_map(|(nth, code, sticky)| match sticky {
        true => Fault { nth, code: 700, sticky },
        false => Fault { nth, code, sticky },
    })
}

fn step() -> impl Strategy<Value = Step> {
    let current = prop_oneof![2 => Just(Current::None), 2 => Just(Current::Own), 1 => Just(Current::Unrelated)];
    (op(), prop::option::weighted(0.12, fault()), prop::bool::weighted(0.2), current)
        .prop_map(|(op, fault, on_other_thread, current)| Step { op, fault, on_other_thread, current })
}

/// Generates a whole case, which starts with objects of each kind. Half of the cases have no
/// failing calls.
pub(crate) fn case() -> impl Strategy<Value = Vec<Step>> {
    let begun = [
        Op::Import { dedicated: true },
        Op::Import { dedicated: false },
        Op::ImportImage,
        Op::Timeline { by: None },
        Op::Timeline { by: Some(0) },
        Op::Timeline { by: Some(1) },
        Op::Map { memory: 0, offset: 0, len: 64, home: 0 },
        Op::Map { memory: 0, offset: 1024, len: 64, home: 1 },
    ];
    let faults = prop_oneof![Just(true), Just(false)];
    (faults, prop::collection::vec(step(), 1..120)).prop_map(move |(faults, mut steps)| {
        if !faults {
            steps.iter_mut().for_each(|step| step.fault = None);
        }
        let begun = begun.iter().map(|&op| Step { op, fault: None, on_other_thread: false, current: Current::None });
        steps.splice(0..0, begun);
        steps
    })
}
