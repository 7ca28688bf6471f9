//! Outcomes of several calls as one.

use crate::error::Result;

/// Both outcomes as one: a lost device is named only where nothing else failed.
pub(crate) fn both(first: Result<()>, second: Result<()>) -> Result<()> {
    match (first, second) {
        (Ok(()), other) | (other, Ok(())) => other,
        (Err(first), Err(second)) => Err(if first.is_device_lost() { second } else { first }),
    }
}
