#!/usr/bin/env bash
# A real API server on loopback that holds a large cluster, to measure what reading one costs.
set -euo pipefail
shopt -s extglob

usage() {
    cat >&2 <<'TEXT'
usage: large-cluster.sh up | load | down | kubeconfig
       large-cluster.sh measure [COMMAND [ARGUMENT...]]

  up          start etcd and kube-apiserver with the objects of the last load, print the kubeconfig's path
  load        up, and load the cluster if it is not there yet
  measure     run `kubectl get nodes,pods -A -o json` and COMMAND in turn, several times; report time and memory
              (the word KUBECONFIG_FILE in COMMAND stands for the kubeconfig's path)
  down        stop both; the objects stay
  kubeconfig  print the kubeconfig's path (context `large`)

  PREJOIN_LAB_CACHE  where programs and objects are kept (~/.cache/prejoin-lab)
  PREJOIN_LAB_NODES  nodes to load (5000)
  PREJOIN_LAB_PODS   pods to load (150000)
  PREJOIN_LAB_RUNS   runs of each command (5)
TEXT
    exit 2
}

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nodes=${PREJOIN_LAB_NODES:-5000}
pods=${PREJOIN_LAB_PODS:-150000}
runs=${PREJOIN_LAB_RUNS:-5}

bin=$("$lab/build.sh" kubernetes etcd own)
state=$(dirname "$bin")/large-cluster-$nodes-$pods
pki=$state/pki
kubeconfig=$state/kubeconfig
mkdir -p "$state"

# --- processes ------------------------------------------------------------------------------------------------------

# is_running NAME: whether the process that `start` started is still there (and the id not another program's by now).
is_running() {
    local pid
    [[ -e $state/$1.pid ]] && pid=$(<"$state/$1.pid") &&
        [[ $(readlink "/proc/$pid/exe" 2>/dev/null || true) == "$bin/$1" ]]
}

# start NAME ARGUMENT...: in the background, its output in NAME.log.
start() {
    local name=$1
    shift
    (
        # Should the machine run out of memory, this is what it can best do without.
        echo 1000 >/proc/self/oom_score_adj
        exec setsid "$bin/$name" "$@" >"$state/$name.log" 2>&1 </dev/null
    ) &
    echo $! >"$state/$name.pid"
}

stop() {
    if is_running "$1"; then
        local pid
        pid=$(<"$state/$1.pid")
        kill "$pid"
        # Returns when the process is gone, whoever its parent is.
        tail --pid="$pid" -f /dev/null
    fi
    rm -f "$state/$1.pid"
}

# await NAME SECONDS COMMAND...: until the command succeeds; fails as soon as NAME has ended.
await() {
    local name=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "$(<"$state/$name.pid")" 2>/dev/null || ((SECONDS > deadline)); then
            echo "large-cluster.sh: $name did not come up; end of $state/$name.log:" >&2
            tail -n 5 "$state/$name.log" >&2
            return 1
        fi
        sleep 0.2
    done
}

# free_port: a loopback TCP port that nothing listens on, outside the range of outgoing connections.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# --- certificates ---------------------------------------------------------------------------------------------------

# issue NAME SUBJECT EXTENSIONS: a key, and a certificate of the lab's own authority.
issue() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" \
        -keyout "$pki/$1.key" -out "$pki/$1.csr" 2>/dev/null
    openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 \
        -extfile <(printf '%s' "$3") -out "$pki/$1.crt" 2>/dev/null
    rm "$pki/$1.csr"
}

make_pki() {
    [[ -e $pki/.complete ]] && return
    (
        umask 077
        rm -rf "$pki"
        mkdir "$pki"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj '/CN=large' \
            -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
        issue server '/CN=kube-apiserver' 'subjectAltName=IP:127.0.0.1,DNS:localhost
extendedKeyUsage=serverAuth'
        issue admin '/O=system:masters/CN=admin' 'extendedKeyUsage=clientAuth'
        openssl ecparam -genkey -noout -name prime256v1 -out "$pki/service-account.key"
        touch "$pki/.complete"
    )
}

write_kubeconfig() {
    cat >"$kubeconfig" <<TEXT
apiVersion: v1
kind: Config
clusters:
- name: large
  cluster: {server: "$1", certificate-authority: $pki/ca.crt}
users:
- name: admin
  user: {client-certificate: $pki/admin.crt, client-key: $pki/admin.key}
contexts:
- name: large
  context: {cluster: large, user: admin}
current-context: large
TEXT
}

