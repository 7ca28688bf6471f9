//! The side that signals a timeline.

/// The side that signals a timeline. It never changes, so the values rise by construction, and the
/// host knows which side to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signaler {
    /// The compute side: a CUDA stream, or the CPU backend's thread.
    Compute,
    /// A Vulkan queue.
    Queue,
}

impl Signaler {
    /// Returns the exchange's name for the timeline that this side signals.
    pub(crate) fn timeline(self) -> &'static str {
        match self {
            Self::Compute => "computed",
            Self::Queue => "rendered",
        }
    }
}

impl std::fmt::Display for Signaler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Compute => "the compute side",
            Self::Queue => "the Vulkan queue",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Signaler;

    #[test]
    fn names_of_sides_and_timelines_are_distinct() {
        let [compute, queue] = [Signaler::Compute, Signaler::Queue];
        assert_eq!([compute.timeline(), queue.timeline()], ["computed", "rendered"]);
        assert_eq!([compute.to_string(), queue.to_string()], ["the compute side", "the Vulkan queue"]);
    }
}
