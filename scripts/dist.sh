#!/usr/bin/env bash
# Makes what is published of a version, in out/dist: packages, images, SBOM and checksums.
#
#   HYPERFARM=target/dist/hyperfarm scripts/dist.sh [PART...]     default: deb archive chart sbom images checksums
#
#   deb        hyperfarm_VERSION_ARCH.deb, for Debian 12
#   archive    hyperfarm-VERSION-linux-ARCH.tar.zst: the binary with FFmpeg's libraries, to be unpacked anywhere
#   chart      hyperfarm-VERSION.tgz, the Helm chart
#   sbom       sbom-rust.cdx.json, sbom-npm.cdx.json (CycloneDX)
#   images     hyperfarm-VERSION-ARCH.oci.tar, hyperfarm-worker-VERSION-ARCH.oci.tar, without a container engine (root only)
#   checksums  SHA256SUMS
#
# It runs on the Debian that it makes packages for, because their dependencies are those of the libraries it finds. Nothing is
# compiled here but cargo-cyclonedx, once. Times in the packages are those of the last commit, so that they can be made again.
set -euo pipefail

repository=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
cd "$repository"
program=$(readlink -f "${HYPERFARM:-target/dist/hyperfarm}")
out=$repository/out/dist
cyclonedx_version=0.5.9

