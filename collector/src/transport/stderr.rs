//! [`Tail`]: the last of what an agent, or what carries it, says on standard error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

use crate::text;

/// So much of the end is kept.
const KEPT_BYTES: usize = 4096;
/// So many lines are shown: why `ssh` does not trust a host stands above the last.
const SHOWN_LINES: usize = 4;
/// So much of each.
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

    /// The last lines that say anything, in one and harmless to show, once standard error is at its end or `patience` is.
    pub(super) async fn last_lines(&mut self, patience: Duration) -> Option<String> {
        if let Some(reading) = &mut self.reading {
            // Something that outlives the agent may hold it open: ssh's own master does.
            if tokio::time::timeout(patience, reading).await.is_ok() {
                self.reading = None;
            }
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&kept);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let shown: Vec<String> = last.iter().map(|line| text::short(line, SHOWN_CHARS)).collect();
        (!shown.is_empty()).then(|| shown.join("; "))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}
