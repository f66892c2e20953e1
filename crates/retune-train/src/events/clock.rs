//! The time, as the logs take it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Says the time, in seconds since 1970. Tests put their own in its place.
pub type Clock = Box<dyn FnMut() -> f64 + Send>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Box::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock that stands before 1970 is not worth a run.
        since.map_or(0.0, |since| since.as_secs_f64())
    })
}
