//! [`Tail`]: the last of what an agent, or what carries it, says on standard error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

use crate::text;

/// So much of the end is kept.
const KEPT_BYTES: usize = 4096;
/// So much of a line is shown.
const SHOWN_CHARS: usize = 300;

/// Reads standard error to its end, so that nothing ever waits for it to be read, and keeps the last of it.
pub(super) struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
}

impl Tail {
    /// Of something that has no standard error.
    pub(super) fn empty() -> Self {
        Self {
            kept: Arc::default(),
            reading: None,
        }
    }

    pub(super) fn of(mut stderr: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let reading = tokio::spawn(async move {
            let mut piece = [0; KEPT_BYTES];
            // An error of reading is the end as well.
            while let Ok(read @ 1..) = stderr.read(&mut piece).await {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&piece[..read]);
                let excess = kept.len().saturating_sub(KEPT_BYTES);
                kept.drain(..excess);
            }
        });
        Self {
            kept,
            reading: Some(reading),
        }
    }

    /// The last line that says anything, harmless to show, once standard error is at its end or `patience` is.
    pub(super) async fn last_line(&mut self, patience: Duration) -> Option<String> {
        if let Some(reading) = &mut self.reading {
            // Something that outlives the agent may hold it open: ssh's own master does.
            let _ = tokio::time::timeout(patience, reading).await;
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&kept);
        let line = said.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        Some(text::short(line, SHOWN_CHARS))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}
