//! How each program of a node is started. All that it keeps lies in `/run`, which is the node's own and in memory.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::orders::{Component, NodeSpec};

/// Where a node keeps everything.
pub(super) const STATE: &str = "/run/kubelab";
/// The image of pods' sandboxes.
pub(super) const PAUSE: &str = "lab.prejoin.dev/pause:1";

/// Where kubelets look, too, for what their containers use.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
const ETCD: &str = "http://127.0.0.1:2379";
/// Pods are evicted when the machine has less memory left: it is everybody's.
const EVICTION: &str = "100Mi";

/// The command that runs a component; writes its configuration first.
pub(super) fn command(component: Component, node: &NodeSpec) -> anyhow::Result<Command> {
    let mut command = Command::new(node.programs.path(component.program()));
    // containerd looks for its shim here. Nothing of this machine's environment is a cluster's.
    command.env_clear().env("PATH", search_path(node));
    command.args(match component {
        Component::Etcd => etcd(),
        Component::ApiServer => api_server(node),
        Component::ControllerManager => controller_manager(node),
        Component::Scheduler => {
            let kubeconfig = kubeconfig(node, "scheduler")?;
            vec![format!("--kubeconfig={kubeconfig}"), "--leader-elect=false".to_owned()]
        }
        Component::Containerd => containerd(node)?,
        Component::Kubelet => kubelet(node)?,
    });
    if component == Component::ControllerManager {
        command.arg(format!("--kubeconfig={}", kubeconfig(node, "controller-manager")?));
    }
    Ok(command)
}

/// containerd's client.
pub(super) fn ctr(node: &NodeSpec, arguments: &[&str]) -> Command {
    let mut command = Command::new(node.programs.path("ctr"));
    command.env_clear().env("PATH", search_path(node));
    command.args(["--address", CONTAINERD, "--namespace", "k8s.io"]);
    command.args(arguments);
    command
}

fn search_path(node: &NodeSpec) -> String {
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", node.programs.folder().display())
}

fn pki(node: &NodeSpec, file: &str) -> String {
    node.pki.join(file).display().to_string()
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn etcd() -> Vec<String> {
    // What is lost when the machine dies is lost anyway.
    let mut arguments = words(["--name=lab", "--unsafe-no-fsync", "--log-level=warn"]);
    arguments.push(format!("--data-dir={STATE}/etcd"));
    for flag in ["listen-client-urls", "advertise-client-urls"] {
        arguments.push(format!("--{flag}={ETCD}"));
    }
    for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
        arguments.push(format!("--{flag}=http://127.0.0.1:2380"));
    }
    arguments.push("--initial-cluster=lab=http://127.0.0.1:2380".to_owned());
    arguments
}

fn api_server(node: &NodeSpec) -> Vec<String> {
    let port = node.api_server.rsplit(':').next().unwrap_or_default();
    let address = node.addresses.split(',').next().unwrap_or_default();
    let mut arguments = words([
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        // Names of nodes do not resolve.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--profiling=false",
    ]);
    arguments.extend([
        format!("--etcd-servers={ETCD}"),
        format!("--secure-port={port}"),
        format!("--advertise-address={address}"),
        format!("--service-cluster-ip-range={}", node.service_ranges),
    ]);
    if !node.controlled {
        arguments.push("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned());
    }
    for (flag, file) in [
        ("client-ca-file", "ca.crt"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("tls-cert-file", "api-server.crt"),
        ("tls-private-key-file", "api-server.key"),
        ("kubelet-client-certificate", "api-server-kubelet-client.crt"),
        ("kubelet-client-key", "api-server-kubelet-client.key"),
        ("service-account-key-file", "service-account.pub"),
        ("service-account-signing-key-file", "service-account.key"),
    ] {
        arguments.push(format!("--{flag}={}", pki(node, file)));
    }
    arguments
}

fn controller_manager(node: &NodeSpec) -> Vec<String> {
    let mut arguments = words([
        "--allocate-node-cidrs=true",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--profiling=false",
    ]);
    arguments.extend([
        format!("--cluster-cidr={}", node.pod_ranges),
        format!("--service-cluster-ip-range={}", node.service_ranges),
        format!("--root-ca-file={}", pki(node, "ca.crt")),
        format!(
            "--service-account-private-key-file={}",
            pki(node, "service-account.key")
        ),
    ]);
    arguments
}

/// Writes a kubeconfig for this user, whose certificate has the user's name; gives its path.
fn kubeconfig(node: &NodeSpec, user: &str) -> anyhow::Result<String> {
    let path = format!("{STATE}/{user}.kubeconfig");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "lab", "cluster": {
            "server": format!("https://{}", node.api_server),
            "certificate-authority": pki(node, "ca.crt"),
        }}],
        "users": [{ "name": user, "user": {
            "client-certificate": pki(node, &format!("{user}.crt")),
            "client-key": pki(node, &format!("{user}.key")),
        }}],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": user } }],
        "current-context": "lab",
    });
    write(&path, &config.to_string())?;
    Ok(path)
}

