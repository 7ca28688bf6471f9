//! How an exchange of a case ends, and what a closure does with a slot.

use std::time::Duration;

use crate::common::Kept;
use crate::model::Refused;
use crate::ring::{AnyRing, Ring};
use crate::shape::{Content, Shape};
use crate::way::Way;

impl<S: Shape, D: Way> Ring<S, D> {
    pub(crate) fn close(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let expected = self.model.close();
        let closed = exchange.close().map_err(|error| Refused::of(&error));
        assert_eq!(closed, expected, "{:?}", self.model);
        // Refused, the exchange is gone all the same, and its turns keep what they need.
        self.leaked |= matches!(expected, Err(Refused::Timeout { .. }));
        self.common.count("closes");
    }

    /// Whether nothing of the exchange is left that could keep it.
    pub(crate) fn note_end(&mut self) {
        if self.is_done() && self.forgotten == 0 && !self.exchange_forgotten {
            self.leaked |= self.model.end().is_err();
        }
    }

    pub(crate) fn kept(&self) -> Kept {
        let forgotten = self.forgotten > 0 || self.exchange_forgotten;
        if !forgotten && !self.leaked {
            return Kept::default();
        }
        let slots = self.model.slots.len();
        let (buffers, images) = (slots * S::BUFFERS, slots * S::IMAGES);
        let kept = Kept { buffers, images, timelines: 2, pooled: self.pooled, ..Kept::default() };
        if forgotten {
            return Kept { exchanges: 1, turns: self.forgotten, ..kept };
        }
        Kept { leaked_buffers: buffers, leaked_images: images, leaked_timelines: 2, ..kept }
    }
}

/// Checks the words of a slot, then writes them; gives the first that is wrong.
pub(crate) fn visit<S: Shape>(
    lent: S::Host<'_>,
    before: Option<Content>,
    after: Option<Content>,
    slow: bool,
) -> Option<String> {
    let (mut index, mut difference) = (0, None);
    S::words(lent, &mut |words| {
        let middle = words.len() / 2;
        for (at, word) in words.iter_mut().enumerate() {
            if let Some(expected) = before.map(|content| content.word(index)).filter(|expected| expected != word) {
                difference.get_or_insert_with(|| format!("word {index} is {word:#x}, not {expected:#x} of {before:?}"));
            }
            if let Some(content) = after {
                *word = content.word(index);
            }
            if slow && at == middle {
                // Long enough for whoever does not wait to see half of it.
                std::thread::sleep(Duration::from_micros(300));
            }
            index += 1;
        }
    });
    difference
}
