//! What a case is made of. Numbers are taken modulo what there is, so that any part of a case is a
//! case.

use bridge::Backend;
use proptest::prelude::*;

/// A step of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Open(Open),
    On(u8, RingOp),
    /// The same on a thread of its own.
    OnThread(u8, RingOp),
    /// On two exchanges at once, each on a thread of its own.
    Both(u8, RingOp, u8, RingOp),
    /// One closure with the turns of two exchanges, or a recorded copy from one to the other.
    Pair(u8, u8),
    /// An exchange ends, with its turns, inside a closure of another; or here, where work is
    /// recorded.
    EndInside(u8, u8),
    /// A closure panics: the compute side is gone for good. Nothing in recorded work.
    Fail(u8),
    /// A new compute side, for exchanges opened from now on.
    Revive,
    Pool(PoolOp),
}

/// Of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) shape: u8,
    pub(crate) vulkan_first: bool,
    pub(crate) slots: usize,
    pub(crate) pooled: bool,
    pub(crate) in_flight: Option<usize>,
    /// Its waits may time out soon, so that a submission which never happens is affordable.
    pub(crate) short: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RingOp {
    Begin,
    /// Checks what is in the slot, then writes it.
    Compute {
        write: bool,
        slow: bool,
    },
    Finish,
    SkipCompute,
    DropCompute,
    ForgetCompute,
    /// Reads what is in the slot, then fills it.
    Submit {
        which: u8,
        fill: bool,
    },
    SkipRender(u8),
    DropRender(u8),
    ForgetRender(u8),
    Lend(u8),
    /// An engine submits what it was lent, wait and signal in submissions of their own if `split`;
    /// and says so, or not.
    SubmitLent {
        fill: bool,
        split: bool,
        told: bool,
    },
    RetractLent,
    DropLent,
    ForgetLent,
    /// For the oldest frame on its way.
    Wait,
    /// For the work of a frame that Vulkan has not taken yet; or only asks whether it is done.
    AskComputed {
        which: u8,
        wait: bool,
    },
    /// Whether the newest frame on its way has ended.
    AskRendered,
    /// All of a frame in a row.
    Frame {
        write: bool,
        fill: bool,
    },
    /// Other resources, of the same size.
    Replace,
    /// Frames computed on one thread and rendered on another.
    Stream(u8),
    Close,
    Drop,
    Forget,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum PoolOp {
    Make,
    Drop,
    /// A buffer of so many words.
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

fn ring_op() -> impl Strategy<Value = RingOp> {
    let usual = prop_oneof![
        10 => Just(RingOp::Begin),
        10 => any::<(bool, bool)>().prop_map(|(write, slow)| RingOp::Compute { write, slow }),
        8 => Just(RingOp::Finish),
        8 => any::<(u8, bool)>().prop_map(|(which, fill)| RingOp::Submit { which, fill }),
        3 => any::<u8>().prop_map(RingOp::Lend),
        4 => any::<(bool, bool, bool)>().prop_map(|(fill, split, told)| RingOp::SubmitLent { fill, split, told }),
        4 => Just(RingOp::Wait),
        3 => any::<(u8, bool)>().prop_map(|(which, wait)| RingOp::AskComputed { which, wait }),
        1 => Just(RingOp::AskRendered),
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
        8 => any::<(u8, u8)>().prop_map(|(a, b)| Op::Pair(a, b)),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Op::EndInside(a, b)),
        1 => any::<u8>().prop_map(Op::Fail),
        6 => Just(Op::Revive),
        8 => pool.prop_map(Op::Pool),
    ]
}

/// A whole case: its backend, and what is done.
pub(crate) fn case() -> impl Strategy<Value = (Backend, Vec<Op>)> {
    let backend = prop_oneof![Just(Backend::Host), Just(Backend::Inline)];
    // It begins with an exchange, so that no case is empty.
    (backend, open(), prop::collection::vec(op(), 1..160)).prop_map(|(backend, first, mut ops)| {
        ops.insert(0, Op::Open(first));
        (backend, ops)
    })
}
