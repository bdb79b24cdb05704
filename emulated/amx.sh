#!/usr/bin/env bash
# Runs the kernels' tests on an x86-64 processor with AVX-512 and AMX, which Bochs emulates. README.md tells about it.
#
#     emulated/amx.sh                   # builds the tests and runs them there
#     emulated/amx.sh PROGRAM [ARG…]    # runs a program there and ends with its exit code
#
# Once, it puts Debian's Bochs and a Linux kernel into a folder of their own, STARMAP_AMX_ROOT [~/.cache/starmap/amx],
# 0.3 GB; what is built goes to target/amx. Needs mmdebstrap, script, cargo and an x86-64 machine of any age. The guest has
# STARMAP_AMX_MEMORY [1024] MiB, and files and folders named in STARMAP_AMX_FILES (separated by spaces), by the same path.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
root=${STARMAP_AMX_ROOT:-$HOME/.cache/starmap/amx}
libraries=$root/usr/lib/x86_64-linux-gnu
start=("$libraries/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio")

# Bochs 3.0 takes the signed bytes of TDPBSSD, TDPBSUD and TDPBUSD as unsigned: zeros are extended where it should be the
# sign (MOVZX and SHR become MOVSX and SAR), and TDPBUSD shares TDPBSUD's code. Here it gets TDPBUUD's, which is right but for
# that, and TDPBUUD itself becomes UD2: it ends the emulator. Each pair is a place in the file and the byte to put there.
bochs_version=3.0+dfsg-1
bochs_shipped=07fc8c4bee6efb24d690302db0f07159ad5a153c88bca64bb9345a4263ceb5aa
bochs_corrected=1c80f3610ddf3e04dd5c0ae6493ddfe4c0e723b8ec550107ed49f6eba767430a
bochs_corrections='
    2573248 be 2573251 be 2573255 be 2573258 be 2573268 f9 2573279 be 2573288 fa 2573299 be
    2574080 be 2574083 be 2574120 fa 2574131 be
    2574549 0b 2574550 00 2574551 00 2574552 00
    2574560 0f 2574561 0b 2574562 90 2574563 90
    2574979 be 2574992 fd 2575001 be 2575007 be'
has_sum() { printf '%s  %s\n' "$1" "$2" | sha256sum --check --status; }

