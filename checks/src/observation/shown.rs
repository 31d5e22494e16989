//! What one probe showed, from both ends' accounts.

use std::net::IpAddr;

use super::{ErrorKind, Evidence, Heard, Listening, NetworkError, ProbeResult, Sent};
use crate::facts::provenance::{Reason, Unknown};
use crate::plan::{PlannedProbe, ProbeKind};

/// What a probe showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It got through.
    Proven(Evidence),
    /// It did not.
    Failed(Symptom),
    /// That cannot be told.
    Unknown(Unknown),
}

/// How a probe failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symptom {
    /// What came of it.
    pub evidence: Evidence,
    /// Who said no, or answered in the receiver's place.
    pub by: Option<IpAddr>,
    /// It arrived at the receiver's card, and the receiver itself dropped it.
    pub at_receiver: bool,
}

impl Symptom {
    /// Whether nobody said anything and nothing was seen.
    pub fn tells_nothing(&self) -> bool {
        self.evidence == Evidence::Silent && !self.at_receiver
    }

    fn of(evidence: Evidence) -> Shown {
        Shown::Failed(Self {
            evidence,
            by: None,
            at_receiver: false,
        })
    }
}

impl std::fmt::Display for Symptom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.at_receiver {
            return f.write_str("arrives at the node and is dropped there");
        }
        match (self.evidence, self.by) {
            (Evidence::Refused, _) => f.write_str("refused: nothing listens"),
            (Evidence::Rejected, Some(by)) => write!(f, "rejected by {by}"),
            (Evidence::Foreign, Some(by)) => write!(f, "answered by a third party, {by}"),
            (evidence, _) => write!(f, "{evidence}"),
        }
    }
}

/// What this probe showed. A path MTU search counts as proven if it found any size; how large it must be is not asked here.
pub fn shown(probe: &PlannedProbe, result: &ProbeResult) -> Shown {
    let heard = match &result.heard {
        Some(Ok(heard)) => Some(heard),
        _ => None,
    };
    if let Some(evidence) = heard.and_then(arrived) {
        return Shown::Proven(evidence);
    }
    let sent = match &result.sent {
        Ok(sent) => sent,
        // Whatever ails the resolver, the product on that node cannot resolve the name either.
        Err(unknown)
            if matches!(unknown.reason, Reason::NotFound | Reason::Unreachable) && !probe.to.host.is_empty() =>
        {
            return Symptom::of(Evidence::Unresolved);
        }
        // What was planned was asked: an agent that cannot do it leaves it open.
        Err(unknown) if unknown.reason == Reason::NotAsked => {
            return Shown::Unknown(Unknown::new(Reason::NoAgent, unknown.detail.clone()));
        }
        Err(unknown) => return Shown::Unknown(unknown.clone()),
    };
    if let Some(evidence) = answered(probe, sent, heard) {
        return Shown::Proven(evidence);
    }
    if sent.sent == 0 && sent.errors.is_empty() {
        return Shown::Unknown(Unknown::new(Reason::NoAgent, "the agent sent nothing"));
    }
    let failure = failure(probe, sent, heard);
    // Where the receiver's account is missing, nobody knows whether it was still there: only what a third party says counts.
    match &result.heard {
        Some(Err(unknown))
            if !serves_itself(unknown) && !matches!(failure.evidence, Evidence::Rejected | Evidence::NoRoute) =>
        {
            Shown::Unknown(unknown.clone())
        }
        _ => Shown::Failed(failure),
    }
}

/// Whether nobody of ours listens because a service holds the port: then it is the service that was asked, and its silence counts.
fn serves_itself(unknown: &Unknown) -> bool {
    unknown.reason == Reason::NotAsked
}

/// How a probe failed that got no answer.
fn failure(probe: &PlannedProbe, sent: &Sent, heard: Option<&Heard>) -> Symptom {
    let symptom = |evidence, by, at_receiver| Symptom {
        evidence,
        by,
        at_receiver,
    };
    // Our own listener is there: whoever says that nothing listens is a filter, be it on the receiver itself.
    let listens = matches!(
        heard,
        Some(Heard {
            how: Listening::Bound,
            ..
        })
    );
    if let Some(told) = sent.errors.iter().find_map(|error| told(probe, error)) {
        return match told.evidence {
            Evidence::Refused if listens => {
                symptom(Evidence::Rejected, sent.errors.iter().find_map(|error| error.by), false)
            }
            _ => told,
        };
    }
    if heard.is_some_and(|heard| heard.captured.unwrap_or(0) > 0) {
        return symptom(Evidence::Captured, None, true);
    }
    // A connection to our own listener that did not know our nonce ended somewhere else.
    if sent.foreign_answers > 0 || (sent.connected && listens) {
        return symptom(Evidence::Foreign, sent.foreign_from.map(|from| from.ip()), false);
    }
    symptom(Evidence::Silent, None, false)
}

