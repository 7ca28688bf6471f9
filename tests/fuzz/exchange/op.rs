//! The operations of a case. Indices are taken modulo the number of existing objects, so that any
//! part of a case is also a case.

use bridge::Backend;
use proptest::prelude::*;

/// A step of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Open(Open),
    On(u8, RingOp),
    /// The same on a separate thread.
    OnThread(u8, RingOp),
    /// Operations on two exchanges at once, each on its own thread.
    Both(u8, RingOp, u8, RingOp),
    Pair(Pair),
    /// Drops an exchange and its turns inside a closure of another one, or directly if work is
    /// recorded.
    EndInside(u8, u8),
    /// A closure panics, which permanently fails the compute side. No effect on recorded work.
    Fail(u8),
    /// Creates a new compute side for exchanges opened from now on.
    Revive,
    Pool(PoolOp),
}

/// Parameters of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) shape: u8,
    pub(crate) vulkan_first: bool,
    pub(crate) slots: usize,
    pub(crate) pooled: bool,
    pub(crate) in_flight: Option<usize>,
    /// `true` if its waits time out soon, so that a submission which never happens is affordable.
    pub(crate) short: bool,
}

/// One closure with the turns of two exchanges of buffers, or a recorded copy from one to the
/// other. What is missing is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) first: u8,
    pub(crate) second: u8,
    /// The direction of the second exchange.
    pub(crate) vulkan_first: bool,
    /// `true` if the second exchange is a new one on another compute side.
    pub(crate) foreign: bool,
    /// `true` if both frames are then finished and submitted.
    pub(crate) submits: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RingOp {
    Begin,
    /// Checks the contents of the slot, then writes them.
    Compute {
        write: bool,
        slow: bool,
    },
    Finish,
    SkipCompute,
    DropCompute,
    ForgetCompute,
    /// Reads the contents of the slot, then fills it.
    Submit {
        which: u8,
        fill: bool,
    },
    SkipRender(u8),
    DropRender(u8),
    ForgetRender(u8),
    Lend(u8),
    /// Submits a lent turn as an engine does. If `split`, wait and signal are separate submissions;
    /// if `reports`, the submission is reported.
    SubmitLent {
        fill: bool,
        split: bool,
        reports: bool,
    },
    RetractLent,
    DropLent,
    ForgetLent,
    /// Waits for the oldest frame in flight.
    Wait,
    /// Waits for the compute work of a frame that was not submitted yet, or only queries it.
    QueryComputed {
        which: u8,
        wait: bool,
    },
    /// Queries whether the newest frame in flight has ended.
    QueryRendered,
    /// Runs all steps of a frame.
    Frame {
        write: bool,
        fill: bool,
    },
    /// Replaces the resources with others of the same size.
    Replace,
    /// Computes frames on one thread and renders them on another.
    Stream(u8),
    Close,
    Drop,
    Forget,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum PoolOp {
    Make,
    Drop,
    /// Takes a buffer with this number of words.
    Take(u16),
    GiveBack(u8),
}

fn open() -> impl Strategy<Value = Open> {
    let in_flight = prop_oneof![3 => Just(None), 1 => (1usize..4).prop_map(Some)];
    let short = prop_oneof![9 => Just(false), 1 => Just(true)];
    (any::<u8>(), any::<bool>(), 1usize..4, any::<bool>(), in_flight, short).prop_map(
        |(shape, vulkan_first, slots, pooled, in_flight, short)| Open {
            shape,
            vulkan_first,
            slots,
            pooled,
            in_flight,
            short,
        },
    )
}

fn pair() -> impl Strategy<Value = Pair> {
    (any::<(u8, u8, bool, bool)>(), prop::bool::weighted(0.1)).prop_map(
        |((first, second, vulkan_first, submits), foreign)| Pair { first, second, vulkan_first, foreign, submits },
    )
}

fn ring_op() -> impl Strategy<Value = RingOp> {
    let usual = prop_oneof![
        10 => Just(RingOp::Begin),
        10 => any::<(bool, bool)>().prop_map(|(write, slow)| RingOp::Compute { write, slow }),
        8 => Just(RingOp::Finish),
        8 => any::<(u8, bool)>().prop_map(|(which, fill)| RingOp::Submit { which, fill }),
        3 => any::<u8>().prop_map(RingOp::Lend),
        4 => any::<(bool, bool, bool)>().prop_map(|(fill, split, reports)| RingOp::SubmitLent { fill, split, reports }),
        4 => Just(RingOp::Wait),
        3 => any::<(u8, bool)>().prop_map(|(which, wait)| RingOp::QueryComputed { which, wait }),
        1 => Just(RingOp::QueryRendered),
        3 => Just(RingOp::Replace),
        1 => (1u8..12).prop_map(RingOp::Stream),
        6 => any::<(bool, bool)>().prop_map(|(write, fill)| RingOp::Frame { write, fill }),
    ];
    let odd = prop_oneof![
        Just(RingOp::SkipCompute),
        Just(RingOp::DropCompute),
        any::<u8>().prop_map(RingOp::SkipRender),
        any::<u8>().prop_map(RingOp::DropRender),
        Just(RingOp::RetractLent),
        Just(RingOp::DropLent),
        Just(RingOp::Close),
        Just(RingOp::Drop),
    ];
    let forgets = prop_oneof![
        Just(RingOp::ForgetCompute),
        any::<u8>().prop_map(RingOp::ForgetRender),
        Just(RingOp::ForgetLent),
        Just(RingOp::Forget),
    ];
    prop_oneof![100 => usual, 10 => odd, 1 => forgets]
}

fn op() -> impl Strategy<Value = Op> {
    let pool = prop_oneof![
        2 => Just(PoolOp::Make),
        1 => Just(PoolOp::Drop),
        4 => (1u16..3000).prop_map(PoolOp::Take),
        3 => any::<u8>().prop_map(PoolOp::GiveBack),
    ];
    prop_oneof![
        10 => open().prop_map(Op::Open),
        150 => (any::<u8>(), ring_op()).prop_map(|(ring, op)| Op::On(ring, op)),
        20 => (any::<u8>(), ring_op()).prop_map(|(ring, op)| Op::OnThread(ring, op)),
        30 => (any::<u8>(), ring_op(), any::<u8>(), ring_op()).prop_map(|(a, x, b, y)| Op::Both(a, x, b, y)),
        8 => pair().prop_map(Op::Pair),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Op::EndInside(a, b)),
        1 => any::<u8>().prop_map(Op::Fail),
        6 => Just(Op::Revive),
        8 => pool.prop_map(Op::Pool),
    ]
}

/// Generates a whole case: its backend and its operations.
pub(crate) fn case() -> impl Strategy<Value = (Backend, Vec<Op>)> {
    let backend = prop_oneof![Just(Backend::Host), Just(Backend::Inline)];
    // It starts with an exchange, so that no case is empty.
    (backend, open(), prop::collection::vec(op(), 1..160)).prop_map(|(backend, first, mut ops)| {
        ops.insert(0, Op::Open(first));
        (backend, ops)
    })
}
