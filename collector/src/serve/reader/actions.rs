//! What a person asks for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prejoin_checks::report::Verdict;

use super::{StoreReader, say};
use crate::serve::metrics::{Counted, Queue};
use crate::serve::store::audits::State;
use crate::serve::store::baselines::Baseline;
use crate::serve::store::findings::Waived;
use crate::serve::view::ReadError;
use crate::serve::view::drift::Effect;
use crate::serve::view::path::PathFilter;
use crate::serve::view::reader::{Actions, Read, Waiving};
use crate::text;

impl Actions for StoreReader {
    async fn run_audit(&self, group: &str, by: &str) -> Read<String> {
        self.configured(group)?;
        let id = self.store().wish(group, by, Timestamp::now()).await?;
        self.0.wished.notify_one();
        say(group, &format!("{} wants an audit", text::short(by, 60)));
        self.tell(group, Some(&id));
        Ok(id)
    }

    async fn accept_baseline(&self, group: &str, audit: &str, by: &str, note: &str) -> Read<()> {
        self.configured(group)?;
        let known = self.store().audit(audit).await?;
        if !known.is_some_and(|known| known.group == group && known.state == State::Done) {
            return Err(ReadError::NotFound(format!(
                "audit {} of {} that ended with a report",
                text::short(audit, 60),
                text::short(group, 60)
            )));
        }
        let baseline = Baseline {
            audit: audit.to_owned(),
            by: by.to_owned(),
            at: Timestamp::now(),
            note: note.to_owned(),
        };
        let mut tx = self.store().write().await?;
        self.store().accept(&mut tx, group, &baseline).await?;
        tx.commit().await.map_err(crate::serve::store::StoreError::from)?;
        self.tell(group, None);
        Ok(())
    }

    async fn waive(&self, group: &str, waiving: &Waiving, by: &str) -> Read<()> {
        self.configured(group)?;
        if self.store().life(group, &waiving.key).await?.is_none() {
            return Err(ReadError::NotFound(format!(
                "finding {}",
                text::short(&waiving.key, 120)
            )));
        }
        let waived = Waived {
            key: waiving.key.clone(),
            owner: by.to_owned(),
            reason: waiving.reason.clone(),
            until: waiving.until,
            made_at: Timestamp::now(),
        };
        self.store().waive(group, &waived).await?;
        self.tell(group, None);
        Ok(())
    }
}

impl StoreReader {
    /// What metrics count of a group besides its view.
    pub(in crate::serve) async fn counted(&self, name: &str) -> Read<Counted> {
        let Some(latest) = self.latest(name).await? else {
            return Ok(Counted::default());
        };
        let mut counted = Counted::default();
        for finding in &latest.report.findings {
            if !matches!(finding.verdict, Verdict::Pass | Verdict::Skip) {
                let of = (finding.code.clone(), finding.verdict, finding.waived_by.is_some());
                *counted.findings.entry(of).or_default() += 1;
            }
        }
        if self.store().baseline(name).await?.is_some() {
            let mut effects: BTreeMap<String, u64> = ["breaks", "weakens", "neutral", "mends"]
                .map(|effect| (effect.to_owned(), 0))
                .into();
            for line in self.drift_view(name).await?.lines {
                let effect = match line.effect {
                    Effect::Breaks => "breaks",
                    Effect::Weakens => "weakens",
                    Effect::Neutral => "neutral",
                    Effect::Mends => "mends",
                };
                *effects.entry(effect.to_owned()).or_default() += 1;
            }
            counted.drift = Some(effects);
        }
        counted.paths = self.paths_view(name, &PathFilter::default()).await?.pairs;
        Ok(counted)
    }

    /// Alerts that wait.
    pub(in crate::serve) async fn queues(&self) -> Read<Vec<Queue>> {
        let queues = self.store().undelivered().await?.into_iter();
        Ok(queues
            .map(|(target, waiting, given_up)| Queue {
                target,
                waiting,
                given_up,
            })
            .collect())
    }
}
