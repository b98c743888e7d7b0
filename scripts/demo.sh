#!/usr/bin/env bash
# Renders an example, says what came out, and fails if that is not what the example is.
#
#   HYPERFARM=target/release/hyperfarm scripts/demo.sh
set -euo pipefail

cd "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")"
hyperfarm=${HYPERFARM:-target/release/hyperfarm}
# Two cuts of a video, and music under two voices: eight seconds that use most of what the farm does.
example=examples/video-duck
seconds=8 fps=30 width=1920 height=1080
output=out/demo.mp4

fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

mkdir -p out
rm -f "$output"
printf 'Rendering %s (%d s of %dx%d at %d fps) to %s\n' "$example" "$seconds" "$width" "$height" "$fps" "$output"
result=$("$hyperfarm" render "$example" -o "$output" --json)

# The members asked for are numbers, booleans and plain strings; a machine with nothing but Debian's base has no JSON tool.
# The white space goes first, so that it does not matter how the result is laid out.
member() { tr -d ' \n' <<<"$result" | grep -oE "\"$1\":(\"[^\"]*\"|[^,}\"]*)" | head -n 1 | sed 's/^[^:]*://; s/"//g'; }

is() {
    local found
    found=$(member "$1") || fail "the result has no $1: $result"
    [[ $found == "$2" ]] || fail "$1 is $found, and should be $2"
}
is frames $((seconds * fps))
is fps "$fps"
is width "$width"
is height "$height"
is has_audio true
is bytes "$(stat -c %s "$output")"
awk -v found="$(member duration)" -v wanted="$seconds" 'BEGIN { exit !(found == wanted) }' ||
    fail "it lasts $(member duration) s, and should last $seconds"

printf '\nThe video is at %s\n' "$PWD/$output"
printf '  %s frames = %d s x %d fps, %sx%s, with sound, %s bytes\n' \
    "$(member frames)" "$seconds" "$fps" "$(member width)" "$(member height)" "$(member bytes)"
printf '  %.1f frames a second\n' "$(member frames_per_second)"
