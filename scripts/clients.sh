#!/usr/bin/env bash
# Makes client packages of the HTTP API from docs/openapi.json, and builds them. Needs scripts/setup.sh --test.
#
#   scripts/clients.sh FOLDER
#
# FOLDER/python gets the source and a wheel, FOLDER/typescript the source and an npm package.
set -euo pipefail

[[ $# == 1 ]] || { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
repository=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
mkdir -p "$1"
out=$(readlink -f "$1")
tools=$repository/e2e/clients
document=$repository/docs/openapi.json
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -n 1)
export PATH="$tools/.venv/bin:$tools/node_modules/.bin:$PATH"

rm -rf "$out/python" "$out/typescript"
printf 'project_name_override: hyperfarm-client\npackage_name_override: hyperfarm_client\n' >"$out/python.yaml"
openapi-python-client generate --path "$document" --meta setup --config "$out/python.yaml" \
    --output-path "$out/python" >&2
rm "$out/python.yaml"
(
    cd "$out/python"
    pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir dist . >&2
    rm -r build ./*.egg-info
)

openapi-ts --input "$document" --output "$out/typescript/src" >&2
cat >"$out/typescript/package.json" <<END
{
  "name": "hyperfarm-client",
  "version": "$version",
  "license": "Apache-2.0",
  "main": "dist/index.js",
  "types": "dist/index.d.ts",
  "files": ["dist"]
}
END
(
    cd "$out/typescript"
    tsc --target es2022 --module commonjs --moduleResolution node10 --lib es2022,dom,dom.iterable --strict \
        --declaration --rootDir src --outDir dist src/index.ts src/client/index.ts >&2
    npm pack --silent >&2
)