fn arrived(heard: &Heard) -> Option<Evidence> {
    (heard.received > 0).then_some(match heard.how {
        Listening::Bound => Evidence::Delivered,
        Listening::Captured => Evidence::Captured,
    })
}

fn answered(probe: &PlannedProbe, sent: &Sent, heard: Option<&Heard>) -> Option<Evidence> {
    let ours = heard.is_some_and(|heard| heard.how == Listening::Bound);
    match &probe.kind {
        ProbeKind::Tcp { .. } if ours => (sent.answered > 0).then_some(Evidence::Delivered),
        ProbeKind::Tcp { .. } => (sent.connected || sent.answered > 0).then_some(Evidence::Answered),
        ProbeKind::Udp { .. } => (sent.answered > 0).then_some(Evidence::Delivered),
        ProbeKind::PathMtu { .. } => {
            let found = sent.path_mtu.as_ref().is_some_and(|found| found.largest_confirmed > 0);
            found.then_some(Evidence::Delivered)
        }
        ProbeKind::NatDiscovery { .. } => sent.nat_discovery.is_some().then_some(Evidence::Answered),
        ProbeKind::Resolve { .. } => sent
            .names
            .iter()
            .all(|name| name.result.is_ok())
            .then_some(Evidence::Answered),
        ProbeKind::Icmp | ProbeKind::IpProtocol { .. } => (sent.answered > 0).then_some(Evidence::Answered),
    }
}

/// What an error says of the path; too big and time exceeded say nothing about whether it is open.
fn told(probe: &PlannedProbe, error: &NetworkError) -> Option<Symptom> {
    let by_target = error.by.is_none() || error.by == probe.to.address;
    let evidence = match error.kind {
        // Only who was asked can say that nothing listens; from anyone else it is a rejection.
        ErrorKind::Refused | ErrorKind::ProtocolUnreachable | ErrorKind::Reset if by_target => Evidence::Refused,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable if error.icmp.is_none() => Evidence::NoRoute,
        ErrorKind::Refused
        | ErrorKind::ProtocolUnreachable
        | ErrorKind::Reset
        | ErrorKind::Prohibited
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::LocallyForbidden => Evidence::Rejected,
        ErrorKind::TooBig | ErrorKind::TimeExceeded | ErrorKind::Other => return None,
    };
    Some(Symptom {
        evidence,
        by: if evidence == Evidence::Refused { None } else { error.by },
        at_receiver: false,
    })
}

#[cfg(test)]
mod tests {
    use super::{Shown, Symptom, shown};
    use crate::facts::provenance::{Reason, Unknown};
    use crate::observation::{ErrorKind, Evidence, Heard, Listening, NetworkError, ProbeResult, Sent};
    use crate::plan::{Destination, PlannedProbe, ProbeKind};

    fn probe(kind: ProbeKind) -> PlannedProbe {
        PlannedProbe {
            id: 0,
            codes: vec!["CM501".to_owned()],
            from: 0,
            to: Destination {
                cluster: "west".to_owned(),
                name: "w1".to_owned(),
                address: Some([10, 2, 0, 1].into()),
                host: String::new(),
                agent: Some(1),
            },
            kind,
            listener: Some(0),
        }
    }

    fn udp(sent: Sent, heard: Heard) -> Shown {
        let result = ProbeResult {
            probe: 0,
            sent: Ok(sent),
            heard: Some(Ok(heard)),
        };
        shown(&probe(ProbeKind::Udp { port: 8472 }), &result)
    }

    fn three_sent() -> Sent {
        Sent {
            sent: 3,
            ..Sent::default()
        }
    }

    fn error(kind: ErrorKind, by: Option<[u8; 4]>, icmp: Option<(u8, u8)>) -> NetworkError {
        NetworkError {
            kind,
            by: by.map(Into::into),
            icmp,
            errno: None,
            count: 3,
        }
    }

    #[test]
    fn what_the_peer_heard_counts_even_if_its_answer_was_lost() {
        let heard = Heard {
            received: 1,
            ..Heard::default()
        };
        assert_eq!(udp(three_sent(), heard), Shown::Proven(Evidence::Delivered));
    }

    #[test]
    fn a_capture_on_a_taken_port_is_weaker_than_a_bound_socket() {
        let heard = Heard {
            how: Listening::Captured,
            received: 3,
            ..Heard::default()
        };
        assert_eq!(udp(three_sent(), heard), Shown::Proven(Evidence::Captured));
    }

    #[test]
    fn what_the_card_saw_and_the_socket_did_not_was_dropped_by_the_node_itself() {
        let heard = Heard {
            captured: Some(3),
            ..Heard::default()
        };
        let Shown::Failed(symptom) = udp(three_sent(), heard) else {
            panic!("not proven")
        };
        assert!(symptom.at_receiver);
    }

