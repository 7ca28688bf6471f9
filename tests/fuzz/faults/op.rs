//! The operations of a case. Indices are taken modulo the number of existing objects.

use bridge::Backend;
use bridge::ash::vk;
use proptest::prelude::*;

use crate::driver;
use crate::hook::{NAMES, Plan};

/// Maximum length of a buffer.
const MOST_WORDS: usize = 1024;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Open {
        vulkan_first: bool,
        slots: usize,
        pooled: bool,
        images: bool,
    },
    On(u8, RingOp),
    /// Recorded work copies from the turn of one exchange to that of another.
    Copy(u8, u8),
    /// Makes a later Vulkan call fail.
    Arm(Plan),
    /// Like [`Arm`](Self::Arm), for a CUDA driver call.
    #[allow(dead_code)] // Used by the other target.
    ArmDriver(driver::Plan),
}

/// The outcome of a lent turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Submitted, and reported as submitted.
    Reported,
    /// Submitted, and dropped without a report.
    Dropped,
    /// Not submitted, and reported as such.
    Retracted,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RingOp {
    Begin,
    Work,
    Finish,
    SkipCompute,
    DropCompute,
    Submit {
        fill: bool,
    },
    SkipRender,
    DropRender,
    /// Runs all steps of a frame.
    Frame {
        fill: bool,
    },
    /// Like `Submit`, with a submission by the case itself.
    Lent {
        fill: bool,
        fate: Fate,
    },
    /// Like `Frame`, with a graph on the compute side.
    Graph {
        fill: bool,
    },
    DropGraph,
    /// Buffers get another length.
    Replace {
        words: usize,
    },
    Grow {
        words: usize,
    },
    /// Like `Work`, split over the GPUs of CUDA; `outside` are more words than there are.
    Split {
        outside: bool,
    },
    /// Like `Work`, with memory of kernels.
    Memory,
    /// Leases a slot, or that of the open turn. The lease outlives the exchange.
    Lease {
        slot: usize,
        of_turn: bool,
    },
    DropLease,
    Wait,
    Ask {
        wait: bool,
    },
    Close,
    Drop,
}

fn open() -> impl Strategy<Value = Op> {
    (any::<bool>(), 1usize..4, prop::bool::weighted(0.3), prop::bool::weighted(0.4))
        .prop_map(|(vulkan_first, slots, pooled, images)| Op::Open { vulkan_first, slots, pooled, images })
}

fn arm() -> impl Strategy<Value = Op> {
    let result = prop_oneof![Just(vk::Result::ERROR_OUT_OF_HOST_MEMORY), Just(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)];
    // Beyond the last name, all calls count.
    (0..NAMES.len() + 4, 0usize..8, result)
        .prop_map(|(function, left, result)| Op::Arm(Plan { function, left, result }))
}

fn lent() -> impl Strategy<Value = RingOp> {
    let fate = prop_oneof![3 => Just(Fate::Reported), 1 => Just(Fate::Dropped), 1 => Just(Fate::Retracted)];
    (any::<bool>(), fate).prop_map(|(fill, fate)| RingOp::Lent { fill, fate })
}

fn ring_op() -> impl Strategy<Value = RingOp> {
    prop_oneof![
        10 => Just(RingOp::Begin),
        10 => Just(RingOp::Work),
        8 => Just(RingOp::Finish),
        8 => any::<bool>().prop_map(|fill| RingOp::Submit { fill }),
        6 => any::<bool>().prop_map(|fill| RingOp::Frame { fill }),
        4 => lent(),
        4 => any::<bool>().prop_map(|fill| RingOp::Graph { fill }),
        1 => Just(RingOp::DropGraph),
        4 => Just(RingOp::Wait),
        3 => (1..MOST_WORDS).prop_map(|words| RingOp::Replace { words }),
        2 => (1..MOST_WORDS).prop_map(|words| RingOp::Grow { words }),
        3 => prop::bool::weighted(0.2).prop_map(|outside| RingOp::Split { outside }),
        3 => Just(RingOp::Memory),
        2 => (0usize..4, any::<bool>()).prop_map(|(slot, of_turn)| RingOp::Lease { slot, of_turn }),
        1 => Just(RingOp::DropLease),
        2 => any::<bool>().prop_map(|wait| RingOp::Ask { wait }),
        1 => Just(RingOp::SkipCompute),
        1 => Just(RingOp::DropCompute),
        1 => Just(RingOp::SkipRender),
        1 => Just(RingOp::DropRender),
        1 => Just(RingOp::Close),
        1 => Just(RingOp::Drop),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => open(),
        100 => (any::<u8>(), ring_op()).prop_map(|(ring, op)| Op::On(ring, op)),
        8 => any::<(u8, u8)>().prop_map(|(a, b)| Op::Copy(a, b)),
        12 => arm(),
    ]
}

/// Generates a whole case: its backend and its operations.
pub(crate) fn case() -> impl Strategy<Value = (Backend, Vec<Op>)> {
    let backend = prop_oneof![Just(Backend::Host), Just(Backend::Inline)];
    (backend, open(), prop::collection::vec(op(), 1..120)).prop_map(|(backend, first, mut ops)| {
        ops.insert(0, first);
        (backend, ops)
    })
}

/// Generates a whole case on one backend, with additional operations.
#[allow(dead_code)] // Used by the other target.
pub(crate) fn case_with(
    backend: Backend,
    more: impl Strategy<Value = Op>,
) -> impl Strategy<Value = (Backend, Vec<Op>)> {
    let op = prop_oneof![8 => op(), 1 => more];
    (Just(backend), open(), prop::collection::vec(op, 1..120)).prop_map(|(backend, first, mut ops)| {
        ops.insert(0, first);
        (backend, ops)
    })
}