fn containerd(node: &NodeSpec) -> anyhow::Result<Vec<String>> {
    let path = format!("{STATE}/containerd.toml");
    let bin = node.programs.folder().display();
    let idle = node.streaming_idle.as_secs();
    write(
        &path,
        &format!(
            r#"version = 3
root = "{STATE}/containerd/root"
state = "{STATE}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
    "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
address = "{CONTAINERD}"
[ttrpc]
address = "{CONTAINERD}.ttrpc"
[plugins.'io.containerd.grpc.v1.cri']
stream_idle_timeout = "{idle}s"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
# Not every machine lets a process save itself from running out of memory.
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{bin}"]
conf_dir = "{STATE}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "{bin}/runc"
SystemdCgroup = false
"#
        ),
    )?;
    std::fs::create_dir_all(format!("{STATE}/cni"))?;
    Ok(vec!["--config".to_owned(), path])
}

fn kubelet(node: &NodeSpec) -> anyhow::Result<Vec<String>> {
    let path = format!("{STATE}/kubelet.json");
    std::fs::create_dir_all(format!("{STATE}/pods"))?;
    write(&format!("{STATE}/resolv.conf"), "")?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": { "x509": { "clientCAFile": pki(node, "ca.crt") }, "webhook": { "enabled": true } },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": pki(node, &format!("{}.crt", node.name)),
        "tlsPrivateKeyFile": pki(node, &format!("{}.key", node.name)),
        "containerRuntimeEndpoint": format!("unix://{}", CONTAINERD),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        // Machines with the first version of control groups are still about.
        "failCgroupV1": false,
        "failSwapOn": false,
        "evictionHard": { "memory.available": EVICTION },
        "streamingConnectionIdleTimeout": format!("{}s", node.streaming_idle.as_secs()),
        "nodeStatusUpdateFrequency": "2s",
        "resolvConf": format!("{STATE}/resolv.conf"),
        "podLogsDir": format!("{STATE}/pods"),
        "registerNode": true,
    });
    write(&path, &config.to_string())?;
    Ok(vec![
        format!("--config={path}"),
        format!("--kubeconfig={}", kubeconfig(node, &node.name)?),
        format!("--root-dir={STATE}/kubelet"),
        format!("--cert-dir={STATE}/kubelet-pki"),
        format!("--hostname-override={}", node.name),
        format!("--node-ip={}", node.addresses),
        format!("--node-labels=topology.kubernetes.io/zone={}", node.zone),
    ])
}

/// Writes what gives pods their network. containerd looks when a file in its folder is written or renamed, not when one comes from
/// elsewhere; and it must be whole then.
pub(super) fn write_network(pod_ranges: &[String]) -> anyhow::Result<()> {
    let ranges: Vec<_> = pod_ranges.iter().map(|range| json!([{ "subnet": range }])).collect();
    let any = |range: &String| if range.contains(':') { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<_> = pod_ranges.iter().map(|range| json!({ "dst": any(range) })).collect();
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": { "type": "host-local", "dataDir": format!("{STATE}/addresses"), "ranges": ranges, "routes": routes },
            },
        ],
    });
    let (new, path) = (format!("{STATE}/cni/lab.new"), format!("{STATE}/cni/lab.conflist"));
    write(&new, &config.to_string())?;
    Ok(std::fs::rename(new, path)?)
}

fn write(path: &str, text: &str) -> anyhow::Result<()> {
    use anyhow::Context as _;
    std::fs::write(Path::new(path), text).with_context(|| format!("cannot write {path}"))
}
