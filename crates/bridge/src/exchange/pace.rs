//! Limit on how far the host may run ahead.

/// The last points that ended a frame, as many as may be unreached when the next frame begins.
#[derive(Debug)]
pub(super) struct Pace {
    ring: Box<[u64]>,
    noted: usize,
}

impl Pace {
    /// `bound` is at least 1.
    pub(super) fn new(bound: usize) -> Self {
        Self { ring: vec![0; bound.max(1)].into(), noted: 0 }
    }

    /// One with the same bound, of which nothing is noted.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn anew(&self) -> Self {
        Self::new(self.ring.len())
    }

    /// A frame ends when its last timeline reaches `value`.
    pub(super) fn note(&mut self, value: u64) {
        self.ring[self.noted % self.ring.len()] = value;
        self.noted += 1;
    }

    /// The value that must be reached before another frame begins.
    pub(super) fn due(&self) -> Option<u64> {
        (self.noted >= self.ring.len()).then(|| self.ring[self.noted % self.ring.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_frames_as_the_bound_may_be_unreached() {
        let mut pace = Pace::new(2);
        assert_eq!(pace.due(), None);
        pace.note(1);
        assert_eq!(pace.due(), None);
        pace.note(2);
        assert_eq!(pace.due(), Some(1));
        // Frame 3 was skipped.
        pace.note(4);
        assert_eq!(pace.due(), Some(2));
        pace.note(5);
        assert_eq!(pace.due(), Some(4));
    }
}
