use std::time::Duration;

use bridge::{Error, TimelinePoint};

/// Waits for a frame that was submitted, and tells whether it came in time.
fn is_done(rendered: &TimelinePoint) -> bridge::Result<bool> {
    if rendered.is_reached()? {
        return Ok(true);
    }
    match rendered.wait(Duration::from_millis(100)) {
        Ok(()) => Ok(true),
        // The message names the timeline, who signals it, and the last value.
        Err(error @ Error::Timeout { .. }) => {
            eprintln!("still waiting: {error}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
