//! The audits of all groups: each when it is due, by one of the collectors that share the store, one at a time of each group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prejoin_checks::policy::Waiver;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::config::Group;
use super::dial::{self, Hub};
use super::reader::StoreReader;
use super::record::{self, Told};
use super::schedule::{Due, Schedule};
use super::store::audits::{Audit, LEASE, State, Taken};
use super::store::{Store, StoreError};
use super::{Current, say};
use crate::audit;
use crate::run::{Cancel, cancellation};

/// What other collectors do is looked for so often.
const LOOK: Duration = Duration::from_secs(10);
/// What is too old is looked for so often.
const FORGET: Duration = Duration::from_secs(3600);
/// A clock that was set back by more than this makes the schedule be worked out again.
const STEP_BACK_SECONDS: i64 = 5;

/// Who runs audits.
pub struct Rounds {
    store: Store,
    /// Clusters that dialled in.
    hub: Hub,
    /// Told what has changed.
    reader: StoreReader,
    config: watch::Receiver<Current>,
    /// Told when someone wants an audit, so that it need not wait for the next look.
    wished: Arc<Notify>,
    stop: Cancel,
}

impl Rounds {
    /// Of the groups of this configuration, which may change.
    pub fn new(
        store: Store,
        hub: Hub,
        reader: StoreReader,
        config: watch::Receiver<Current>,
        wished: Arc<Notify>,
        stop: Cancel,
    ) -> Self {
        Self {
            store,
            hub,
            reader,
            config,
            wished,
            stop,
        }
    }

