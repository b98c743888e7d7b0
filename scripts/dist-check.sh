#!/usr/bin/env bash
# Installs what scripts/dist.sh made in bare Debian 12 roots, renders an example there, and removes it again (root only).
#
#   scripts/dist-check.sh [--root DIR] [PART...]      default: deb archive images, of which those are checked that are in out/dist
#
# The base and the roots are kept where scripts/bare-root.sh keeps its own. Each step says how many seconds it took.
set -euo pipefail

repository=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
out=$repository/out/dist
dir=${XDG_CACHE_HOME:-${HOME:?}/.cache}/hyperfarm-bare-root
say() { printf 'dist-check: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

parts=()
while (($# > 0)); do
    case $1 in
        --root) dir=${2:?--root DIR}; shift 2 ;;
        deb | archive | images) parts+=("$1"); shift ;;
        *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
done
((${#parts[@]} > 0)) || parts=(deb archive images)
((EUID == 0)) || fail "needs root"
"$repository/deploy/images/check" --root "$dir" --base

# Runs a command in a root; `run` in place of `make` is as a container would be.
inside() { timeout --foreground --kill-after=10 900 unshare --mount --propagation private --pid --fork --kill-child -- \
    "$repository/deploy/images/check" enter "$@"; }

root=''
prepare() {
    root=$dir/dist-$1
    rm -rf "$root"
    "$repository/deploy/images/check" --root "$dir" --copy "$root"
    # What is rendered: an example with videos and sound, and the script that looks at the result.
    mkdir -p "$root/opt/source/examples" "$root/opt/source/scripts"
    cp -a "$repository/examples/video-duck" "$root/opt/source/examples/"
    cp -a "$repository/scripts/demo.sh" "$root/opt/source/scripts/"
    shell 'apt-get update -q'
}
shell() { inside "$root" make /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive /bin/bash -euo pipefail -c "$1" >"$dir/dist.log" 2>&1 || { tail -n 40 "$dir/dist.log" >&2; fail "failed: $1"; }; }
timed() {
    local started=$EPOCHREALTIME what=$1
    shift
    "$@"
    say "$(awk -v what="$what" -v from="$started" -v to="$EPOCHREALTIME" 'BEGIN { printf "%s: %.1f s", what, to - from }')"
}
# The blocks of docs/installing.md that are marked with a word, as they are printed there.
printed() { sed -n "/^\`\`\`sh $1\$/,/^\`\`\`\$/{/^\`\`\`/!p}" "$repository/docs/installing.md"; }
is_video() { grep -q ftyp <(head -c 64 "$root/root/hello.mp4") && (($(stat -c %s "$root/root/hello.mp4") > 10000)) || fail "hello.mp4 is no video"; }
rendered() { grep -E 'frames|video is' "$dir/dist.log" >&2; }

# Files of a root, without what apt and dpkg keep for themselves, and without what the check put there.
files() { (cd "$root" && find . -xdev \( -path ./opt/source -o -path ./proc -o -path ./sys -o -path ./dev -o -path ./tmp -o -path ./var/lib/apt \
    -o -path ./var/cache -o -path ./var/log -o -path ./var/lib/dpkg \) -prune -o -print | sort); }

check_deb() {
    local package=("$out"/hyperfarm_*_"$(dpkg --print-architecture)".deb)
    [[ -f ${package[0]} ]] || fail "there is no package in $out: make dist"
    prepare deb
    cp "${package[0]}" "$root/opt/hyperfarm.deb"
    timed "deb: download of what it depends on" shell 'apt-get install -y -q --download-only /opt/hyperfarm.deb'
    # What it depends on comes first, so that what is left after a removal is the package's.
    timed "deb: installation of what it depends on" shell \
        'apt-get install -y -q $(apt-get install -s /opt/hyperfarm.deb | sed -n "s/^Inst \([^ ]*\) .*/\1/p" | grep -v "^hyperfarm$")'
    files >"$dir/dist.before"
    mv "$root/opt/hyperfarm.deb" "$root/root/${package[0]##*/}"
    timed "deb: installation to the first video, as docs/installing.md prints it" shell "cd /root; $(printed deb)"
    is_video
    timed "deb: doctor" shell 'cd /root; hyperfarm doctor'
    timed "deb: video with sound" shell 'HYPERFARM=/usr/bin/hyperfarm /opt/source/scripts/demo.sh'
    rendered
    shell '[[ -s /usr/share/man/man1/hyperfarm-render.1.gz ]]
        [[ -s /usr/share/zsh/vendor-completions/_hyperfarm && -s /usr/share/fish/vendor_completions.d/hyperfarm.fish ]]
        bash -c "source /usr/share/bash-completion/completions/hyperfarm; COMP_WORDS=(hyperfarm renders ca); COMP_CWORD=2; _hyperfarm hyperfarm ca renders; [[ \${COMPREPLY[*]} == cancel ]]"
        [[ $(stat -c "%a %U" /etc/hyperfarm/hyperfarm.env) == "600 root" ]]
        getent passwd hyperfarm'
    # What it depends on is the machine's by now: nothing else is removed with it.
    timed "deb: removal" shell "$(printed deb-removal)"
    local left
    left=$(comm -13 "$dir/dist.before" <(files) | grep -vE '^\./(root/|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|etc/\.pwd\.lock$|var/lib/hyperfarm)' || true)
    [[ -z $left ]] || fail "a removal leaves: $left"
    say "deb: nothing is left but the user hyperfarm and data"
}

check_archive() {
    local archive=("$out"/hyperfarm-*-linux-"$(dpkg --print-architecture)".tar.zst)
    [[ -f ${archive[0]} ]] || fail "there is no archive in $out: make dist"
    prepare archive
    timed "archive: Chrome and zstd, with their download" shell "$(printed archive | head -n 1)"
    files >"$dir/dist.before"
    cp "${archive[0]}" "$root/root/"
    timed "archive: unpacking to the first video, as docs/installing.md prints it" shell "cd /root; $(printed archive | tail -n +2)"
    is_video
    # It may lie anywhere, and brings its own FFmpeg.
    shell 'cp -a /opt/hyperfarm "/srv/a b"; ! ldd "/srv/a b/bin/hyperfarm" | grep -E "not found|=> /(usr/)?lib/.*libav"'
    timed "archive: doctor" shell 'cd /root; hyperfarm doctor'
    timed "archive: video with sound" shell 'HYPERFARM="/srv/a b/bin/hyperfarm" /opt/source/scripts/demo.sh; rm -r "/srv/a b"'
    rendered
    shell "$(printed archive-removal)"
    local left
    left=$(comm -13 "$dir/dist.before" <(files) | grep -vE '^\./(root/|var/lib/hyperfarm)' || true)
    [[ -z $left ]] || fail "a removal leaves: $left"
    say "archive: nothing is left but data"
}

check_images() {
    local name archive bundle
    for name in hyperfarm hyperfarm-worker; do
        archive=$(find "$out" -regex ".*/$name-[0-9][^/]*\.oci\.tar")
        [[ -n $archive ]] || fail "there is no image of $name in $out: make dist"
        bundle=$dir/dist-$name
        rm -rf "$bundle" "$bundle.layout"
        skopeo copy --quiet "oci-archive:$archive" "oci:$bundle.layout:checked"
        [[ $(skopeo inspect --config --format '{{ .Config.User }} {{ .Config.Entrypoint }}' "oci:$bundle.layout:checked") == \
            '10001:10001 [/usr/bin/tini -- hyperfarm]' ]] || fail "$name: user or entrypoint is wrong"
        timed "images: unpacking $name" umoci unpack --image "$bundle.layout:checked" "$bundle" >/dev/null
        if [[ $name == hyperfarm ]]; then
            inside "$bundle/rootfs" run tini -- hyperfarm --version
        else
            inside "$bundle/rootfs" run tini -- hyperfarm doctor >/dev/null
        fi
        rm -rf "$bundle" "$bundle.layout"
        say "images: $name runs as user 10001 in a root that cannot be written"
    done
}

(cd "$out" && sha256sum --quiet -c SHA256SUMS) || fail "the checksums are not those of the files"
for part in "${parts[@]}"; do
    "check_$part"
    [[ $part == images ]] || rm -rf "$dir/dist-$part"
done
say "good"
