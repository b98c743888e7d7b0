#!/usr/bin/env bash
# The steps of the images, so that they can be run where there is no container engine (deploy/images/check).
#
#   steps.sh build            what the binary is built with, and the binary, to /out/hyperfarm; in the repository's root
#   steps.sh farm             what coordinator and stitcher need at run time
#   steps.sh worker           the same, and Chrome and fonts
#   steps.sh worker-gpu       the same, and what draws and encodes on a GPU
#
# SNAPSHOT=20260101T000000Z takes packages from snapshot.debian.org as they were then.
set -euo pipefail

# FFmpeg's libraries, which the binary links.
libraries=(libavcodec59 libavfilter8 libavformat59 libavutil57 libswresample4 libswscale6)
# The farm embeds the fonts of HyperFrames' table; these are for what compositions name beyond it: emoji, Chinese, Japanese and Korean,
# and the usual families of a desktop. They are part of the capture class, as Chrome is.
fonts=(fontconfig fonts-dejavu-core fonts-liberation fonts-noto-cjk fonts-noto-color-emoji)

# Vulkan, EGL and VA-API: Mesa's drivers for AMD and Intel, Intel's own encoder. NVIDIA's come from the machine, by its container
# toolkit, and want the two libraries of X.
gpu=(libegl1 libgl1-mesa-dri libvulkan1 mesa-vulkan-drivers mesa-va-drivers intel-media-va-driver libva-drm2 libx11-6 libxext6)

packages() {
    if [[ -n ${SNAPSHOT:-} ]]; then
        rm -f /etc/apt/sources.list.d/debian.sources
        printf 'deb [check-valid-until=no] http://snapshot.debian.org/archive/%s bookworm main\n' \
            "debian/$SNAPSHOT" >/etc/apt/sources.list
        printf 'deb [check-valid-until=no] http://snapshot.debian.org/archive/%s bookworm-security main\n' \
            "debian-security/$SNAPSHOT" >>/etc/apt/sources.list
    fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
}

# A user that owns nothing. Kubernetes wants it by its number.
farm_user() {
    groupadd --gid 10001 hyperfarm
    useradd --uid 10001 --gid 10001 --home-dir /scratch --no-create-home --shell /usr/sbin/nologin hyperfarm
    install -d -o hyperfarm -g hyperfarm -m 0700 /scratch
    # Where a volume that the processes share may be mounted: it takes its owner from here.
    install -d -o hyperfarm -g hyperfarm -m 0700 /farm
}

case ${1:-} in
    build)
        scripts/setup.sh
        cargo build --profile dist --locked --package hyperfarm
        install -D -s -m 0755 "${CARGO_TARGET_DIR:-target}/dist/hyperfarm" /out/hyperfarm
        ;;
    farm)
        packages ca-certificates tini "${libraries[@]}"
        farm_user
        ;;
    worker | worker-gpu)
        [[ $1 == worker ]] || fonts+=("${gpu[@]}")
        packages ca-certificates tini "${libraries[@]}" chromium-headless-shell "${fonts[@]}"
        farm_user
        # So that no process looks through the fonts by itself, in a root that it cannot write.
        fc-cache -s
        ;;
    *)
        sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
esac