    /// Runs audits until it is told to stop. Those that run then are given back, so that the next collector begins with them.
    pub async fn run(mut self) {
        let mut running: BTreeSet<String> = BTreeSet::new();
        let mut tasks: JoinSet<String> = JoinSet::new();
        let mut plan = Plan::default();
        let mut forgotten: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            let current = self.config.borrow_and_update().clone();
            plan.look(Timestamp::now());
            let mut wait = LOOK;
            for group in &current.config.groups {
                if running.contains(&group.name) {
                    continue;
                }
                match next(&self.store, group, &mut plan).await {
                    Ok(Next::Begin(taken)) => {
                        running.insert(group.name.clone());
                        let (store, hub, reader) = (self.store.clone(), self.hub.clone(), self.reader.clone());
                        let (current, stop) = (current.clone(), self.stop.clone());
                        tasks.spawn(async move {
                            reader.tell(&taken.group, Some(&taken.id));
                            one(&store, &hub, &current, &taken, &stop).await;
                            reader.tell(&taken.group, Some(&taken.id));
                            taken.group
                        });
                    }
                    Ok(Next::Wait(until)) => wait = wait.min(until),
                    Err(error) => say(&group.name, &format!("not audited: {error}")),
                }
            }
            if forgotten.is_none_or(|last| last.elapsed() >= FORGET) {
                forgotten = Some(Instant::now());
                forget(&self.store, &current.config.groups).await;
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                Some(done) = tasks.join_next() => {
                    // One that broke has no name: its lease runs out.
                    match done {
                        Ok(group) => { running.remove(&group); }
                        Err(error) => say("", &format!("an audit broke: {error}")),
                    }
                }
                Ok(()) = self.config.changed() => {}
                () = self.wished.notified() => {}
                () = sleep(wait) => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// When each group is due, worked out once for each audit that is behind it.
#[derive(Default)]
struct Plan {
    dues: BTreeMap<String, (Option<i64>, Schedule, Due)>,
    looked: Option<Timestamp>,
}

impl Plan {
    /// Notes the time; forgets what was worked out by a clock that was set back since.
    fn look(&mut self, now: Timestamp) {
        let back = self.looked.map_or(0, |last| last.as_second() - now.as_second());
        if back > STEP_BACK_SECONDS {
            say(
                "",
                &format!("the clock was set back by {back} s: schedules go on from now"),
            );
            self.dues.clear();
        }
        self.looked = Some(now);
    }

    fn due(&mut self, group: &Group, last: Option<&Audit>, now: Timestamp) -> Due {
        let (number, schedule) = (last.map(|last| last.number), group.schedule());
        match self.dues.get(&group.name) {
            Some((known, with, due)) if (*known, with) == (number, &schedule) => *due,
            _ => {
                let due = schedule.due(last.map(|last| last.scheduled_for), now);
                self.dues.insert(group.name.clone(), (number, schedule, due));
                due
            }
        }
    }
}

enum Next {
    Begin(Taken),
    Wait(Duration),
}

/// What is to be done for a group of which this collector runs no audit.
async fn next(store: &Store, group: &Group, plan: &mut Plan) -> Result<Next, StoreError> {
    let last = store.latest(&group.name).await?;
    let now = Timestamp::now();
    if let Some(running) = last.as_ref().filter(|last| last.state == State::Running) {
        return Ok(match store.take_over(running, now).await? {
            Some(taken) => {
                say(
                    &group.name,
                    &format!(
                        "audit {} is taken over, for the {}. attempt",
                        taken.number, taken.attempt
                    ),
                );
                Next::Begin(taken)
            }
            None => Next::Wait(LOOK),
        });
    }
    let due = plan.due(group, last.as_ref(), now);
    let (moment, wait) = if store.wished(&group.name).await?.is_some() {
        (now, Duration::ZERO)
    } else {
        (
            due.occurrence,
            Duration::try_from(due.at.duration_since(now)).unwrap_or(Duration::ZERO),
        )
    };
    if !wait.is_zero() {
        return Ok(Next::Wait(wait));
    }
    let taken = store.take(&group.name, last.as_ref(), moment, now).await?;
    // Another was faster: what it does is seen at the next look.
    Ok(taken.map_or(Next::Wait(Duration::from_secs(1)), Next::Begin))
}

/// Runs an audit to its end, or gives it back.
async fn one(store: &Store, hub: &Hub, current: &Current, taken: &Taken, stop: &Cancel) {
    let group = &taken.group;
    match attempt(store, hub, current, taken, stop).await {
        Ok(Some(verdict)) => say(group, &format!("audit {}: {verdict}", taken.number)),
        Ok(None) => {
            if let Err(error) = store.give_back(taken).await {
                say(group, &format!("audit {} is not given back: {error}", taken.number));
            }
        }
        Err(Failure::Store(StoreError::Lost)) => {
            say(
                group,
                &format!("audit {} was taken over by another collector", taken.number),
            );
        }
        // The audit stays taken and not ended, so that it is done again.
        Err(Failure::Store(error)) => {
            say(
                group,
                &format!("audit {} is lost, and will be done again: {error}", taken.number),
            );
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stop.cancelled() => {}
            }
        }
        Err(Failure::Audit(error)) => {
            say(group, &format!("audit {} failed: {error}", taken.number));
            if let Err(error) = store.fail(taken, Timestamp::now(), &error).await {
                say(
                    group,
                    &format!("audit {}: that it failed is not kept: {error}", taken.number),
                );
            }
        }
    }
}

enum Failure {
    Store(StoreError),
    Audit(String),
}

/// Audits and writes what was found; the verdict, or none if it was stopped.
async fn attempt(
    store: &Store,
    hub: &Hub,
    current: &Current,
    taken: &Taken,
    stop: &Cancel,
) -> Result<Option<String>, Failure> {
    let Some(group) = current.config.group(&taken.group) else {
        return Ok(None);
    };
    let settings = group.settings(&current.file, &current.directory, Timestamp::now());
    let mut settings = settings.map_err(|error| Failure::Audit(error.to_string()))?;
    settings
        .policy
        .waivers
        .extend(waivers(store, &taken.group).await.map_err(Failure::Store)?);
    let (canceller, cancel) = cancellation();
    let audit = async {
        dial::enlist(&mut settings, hub, store, &group.enrolled).await;
        audit::conduct(settings, None, &cancel).await
    };
    tokio::pin!(audit);
    let audited = tokio::select! {
        audited = &mut audit => audited,
        () = stop.cancelled() => {
            canceller.cancel();
            // Ends in order: agents it started are removed.
            let _ = audit.await;
            return Ok(None);
        }
        lost = hold(store, taken) => {
            canceller.cancel();
            let _ = audit.await;
            return Err(Failure::Store(lost));
        }
    };
    let (bundle, report) = audited.map_err(|error| Failure::Audit(error.to_string()))?;
    let writing = async {
        let found = record::follow(store, group, bundle, report).await?;
        let at = found.report.generated_at;
        // What the audit after the next one does not tell again is over.
        let apart = group.schedule().due(Some(at), at).at.duration_since(at);
        let told = Told {
            targets: &current.config.alerts,
            until: at.saturating_add(apart.saturating_mul(3)).unwrap_or(at),
        };
        record::record(store, taken, &found, &told).await?;
        Ok(found.report.verdict.to_string())
    };
    tokio::select! {
        written = writing => written.map(Some).map_err(Failure::Store),
        lost = hold(store, taken) => Err(Failure::Store(lost)),
    }
}

/// Who answers for findings, as was said on pages or by the API.
async fn waivers(store: &Store, group: &str) -> Result<Vec<Waiver>, StoreError> {
    let mut waivers = Vec::new();
    for waived in store.waived(group).await? {
        let Some(kept) = store.life(group, &waived.key).await? else {
            continue;
        };
        waivers.push(Waiver {
            code: kept.life.key.code,
            clusters: kept.life.key.clusters,
            owner: waived.owner,
            reason: waived.reason,
            until: waived.until,
        });
    }
    Ok(waivers)
}

/// Renews the lease of an audit until that fails for good; then why.
async fn hold(store: &Store, taken: &Taken) -> StoreError {
    let mut held = Instant::now();
    loop {
        sleep(LEASE / 4).await;
        match store.renew(taken).await {
            Ok(()) => held = Instant::now(),
            Err(StoreError::Lost) => return StoreError::Lost,
            Err(error) if held.elapsed() >= LEASE => return error,
            Err(_) => {}
        }
    }
}

/// Forgets what is older than it is to be kept.
async fn forget(store: &Store, groups: &[Group]) {
    for group in groups {
        if let Err(error) = forget_of(store, group).await {
            say(&group.name, &format!("what is old is not forgotten: {error}"));
        }
    }
    if let Err(error) = store.forget_parts().await {
        say("", &format!("old parts are not forgotten: {error}"));
    }
}

async fn forget_of(store: &Store, group: &Group) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let before = |days: u32| now.saturating_sub(SignedDuration::from_hours(24 * i64::from(days)));
    let before = |days: u32| before(days).unwrap_or(now);
    // What is shown as the last, and what is held against, stays however old it is.
    let last = store.latest_done(&group.name).await?.map(|last| last.id);
    let baseline = store.baseline(&group.name).await?.map(|baseline| baseline.audit);
    let keep: Vec<String> = last.into_iter().chain(baseline).collect();
    let audits = before(group.retention.audits_days).as_millisecond();
    store.forget_documents(&group.name, audits, &keep).await?;
    let history = before(group.retention.history_days);
    store.forget_lives(&group.name, history).await?;
    store.forget_measures(&group.name, history).await
}