say() { printf 'dist: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
need() {
    local name missing=()
    for name in "$@"; do command -v "${name%:*}" >/dev/null || missing+=("${name#*:}"); done
    ((${#missing[@]} == 0)) || fail "missing commands; install Debian's ${missing[*]}"
}

[[ -x $program ]] || fail "$program is missing: make dist-binary"
version=$("$program" --version | awk '{ print $2 }')
need dpkg:dpkg
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# Man pages and completions: the same for every package.
commands() {
    [[ ! -d $work/commands ]] || return 0
    "$program" man "$work/commands/man1"
    local shell
    for shell in bash zsh fish; do "$program" completions "$shell" >"$work/commands/hyperfarm.$shell"; done
}

# Completions below the share folder $1.
completions() {
    install -D -m 0644 "$work/commands/hyperfarm.bash" "$1/bash-completion/completions/hyperfarm"
    install -D -m 0644 "$work/commands/hyperfarm.zsh" "$1/zsh/vendor-completions/_hyperfarm"
    install -D -m 0644 "$work/commands/hyperfarm.fish" "$1/fish/vendor_completions.d/hyperfarm.fish"
}

# Examples that need no library from elsewhere.
examples() {
    mkdir -p "$1"
    cp -a examples/css-only examples/line-drawing "$1/"
}

# --- the Debian package ----------------------------------------------------------------------------------------------

build_deb() {
    need dpkg-shlibdeps:dpkg-dev strip:binutils gzip:gzip
    commands
    local root=$work/deb doc size
    doc=$root/usr/share/doc/hyperfarm
    install -D -s -m 0755 "$program" "$root/usr/bin/hyperfarm"
    install -d "$root/lib/systemd/system" "$root/usr/share/man/man1" "$doc/examples" "$root/DEBIAN"
    local unit page
    for unit in deploy/systemd/*.service; do
        sed 's|/usr/local/bin/|/usr/bin/|' "$unit" >"$root/lib/systemd/system/${unit##*/}"
    done
    install -D -m 0644 deploy/package/sysusers.conf "$root/usr/lib/sysusers.d/hyperfarm.conf"
    install -D -m 0600 deploy/systemd/hyperfarm.env.example "$root/etc/hyperfarm/hyperfarm.env"
    completions "$root/usr/share"
    for page in "$work"/commands/man1/*; do gzip -9n <"$page" >"$root/usr/share/man/man1/${page##*/}.gz"; done
    install -m 0644 deploy/package/copyright "$doc/copyright"
    cp -a deploy/systemd/examples "$doc/systemd"
    examples "$doc/examples"
    printf 'hyperfarm (%s) bookworm; urgency=medium\n\n  * See %s.\n\n -- hyperfarm <hyperfarm@localhost>  %s\n' \
        "$version" https://github.com/hyperfarm/hyperfarm/releases "$(date -uRd "@$SOURCE_DATE_EPOCH")" |
        gzip -9n >"$doc/changelog.gz"

    # dpkg-shlibdeps reads a source package's control file.
    mkdir -p "$work/source/debian"
    printf 'Source: hyperfarm\n\nPackage: hyperfarm\nArchitecture: %s\n' "$arch" >"$work/source/debian/control"
    local libraries
    libraries=$(cd "$work/source" && dpkg-shlibdeps -O -e"$root/usr/bin/hyperfarm" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
    grep -q libavcodec <<<"$libraries" || fail "dpkg-shlibdeps does not find FFmpeg's libraries: $libraries"
    size=$(du -sk --apparent-size "$root" | cut -f1)
    cat >"$root/DEBIAN/control" <<CONTROL
Package: hyperfarm
Version: $version
Architecture: $arch
Maintainer: hyperfarm <hyperfarm@localhost>
Installed-Size: $size
Depends: $libraries, chromium-headless-shell, ca-certificates, util-linux, passwd
Recommends: fonts-dejavu-core, fonts-liberation, fonts-noto-color-emoji
Suggests: espeak-ng, fonts-noto-cjk, rabbitmq-server, redis-server
Section: video
Priority: optional
Homepage: https://github.com/hyperfarm/hyperfarm
Description: render farm for HyperFrames compositions
 Renders compositions (HTML) to video: on this machine, or on a farm of many.
 The package has the command, units of systemd for coordinator, workers and
 stitcher (none is enabled), and their settings in /etc/hyperfarm/hyperfarm.env.
CONTROL
    echo /etc/hyperfarm/hyperfarm.env >"$root/DEBIAN/conffiles"
    install -m 0755 deploy/package/postinst deploy/package/prerm deploy/package/postrm "$root/DEBIAN/"
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    find "$root" -type d -exec chmod 0755 {} +
    dpkg-deb --root-owner-group -Zxz --build "$root" "$out/hyperfarm_${version}_$arch.deb" >/dev/null
}

# --- the archive -----------------------------------------------------------------------------------------------------

# Libraries that stay the machine's: the C and C++ run time, which its drivers are linked against too.
machines='^(ld-linux|lib(c|m|dl|rt|pthread|resolv|gcc_s|stdc\+\+))[.-]'

build_archive() {
    need patchelf:patchelf zstd:zstd
    commands
    local name=hyperfarm-$version-linux-$arch root library package
    root=$work/$name
    install -D -s -m 0755 "$program" "$root/bin/hyperfarm"
    mkdir -p "$root/lib" "$root/share/doc/libraries"
    # DT_RPATH and not LD_LIBRARY_PATH: Chrome, a child of the program, must not see these libraries.
    # shellcheck disable=SC2016  # $ORIGIN is the loader's word
    patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$root/bin/hyperfarm"
    ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | while read -r library; do
        [[ ! ${library##*/} =~ $machines ]] || continue
        cp -L "$library" "$root/lib/"
        # shellcheck disable=SC2016
        patchelf --force-rpath --set-rpath '$ORIGIN' "$root/lib/${library##*/}"
        library=$(readlink -f "$library")
        # Packages name files in /lib or /usr/lib, which are one folder.
        package=$({ dpkg-query -S "$library" || dpkg-query -S "${library#/usr}"; } 2>/dev/null | head -n 1 | cut -d: -f1)
        # shellcheck disable=SC2016  # the fields are dpkg-query's
        dpkg-query -W -f '${Package} ${Version}, source ${source:Package} ${source:Version}\n' "$package" >>"$work/libraries"
        cp -L "/usr/share/doc/$package/copyright" "$root/share/doc/libraries/$package"
    done
    { echo 'The libraries in lib/, from Debian 12; sources are at https://snapshot.debian.org.'; sort -u "$work/libraries"; } \
        >"$root/share/doc/libraries/PACKAGES"
    cp -a "$work/commands/man1" "$root/share/"
    mkdir -p "$root/share/man" "$root/share/systemd"
    mv "$root/share/man1" "$root/share/man/"
    completions "$root/share"
    cp -a deploy/systemd/. "$root/share/systemd/"
    examples "$root/share/examples"
    cp LICENSE "$root/"
    cp deploy/package/README "$root/README"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$work" -c "$name" |
        zstd -q -T0 -10 -f -o "$out/$name.tar.zst"
}

# --- the chart -------------------------------------------------------------------------------------------------------

build_chart() {
    local helm
    helm=$(helm/check --helm) || fail "there is no helm: scripts/setup.sh --ci"
    # What the chart shares with deploy/ are links, which helm follows and warns of.
    "$helm" package helm/hyperfarm --destination "$out" >"$work/helm.log" 2>&1 || { cat "$work/helm.log" >&2; return 1; }
    [[ $(tar -tzf "$out/hyperfarm-$version.tgz") == *hyperfarm/files/alerts.yml* ]] || fail "the chart has not its alerts"
}

# --- the bills of materials ------------------------------------------------------------------------------------------

build_sbom() {
    need cargo:rustup npm:npm
    local tools=${HYPERFARM_DIST_TOOLS:-$repository/target/dist-tools}
    if [[ $("$tools/bin/cargo-cyclonedx" cyclonedx --version 2>/dev/null) != *" $cyclonedx_version" ]]; then
        cargo install --quiet --locked --root "$tools" --version "$cyclonedx_version" cargo-cyclonedx
    fi
    # It writes beside the manifest; the dependencies of the binary are those of the crate `cli`.
    "$tools/bin/cargo-cyclonedx" cyclonedx --manifest-path cli/Cargo.toml --format json --spec-version 1.5 \
        --override-filename sbom.tmp --quiet
    # Without the folder that it was made in.
    sed "s|$repository|/hyperfarm|g" cli/sbom.tmp.json >"$out/sbom-rust.cdx.json"
    [[ $(<"$out/sbom-rust.cdx.json") != *"$repository"* ]] || fail "the SBOM names $repository"
    find . -name sbom.tmp.json -not -path './target/*' -not -path '*/node_modules/*' -delete
    # What the binary embeds of npm: the browser's runtime and the dashboard's libraries.
    local folder name
    for folder in worker/browser dashboard; do
        name=${folder//\//-}
        mkdir -p "$work/npm/$name"
        cp "$folder/package.json" "$folder/package-lock.json" "$work/npm/$name/"
        # npm lists no package without a version, and these are private and have none.
        (cd "$work/npm/$name" && npm version --allow-same-version --no-git-tag-version "$version" >/dev/null &&
            npm sbom --sbom-format cyclonedx --sbom-type application --package-lock-only --omit dev) >"$work/$name.json"
    done
    python3 scripts/dist-merge-sbom.py "$work/worker-browser.json" "$work/dashboard.json" >"$out/sbom-npm.cdx.json"
}

# --- the images ------------------------------------------------------------------------------------------------------

# The roots are those that deploy/images/check makes by the Dockerfile's steps, and in which it has run the binary.
build_images() {
    need umoci:umoci skopeo:skopeo debootstrap:debootstrap
    ((EUID == 0)) || fail "images need root"
    local roots=${XDG_CACHE_HOME:-$HOME/.cache}/hyperfarm-bare-root image name layout
    HYPERFARM=$program deploy/images/check --keep
    for image in farm worker; do
        name=hyperfarm
        [[ $image == farm ]] || name=hyperfarm-$image
        layout=$work/oci-$image
        clean_root "$roots/image-$image"
        tar --sort=name --numeric-owner --xattrs --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime -C "$roots/image-$image" \
            -cf "$work/layer.tar" .
        umoci init --layout "$layout"
        umoci new --image "$layout:$version"
        umoci raw add-layer --image "$layout:$version" --history.created_by "deploy/images/steps.sh $image" "$work/layer.tar"
        umoci config --image "$layout:$version" --architecture "$arch" --os linux \
            --created "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" --config.user 10001:10001 --config.workingdir /scratch \
            --config.entrypoint /usr/bin/tini --config.entrypoint -- --config.entrypoint hyperfarm \
            --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --config.env HYPERFARM_LOG_FORMAT=json \
            --config.env HYPERFARM_DATA_DIR=/scratch/data --config.env TMPDIR=/scratch --config.env HOME=/scratch \
            --config.label org.opencontainers.image.version="$version" --config.label org.opencontainers.image.licenses=Apache-2.0
        umoci gc --layout "$layout"
        rm -f "$out/$name-$version-$arch.oci.tar" "$work/layer.tar"
        skopeo copy --quiet "oci:$layout:$version" "oci-archive:$out/$name-$version-$arch.oci.tar:$name:$version"
        rm -rf "$layout" "$roots/image-$image"
    done
}

# Nothing of the machine that made it: its resolver, its mirror, its logs.
clean_root() {
    local root=$1
    : >"$root/etc/resolv.conf"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    printf 'deb http://deb.debian.org/debian bookworm main\ndeb http://deb.debian.org/debian bookworm-updates main\n' >"$root/etc/apt/sources.list"
    printf 'deb http://deb.debian.org/debian-security bookworm-security main\n' >>"$root/etc/apt/sources.list"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old "$root"/tmp/check
    find "$root/var/log" -type f -delete
}

build_checksums() {
    (cd "$out" && find . -maxdepth 1 -type f ! -name 'SHA256SUMS*' -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS.tmp && mv SHA256SUMS.tmp SHA256SUMS)
}

parts=("$@")
((${#parts[@]} > 0)) || parts=(deb archive chart sbom images checksums)
for part in "${parts[@]}"; do
    case $part in
        deb | archive | chart | sbom | images | checksums) ;;
        *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
    started=$SECONDS
    "build_$part"
    say "$part: $((SECONDS - started)) s"
done
(cd "$out" && du -h --apparent-size -- *) >&2
