//! Agents that are tasks of a test, and the wire between them, which loses nothing and remembers everything.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use prejoin_agent::protocol::line;
use prejoin_agent::protocol::{
    Answer, Ask, FailureKind, HeardProbe, ListenOn, ListenerState, Opened, Reply, Request, Role,
};
use prejoin_checks::facts::kernel::NodeFacts;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::{Abilities, Heard, Listening, Sent};
use prejoin_checks::plan::AgentId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::watch;

use super::super::open::Invited;
use crate::transport::{Connection, Unreached};

/// How an agent behaves; where a request is named, it behaves until that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// There is no way to it.
    Unreachable,
    /// Its port is in use.
    Deaf,
    /// It claims to have heard more than was sent.
    Overclaims,
    /// It speaks version 1.
    Older,
    SaysItIs(&'static str),
    Dies(&'static str),
    Hangs(&'static str),
    Garbage(&'static str),
    Refuses(&'static str),
}

/// What agents did, in order, and what was carried where.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    state: Arc<Mutex<State>>,
    asked: watch::Sender<Vec<(String, &'static str)>>,
}

#[derive(Debug, Default)]
struct State {
    carried: BTreeMap<u32, IpAddr>,
    paces: Vec<(u32, u32)>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            asked: watch::Sender::new(Vec::new()),
        }
    }
}

impl Wire {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The rate and the target's rate that each sender was given.
    pub(super) fn paces(&self) -> Vec<(u32, u32)> {
        self.with(|state| state.paces.clone())
    }

    /// Whether anything of a probe was sent.
    pub(super) fn carried(&self, probe: u32) -> bool {
        self.with(|state| state.carried.contains_key(&probe))
    }

    /// When a node was asked for something, as a place in the order of all requests.
    pub(super) fn when(&self, node: &str, what: &str) -> Option<usize> {
        self.asked
            .borrow()
            .iter()
            .position(|(who, asked)| who == node && *asked == what)
    }

    /// How often a node was asked for something.
    pub(super) fn count(&self, node: &str, what: &str) -> usize {
        let asked = self.asked.borrow();
        asked
            .iter()
            .filter(|(who, asked)| who == node && *asked == what)
            .count()
    }

    /// Waits until a node is asked for something.
    pub(super) async fn until(&self, node: &str, what: &str) {
        let mut asked = self.asked.subscribe();
        let has = |all: &Vec<(String, &'static str)>| all.iter().any(|(who, asked)| who == node && *asked == what);
        asked.wait_for(has).await.unwrap();
    }
}

/// One agent.
pub(super) struct Fake {
    node: String,
    manner: Manner,
    wire: Wire,
    listeners: Vec<ListenOn>,
}

/// What an agent does after a request.
enum Next {
    Goes(Vec<Answer>),
    Ends,
    Hangs,
}

impl Fake {
    /// An agent that can be opened.
    pub(super) fn invited(id: AgentId, manner: Manner, wire: &Wire) -> Invited {
        let fake = Self {
            node: id.node.clone(),
            manner,
            wire: wire.clone(),
            listeners: Vec::new(),
        };
        Invited {
            id,
            way: "task".to_owned(),
            names_its_node: false,
            connecting: Box::pin(async move {
                if manner == Manner::Unreachable {
                    return Err(Unreached("no route to its host".to_owned()));
                }
                let (near, far) = tokio::io::duplex(64 << 10);
                tokio::spawn(fake.act(far));
                Ok(Connection::over(near))
            }),
        }
    }

    async fn act(mut self, stream: tokio::io::DuplexStream) {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut requests = BufReader::new(reader).lines();
        while let Some(request) = requests.next_line().await.unwrap() {
            let request: Request = serde_json::from_str(&request).unwrap();
            let what = name_of(&request.ask);
            let next = match self.manner {
                Manner::Dies(at) if at == what => Next::Ends,
                Manner::Hangs(at) if at == what => Next::Hangs,
                Manner::Garbage(at) if at == what => {
                    writer.write_all(b"garbage\n").await.unwrap();
                    Next::Hangs
                }
                Manner::Refuses(at) if at == what => Next::Goes(vec![Answer::Failed {
                    kind: FailureKind::Internal,
                    detail: "will not".to_owned(),
                }]),
                _ => Next::Goes(self.answers(request.ask)),
            };
            self.wire.asked.send_modify(|all| all.push((self.node.clone(), what)));
            match next {
                Next::Goes(answers) => {
                    for answer in answers {
                        let reply = Reply { id: request.id, answer };
                        writer.write_all(&line::encode(&reply).unwrap()).await.unwrap();
                    }
                }
                Next::Ends => return,
                Next::Hangs => std::future::pending().await,
            }
        }
    }

    fn answers(&mut self, ask: Ask) -> Vec<Answer> {
        match ask {
            Ask::Open(open) => vec![Answer::Opened(Opened {
                version: if self.manner == Manner::Older { 1 } else { 2 },
                agent: "fake".to_owned(),
                role: Role::Node,
                node: match self.manner {
                    Manner::SaysItIs(node) => node.to_owned(),
                    _ => open.node,
                },
                network: None,
                abilities: Abilities::default(),
                limits: None,
            })],
            Ask::NodeFacts { .. } => {
                let facts = NodeFacts::unread(&self.node, &Unknown::not_found("a fake has no kernel"));
                vec![Answer::NodeFacts(Box::new(facts))]
            }
            Ask::Listen { listeners } => {
                let deaf = self.manner == Manner::Deaf;
                let state = |listener: &ListenOn| ListenerState {
                    captures: false,
                    id: listener.id,
                    state: if deaf {
                        Err(Unknown::new(Reason::Forbidden, "port in use, and no capture"))
                    } else {
                        Ok(Listening::Bound)
                    },
                    held_by: if deaf { "etcd".to_owned() } else { String::new() },
                };
                let states = listeners.iter().map(state).collect();
                self.listeners = listeners;
                vec![Answer::Listening { listeners: states }]
            }
            Ask::Probe {
                probes,
                rate,
                target_rate,
                samples,
                ..
            } => {
                let probed = |order: &prejoin_agent::protocol::ProbeOrder| Answer::Probed {
                    probe: order.id,
                    sent: Ok(Box::new(Sent {
                        sent: samples,
                        answered: samples,
                        ..Sent::default()
                    })),
                };
                self.wire.with(|state| {
                    state.paces.push((rate, target_rate));
                    state
                        .carried
                        .extend(probes.iter().filter_map(|order| Some((order.id, order.address?))));
                });
                let done = Answer::Done { packets: 0 };
                probes.iter().map(probed).chain([done]).collect()
            }
            Ask::Hush {} => vec![self.heard()],
            Ask::Close {} => vec![Answer::Closed {}],
            Ask::ClusterFacts { .. } => unreachable!("node agents are not asked for it"),
        }
    }

    fn heard(&self) -> Answer {
        let received = if self.manner == Manner::Overclaims { 11 } else { 10 };
        let carried = self.wire.with(|state| state.carried.clone());
        let heard = self.listeners.iter().flat_map(|listener| {
            let here = carried.iter().filter(|(_, address)| **address == listener.address);
            here.map(|(probe, _)| HeardProbe {
                listener: listener.id,
                probe: *probe,
                heard: Heard {
                    received,
                    ..Heard::default()
                },
            })
        });
        Answer::Heard {
            heard: heard.collect(),
            foreign: Vec::new(),
        }
    }
}

fn name_of(ask: &Ask) -> &'static str {
    match ask {
        Ask::Open(_) => "open",
        Ask::ClusterFacts { .. } => "cluster_facts",
        Ask::NodeFacts { .. } => "node_facts",
        Ask::Listen { .. } => "listen",
        Ask::Probe { .. } => "probe",
        Ask::Hush {} => "hush",
        Ask::Close {} => "close",
    }
}
