//! What became of small datagrams to a port, for whoever is to send larger ones there: the two would take from what a policer lets through, and
//! where nothing arrives no size needs to be tried.

use std::collections::HashMap;
use std::net::SocketAddr;

use prejoin_checks::observation::{Listening, Sent};
use prejoin_checks::plan::ProbeKind;
use tokio::sync::watch;

use crate::protocol::ProbeOrder;

/// Datagrams to one port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Probes that are not finished yet.
    pending: u32,
    /// Datagrams sent.
    pub(super) sent: u32,
    /// Those of them that were answered.
    pub(super) answered: u32,
}

/// All ports that a run's UDP probes ask.
#[derive(Debug, Default)]
pub(super) struct Reached(HashMap<SocketAddr, watch::Sender<Reach>>);

impl Reached {
    /// Those of these orders.
    pub(super) fn of(orders: &[ProbeOrder]) -> Self {
        let mut ports: HashMap<SocketAddr, watch::Sender<Reach>> = HashMap::new();
        for order in orders {
            if let (Some(address), ProbeKind::Udp { port }, Some(Listening::Bound)) =
                (order.address, &order.kind, order.listening)
            {
                let reach = ports.entry((address, *port).into()).or_default();
                reach.send_modify(|reach| reach.pending += 1);
            }
        }
        Self(ports)
    }

    /// A UDP probe of this port is finished; without an account if it could not be made.
    pub(super) fn finished(&self, target: SocketAddr, sent: Option<&Sent>) {
        let Some(reach) = self.0.get(&target) else { return };
        reach.send_modify(|reach| {
            reach.pending = reach.pending.saturating_sub(1);
            reach.sent += sent.map_or(0, |sent| sent.sent);
            reach.answered += sent.map_or(0, |sent| sent.answered);
        });
    }

    /// What became of them once all are finished; none if none were to be sent, or could be.
    pub(super) async fn known(&self, target: SocketAddr) -> Option<Reach> {
        let mut reach = self.0.get(&target)?.subscribe();
        let all = *reach.wait_for(|reach| reach.pending == 0).await.ok()?;
        (all.sent > 0).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(port: u16) -> ProbeOrder {
        ProbeOrder {
            id: 0,
            address: Some([192, 0, 2, 1].into()),
            host: String::new(),
            kind: ProbeKind::Udp { port },
            listening: Some(Listening::Bound),
        }
    }

    #[tokio::test]
    async fn it_is_known_when_all_probes_of_a_port_are_finished() {
        let reached = Reached::of(&[order(8472), order(8472), order(51_820)]);
        let target = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let sent = Sent {
            sent: 10,
            answered: 7,
            ..Sent::default()
        };
        let mut known = std::pin::pin!(reached.known(target(8472)));
        reached.finished(target(8472), Some(&sent));
        assert!(futures::poll!(&mut known).is_pending(), "one of two is still under way");
        reached.finished(target(8472), Some(&sent));
        let known = known.await.unwrap();
        assert_eq!((known.sent, known.answered), (20, 14));

        reached.finished(target(51_820), None);
        assert_eq!(reached.known(target(51_820)).await, None, "nothing could be sent");
        assert_eq!(reached.known(target(500)).await, None, "nobody asks there");
    }
}
