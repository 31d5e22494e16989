//! Opening sessions with all agents at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use futures::future::{BoxFuture, join_all};
use prejoin_agent::protocol::{OLDEST_PROTOCOL_VERSION, Open, Opened, PROTOCOL_VERSION, limits};
use prejoin_checks::facts::kernel::NodeFacts;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::{Abilities, AgentFailure, AgentFailureKind, AgentReport};
use prejoin_checks::plan::AgentId;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

use super::results::{interrupted, out};
use super::{Agent, Cancel, Member, Options, Progress};
use crate::session::{Session, Trouble};
use crate::text;
use crate::transport::{Connection, Unreached};

/// So many are opened at the same time: each may be a process of its own.
const AT_ONCE: usize = 64;
/// A session is over after this time whatever happens: longer than any plan that a person waits for.
const DEADLINE_SECONDS: u32 = 4 * 3600;
/// So much of what an agent says of itself is kept.
const SHOWN_CHARS: usize = 100;

/// A way that is being taken.
pub(super) type Connecting = BoxFuture<'static, Result<Connection, Unreached>>;

/// Someone to open a session with.
pub(super) struct Invited {
    pub(super) id: AgentId,
    /// How it is reached, in words.
    pub(super) way: String,
    /// Whether it knows its node's name from elsewhere.
    pub(super) names_its_node: bool,
    pub(super) connecting: Connecting,
}

pub(super) async fn all(members: Vec<Member>, options: &Options, progress: &Progress, cancel: &Cancel) -> Vec<Agent> {
    let opening = options.opening;
    let invited = members.into_iter().map(|member| Invited {
        way: member.route.to_string(),
        names_its_node: member.route.names_its_node(),
        id: member.id,
        connecting: Box::pin(async move { member.route.connect(opening).await }),
    });
    over(invited.collect(), options, progress, cancel).await
}

pub(super) async fn over(invited: Vec<Invited>, options: &Options, progress: &Progress, cancel: &Cancel) -> Vec<Agent> {
    let everyone: Vec<AgentId> = invited.iter().map(|invited| invited.id.clone()).collect();
    let audit = (random_hex(16), random_hex(32));
    let turns = Semaphore::new(AT_ONCE);
    let opening = invited.into_iter().map(|invited| {
        let (everyone, audit, turns) = (&everyone, &audit, &turns);
        async move {
            // The semaphore is never closed.
            let _turn = turns.acquire().await;
            one(invited, everyone, audit, options, progress, cancel).await
        }
    });
    join_all(opening).await
}

async fn one(
    invited: Invited,
    everyone: &[AgentId],
    (audit, key): &(Option<String>, Option<String>),
    options: &Options,
    progress: &Progress,
    cancel: &Cancel,
) -> Agent {
    let mut id = invited.id;
    let who = format!("{}/{}", id.cluster, id.node);
    let mut report = AgentReport {
        version: String::new(),
        protocol: None,
        abilities: Abilities::default(),
        failure: None,
    };
    progress.waits(&who, invited.way);
    let begin = async {
        let (Some(audit), Some(key)) = (audit.clone(), key.clone()) else {
            return Err(failure(
                AgentFailureKind::Unreachable,
                "this machine gives no random numbers",
            ));
        };
        let connection = invited.connecting.await;
        let connection = connection.map_err(|why| failure(AgentFailureKind::Unreachable, why.0))?;
        let open = Open {
            versions: (OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION).rev().collect(),
            audit,
            key,
            node: id.node.clone(),
            deadline_seconds: DEADLINE_SECONDS,
        };
        let (mut session, opened) = Session::open(connection, open, options.opening).await?;
        who_it_is(&id, &opened, invited.names_its_node, everyone)?;
        progress.waits(&who, "reads its node");
        let facts = session.node_facts(
            peers(&id, everyone),
            options.names.iter().take(limits::NAMES).cloned().collect(),
            options.opening,
        );
        let facts = match facts.await {
            Ok(facts) => facts,
            Err(Trouble::Agent(failure)) => return Err(failure),
            Err(Trouble::Refused(_, why)) => NodeFacts::unread(
                &id.node,
                &Unknown::new(Reason::ServerError, format!("agent on {who}: {why}")),
            ),
        };
        Ok((session, opened, facts))
    };
    let begun = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        begun = begin => Some(begun),
    };
    progress.done(&who);
    let (session, facts) = match begun {
        Some(Ok((session, opened, facts))) => {
            report.version = text::short(&opened.agent, SHOWN_CHARS);
            report.protocol = Some(opened.version);
            report.abilities = opened.abilities;
            // Where the agent can tell, it knows better than who wrote the configuration.
            id.network = opened.network.unwrap_or(id.network);
            (Some(session), facts)
        }
        Some(Err(failure)) => {
            let facts = NodeFacts::unread(&id.node, &out(&id, &failure));
            report.failure = Some(failure);
            (None, facts)
        }
        None => {
            report.failure = Some(failure(AgentFailureKind::Unreachable, super::INTERRUPTED));
            (None, NodeFacts::unread(&id.node, &interrupted()))
        }
    };
    Agent {
        id,
        session,
        report,
        facts,
    }
}

/// Whether the agent is on the node that was asked for. One in a pod is told its node's name by the cluster; others know the host's name,
/// which may be any, but not that of another node of this audit.
fn who_it_is(id: &AgentId, opened: &Opened, must_agree: bool, everyone: &[AgentId]) -> Result<(), AgentFailure> {
    let says_another = everyone.iter().any(|other| other.node == opened.node);
    if opened.node == id.node || !(must_agree || says_another) {
        return Ok(());
    }
    Err(failure(
        AgentFailureKind::Lied,
        format!("it says that it is on node {}", text::short(&opened.node, SHOWN_CHARS)),
    ))
}

/// The address that Submariner's gateways ask the kernel for a route to, to find their own (`pkg/endpoint/local_ip.go`). Nothing is sent to it.
const SUBMARINER_ASKS: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));

/// The addresses of the agents of other clusters, a limited number of them, and the one that says which way is out.
fn peers(id: &AgentId, everyone: &[AgentId]) -> Vec<IpAddr> {
    let others = everyone.iter().filter(|other| other.cluster != id.cluster);
    let addresses: BTreeSet<IpAddr> = others.flat_map(|other| other.addresses.iter().copied()).collect();
    std::iter::once(SUBMARINER_ASKS)
        .chain(addresses)
        .take(limits::PEERS)
        .collect()
}

fn failure(kind: AgentFailureKind, detail: impl Into<String>) -> AgentFailure {
    AgentFailure {
        kind,
        detail: detail.into(),
    }
}

/// So many random bytes in hex, if this machine has any.
pub(crate) fn random_hex(bytes: usize) -> Option<String> {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(random.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
