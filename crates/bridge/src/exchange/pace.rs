//! Limit on the number of frames in flight.

/// The values that ended the last frames, as many as may be in flight when the next frame begins.
#[derive(Debug)]
pub(super) struct Pace {
    ring: Box<[u64]>,
    count: usize,
}

impl Pace {
    /// Creates a limit of `bound` frames, at least 1.
    pub(super) fn new(bound: usize) -> Self {
        Self { ring: vec![0; bound.max(1)].into(), count: 0 }
    }

    /// Creates an empty limit with the same bound.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(super) fn to_empty(&self) -> Self {
        Self::new(self.ring.len())
    }

    /// Records that a frame ends when its last timeline reaches `value`.
    pub(super) fn push(&mut self, value: u64) {
        self.ring[self.count % self.ring.len()] = value;
        self.count += 1;
    }

    /// Returns the value that must be reached before another frame begins, if any.
    pub(super) fn due(&self) -> Option<u64> {
        (self.count >= self.ring.len()).then(|| self.ring[self.count % self.ring.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_the_bound_frames_may_be_unfinished() {
        let mut pace = Pace::new(2);
        assert_eq!(pace.due(), None);
        pace.push(1);
        assert_eq!(pace.due(), None);
        pace.push(2);
        assert_eq!(pace.due(), Some(1));
        // Frame 3 was skipped.
        pace.push(4);
        assert_eq!(pace.due(), Some(2));
        pace.push(5);
        assert_eq!(pace.due(), Some(4));
    }
}
