#!/usr/bin/env bash
# Joins kind clusters with Submariner, the first of which holds the broker: manifests/kind/submariner/join.sh east west
# Needs docker (or podman, with KIND_EXPERIMENTAL_PROVIDER=podman), kubectl and subctl. Changes the contexts of these clusters in your kubeconfig.
set -euo pipefail
(($#)) || { echo "usage: join.sh CLUSTER..." >&2; exit 2; }
engine=${KIND_EXPERIMENTAL_PROVIDER:-docker}

# kind's kubeconfig says 127.0.0.1 and a port of this machine. `subctl deploy-broker` writes what it finds there into the broker file, and to
# a pod of another cluster 127.0.0.1 is that pod. The control plane's container has an address that is the same from all clusters and from here.
for cluster in "$@"; do
    address=$("$engine" inspect --format '{{.NetworkSettings.Networks.kind.IPAddress}}' "$cluster-control-plane")
    kubectl config set-cluster "kind-$cluster" --server "https://$address:6443"
done

subctl deploy-broker --context "kind-$1"
# All nodes are in one container network: no address is translated on the way.
for cluster in "$@"; do
    subctl join broker-info.subm --context "kind-$cluster" --clusterid "$cluster" --natt=false
done
subctl show connections
