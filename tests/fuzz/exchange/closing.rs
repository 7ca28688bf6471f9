//! How an exchange of a case ends, and the work of a closure on a slot.

use std::time::Duration;

use crate::common::Kept;
use crate::direction_ext::DirectionExt;
use crate::model::Refused;
use crate::planted::Planted;
use crate::ring::Ring;
use crate::shape::{Content, Shape};

impl<S: Shape, D: DirectionExt> Ring<S, D> {
    pub(crate) fn close(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let expected = self.model.close();
        let closed = exchange.close().map_err(|error| Refused::of(&error));
        let closed = if Planted::OpenTurnIgnored.is_now() { Ok(()) } else { closed };
        assert_eq!(closed, expected, "close said: {:?}", self.model);
        // The exchange is closed even if an error is returned, and its turns keep what they need.
        self.common.count("closes");
    }

    pub(crate) fn drop_exchange(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        self.common.count("exchanges dropped");
        if Planted::ExchangeLeaked.is_now() {
            std::mem::forget(exchange);
        }
    }

    pub(crate) fn forget<T>(&mut self, turn: Option<T>) {
        if turn.is_some() {
            self.common.count("turns forgotten");
            self.forgotten += 1;
        }
        std::mem::forget(turn);
    }

    pub(crate) fn kept(&self) -> Kept {
        // A lent turn that was dropped is reclaimed by a signal of the exchange itself, so only
        // forgotten objects are kept.
        if self.forgotten == 0 && !self.exchange_forgotten {
            return Kept::default();
        }
        let slots = self.model.slots.len();
        let (buffers, images) = (slots * S::BUFFERS, slots * S::IMAGES);
        Kept {
            exchanges: 1,
            turns: self.forgotten,
            buffers,
            images,
            timelines: 2,
            pooled: self.pooled,
            ..Kept::default()
        }
    }
}

/// Checks the words of a slot, then writes them. Returns the first difference.
pub(crate) fn visit<S: Shape>(
    lent: S::Host<'_>,
    before: Option<Content>,
    after: Option<Content>,
    slow: bool,
) -> Option<String> {
    let (mut index, mut difference) = (0, None);
    let off_by_one = Planted::WordOffByOne.is_now();
    S::words(lent, &mut |words| {
        let (length, middle) = (words.len(), words.len() / 2);
        for (at, word) in words.iter_mut().enumerate() {
            if let Some(expected) = before.map(|content| content.word(index)).filter(|expected| expected != word) {
                difference.get_or_insert_with(|| format!("word {index} is {word:#x}, not {expected:#x} of {before:?}"));
            }
            if let Some(content) = after {
                *word = content.word(index).wrapping_add(u32::from(off_by_one && at + 1 == length));
            }
            if slow && at == middle {
                // Long enough that a reader which does not wait sees half of the frame.
                std::thread::sleep(Duration::from_micros(300));
            }
            index += 1;
        }
    });
    difference
}