# --- commands -------------------------------------------------------------------------------------------------------

kubectl() { "$bin/kubectl" --kubeconfig "$kubeconfig" --cache-dir "$state/kubectl-cache" "$@"; }

up() {
    if is_running etcd && is_running kube-apiserver; then
        return
    fi
    down
    make_pki
    local client peer api
    client=$(free_port) peer=$(free_port) api=$(free_port)
    # What is lost when the machine dies can be loaded again: no fsync.
    start etcd --name large --data-dir "$state/etcd" --unsafe-no-fsync --quota-backend-bytes $((8 << 30)) \
        --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
        --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "large=http://127.0.0.1:$peer"
    echo "http://127.0.0.1:$client" >"$state/etcd.url"
    await etcd 60 curl -fsS "http://127.0.0.1:$client/health"

    # Left out of admission: what would need controllers or kubelets that do not run here. Left out for its memory,
    # beside the readers that are measured: the watch cache, which holds every object (lists then come from etcd).
    start kube-apiserver --etcd-servers "http://127.0.0.1:$client" --bind-address 127.0.0.1 --secure-port "$api" \
        --advertise-address 127.0.0.1 --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/16 \
        --authorization-mode RBAC --allow-privileged --client-ca-file "$pki/ca.crt" \
        --watch-cache="${PREJOIN_LAB_WATCH_CACHE:-false}" --disable-admission-plugins ServiceAccount,TaintNodesByCondition \
        --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-key-file "$pki/service-account.key" \
        --service-account-signing-key-file "$pki/service-account.key"
    write_kubeconfig "https://127.0.0.1:$api"
    await kube-apiserver 300 kubectl get --raw /readyz
}

down() {
    stop kube-apiserver
    stop etcd
}

# compact: drop what the load has overwritten, and give the space back.
compact() {
    local url revision
    url=$(<"$state/etcd.url")
    revision=$(curl -fsS "$url/v3/kv/range" -d '{"key":"AA=="}' | sed 's/.*"revision":"\([0-9]*\)".*/\1/')
    curl -fsS -m 600 "$url/v3/kv/compaction" -d "{\"revision\":\"$revision\",\"physical\":true}" >/dev/null
    curl -fsS -m 600 "$url/v3/maintenance/defragment" -d '{}' >/dev/null
}

load() {
    local loaded
    # What decides what the objects are.
    loaded=$(cat "$lab"/loader/!(*_test).@(go|json) | sha256sum)
    if [[ ! -e $state/loaded || $(<"$state/loaded") != "$loaded" ]]; then
        down
        rm -rf "$state/etcd" "$state/loaded"
        up
        "$bin/loader" --server "$(sed -n 's/.*server: "\(.*\)",.*/\1/p' "$kubeconfig")" --pki "$pki" \
            --etcd "$(<"$state/etcd.url")" --nodes "$nodes" --pods "$pods"
        compact
        echo "$loaded" >"$state/loaded"
        # Measured from a fresh start, as after any later `up`.
        down
    fi
    up
}

measure() {
    if [[ ! -e $state/loaded ]]; then
        echo "large-cluster.sh: nothing loaded; run: large-cluster.sh load" >&2
        exit 1
    fi
    up
    # A reader that needs more memory than there is must end by itself, not take other programs with it.
    echo 1000 >/proc/self/oom_score_adj
    ulimit -v $(($(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo) - (1 << 20)))
    local baseline=("$bin/kubectl" --kubeconfig "$kubeconfig" --cache-dir "$state/kubectl-cache"
        get "nodes,pods" -A -o json)
    local measure=("$bin/measure" -runs "$runs" -server "$(<"$state/etcd.pid"),$(<"$state/kube-apiserver.pid")")
    if (($# > 0)); then
        "${measure[@]}" -- "${baseline[@]}" -- "${@//KUBECONFIG_FILE/$kubeconfig}"
    else
        "${measure[@]}" -- "${baseline[@]}"
    fi
}

case ${1:-} in
up | load)
    "$1"
    echo "$kubeconfig"
    ;;
measure)
    shift
    measure "$@"
    ;;
down) down ;;
kubeconfig) echo "$kubeconfig" ;;
*) usage ;;
esac
