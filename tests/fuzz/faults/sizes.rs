//! Replaced resources: buffers of any length, and new images.

use bridge::Error;

use crate::crossing::Crossing;
use crate::direction_ext::DirectionExt;
use crate::hook::inside;
use crate::ring::Ring;
use crate::world::Shared;

impl<S: Crossing, D: DirectionExt> Ring<S, D> {
    /// Replaces the resources; buffers get this length.
    pub(crate) fn replace(&mut self, words: usize, shared: &mut Shared) {
        let Some(exchange) = &mut self.exchange else { return };
        let (replaced, hit) = inside(|| exchange.replace(S::of_len(words)));
        shared.note(hit);
        self.note_replaced(replaced, words, hit, shared);
    }

    /// Grows buffers to this length. Does nothing for images.
    pub(crate) fn grow(&mut self, words: usize, shared: &mut Shared) {
        let Some(exchange) = &mut self.exchange else { return };
        let (grown, hit) = inside(|| S::grow(exchange, words));
        shared.note(hit);
        match grown {
            None => {}
            Some(Err(Error::InvalidArgument { .. })) if words < self.words => {}
            Some(grown) => {
                assert!(grown.is_err() || words >= self.words, "{} words grew to {words}", self.words);
                if grown.is_ok() {
                    shared.count("buffers grown");
                }
                self.note_replaced(grown, words, hit, shared);
            }
        }
    }

    fn note_replaced(
        &mut self,
        replaced: Result<(), Error>,
        words: usize,
        hit: Option<&'static str>,
        shared: &mut Shared,
    ) {
        match replaced {
            Ok(()) => {
                let kept = words.min(self.words);
                for content in &mut self.contents {
                    *content = content.filter(|_| S::CARRIED).map(|known| known.first(kept));
                }
                self.words = words;
                shared.count("replacements");
            }
            Err(Error::ReplacedWhileOpen { .. } | Error::TurnLost { .. }) => {}
            Err(error) => shared.allow(&error, hit),
        }
    }
}
