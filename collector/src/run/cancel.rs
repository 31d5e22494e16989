//! [`Cancel`]: whether the user has had enough.

use tokio::sync::watch;

/// Tells every [`Cancel`] made with it.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

/// Can be waited for; clones are told alike.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

/// A pair of who tells and who is told.
pub fn cancellation() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(false);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    /// It is over.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// One that is never told.
    pub fn never() -> Self {
        cancellation().1
    }

    /// Waits until it is over; for ever if nobody is left to say so.
    pub async fn cancelled(&self) {
        let mut told = self.0.clone();
        if told.wait_for(|over| *over).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it is over.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }
}
