//! Who is tried alone after an engine died.
//!
//! Whatever an engine was working on when it died may have killed it. All of it is asked again, but one request at a
//! time: a suspect is alone with the new engine until it has made a few tokens more or has ended, and requests that
//! nobody suspects wait so long. An engine that dies again during such a trial was killed by that request, which is then
//! given up: one poisonous request costs two engines and nobody else's answer.
//!
//! Every wait has a bound, so a verdict is given only where the suspect really was alone: when the bounds let somebody
//! start beside it, it stays a suspect and is asked once more instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// Tokens that a suspect makes until it is cleared.
pub const CLEARING_TOKEN_COUNT: u32 = 4;
/// Longest time for which a suspect keeps the others waiting.
pub const TRIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time for which a request that nobody suspects waits for the trials of others.
pub const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

/// The suspects of one gateway.
#[derive(Debug)]
pub struct Quarantine {
    bench: Arc<Semaphore>,
    suspects: watch::Sender<usize>,
    /// Requests that were started without a trial.
    untried_count: AtomicU64,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self {
            bench: Arc::new(Semaphore::new(1)),
            suspects: watch::Sender::new(0),
            untried_count: AtomicU64::new(0),
        }
    }
}

impl Quarantine {
    /// Suspects a request; until the value is dropped, others wait for its trial.
    #[must_use]
    pub fn suspect(self: &Arc<Self>) -> Suspect {
        self.suspects.send_modify(|count| *count += 1);
        Suspect {
            quarantine: Arc::clone(self),
            trial: None,
        }
    }

    /// Waits until there is no suspect, at most [`SETTLE_TIME_MAX`], and notes that somebody starts.
    pub async fn settled(&self) {
        let mut suspects = self.suspects.subscribe();
        // The sender is in `self`, so it is there as long as this waits; out of time is as good.
        let _ = tokio::time::timeout(SETTLE_TIME_MAX, suspects.wait_for(|count| *count == 0)).await;
        self.untried_count.fetch_add(1, Ordering::SeqCst);
    }
}

/// A request that may have killed an engine. Dropping it clears it.
#[derive(Debug)]
pub struct Suspect {
    quarantine: Arc<Quarantine>,
    trial: Option<Trial>,
}

#[derive(Debug)]
struct Trial {
    /// Dropped to end the trial.
    end: oneshot::Sender<()>,
    untried_count: u64,
}

impl Suspect {
    /// Waits until no other suspect is on trial; then the trial of this one begins, for at most [`TRIAL_TIME_MAX`].
    pub async fn stand_trial(&mut self) {
        self.trial = None;
        // The semaphore is never closed.
        if let Ok(place) = Arc::clone(&self.quarantine.bench).acquire_owned().await {
            let (end, ended) = oneshot::channel();
            tokio::spawn(hold(place, ended));
            self.trial = Some(Trial {
                end,
                untried_count: self.quarantine.untried_count.load(Ordering::SeqCst),
            });
        }
    }

    /// Whether it has been alone with the engine since its trial began.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| {
            !trial.end.is_closed()
                && trial.untried_count == self.quarantine.untried_count.load(Ordering::SeqCst)
        })
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        self.quarantine
            .suspects
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Keeps the place until the trial ends or its time is over.
async fn hold(place: OwnedSemaphorePermit, ended: oneshot::Receiver<()>) {
    let _ = tokio::time::timeout(TRIAL_TIME_MAX, ended).await;
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn suspects_are_tried_one_after_another() {
        let quarantine = Arc::new(Quarantine::default());
        let (mut one, mut two) = (quarantine.suspect(), quarantine.suspect());
        one.stand_trial().await;
        assert!(one.is_alone());
        let short = Duration::from_secs(1);
        assert!(tokio::time::timeout(short, two.stand_trial()).await.is_err());
        assert!(!two.is_alone());
        drop(one);
        tokio::time::timeout(short, two.stand_trial()).await.unwrap();
        assert!(two.is_alone());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_ends_after_its_time_and_is_no_proof_any_more() {
        let quarantine = Arc::new(Quarantine::default());
        let (mut one, mut two) = (quarantine.suspect(), quarantine.suspect());
        one.stand_trial().await;
        let almost = TRIAL_TIME_MAX.saturating_sub(Duration::from_secs(1));
        assert!(tokio::time::timeout(almost, two.stand_trial()).await.is_err());
        tokio::time::timeout(Duration::from_secs(2), two.stand_trial())
            .await
            .unwrap();
        assert!(!one.is_alone() && two.is_alone());
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_for_suspects_for_a_while_and_then_spoil_the_proof() {
        let quarantine = Arc::new(Quarantine::default());
        tokio::time::timeout(Duration::from_millis(1), quarantine.settled())
            .await
            .expect("nobody to wait for");
        let mut suspect = quarantine.suspect();
        suspect.stand_trial().await;
        let almost = SETTLE_TIME_MAX.saturating_sub(Duration::from_secs(1));
        assert!(tokio::time::timeout(almost, quarantine.settled()).await.is_err());
        assert!(suspect.is_alone());
        quarantine.settled().await;
        assert!(!suspect.is_alone());
        drop(suspect);
        tokio::time::timeout(Duration::from_millis(1), quarantine.settled())
            .await
            .expect("cleared");
    }
}
