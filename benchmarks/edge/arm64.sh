#!/usr/bin/env bash
# The check of a build on ARM64, emulated: are the codes the integer model's there, too?
#
#     benchmarks/edge/arm64.sh BUILD [CPU ...]        (default: cortex-a53 cortex-a76 max)
#
# Takes Debian's arm64 Python and the aarch64 wheels of onnxruntime and numpy into .cache/arm64, once, with an apt and a
# qemu of its own: nothing is installed on this machine. One line a processor. Emulation says nothing of speed, so no
# time is printed. RESULTS=FOLDER keeps what check.py found there, as CPU.json.
set -euo pipefail
[ $# -ge 1 ] && [ -f "$1/check/check.py" ] || { echo "usage: $0 BUILD [CPU ...]; BUILD holds a folder 'check'" >&2; exit 2; }
build=$(realpath "$1"); shift
[ $# -gt 0 ] || set -- cortex-a53 cortex-a76 max
cache=$(dirname "$(realpath "$0")")/../../.cache/arm64
mkdir -p "$cache"; cache=$(realpath "$cache"); root=$cache/root

if [ ! -f "$cache/complete" ]; then
    rm -rf "$root"; mkdir -p "$root"
    (cd "$cache" && apt-get download -qq qemu-user-static && dpkg -x qemu-user-static_*.deb qemu)
    state=$cache/apt; mkdir -p "$state/lists/partial" "$state/cache/archives/partial"; touch "$state/status"
    apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$state" -o Dir::State::status="$state/status"
         -o Dir::Cache="$state/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o APT::Install-Recommends=false)
    "${apt[@]}" update
    "${apt[@]}" install -y --download-only python3.11-minimal libpython3.11-stdlib libstdc++6 libgomp1
    for package in "$state"/cache/archives/*.deb; do dpkg -x "$package" "$root"; done
    python3 -m pip download -q --no-deps -d "$cache/wheels" --python-version 3.11 --only-binary=:all: \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
        onnxruntime numpy flatbuffers protobuf packaging
    python3 -c 'import sys, zipfile, glob
for wheel in glob.glob(sys.argv[1] + "/*.whl"): zipfile.ZipFile(wheel).extractall(sys.argv[2])' "$cache/wheels" "$root/site"
    mkdir -p "$root/proc"
    touch "$cache/complete"
fi

failed=0
for cpu in "$@"; do
    result=$(mktemp)
    # What ONNX Runtime asks of the processor must be that one's answer.
    newer=; [ "$cpu" = cortex-a53 ] || newer=" atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
    printf 'processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid%s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: %s\nCPU revision\t: 4\n' \
        "$newer" "$([ "$cpu" = cortex-a53 ] && echo 0xd03 || echo 0xd0b)" > "$root/proc/cpuinfo"
    if "$cache"/qemu/usr/bin/qemu-aarch64-static -cpu "$cpu" -L "$root" -E LD_LIBRARY_PATH="$root/lib/aarch64-linux-gnu:$root/usr/lib/aarch64-linux-gnu" \
        -E PYTHONHOME="$root/usr" -E PYTHONPATH="$root/site" -E ORT_DISABLE_TELEMETRY=1 "$root/usr/bin/python3.11" "$build/check/check.py" \
        --runs 0 --output "$result" > "$result.log" 2>&1
    then :; else failed=1; fi
    python3 - "$cpu" "$result" "$result.log" <<'PYTHON'
import json, sys
cpu, path, log = sys.argv[1:]
try:
    found = json.load(open(path))
except ValueError:
    print(f"{cpu}: no result: {open(log).read().strip().splitlines()[-1:]}")
    sys.exit()
outputs = "outputs equal bit for bit" if found["outputs_equal"] else f"outputs differ by {found['outputs_largest_gap']:.3g} at most"
print(f"{cpu}: {found['verdict']}: {found['quantizers'] - found['quantizers_unlike']} of {found['quantizers']} quantizers, {outputs},"
      f" {found['same_answers']} of {found['images']} same answers ({found['runtime']})")
PYTHON
    [ -z "${RESULTS:-}" ] || [ ! -s "$result" ] || cp "$result" "$RESULTS/$cpu.json"
    rm -f "$result" "$result.log"
done
exit $failed
