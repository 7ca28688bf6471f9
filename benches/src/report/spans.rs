//! Where the time of a few frames went, on one clock.

use serde::{Deserialize, Serialize};

/// Frames in flight on one clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spans {
    /// The name of the file that the picture goes to, without its ending.
    pub(crate) name: String,
    /// What was run.
    pub(crate) what: String,
    /// From above to below.
    pub(crate) lanes: Vec<Lane>,
}

/// What one side did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lane {
    /// Its name.
    pub(crate) name: String,
    /// By how many microseconds the whole lane may be shifted against the host's clock, as
    /// measured.
    pub(crate) error_us: f64,
    /// One for each frame.
    pub(crate) spans: Vec<Span>,
}

/// What a side did for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The frame's number.
    pub(crate) frame: u64,
    /// Microseconds from the start of the picture.
    pub(crate) start_us: f64,
    /// The same.
    pub(crate) end_us: f64,
}

impl Lane {
    /// How long its spans are, in microseconds.
    pub(crate) fn durations(&self) -> Vec<f64> {
        self.spans.iter().map(|span| span.end_us - span.start_us).collect()
    }

    /// Microseconds from the end of one frame to that of the next.
    pub(crate) fn intervals(&self) -> Vec<f64> {
        self.spans.windows(2).map(|pair| pair[1].end_us - pair[0].end_us).collect()
    }

    /// Microseconds from the end of each frame here to its start in `other`; negative where the
    /// clocks' errors are larger than what they measure.
    pub(crate) fn gaps_to(&self, other: &Self) -> Vec<f64> {
        let start = |frame| other.spans.iter().find(|span| span.frame == frame).map(|span| span.start_us);
        self.spans.iter().filter_map(|span| Some(start(span.frame)? - span.end_us)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_intervals_and_gaps() {
        let lane = |shift: f64| Lane {
            name: String::new(),
            error_us: 0.0,
            spans: (0..3u64)
                .map(|frame| Span {
                    frame,
                    start_us: frame as f64 * 10.0 + shift,
                    end_us: frame as f64 * 10.0 + shift + 4.0,
                })
                .collect(),
        };
        assert_eq!(lane(0.0).durations(), [4.0; 3]);
        assert_eq!(lane(0.0).intervals(), [10.0; 2]);
        assert_eq!(lane(0.0).gaps_to(&lane(5.0)), [1.0; 3]);
    }
}
