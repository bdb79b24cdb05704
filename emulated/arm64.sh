#!/usr/bin/env bash
# Builds Starmap for 64-bit ARM, tests it and runs it under QEMU, on an x86-64 machine. README.md tells about it.
#
#     emulated/arm64.sh              # everything
#     emulated/arm64.sh COMMAND…     # one command there, for example: cargo test -p starmap-asl
#
# Once, it installs Debian's compiler, its standard library for arm64, a cross linker and QEMU into a folder of their
# own, STARMAP_ARM64_ROOT [~/.cache/starmap/arm64], 1.9 GB; what is built goes to target/arm64. Needs root, mmdebstrap,
# cargo, and Linux 6.7 or newer, where a user namespace has its own register of interpreters: QEMU is in that one only.
set -euo pipefail

cd "$(dirname "$0")/.."
here=$PWD
root=${STARMAP_ARM64_ROOT:-$HOME/.cache/starmap/arm64}
# rustc must be as new as Cargo.toml's rust-version.
suite=${STARMAP_DEBIAN_SUITE:-sid}

if [ ! -e "$root" ]; then
    command -v mmdebstrap >/dev/null || {
        echo "making $root: there is no mmdebstrap; apt-get install mmdebstrap" >&2
        exit 1
    }
    # shellcheck disable=SC2016 # apt's own
    mirror=${STARMAP_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sort -u)}
    mkdir -p "$(dirname "$root")"
    rm -rf "$root.part"
    # A mirror that stands still is past the date until which its lists were meant to be used; they are signed all the same.
    mmdebstrap --variant=apt --architectures=amd64,arm64 --aptopt='Acquire::Check-Valid-Until "false"' \
        --aptopt='APT::Install-Recommends "false"' \
        --include=rustc,cargo,gcc,libc6-dev,libstd-rust-dev:arm64,gcc-aarch64-linux-gnu,libc6-dev-arm64-cross,libc6:arm64,libgcc-s1:arm64,qemu-user \
        "$suite" "$root.part" "${mirror%%$'\n'*}"
    mv "$root.part" "$root"
fi

# Nothing is fetched inside.
cargo fetch --locked --quiet
cargo_home=${CARGO_HOME:-$HOME/.cargo}

# shellcheck disable=SC2016 # expanded inside
inside='
    root=$1 here=$2 cargo_home=$3; shift 3
    # ../shared: where tests look for the reference files.
    for folder in /dev /proc /sys "$here" "$cargo_home" "$(dirname "$here")/shared"; do
        [ -e "$folder" ] || continue
        mkdir -p "$root$folder"
        mount --rbind "$folder" "$root$folder"
    done
    mount -t binfmt_misc binfmt_misc "$root/proc/sys/fs/binfmt_misc" || {
        echo "registering QEMU: no binfmt_misc in a user namespace; Linux 6.7 or newer is needed, this is $(uname -r)" >&2
        exit 1
    }
    # ELF files, 64 bits, little-endian, programs or shared objects, for machine 183. F: QEMU is opened now.
    printf "%s" ":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$root/usr/bin/qemu-aarch64:F" \
        >"$root/proc/sys/fs/binfmt_misc/register"
    exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp TERM="${TERM:-dumb}" CARGO_HOME="$cargo_home" \
        CARGO_NET_OFFLINE=true CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu CARGO_TARGET_DIR="$here/target/arm64" \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        sh -ec "cd \"\$0\"; exec \"\$@\"" "$here" "$@"
'
run() {
    unshare --map-root-user --mount sh -ec "$inside" sh "$root" "$here" "$cargo_home" "$@"
}

if [ $# -gt 0 ]; then
    run "$@"
    exit
fi

run cargo test --locked --release -p starmap-kernels -p starmap-astromae -p starmap-sky -p starmap-partitions -p starmap-asl \
    -p starmap-jsonata
run cargo build --locked --release -p starmap
starmap=target/arm64/aarch64-unknown-linux-gnu/release/starmap
data=target/arm64/demo
rm -rf "$data"
run "$starmap" --version
run "$starmap" kernels
run "$starmap" demo --data "$data"
run "$starmap" bench --rounds 1 --batch 16
