#!/usr/bin/env bash
# The proof of "works on a fresh Debian 12": a bare root with nothing in it but Debian's smallest base and make, the last
# commit cloned into it, and make run in there.
#
#   scripts/bare-root.sh [--root DIR] [--again] [TARGET...]       default: setup build demo
#
#   --root DIR   where the base and the root are kept (default: a folder of the user's cache); nothing else may be in it
#   --again      go on in the root of the last run, with what is installed and compiled in it; the clone is fresh anyway
#
# From this machine it takes the Rust toolchain (read-only), what apt, cargo and npm need to reach their registries
# (certificates, proxies, mirrors), and the network. No cache of any of them. It needs root, debootstrap, and a kernel that
# gives root a mount and a pid namespace; with these namespaces end every process and every mount of the run, however it
# ends. The root is a root and not a chroot, because in a chroot the kernel refuses the user namespaces of Chrome's sandbox.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
repository=$(dirname "$(dirname "$self")")
suite=bookworm
limit=${HYPERFARM_BARE_ROOT_SECONDS:-7200}

say() { printf 'bare-root: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- inside the namespaces -------------------------------------------------------------------------------------------

# Sees the machine's files still; makes the root the root and starts what runs in it.
enter() {
    local root=$1 toolchains=$2 node
    shift 2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --make-rslave "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
    done
    mknod -m 666 "$root/dev/tty" c 5 0
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$root/run/lock"
    mkdir -p "$root$toolchains"
    mount --bind "$toolchains" "$root$toolchains"
    mount -o remount,bind,ro "$root$toolchains"

    mkdir -p "$root/.machine"
    cd "$root"
    pivot_root . .machine
    cd /
    umount -l /.machine
    rmdir /.machine
    exec /usr/bin/env -i /bin/bash /opt/bare-root/run "$@"
}

if [[ ${1:-} == enter ]]; then
    shift
    enter "$@"
fi

# --- arguments -------------------------------------------------------------------------------------------------------

dir=${XDG_CACHE_HOME:-${HOME:?}/.cache}/hyperfarm-bare-root
again=''
targets=()
while (($# > 0)); do
    case $1 in
        --root) dir=${2:?--root DIR}; shift 2 ;;
        --again) again=1; shift ;;
        -*) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$self" >&2; exit 2 ;;
        *) targets+=("$1"); shift ;;
    esac
done
((${#targets[@]} > 0)) || targets=(setup build demo)

((EUID == 0)) || fail "needs root"
command -v debootstrap >/dev/null || fail "there is no debootstrap: apt-get install debootstrap"
command -v rustup >/dev/null || fail "there is no rustup to lend its toolchain"
toolchains=$(cd "$repository" && rustup show home)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$dir"
dir=$(readlink -f "$dir")
base=$dir/base root=$dir/root
exec 9>"$dir/lock"
flock -n 9 || fail "$dir is in use"

# --- the base --------------------------------------------------------------------------------------------------------

# What apt on this machine calls Debian's archives, mirrors included; nothing where it has no such lists.
archives() {
    apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' 2>/dev/null |
        grep -E " $suite(-security|-updates)? main\$" | sort -u || true
}

if [[ ! -d $base ]]; then
    say "making the base ($suite, minbase)"
    rm -rf "$dir/base.partial"
    mirror=$(archives | awk -v suite="$suite" '$3 == suite { print $2; exit }')
    # shellcheck disable=SC2086  # no mirror is no argument: debootstrap has a default
    debootstrap --variant=minbase "$suite" "$dir/base.partial" $mirror >"$dir/debootstrap.log" 2>&1 ||
        { tail -n 20 "$dir/debootstrap.log" >&2; fail "debootstrap failed"; }
    mv "$dir/base.partial" "$base"
fi

# --- the root --------------------------------------------------------------------------------------------------------

clone=/root/hyperfarm
kept=$dir/target.kept
rm -rf "$kept"
if [[ -n $again && -d $root ]]; then
    # Cargo finds its work by path and time, so that the dependencies stay built and the workspace is built again.
    [[ ! -d $root$clone/target ]] || mv "$root$clone/target" "$kept"
    rm -rf "${root:?}$clone"
else
    rm -rf "$root"
    cp -a "$base" "$root"
fi
git clone -q --no-local --depth 1 "file://$repository" "$root$clone"
[[ ! -d $kept ]] || mv "$kept" "$root$clone/target"
say "$(git -C "$root$clone" log -1 --format='commit %h, %s')"

given=$root/opt/bare-root
rm -rf "$given"
mkdir -p "$given/files" "$root/root/.cargo/bin"
cp -aL "$cargo_home/bin/rustup" "$root/root/.cargo/bin/"
for name in cargo rustc rustfmt cargo-fmt cargo-clippy clippy-driver rustdoc; do
    ln -sf rustup "$root/root/.cargo/bin/$name"
done
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
[[ -z $(archives) ]] || archives >"$root/etc/apt/sources.list"
apt-config dump | grep -E '^Acquire::(http|https|Check-[A-Za-z-]+|Retries)[: ]' >"$root/etc/apt/apt.conf.d/99machine" || true
[[ ! -f $cargo_home/config.toml ]] || cp "$cargo_home/config.toml" "$root/root/.cargo/"
[[ ! -f ${HOME:?}/.npmrc ]] ||
    grep -E '^(registry|cafile|proxy|https-proxy|noproxy|strict-ssl)[ =]' "$HOME/.npmrc" >"$root/root/.npmrc" || true

# Settings of the network. A file that one names goes along under another name, because the packages that are installed in
# the root write theirs to where the machine's is.
settings() {
    local name value number=0
    while IFS= read -r name; do
        value=${!name}
        case ${name,,} in
            *auth* | *token* | *password* | *secret*) continue ;;
            http_proxy | https_proxy | all_proxy | no_proxy | npm_config_*) ;;
            cargo_http_* | cargo_net_* | cargo_source_* | cargo_registries_*_index) ;;
            ssl_cert_* | node_extra_ca_certs | curl_ca_bundle) ;;
            *) continue ;;
        esac
        if [[ $value == /* && -e $value ]]; then
            number=$((number + 1))
            cp -RL "$value" "$given/files/$number"
            value=/opt/bare-root/files/$number
        fi
        printf 'export %s=%q\n' "$name" "$value"
    done < <(compgen -e)
}
settings >"$given/settings"

cat >"$given/run" <<RUN
set -euo pipefail
export HOME=/root USER=root LANG=C.UTF-8 TERM=dumb
export PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export RUSTUP_HOME=$(printf %q "$toolchains") RUSTUP_AUTO_INSTALL=0
source /opt/bare-root/settings
if ! command -v make >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends make >/dev/null
fi
cd $clone
for target in "\$@"; do
    started=\$SECONDS
    make "\$target" </dev/null || { status=\$?; echo "bare-root: make \$target failed after \$((SECONDS - started)) s"; exit "\$status"; }
    echo "bare-root: make \$target took \$((SECONDS - started)) s"
done
RUN

# The end of unshare ends the first process of the pid namespace, and that everything in it.
timeout --foreground --kill-after=10 "$limit" \
    unshare --mount --propagation private --pid --fork --kill-child -- \
    "$self" enter "$root" "$toolchains" "${targets[@]}"
