#!/usr/bin/env bash
# Builds the labs' programs and prints the directory that holds them: Kubernetes, etcd, containerd, CNI plugins, runc, Helm, kind
# and actionlint from pinned Go modules, the labs' own from here; promtool is the machine's own, or out of Debian's package.
#
#   build.sh [PART...]    kubernetes etcd containers runc helm kind lint own promtool; all but the last if none is named
#   build.sh --can-build  builds nothing; says what the machine lacks for it, and fails if it lacks anything
#
# The directory is named after the checksums of the pinned modules: the same pins are built once per machine, and
# changed ones never find the binaries of another version.
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PREJOIN_LAB_CACHE:-$HOME/.cache/prejoin-lab}
parts=("$@")
((${#parts[@]})) || parts=(kubernetes etcd containers runc helm kind lint own)

if ! command -v go >/dev/null; then
    echo "build.sh: needs Go 1.26 or later on PATH" >&2
    exit 1
fi
pins=$(cat "$lab"/{kubernetes,etcd,containers,runc,helm}/go.{mod,sum} | sha256sum | cut -c1-16)
bin=$cache/$pins/bin

# runc is linked with a C library whose development files are no Go module.
if [[ ${1-} == --can-build ]]; then
    if [[ ! -e $bin/.complete-runc ]]; then
        if ! command -v "${CC:-cc}" >/dev/null && ! command -v gcc >/dev/null; then
            echo "build.sh: runc needs a C compiler" >&2
            exit 1
        fi
        if ! command -v apt-get >/dev/null && ! { command -v pkg-config && pkg-config --static --exists libseccomp; } >/dev/null 2>&1; then
            echo "build.sh: runc needs the development files of libseccomp and pkg-config" >&2
            exit 1
        fi
    fi
    exit 0
fi
mkdir -p "$bin"
exec 9>"$cache/$pins/build.lock"
flock 9

export CGO_ENABLED=0
# Low priority: minutes of CPU, and nobody's machine should feel them.
build() { nice -n 10 go build -trimpath -mod=readonly "$@"; }

build_kubernetes() {
    # A release build stamps its version in; without that the API server calls itself v0.0.0-master.
    local version major minor stamp=k8s.io/component-base/version
    version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
    IFS=. read -r major minor _ <<<"${version#v}"
    build -o "$bin/" -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=$major \
        -X $stamp.gitMinor=$minor -X $stamp.gitTreeState=clean" tool
}

build_etcd() { build -o "$bin/etcd" -ldflags '-s -w' go.etcd.io/etcd/server/v3; }

build_containers() { build -o "$bin/" -ldflags '-s -w' tool; }

build_helm() { build -o "$bin/" -ldflags '-s -w' tool; }

build_kind() { build -o "$bin/" -ldflags '-s -w' tool; }

build_lint() { build -o "$bin/" -ldflags '-s -w' tool; }

# Prometheus takes as long to build as Kubernetes, and any version of its tool reads rules: the system's, else Debian's package is unpacked here.
build_promtool() {
    local unpacked=$cache/$pins/prometheus found
    if found=$(command -v promtool); then
        ln -sf "$found" "$bin/promtool"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "build.sh: promtool is not on PATH, and there is no apt-get to fetch it with" >&2
        return 1
    fi
    rm -rf "$unpacked"
    mkdir -p "$unpacked"
    (
        cd "$unpacked"
        apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    ) >&2
    mv "$unpacked/usr/bin/promtool" "$bin/promtool"
    rm -rf "$unpacked"
}

# runc is C in its first steps, and filters system calls by libseccomp, which is linked into it.
build_runc() {
    local pkg_config=$cache/$pins/pkg-config
    find_seccomp >"$pkg_config.new"
    chmod +x "$pkg_config.new"
    mv "$pkg_config.new" "$pkg_config"
    CGO_ENABLED=1 PKG_CONFIG=$pkg_config build -o "$bin/" -tags 'seccomp netgo osusergo' \
        -ldflags '-s -w -linkmode external -extldflags -static' tool
}

# find_seccomp: a script that answers as pkg-config does. The library's development files are the system's; where they are not
# installed, Debian's package is unpacked here, and the system stays as it is.
find_seccomp() {
    local root=$cache/$pins/seccomp header library
    if command -v pkg-config >/dev/null && pkg-config --static --exists libseccomp 2>/dev/null; then
        printf '#!/bin/sh\nexec pkg-config "$@"\n'
        return
    fi
    if [[ ! -e $root/usr/include/seccomp.h ]]; then
        if ! command -v apt-get >/dev/null; then
            echo "build.sh: runc needs the development files of libseccomp and pkg-config" >&2
            return 1
        fi
        rm -rf "$root"
        mkdir -p "$root"
        (
            cd "$root"
            apt-get download -qq libseccomp-dev || { apt-get update -qq && apt-get download -qq libseccomp-dev; }
            dpkg-deb -x libseccomp-dev_*.deb .
        ) >&2
    fi
    library=$(dirname "$(find "$root" -name libseccomp.a)")
    header=$root/usr/include
    printf '#!/bin/sh\ncase "$*" in *--cflags*) echo "-I%s" ;; *) echo "-L%s -lseccomp" ;; esac\n' "$header" "$library"
}

for part in "${parts[@]}"; do
    if [[ $part == own ]]; then
        (cd "$lab" && build -o "$bin/" -ldflags '-s -w' ./image ./loader ./measure ./pause)
        continue
    fi
    done=$bin/.complete-$part
    if [[ $part == promtool ]]; then
        [[ -x $bin/promtool ]] || build_promtool
        continue
    fi
    # No lab is made of these, so they have pins of their own.
    if [[ $part == kind || $part == lint ]]; then
        done=$done-$(cat "$lab/$part"/go.{mod,sum} | sha256sum | cut -c1-16)
    fi
    if [[ ! -e $done ]]; then
        cd "$lab/$part"
        echo "building $part in $bin: some minutes the first time" >&2
        "build_$part"
        touch "$done"
    fi
done
echo "$bin"
