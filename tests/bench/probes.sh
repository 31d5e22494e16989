#!/usr/bin/env bash
# How fast one agent proves flows, each beside the tool that people use for the same, in turns, within one run.
#
#   tests/bench/probes.sh [AGENT]
#
# AGENT is a `prejoin-agent`; without it the one that ships is built (static, with musl). Everything happens in network namespaces of its
# own; nothing leaves the machine. Needs unshare and nsenter (util-linux), ip (iproute2) and awk. Of fping, nmap and tracepath it says which
# are missing, and measures the agent all the same. ROUNDS=5 is how often each is measured, of which medians
# are printed; BENCHMARKS="udp icmp tcp path_mtu" is which.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."

if [[ -z ${PREJOIN_BENCH_INSIDE:-} ]]; then
  agent="${1:-}"
  if [[ -z $agent ]]; then
    target=x86_64-unknown-linux-musl
    # ring's C code is compiled with any C compiler; it needs nothing of a C library.
    export CC_x86_64_unknown_linux_musl="${CC_x86_64_unknown_linux_musl:-cc}"
    cargo build --quiet --package prejoin-agent --no-default-features --bin prejoin-agent --profile agent --target "$target"
    agent="${CARGO_TARGET_DIR:-target}/$target/agent/prejoin-agent"
  fi
  user=()
  ((EUID == 0)) || user=(--user --map-root-user)
  PREJOIN_BENCH_INSIDE=1 exec unshare "${user[@]}" --net -- "$BASH" tests/bench/probes.sh "$(realpath "$agent")"
fi

