#!/usr/bin/env bash
# Size of the node agent and what it keeps in memory, idle and probing. `agent/tests/size.sh [TARGET]`, by default static with musl.
set -euo pipefail
cd "$(dirname "$0")/../.."

target="${1:-x86_64-unknown-linux-musl}"
most_bytes=$((3 * 1000 * 1000))
most_idle_kb=3000
most_probing_kb=8000
probes_sent="${PROBES:-300}"

# ring's C code is compiled with any C compiler; it needs nothing of a C library.
export CC_x86_64_unknown_linux_musl="${CC_x86_64_unknown_linux_musl:-cc}"
cargo build --quiet --package prejoin-agent --no-default-features --bin prejoin-agent --profile agent --target "$target"
agent="${CARGO_TARGET_DIR:-target}/$target/agent/prejoin-agent"

resident_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }
highest_kb() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }
woken() { awk '/ctxt_switches/ { sum += $2 } END { print sum }' "/proc/$1/status"; }

bytes=$(stat -c %s "$agent")

"$agent" wait &
waiting=$!
trap 'kill "$waiting" 2>/dev/null || true' EXIT
sleep 1
before=$(woken "$waiting")
sleep 3
idle_kb=$(resident_kb "$waiting")
wake_ups=$(($(woken "$waiting") - before))

# UDP probes of 10 datagrams each, to itself: so many as a large audit asks of one agent. Answered by its own listener, or by nobody, when all
# of them last a timeout and two thirds.
key=$(printf '0%.0s' {1..64})
say() { printf '%s\n' "$1" >&"${session[1]}"; }
hear() { local line; while IFS= read -r line <&"${session[0]}"; do [[ $line == *"\"$1\""* ]] && return; done; return 1; }
# `probing PORT LISTENING`: the most that a session keeps in memory.
probing() {
  local comma='' probes session_process
  coproc session { exec "$agent" session --allow-target 127.0.0.0/8; }
  session_process=$session_PID
  say "{\"id\":1,\"open\":{\"versions\":[2],\"audit\":\"${key:0:32}\",\"key\":\"$key\",\"node\":\"n\",\"deadline_seconds\":60}}"
  hear opened
  say '{"id":2,"listen":{"listeners":[{"id":0,"address":"127.0.0.1","service":{"udp":18472},"answer_rate":100000}]}}'
  hear listening
  probes=$(for id in $(seq "$probes_sent"); do printf '%s{"id":%s,"address":"127.0.0.1","kind":{"udp":{"port":%s}}%s}' "$comma" "$id" "$1" "$2"; comma=,; done)
  say "{\"id\":3,\"probe\":{\"probes\":[$probes],\"rate\":100000,\"target_rate\":100000,\"timeout_millis\":1000,\"samples\":10}}"
  hear "done"
  highest=$(highest_kb "$session_process")
  say '{"id":4,"close":{}}'
  wait "$session_process"
}
probing 18472 ',"listening":"bound"'
probing_kb=$highest
probing 18473 ''
unanswered_kb=$highest

printf 'prejoin-agent, %s\n  size     %9d bytes (at most %d)\n  waiting  %9d KiB resident (at most %d), woken %d times in 3 s\n  probing  %9d KiB resident at the highest, %d where nobody answers (at most %d)\n' \
  "$target" "$bytes" "$most_bytes" "$idle_kb" "$most_idle_kb" "$wake_ups" "$probing_kb" "$unanswered_kb" "$most_probing_kb"
((bytes <= most_bytes && idle_kb <= most_idle_kb && probing_kb <= most_probing_kb && unanswered_kb <= most_probing_kb && wake_ups == 0))
