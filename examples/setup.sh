#!/bin/sh
# Puts the third-party browser code that the examples load beside them.
#
#   examples/setup.sh NODE_MODULES
#
# NODE_MODULES is an npm folder that holds `gsap`. Safe to run again: files
# that are already the same are left alone.
set -eu

if [ $# -ne 1 ]; then
  echo "usage: $0 NODE_MODULES" >&2
  exit 2
fi

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
gsap=$1/gsap/dist/gsap.min.js

if [ ! -f "$gsap" ]; then
  echo "$0: no gsap in $1 (looked for $gsap)" >&2
  exit 1
fi

# An example asks for the library by loading it, so the pages are the list.
for page in "$here"/*/index.html; do
  grep -q 'src="lib/gsap\.min\.js"' "$page" || continue
  dir=$(dirname -- "$page")/lib
  mkdir -p "$dir"
  if ! cmp -s "$gsap" "$dir/gsap.min.js"; then
    # By way of a temporary name, so that nobody ever loads half a file.
    cp "$gsap" "$dir/gsap.min.js.$$"
    mv "$dir/gsap.min.js.$$" "$dir/gsap.min.js"
  fi
done
