//! Configuration of a latest exchange.

use std::time::Duration;

use vk_export::QueueKind;

use crate::error::{Error, Result};
use crate::exchange::info::{ExchangeInfo, MAX_IN_FLIGHT, MAX_SLOTS};

/// The frame that the reader of an [`Exchange::latest`](crate::Exchange::latest) gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Newest {
    /// The most recent frame that the GPU has finished. A slow writer never delays the reader's
    /// submissions.
    #[default]
    Finished,
    /// The most recent frame that was published, finished or not; the reader's submission waits for
    /// it on the GPU. This lowers latency, but a slower writer then limits the reader's rate.
    Issued,
}

/// Configuration of an [`Exchange::latest`](crate::Exchange::latest).
#[derive(Debug, Clone, Copy)]
pub struct LatestInfo<'a> {
    /// Name of the exchange in errors, traces and GPU debuggers. Default: "latest".
    pub name: &'a str,
    /// Number of slots, at least `writer_in_flight + reader_in_flight + 2` and at most 1024: the
    /// writer's frames, one for each submission of the reader, the newest finished frame, and the
    /// one that the reader's oldest submission returns. With fewer, one side would have to wait for
    /// the other. Default: 6.
    pub slots: usize,
    /// Maximum number of unfinished frames of the writer, including the one that begins. At the
    /// limit, `begin` blocks until the writer's own oldest frame completes; it never waits for the
    /// reader. Two frames keep the GPU busy; more add latency. Default: 2.
    pub writer_in_flight: usize,
    /// Expected maximum number of unfinished turns of the reader, including the open one; usually
    /// the engine's frames in flight. It is not enforced: with more turns, the writer's work may
    /// wait on the GPU for the oldest one. Default: 2.
    pub reader_in_flight: usize,
    /// The frame that the reader gets. Default: the newest finished frame.
    pub newest: Newest,
    /// Time limit of every host wait, including the wait on drop. Default: 5 seconds.
    pub timeout: Duration,
    /// The device queue that Vulkan's side is submitted to. Default: the main (graphics) queue.
    pub queue: QueueKind,
}

impl Default for LatestInfo<'_> {
    fn default() -> Self {
        Self {
            name: "latest",
            slots: 6,
            writer_in_flight: 2,
            reader_in_flight: 2,
            newest: Newest::Finished,
            timeout: Duration::from_secs(5),
            queue: QueueKind::Graphics,
        }
    }
}

impl<'a> LatestInfo<'a> {
    /// Checks that there are enough slots for neither side to wait for the other.
    pub(super) fn validate(&self) -> Result<()> {
        let Self { slots, writer_in_flight: writer, reader_in_flight: reader, .. } = *self;
        let invalid = |reason: String| Err(Error::invalid(format!("latest exchange \"{}\"", self.name), reason));
        for (who, count, least) in [("writer", writer, "2 keep the GPU busy"), ("reader", reader, "2 is common")] {
            if count == 0 || count > MAX_IN_FLIGHT {
                return invalid(format!(
                    "`{who}_in_flight` is {count}; it must be from 1 to {MAX_IN_FLIGHT}, and {least}"
                ));
            }
        }
        let needed = writer + reader + 2;
        if needed > MAX_SLOTS {
            return invalid(format!(
                "it needs {needed} slots, {writer} for the writer's frames in flight, {reader} for the reader's and \
                 2 more; the maximum is {MAX_SLOTS}; set `LatestInfo::writer_in_flight` and `reader_in_flight` to \
                 at most {} in total",
                MAX_SLOTS - 2
            ));
        }
        if slots < needed {
            return invalid(format!(
                "it has {slots} slots, but needs {needed}: {writer} for the writer's frames in flight, {reader} for \
                 the reader's, one for the newest finished frame, and one that the reader's oldest submission gives \
                 back; set `LatestInfo::slots` to {needed}"
            ));
        }
        Ok(())
    }

    /// Returns the settings that it has in common with an exchange in step.
    pub(super) fn exchange_info(&self) -> ExchangeInfo<'a> {
        let Self { name, slots, timeout, queue, .. } = *self;
        ExchangeInfo { name, slots, timeout, queue, ..ExchangeInfo::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(slots: usize, writer_in_flight: usize, reader_in_flight: usize) -> Option<String> {
        let info = LatestInfo { slots, writer_in_flight, reader_in_flight, ..Default::default() };
        info.validate().err().map(|error| error.to_string())
    }

    #[test]
    fn advised_slot_counts_are_accepted() {
        let reported = refusal(1201, 600, 600).unwrap();
        assert!(reported.contains("the maximum is 1024") && reported.contains("at most 1022 in total"), "{reported}");
        assert_eq!(refusal(5000, 600, 600), Some(reported), "with more slots too");
        let reported = refusal(1023, 512, 510).unwrap();
        assert!(reported.contains("set `LatestInfo::slots` to 1024"), "{reported}");
        assert_eq!(refusal(1024, 512, 510), None);
    }
}
