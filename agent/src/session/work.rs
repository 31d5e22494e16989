//! What a session does when it is asked: reads, listens, probes.

use std::net::IpAddr;
use std::time::Duration;

use super::{Agent, Answers, abilities};
use crate::node::{self, NodeOptions};
use crate::protocol::{Answer, Ask, FailureKind, Open, Opened, common_version, limits};

/// How long reading the node's kernel and resolving the names may take.
const NODE_FACTS: Duration = Duration::from_secs(10);

/// Why a request fails as a whole.
type Failure = (FailureKind, String);

/// What `open` began.
pub(super) struct Work<'a> {
    agent: &'a Agent,
    version: u32,
    node: String,
    longest: Duration,
}

impl<'a> Work<'a> {
    /// Begins a session, or says why there is none.
    pub(super) fn begin(agent: &'a Agent, open: &Open) -> Result<Self, Failure> {
        let Some(version) = common_version(&open.versions, agent.highest_version) else {
            let detail = format!(
                "versions {} to {} are spoken here",
                crate::protocol::OLDEST_PROTOCOL_VERSION,
                agent.highest_version
            );
            return Err((FailureKind::Version, detail));
        };
        let most = agent.allow.limits().deadline_seconds;
        Ok(Self {
            agent,
            version,
            node: open.node.clone(),
            longest: Duration::from_secs(open.deadline_seconds.min(most).into()),
        })
    }

    /// How long the session may last.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// The answer to `open`.
    pub(super) fn opened(&self) -> Opened {
        Opened {
            version: self.version,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            role: self.agent.role,
            node: self.agent.node.clone(),
            network: None,
            abilities: abilities::find(),
            limits: (self.version >= 2).then(|| self.agent.allow.limits()),
        }
    }

    /// Does what is asked, and answers.
    pub(super) async fn answer(&self, ask: Ask, answers: &Answers) {
        let result = match ask {
            Ask::ClusterFacts { read_secrets } => self.cluster_facts(read_secrets).await,
            Ask::NodeFacts { peers, names } => self.node_facts(peers, names).await,
            Ask::Listen { .. } | Ask::Probe { .. } | Ask::Hush {} => {
                Err((FailureKind::Unsupported, "this agent only reads".to_owned()))
            }
            Ask::Open(_) | Ask::Close {} => Err((FailureKind::Internal, "the conversation answers this".to_owned())),
        };
        let answer = result.unwrap_or_else(|(kind, detail)| Answer::Failed { kind, detail });
        answers.send(answer).await;
    }

    async fn cluster_facts(&self, read_secrets: bool) -> Result<Answer, Failure> {
        let Some(read) = &self.agent.cluster else {
            return Err((FailureKind::Unsupported, "a node agent reads no API".to_owned()));
        };
        Ok(Answer::ClusterFacts(Box::new(
            read(self.node.clone(), read_secrets).await,
        )))
    }

    async fn node_facts(&self, peers: Vec<IpAddr>, names: Vec<String>) -> Result<Answer, Failure> {
        at_most(peers.len(), limits::PEERS, "peers")?;
        reasonable_names(&names)?;
        let options = NodeOptions {
            peers,
            names,
            ..NodeOptions::new(&self.node, NODE_FACTS)
        };
        Ok(Answer::NodeFacts(Box::new(node::read_node(&options).await)))
    }
}

fn reasonable_names(names: &[String]) -> Result<(), Failure> {
    at_most(names.len(), limits::NAMES, "names")?;
    let longest = names.iter().map(String::len).max().unwrap_or_default();
    at_most(longest, limits::NAME_BYTES, "bytes of a name")
}

fn at_most<N: Copy + PartialOrd + std::fmt::Display>(count: N, most: N, what: &str) -> Result<(), Failure> {
    if count <= most {
        Ok(())
    } else {
        Err((FailureKind::TooMuch, format!("{count} {what}, and {most} are the most")))
    }
}