if [ ! -e "$root/complete" ]; then
    mirror=${STARMAP_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
    rm -rf "$root"
    mkdir -p "$root"
    # The kernel is of backports: setcpuid= came with Linux 6.15.
    packages=bochs=$bochs_version,bochs-term,isolinux,syslinux-common,xorriso,busybox-static,util-linux
    mmdebstrap --mode=chrootless --variant=extract --architectures=amd64 --format=tar --aptopt='Acquire::Check-Valid-Until "false"' \
        --include="$packages,linux-image-cloud-amd64/trixie-backports" trixie - \
        "deb $mirror trixie main" "deb $mirror trixie-backports main" |
        tar -C "$root" -xf - --no-same-owner --exclude=./dev
    bochs=$root/usr/bin/bochs-bin
    has_sum "$bochs_shipped" "$bochs" || {
        echo "emulated/amx.sh: preparing $bochs: it isn't the one of Debian's bochs $bochs_version that the corrections above are for" >&2
        exit 1
    }
    # shellcheck disable=SC2086 # words
    printf '%s %s\n' $bochs_corrections | while read -r place byte; do
        printf '%b' "\\x$byte" | dd of="$bochs" bs=1 seek="$place" conv=notrunc status=none
    done
    has_sum "$bochs_corrected" "$bochs" || { echo "emulated/amx.sh: correcting $bochs: the outcome isn't the expected one" >&2; exit 1; }
    touch "$root/complete"
fi

if [ $# -eq 0 ]; then
    cd "$here"
    tests=$(CARGO_TARGET_DIR=target/amx CARGO_PROFILE_RELEASE_DEBUG=0 RUSTFLAGS='-C target-feature=+crt-static' \
        cargo test --locked -p starmap-kernels --lib --release --target x86_64-unknown-linux-gnu --no-run \
        --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    # One thread: one after the other is as quick on one processor, and the guest doesn't keep tiles apart (README.md).
    set -- "$tests" --test-threads=1
fi
program=$(realpath "$1")
shift

work=$(mktemp -d)
emulator=
trap 'kill $emulator 2>/dev/null || true; rm -rf "$work"' EXIT

# What the guest starts with: the program, the shared libraries it names, BusyBox, chrt and a script that is process 1.
guest=$work/guest
mkdir -p "$guest"/{bin,chrt,dev,proc,sys,tmp} "$work/cd"
cp "$root/usr/bin/busybox" "$guest/bin/"
cp "$root/usr/bin/chrt" "$libraries"/{ld-linux-x86-64.so.2,libc.so.6} "$guest/chrt/"
cp "$program" "$guest/program"
{ ldd "$program" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
    mkdir -p "$guest$(dirname "$library")"
    cp -L "$library" "$guest$library"
done
for file in ${STARMAP_AMX_FILES:-}; do
    cp -rL --parents "$(realpath --no-symlinks "$file")" "$guest"
done
{
    cat <<'EOF'
#!/bin/busybox sh
export PATH=/bin HOME=/tmp TMPDIR=/tmp
b() { /bin/busybox "$@"; }
b mount -t proc proc /proc
b mount -t sysfs sysfs /sys
b mount -t devtmpfs devtmpfs /dev
b mount -t tmpfs tmpfs /tmp
b ip link set lo up
b stty -opost </dev/console
b dmesg | b grep -q 'AMX Tile data' || { echo 'This kernel does not let programs use AMX.'; b poweroff -f; }
# First in, first out: a thread goes on until it waits, so that nothing comes between what it loads into tiles and stores.
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
cd /tmp
echo @@begin
EOF
    printf '/chrt/ld-linux-x86-64.so.2 --library-path /chrt /chrt/chrt -f 1 /program'
    [ $# -eq 0 ] || printf ' %q' "$@"
    # stty waits until all is written, poweroff doesn't.
    printf ' </dev/null\nprintf "\\n@@end %%s\\n" $?\nb stty opost </dev/console\nb poweroff -f\n'
} >"$guest/init"
chmod +x "$guest/init"
(cd "$guest" && find . | "$root/usr/bin/busybox" cpio -o -H newc) >"$work/cd/initrd" 2>/dev/null

# setcpuid=324 is XFD (word 10, bit 4), without which Linux has no AMX; Bochs has no XFD and ignores its registers.
# no5lvl: Bochs panics in system management mode with five levels. spectre_v2=retpoline: it runs stale code after Linux
# has replaced the retpolines by something else. The rest makes it start sooner.
cp "$root"/usr/lib/modules/*/vmlinuz "$root/usr/lib/ISOLINUX/isolinux.bin" "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$work/cd/"
cat >"$work/cd/isolinux.cfg" <<'EOF'
default linux
label linux
  kernel vmlinuz
  initrd initrd
  append console=ttyS0,115200 loglevel=4 panic=-1 setcpuid=324 no5lvl mitigations=off spectre_v2=retpoline ibt=off nokaslr tsc=reliable lpj=1000000 no_timer_check random.trust_cpu=on audit=0
EOF
"${start[@]}" "$root/usr/bin/xorriso" -as mkisofs -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work/cd" 2>"$work/iso.log" || { cat "$work/iso.log" >&2; exit 1; }

memory=${STARMAP_AMX_MEMORY:-1024}
cat >"$work/bochsrc" <<EOF
display_library: term
config_interface: textconfig
romimage: file=$root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$root/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=sapphire_rapids, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=$memory, host=$((memory < 2048 ? memory : 2048))
clock: sync=none, time0=utc
boot: cdrom
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
com1: enabled=1, mode=file, dev=$work/serial
log: $work/bochs.log
panic: action=fatal
EOF
: >"$work/serial"
export LTDL_LIBRARY_PATH=$libraries/bochs/plugins
# The only display that needs nothing but a terminal is drawn on one that nobody sees.
printf -v command '%q ' timeout --foreground 3600 "${start[@]}" "$root/usr/bin/bochs-bin" -q -f "$work/bochsrc"
TERM=xterm setsid script -qec "$command" /dev/null </dev/null >/dev/null 2>&1 &
emulator=$!
tail -f -c +1 -s 0.2 --pid=$emulator "$work/serial" | sed -un '/^@@begin/,/^@@end/{//!p}'

code=$(sed -n 's/^@@end \([0-9]*\)$/\1/p' "$work/serial" | tail -n 1)
[ -n "$code" ] || {
    echo "emulated/amx.sh: running $program: the guest ended, or an hour went by, before the program did. The end of its console and of Bochs' log:" >&2
    tail -n 20 "$work/serial" "$work/bochs.log" >&2
    exit 1
}
echo "exit code: $code"
exit "$code"
