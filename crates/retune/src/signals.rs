//! Signals that ask a run to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
#[cfg(not(unix))]
const ENDING: [i32; 2] = [SIGINT, SIGTERM];

/// The first signal that asks the process to end is remembered; a second one ends
/// it at once.
pub(crate) struct Signals {
    caught: Arc<AtomicUsize>,
    /// Whether the next one ends it.
    again: Arc<AtomicBool>,
}

impl Signals {
    /// Catches signals from now on, until the process ends.
    pub(crate) fn catch() -> io::Result<Self> {
        let caught = Arc::new(AtomicUsize::new(0));
        let again = Arc::new(AtomicBool::new(false));
        for signal in ENDING {
            // The shutdown comes first, so that the first signal does not trigger it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&caught), signal as usize)?;
        }
        // A file that may grow no further is an error of its write, not the end.
        #[cfg(unix)]
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Self { caught, again })
    }

    /// From now on the first signal ends the process at once.
    pub(crate) fn release(&self) {
        self.again.store(true, Ordering::SeqCst);
    }

    /// The signal that came, if one did.
    pub(crate) fn caught(&self) -> Option<i32> {
        match self.caught.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}

/// A signal's name.
pub(crate) fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        #[cfg(unix)]
        SIGHUP => "SIGHUP",
        _ => "a signal",
    }
}
