//! Lines that are not written yet.

use std::collections::VecDeque;

/// Maximum number of lines that wait while a sink does not return: about 150 bytes each, 10 MB in
/// all.
pub(crate) const MAX_LINES: usize = 1 << 16;

/// A queue of lines with a maximum length. Further lines are dropped and counted.
#[derive(Debug)]
pub(crate) struct LineQueue {
    lines: VecDeque<Vec<u8>>,
    capacity: usize,
    dropped: u64,
}

/// The next item to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Line(Vec<u8>),
    /// This number of lines was dropped here.
    Dropped(u64),
}

impl LineQueue {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { lines: VecDeque::new(), capacity, dropped: 0 }
    }

    /// Adds a line, unless the queue is full, or earlier lines were dropped and that was not
    /// reported yet.
    pub(crate) fn push(&mut self, line: Vec<u8>) {
        if self.dropped > 0 || self.lines.len() >= self.capacity {
            self.dropped += 1;
        } else {
            self.lines.push_back(line);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Next> {
        if let Some(line) = self.lines.pop_front() {
            return Some(Next::Line(line));
        }
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then_some(Next::Dropped(dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u8) -> Next {
        Next::Line(vec![number])
    }

    #[test]
    fn excess_lines_are_dropped_and_counted_in_place() {
        let mut waiting = LineQueue::new(2);
        (0..5).for_each(|number| waiting.push(vec![number]));
        assert_eq!(waiting.pop(), Some(line(0)));
        // There is room, but the dropped lines have to be reported first.
        waiting.push(vec![5]);
        assert_eq!([waiting.pop(), waiting.pop()], [Some(line(1)), Some(Next::Dropped(4))]);
        assert!(waiting.pop().is_none());
        (6..8).for_each(|number| waiting.push(vec![number]));
        assert_eq!([waiting.pop(), waiting.pop(), waiting.pop()], [Some(line(6)), Some(line(7)), None]);
    }
}
