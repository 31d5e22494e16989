#!/usr/bin/env bash
# Builds the lab's programs and prints the directory that holds them: kube-apiserver, kubectl and etcd from pinned Go
# modules, loader and measure from here.
#
# The directory is named after the checksums of the pinned modules: the same pins are built once per machine, and
# changed ones never find the binaries of another version.
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PREJOIN_LAB_CACHE:-$HOME/.cache/prejoin-lab}

if ! command -v go >/dev/null; then
    echo "build.sh: needs Go 1.26 or later on PATH" >&2
    exit 1
fi
pins=$(cat "$lab"/{kubernetes,etcd}/go.{mod,sum} | sha256sum | cut -c1-16)
bin=$cache/$pins/bin
mkdir -p "$bin"
exec 9>"$cache/$pins/build.lock"
flock 9

# Low priority: minutes of CPU, and nobody's machine should feel them.
export CGO_ENABLED=0
build() { nice -n 10 go build -trimpath -mod=readonly "$@"; }

if [[ ! -e $bin/.complete ]]; then
    cd "$lab/kubernetes"
    # A release build stamps its version in; without that the API server calls itself v0.0.0-master.
    version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
    IFS=. read -r major minor _ <<<"${version#v}"
    stamp=k8s.io/component-base/version
    echo "building Kubernetes $version and etcd in $bin: some minutes the first time" >&2
    build -o "$bin/" -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=$major \
        -X $stamp.gitMinor=$minor -X $stamp.gitTreeState=clean" tool
    cd "$lab/etcd"
    build -o "$bin/etcd" -ldflags '-s -w' go.etcd.io/etcd/server/v3
    touch "$bin/.complete"
fi
cd "$lab"
build -o "$bin/" ./loader ./measure
echo "$bin"
