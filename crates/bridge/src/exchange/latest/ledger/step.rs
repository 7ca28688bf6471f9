//! Steps of the model.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Step {
    Begin,
    Publish,
    SkipWrite,
    DropWrite,
    /// A lent turn of the writer is dropped. Its submission happened or not.
    LoseWrite(bool),
    Newest,
    Read,
    SkipRead,
    LoseRead(bool),
    /// The writer, in another process, gets a slot, publishes the first of its slots, or returns it
    /// empty.
    SendSlot,
    PublishRemote,
    Reclaim,
    /// The reader, in another process, gets a frame. It returns the slot by `Reclaim`.
    SendFrame,
    /// Retired slots are initialized again, after all submissions.
    OnRevived,
    /// The oldest unfinished work of the writer ends.
    Written,
    /// The oldest unfinished submission of the reader ends.
    Rendered,
}

pub(in super::super) const VALID: [Step; 8] = [
    Step::Begin,
    Step::Publish,
    Step::SkipWrite,
    Step::Newest,
    Step::Read,
    Step::SkipRead,
    Step::Written,
    Step::Rendered,
];

/// Steps with a writer in another process.
pub(in super::super) const REMOTE_WRITER: [Step; 8] = [
    Step::SendSlot,
    Step::PublishRemote,
    Step::Reclaim,
    Step::Newest,
    Step::Read,
    Step::SkipRead,
    Step::Written,
    Step::Rendered,
];

/// Steps with a reader in another process.
pub(in super::super) const REMOTE_READER: [Step; 6] =
    [Step::Begin, Step::Publish, Step::SkipWrite, Step::SendFrame, Step::Reclaim, Step::Written];

/// Faults of a writer in this process, whose reader is in another process.
pub(in super::super) const WRITER_FAULTS: [Step; 3] = [Step::DropWrite, Step::LoseWrite(true), Step::LoseWrite(false)];

pub(in super::super) const FAULTS: [Step; 6] = [
    Step::DropWrite,
    Step::LoseWrite(true),
    Step::LoseWrite(false),
    Step::LoseRead(true),
    Step::LoseRead(false),
    Step::OnRevived,
];
