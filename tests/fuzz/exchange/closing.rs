//! How an exchange of a case ends, and what a closure does with a slot.

use std::time::Duration;

use crate::common::Kept;
use crate::model::Refused;
use crate::ring::Ring;
use crate::shape::{Content, Shape};
use crate::way::Way;

impl<S: Shape, D: Way> Ring<S, D> {
    pub(crate) fn close(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let expected = self.model.close();
        let closed = exchange.close().map_err(|error| Refused::of(&error));
        assert_eq!(closed, expected, "{:?}", self.model);
        // Refused, the exchange is gone all the same, and its turns keep what they need.
        self.common.count("closes");
    }

    pub(crate) fn forget<T>(&mut self, turn: Option<T>) {
        self.forgotten += usize::from(turn.is_some());
        std::mem::forget(turn);
    }

    pub(crate) fn kept(&self) -> Kept {
        // What was lent and dropped is brought back by a signal of the exchange's own, so that only
        // what is forgotten is kept.
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
