#!/usr/bin/env bash
# Runs every fuzz target, or those named, for FUZZ_SECONDS (60) each; ends at the first that finds something.
set -euo pipefail
cd "$(dirname "$0")"

targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
  mapfile -t targets < <(cargo +nightly fuzz list)
fi
for target in "${targets[@]}"; do
  printf '\n== %s\n' "$target"
  # What is found goes to the first folder; the seeds stay as they are.
  mkdir -p "corpus/$target"
  cargo +nightly fuzz run "$target" "corpus/$target" "seeds/$target" -- \
    -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1
done