agent="$1"
rounds="${ROUNDS:-5}"
unlimited=4294967295
udp_probes=8 udp_samples=10000
icmp_hosts=254 icmp_samples=40
tcp_ports=65535 tcp_request=12000
timeout_millis=1000
key=$(printf '0%.0s' {1..64})
directory=$(mktemp -d)
children=()
end() {
  # Agents end with their input; what holds a namespace has none.
  ((${#children[@]} == 0)) || kill "${children[@]}" 2>/dev/null || true
  rm -r "$directory"
}
trap end EXIT
die() { printf 'probes.sh: %s\n' "$*" >&2; exit 1; }
has() { type -P "$1" >/dev/null; }
ip link set lo up

# Sessions: `start NAME [COMMAND...]` begins one, `finish NAME` ends it. All that was said is then in a file; what is said of single probes
# is not waited for.
declare -A inputs outputs pipelines
start() {
  local name=$1 input output
  shift
  rm -f "$directory/$name".*
  mkfifo "$directory/$name.in" "$directory/$name.out"
  "$@" "$agent" session --max-rate "$unlimited" --allow-target 127.0.0.0/8 --allow-target 192.0.2.0/24 <"$directory/$name.in" |
    tee "$directory/$name.said" | { grep --line-buffered -v '^{"id":[0-9]*,"probed"' || true; } >"$directory/$name.out" &
  pipelines[$name]=$!
  exec {input}>"$directory/$name.in" {output}<"$directory/$name.out"
  inputs[$name]=$input outputs[$name]=$output
  say "$name" "{\"id\":1,\"open\":{\"versions\":[2],\"audit\":\"${key:0:32}\",\"key\":\"$key\",\"node\":\"$name\",\"deadline_seconds\":300}}"
  hear "$name" opened
}
say() { printf '%s\n' "$2" >&"${inputs[$1]}"; }
hear() {
  local line
  while IFS= read -r -t 300 line <&"${outputs[$1]}"; do
    [[ $line != *'"failed":'* ]] || die "$1: $line"
    [[ $line != *"\"$2\":"* ]] || return 0
  done
  die "$1 ended before it said $2"
}
finish() {
  local input=${inputs[$1]} output=${outputs[$1]}
  say "$1" '{"id":99,"close":{}}'
  hear "$1" closed
  exec {input}>&- {output}<&-
  wait "${pipelines[$1]}"
}
listen() {
  say "$1" "{\"id\":2,\"listen\":{\"listeners\":[{\"id\":0,\"address\":\"$2\",\"service\":{\"udp\":18472},\"answer_rate\":$unlimited}]}}"
  hear "$1" listening
}
# `request FIRST LAST SAMPLES PROBE`: a line that asks for the probes of these numbers without a cap; # in PROBE stands for the number.
request() {
  seq "$1" "$2" | awk -v probe="$4" -v samples="$3" -v rate="$unlimited" -v timeout="$timeout_millis" '
    NR == 1 { printf "{\"id\":%d,\"probe\":{\"probes\":[", $1 + 100 }
    { one = probe; gsub("#", $1, one); printf "%s%s", (NR > 1 ? "," : ""), one }
    END { printf "],\"rate\":%s,\"target_rate\":%s,\"timeout_millis\":%d,\"samples\":%d}}", rate, rate, timeout, samples }'
}
# `sum NAME FIELD`: over all probes of a session.
sum() { { grep -oE "\"$2\":[0-9]+" "$directory/$1.said" || true; } | awk -F: '{ n += $2 } END { print n + 0 }'; }
count() { { grep -oF "$2" "$directory/$1.said" || true; } | wc -l; }

now() { printf '%s' "${EPOCHREALTIME/./}"; }
# `rate COUNT BEGUN ENDED`: so many in a second, between two moments in microseconds.
rate() { awk -v n="$1" -v begun="$2" -v ended="$3" 'BEGIN { printf "%d\n", n * 1000000 / (ended - begun) }'; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# `show WHAT FILE`: median, least and most of the numbers in a file.
show() { sort -n "$2" | awk -v what="$1" '{ v[NR] = $1 } END { printf "  %-34s %7d a second  (%d to %d)\n", what, v[int((NR + 1) / 2)], v[1], v[NR] }'; }
ratio() { awk -v ours="$(median "$1")" -v theirs="$(median "$2")" -v name="$3" 'BEGIN { printf "  prejoin-agent : %s = %.2f\n", name, ours / theirs }'; }
load() { cut -d' ' -f1-3 /proc/loadavg; }

printf 'prejoin-agent %s bytes, %s cores, load %s; medians of %s rounds (least to most)\n' "$(stat -c %s "$agent")" "$(nproc)" "$(load)" "$rounds"

udp() {
  local lost=0 line begun ended
  line=$(request 1 "$udp_probes" "$udp_samples" '{"id":#,"address":"127.0.0.1","kind":{"udp":{"port":18472}},"listening":"bound"}')
  for ((round = 0; round < rounds; round++)); do
    start answers
    listen answers 127.0.0.1
    start asks
    begun=$(now)
    say asks "$line"
    hear asks "done"
    ended=$(now)
    finish asks
    finish answers
    rate "$(sum asks answered)" "$begun" "$ended" >>"$directory/udp"
    lost=$((lost + $(sum asks sent) - $(sum asks answered)))
  done
  printf '\nUDP nonces proven, one pair of agents, %s x %s (at least 30000 a second)\n' "$udp_probes" "$udp_samples"
  show prejoin-agent "$directory/udp"
  printf '  unanswered: %s of %s\n' "$lost" $((rounds * udp_probes * udp_samples))
}

icmp() {
  local lost=0 theirs=0 line begun ended
  line=$(request 1 "$icmp_hosts" "$icmp_samples" '{"id":#,"address":"127.1.0.#","kind":"icmp"}')
  for ((round = 0; round < rounds; round++)); do
    if has fping; then
      begun=$(now)
      fping -q -i 0 -p 1 -c "$icmp_samples" -g 127.1.0.1 "127.1.0.$icmp_hosts" 2>"$directory/fping.said" || true
      ended=$(now)
      rate $((icmp_hosts * icmp_samples)) "$begun" "$ended" >>"$directory/fping"
      theirs=$((theirs + $(awk -F'[=/, ]+' '/xmt/ { for (i = 1; i <= NF; i++) if ($i == "%loss") { n += $(i + 1) - $(i + 2); break } } END { print n + 0 }' "$directory/fping.said")))
    fi
    start asks
    begun=$(now)
    say asks "$line"
    hear asks "done"
    ended=$(now)
    finish asks
    rate "$(sum asks answered)" "$begun" "$ended" >>"$directory/icmp"
    lost=$((lost + $(sum asks sent) - $(sum asks answered)))
  done
  printf '\nICMP echoes, %s targets x %s (at least 0.90 of fping without pacing, none lost)\n' "$icmp_hosts" "$icmp_samples"
  show prejoin-agent "$directory/icmp"
  if has fping; then
    show 'fping -i 0 -p 1' "$directory/fping"
    ratio "$directory/icmp" "$directory/fping" fping
  else
    printf '  fping is missing\n'
  fi
  printf '  unanswered: prejoin-agent %s, fping %s of %s each\n' "$lost" "$theirs" $((rounds * icmp_hosts * icmp_samples))
}

tcp() {
  local judged=0 begun ended requests=0 first last
  : >"$directory/tcp.requests"
  for ((first = 1; first <= tcp_ports; first += tcp_request)); do
    last=$((first + tcp_request - 1))
    request "$first" $((last < tcp_ports ? last : tcp_ports)) 1 '{"id":#,"address":"127.0.0.1","kind":{"tcp":{"port":#}}}' >>"$directory/tcp.requests"
    printf '\n' >>"$directory/tcp.requests"
    requests=$((requests + 1))
  done
  for ((round = 0; round < rounds; round++)); do
    if has nmap; then
      begun=$(now)
      nmap -sT -n -Pn -p "1-$tcp_ports" 127.0.0.1 >"$directory/nmap.said"
      ended=$(now)
      rate "$tcp_ports" "$begun" "$ended" >>"$directory/nmap"
    fi
    start asks
    begun=$(now)
    cat "$directory/tcp.requests" >&"${inputs[asks]}"
    for ((request = 0; request < requests; request++)); do hear asks "done"; done
    ended=$(now)
    finish asks
    rate "$tcp_ports" "$begun" "$ended" >>"$directory/tcp"
    judged=$((judged + $(count asks '"kind":"refused"') + $(count asks '"connected":true')))
  done
  printf '\nTCP ports, all of one host, closed (at least what nmap does)\n'
  show prejoin-agent "$directory/tcp"
  if has nmap; then
    show 'nmap -sT -n -Pn' "$directory/nmap"
    ratio "$directory/tcp" "$directory/nmap" nmap
  else
    printf '  nmap is missing\n'
  fi
  printf '  neither refused nor connected: %s of %s\n' $((rounds * tcp_ports - judged)) $((rounds * tcp_ports))
}

# A link whose far end drops what is too long for it and says nothing: a veth end takes its MTU and 4 bytes, those of a VLAN tag.
path_mtu() {
  local far begun ended found mtu
  unshare --net sleep infinity &
  far=$!
  children+=("$far")
  until [[ $(readlink "/proc/$far/ns/net") != $(readlink /proc/self/ns/net) ]]; do :; done
  ip link add near mtu 9000 type veth peer name far netns "$far"
  ip address add 192.0.2.1/24 dev near
  ip link set near up
  nsenter --net="/proc/$far/ns/net" ip address add 192.0.2.2/24 dev far
  printf '\nPath MTU through a black hole, between 1280 and 9000 (exact within two timeouts of %s ms)\n' "$timeout_millis"
  for mtu in 1296 1446 4321 8995; do
    nsenter --net="/proc/$far/ns/net" ip link set far mtu "$mtu" up
    start answers nsenter --net="/proc/$far/ns/net"
    listen answers 192.0.2.2
    start asks
    begun=$(now)
    say asks "$(request 1 1 10 '{"id":#,"address":"192.0.2.2","kind":{"path_mtu":{"port":18472,"floor":1280,"ceiling":9000}},"listening":"bound"}')"
    hear asks "done"
    ended=$(now)
    finish asks
    finish answers
    found=$(sum asks largest_confirmed)
    printf '  path of %s bytes: prejoin-agent found %s in %s ms with %s datagrams: %s\n' $((mtu + 4)) "$found" $(((ended - begun) / 1000)) \
      "$(grep -oE '"path_mtu":\{[^}]*"sent":[0-9]+' "$directory/asks.said" | grep -oE '[0-9]+$')" \
      "$( ((found == mtu + 4 && ended - begun <= 2000 * timeout_millis)) && echo reached || echo MISSED)"
  done
  if has tracepath; then
    begun=$(now)
    timeout 60 tracepath -n -m 3 192.0.2.2 >"$directory/tracepath.said" || true
    ended=$(now)
    printf '  path of %s bytes: tracepath said after %s ms: %s\n' $((mtu + 4)) $(((ended - begun) / 1000)) "$(tail -1 "$directory/tracepath.said" | xargs)"
  else
    printf '  tracepath is missing\n'
  fi
}

for benchmark in ${BENCHMARKS:-udp icmp tcp path_mtu}; do "$benchmark"; done
printf '\nload %s\n' "$(load)"