    #[test]
    fn who_says_no_and_whether_we_listen_decides_between_refused_and_rejected() {
        let no_from = |by, heard: Option<Heard>| {
            let sent = Sent {
                errors: vec![error(ErrorKind::Refused, by, Some((3, 3)))],
                ..three_sent()
            };
            let result = ProbeResult {
                probe: 0,
                sent: Ok(sent),
                heard: heard.map(Ok),
            };
            shown(&probe(ProbeKind::Udp { port: 8472 }), &result)
        };
        let symptom = |evidence, by: Option<[u8; 4]>| {
            Shown::Failed(Symptom {
                evidence,
                by: by.map(Into::into),
                at_receiver: false,
            })
        };
        let (target, router) = (Some([10, 2, 0, 1]), Some([192, 0, 2, 1]));
        assert_eq!(no_from(target, None), symptom(Evidence::Refused, None));
        assert_eq!(no_from(router, None), symptom(Evidence::Rejected, router));
        // Our listener is bound there: its own host's firewall says no.
        assert_eq!(
            no_from(target, Some(Heard::default())),
            symptom(Evidence::Rejected, target)
        );
    }

    #[test]
    fn no_route_on_the_own_host_is_not_a_rejection_from_elsewhere() {
        let sent = |icmp, by| Sent {
            errors: vec![error(ErrorKind::NetworkUnreachable, by, icmp)],
            ..three_sent()
        };
        let Shown::Failed(own) = udp(sent(None, None), Heard::default()) else {
            panic!("failed")
        };
        let Shown::Failed(router) = udp(sent(Some((3, 0)), Some([192, 0, 2, 1])), Heard::default()) else {
            panic!("failed")
        };
        assert_eq!((own.evidence, router.evidence), (Evidence::NoRoute, Evidence::Rejected));
    }

    #[test]
    fn a_refusal_means_nothing_if_the_listener_may_have_gone() {
        let lost = Unknown::new(Reason::NoAgent, "w1: the agent ended");
        let of = |kind, by| {
            let sent = Sent {
                errors: vec![error(kind, by, Some((3, 3)))],
                ..three_sent()
            };
            let result = ProbeResult {
                probe: 0,
                sent: Ok(sent),
                heard: Some(Err(lost.clone())),
            };
            shown(&probe(ProbeKind::Udp { port: 8472 }), &result)
        };
        assert_eq!(
            of(ErrorKind::Refused, Some([10, 2, 0, 1])),
            Shown::Unknown(lost.clone())
        );
        assert!(matches!(
            of(ErrorKind::Prohibited, Some([192, 0, 2, 1])),
            Shown::Failed(_)
        ));
    }

    #[test]
    fn a_service_that_holds_the_port_is_asked_itself_and_its_silence_counts() {
        let result = ProbeResult {
            probe: 0,
            sent: Ok(three_sent()),
            heard: Some(Err(Unknown::new(
                Reason::NotAsked,
                "TCP 4240 is in use by cilium-agent: it is asked itself",
            ))),
        };
        let Shown::Failed(symptom) = shown(&probe(ProbeKind::Tcp { port: 4240, tls: false }), &result) else {
            panic!("silence is a failure")
        };
        assert_eq!(symptom.evidence, Evidence::Silent);
    }

    #[test]
    fn what_an_agent_could_not_do_is_unknown_and_never_not_asked() {
        let result = ProbeResult {
            probe: 0,
            sent: Err(Unknown::new(
                Reason::NotAsked,
                "this agent does not know this kind of probe",
            )),
            heard: None,
        };
        let Shown::Unknown(unknown) = shown(&probe(ProbeKind::Icmp), &result) else {
            panic!("nothing is known")
        };
        assert_eq!(unknown.reason, Reason::NoAgent);
    }

    #[test]
    fn silence_means_nothing_if_nobody_was_there_to_hear() {
        let lost = Unknown::new(Reason::NoAgent, "w1: the agent ended");
        let result = ProbeResult {
            probe: 0,
            sent: Ok(three_sent()),
            heard: Some(Err(lost.clone())),
        };
        assert_eq!(
            shown(&probe(ProbeKind::Udp { port: 8472 }), &result),
            Shown::Unknown(lost)
        );
    }

    #[test]
    fn a_connection_that_our_listener_never_saw_went_to_a_third_party() {
        let result = ProbeResult {
            probe: 0,
            sent: Ok(Sent {
                sent: 1,
                connected: true,
                ..Sent::default()
            }),
            heard: Some(Ok(Heard::default())),
        };
        let Shown::Failed(symptom) = shown(&probe(ProbeKind::Tcp { port: 4240, tls: false }), &result) else {
            panic!("not proven")
        };
        assert_eq!(symptom.evidence, Evidence::Foreign);
    }
}
