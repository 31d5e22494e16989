//! What a lab and the first process of one of its nodes say to each other: one JSON object per line.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::programs::Programs;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeSpec {
    /// Its name in its cluster and in the network lab.
    pub name: String,
    /// Its addresses as kubelets take them: `172.31.1.11,fd31:0:0:1::b`.
    pub addresses: String,
    /// Its zone.
    pub zone: String,
    /// Where its cluster's API server is: `172.31.1.11:6443`.
    pub api_server: String,
    /// The ranges of its cluster's pods, separated by commas.
    pub pod_ranges: String,
    /// The ranges of its cluster's Services, separated by commas.
    pub service_ranges: String,
    /// The address of the Service `kubernetes`.
    pub kubernetes_service: Ipv4Addr,
    /// Whether controllers run, without which pods get no service account and new nodes stay tainted.
    pub controlled: bool,
    /// How long an exec stream may be silent.
    pub streaming_idle: Duration,
    /// Below this under every hierarchy of control groups lies all that its pods are.
    pub cgroup: String,
    /// Keys and certificates of its cluster.
    pub pki: PathBuf,
    /// Where its programs' logs go.
    pub logs: PathBuf,
    /// The programs.
    pub programs: Programs,
}

/// To a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Be this node; the first order.
    Be(Box<NodeSpec>),
    /// Start this program and say when it is ready.
    Start(Component),
    /// End this program, politely or not.
    Stop(Component, Way),
    /// Give pods of these ranges a network: from now on the node is ready for them.
    Network(Vec<String>),
    /// Take these archives' images in.
    Import(Vec<PathBuf>),
}

/// How a program is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// It may finish what it does.
    Terminate,
    /// At once.
    Kill,
}

/// From a node, one to each order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It did not work.
    Failed(String),
}

/// A program that runs on a node, outside of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Component {
    /// The store, on the first node of a cluster, as all of the control plane.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// What runs containers; on every node.
    Containerd,
    /// What runs pods; on every node.
    Kubelet,
}

impl Component {
    /// The file name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
        }
    }

    /// Whether it tells by `sd_notify` that it is ready.
    pub(super) fn notifies(self) -> bool {
        !matches!(self, Self::ControllerManager | Self::Scheduler)
    }
}
