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
    Published,
}

/// Configuration of an [`Exchange::latest`](crate::Exchange::latest).
#[derive(Debug, Clone, Copy)]
pub struct LatestInfo<'a> {
    /// Name of the exchange in errors, traces and GPU debuggers. Default: "latest".
    pub name: &'a str,
    /// Number of slots, at least `writer_in_flight + reader_in_flight + 2` and at most 1024: the
    /// writer's frames, one for each submission of the reader, the newest finished frame, and the
    /// one that the reader's oldest submission returns. With fewer, one side would have to wait for
    /// the other. Default: `None`, the minimum.
    pub slots: Option<usize>,
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
            slots: None,
            writer_in_flight: 2,
            reader_in_flight: 2,
            newest: Newest::Finished,
            timeout: Duration::from_secs(5),
            queue: QueueKind::Graphics,
        }
    }
}

impl<'a> LatestInfo<'a> {
    /// Returns the number of slots, which may be invalid.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.unwrap_or_else(|| self.min_slots())
    }

    /// Returns the smallest number of slots with which neither side waits for the other.
    fn min_slots(&self) -> usize {
        self.writer_in_flight.saturating_add(self.reader_in_flight).saturating_add(2)
    }

    /// Checks that there are enough slots for neither side to wait for the other.
    pub(super) fn validate(&self) -> Result<()> {
        let Self { writer_in_flight: writer, reader_in_flight: reader, .. } = *self;
        let slots = self.slot_count();
        let invalid = |reason: String| Err(Error::invalid(format!("latest exchange \"{}\"", self.name), reason));
        for (who, count, least) in [("writer", writer, "2 keep the GPU busy"), ("reader", reader, "2 is common")] {
            if count == 0 || count > MAX_IN_FLIGHT {
                return invalid(format!(
                    "`{who}_in_flight` is {count}; it must be from 1 to {MAX_IN_FLIGHT}, and {least}"
                ));
            }
        }
        let needed = self.min_slots();
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
                 back; set `LatestInfo::slots` to `None` or to {needed}"
            ));
        }
        Ok(())
    }

    /// Returns the settings that it has in common with an exchange in step.
    pub(super) fn exchange_info(&self) -> ExchangeInfo<'a> {
        let Self { name, timeout, queue, .. } = *self;
        ExchangeInfo { name, slots: self.slot_count(), timeout, queue, ..ExchangeInfo::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(slots: impl Into<Option<usize>>, writer_in_flight: usize, reader_in_flight: usize) -> Option<String> {
        let info = LatestInfo { slots: slots.into(), writer_in_flight, reader_in_flight, ..Default::default() };
        info.validate().err().map(|error| error.to_string())
    }

    #[test]
    fn advised_slot_counts_are_accepted() {
        let reported = refusal(1201, 600, 600).unwrap();
        assert!(reported.contains("the maximum is 1024") && reported.contains("at most 1022 in total"), "{reported}");
        assert_eq!(refusal(5000, 600, 600), Some(reported), "with more slots too");
        let reported = refusal(1023, 512, 510).unwrap();
        assert!(reported.contains("set `LatestInfo::slots` to `None` or to 1024"), "{reported}");
        assert_eq!(refusal(1024, 512, 510), None);
        assert_eq!(refusal(None, 512, 510), None);
    }

    #[test]
    fn the_default_number_of_slots_suits_every_number_of_frames_in_flight() {
        for (writer, reader) in [(1, 1), (2, 3), (7, 1)] {
            assert_eq!(refusal(None, writer, reader), None);
            let info = LatestInfo { writer_in_flight: writer, reader_in_flight: reader, ..Default::default() };
            assert_eq!(info.exchange_info().slots, writer + reader + 2);
        }
        assert!(refusal(None, usize::MAX, usize::MAX).is_some());
    }
}
