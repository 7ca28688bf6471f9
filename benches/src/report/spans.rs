//! How a few frames spent their time, on one clock.

use serde::{Deserialize, Serialize};

/// Frames in flight on one clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spans {
    /// The name of the plot's file, without its extension.
    pub(crate) name: String,
    /// A description of the run.
    pub(crate) what: String,
    /// The lanes from top to bottom.
    pub(crate) lanes: Vec<Lane>,
}

/// The work of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lane {
    /// Its name.
    pub(crate) name: String,
    /// The measured maximum offset of the whole lane from the host's clock, in microseconds.
    pub(crate) error_us: f64,
    /// One span for each frame.
    pub(crate) spans: Vec<Span>,
}

/// The work of a side for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The frame's number.
    pub(crate) frame: u64,
    /// The start, in microseconds from the start of the plot.
    pub(crate) start_us: f64,
    /// The end, in microseconds from the start of the plot.
    pub(crate) end_us: f64,
}

impl Lane {
    /// Returns the durations of the spans, in microseconds.
    pub(crate) fn durations(&self) -> Vec<f64> {
        self.spans.iter().map(|span| span.end_us - span.start_us).collect()
    }

    /// Returns the microseconds from the end of each frame to the end of the next one.
    pub(crate) fn intervals(&self) -> Vec<f64> {
        self.spans.windows(2).map(|pair| pair[1].end_us - pair[0].end_us).collect()
    }

    /// Returns the microseconds from the end of each frame in this lane to its start in `other`;
    /// negative if the errors of the clocks exceed the gap.
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
