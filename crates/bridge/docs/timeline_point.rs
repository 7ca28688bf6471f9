use std::time::Duration;

use bridge::{Error, TimelinePoint};

/// Waits for a submitted frame, and returns whether it completed in time.
fn is_done(rendered: &TimelinePoint) -> bridge::Result<bool> {
    if rendered.is_reached()? {
        return Ok(true);
    }
    match rendered.wait(Duration::from_millis(100)) {
        Ok(()) => Ok(true),
        // The message contains the timeline, its signaler and the last value.
        Err(error @ Error::Timeout { .. }) => {
            eprintln!("still waiting: {error}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
