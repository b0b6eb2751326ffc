#!/usr/bin/env bash
# On a machine with a GPU and without a network: puts the pieces of prepare.sh together and runs parity, speed and the
# share of time that the GPU is busy, then prints one table. Each result is in RESULTS as soon as it is there; a step
# that takes too long is stopped and named, and the next one runs.
#
#   bash scripts/gpu/run.sh [--pieces gpu-pieces] [--work /tmp/vtp-gpu] [--results gpu-results]
#     [--device cuda] [--minutes 9] [--shapes "S B L"] [--batches 16,64,128,256] [--cases "CASE…"]
#
# `--device cpu` tries the whole way without a GPU. PYTHON names the Python with PyTorch; default python3.
set -uo pipefail
pieces=gpu-pieces work=/tmp/vtp-gpu results=gpu-results device=cuda minutes=9
shapes="S B L" batches=16,64,128,256 cases="" seconds=3
while [ $# -gt 0 ]; do
  case $1 in
    --pieces | --work | --results | --device | --minutes | --shapes | --batches | --cases | --seconds)
      declare "${1#--}=$2"
      shift 2
      ;;
    *) echo "unknown: $1" >&2; exit 2 ;;
  esac
done
python=${PYTHON:-python3}
mkdir -p "$results" "$work"
pieces=$(realpath "$pieces") work=$(realpath "$work") results=$(realpath "$results")
ends=$((SECONDS + minutes * 60))
say() { echo "[$(date +%T)] $*" | tee -a "$results/log.txt"; }

# step NAME LIMIT COMMAND…: output to RESULTS/NAME.txt as it comes; LIMIT in seconds, cut to what is left.
step() {
  local name=$1 limit=$2 left=$((ends - SECONDS)) began=$SECONDS code
  shift 2
  [ "$left" -lt 5 ] && { say "$name: left out, no time left"; return 1; }
  [ "$limit" -gt "$left" ] && limit=$left
  timeout -k 5 "$limit" "$@" > "$results/$name.txt" 2> "$results/$name.err" < /dev/null
  code=$?
  case $code in
    0) say "$name: done in $((SECONDS - began)) s" ;;
    124 | 137) say "$name: stopped after $((SECONDS - began)) s; what it had found so far stays" ;;
    *) say "$name: exit code $code: $(grep -v '^$' "$results/$name.err" | tail -n 1 | cut -c1-300)" ;;
  esac
  return $code
}

unpack() {
  (cd "$pieces" && sha256sum --quiet -c SHA256SUMS) || return 1
  { cat "$pieces"/part-* | if command -v xz > /dev/null; then xz -dc -T0; else
    "$python" -c 'import lzma,shutil,sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer)'
  fi; } | tar -C "$work" -xf - && touch "$work/unpacked"
}
if [ ! -e "$work/unpacked" ]; then
  unpack || { say "the pieces in $pieces are not whole"; exit 1; }
  say "unpacked"
fi

cd "$work/vtp"
node=$work/node/node
export PATH=$work/node:$PATH VTP_CACHE=$work/cache VTP_GOLDEN=$work/golden HF_HUB_OFFLINE=1
# CUDA's libraries where PyTorch's packages keep them.
folders=$("$python" -c '
import glob, os
paths = []
try:
    import nvidia
    for home in nvidia.__path__: paths += glob.glob(home + "/*/lib")
except ImportError: pass
try:
    import torch; paths.append(os.path.join(os.path.dirname(torch.__file__), "lib"))
except ImportError: pass
print(":".join(paths))' 2> /dev/null)
export LD_LIBRARY_PATH=${folders:+$folders:}${LD_LIBRARY_PATH:-}
tsx() { "$node" --import tsx "$@"; }
export -f tsx
export node

step doctor 90 "$node" bin/run.js doctor
if [ -d ../photos ]; then photos=$work/photos; else photos=$work/vtp/fixtures/images; fi
# What `auto` takes: a GPU that cannot be used is no end, but it is said.
if [ "$device" = cuda ]; then
  rm -rf "$work/auto"
  step auto 120 "$node" bin/run.js encode "$work/vtp/fixtures/images" --out "$work/auto" --overwrite --device auto
  chosen=$(cat "$results/auto.txt" "$results/auto.err" 2> /dev/null | grep -m1 -oE '(cuda:[0-9]+, |webgpu \(|cpu \([0-9]+ core).*')
  say "auto takes: ${chosen:-nothing}"
  case $chosen in
    cuda*) ;;
    *)
      say "CUDA cannot be used here, so all that follows runs on the CPU; what is missing:"
      sed -n '/^cuda/,/^webgpu/p; /^Hint: Missing/p' "$results/doctor.txt" | grep -v '^webgpu' | tee -a "$results/log.txt"
      device=cpu
      ;;
  esac
fi

precisions=fp16,bf16,fp32
if [ "$device" = cpu ]; then precisions=fp32; else nvidia-smi > "$results/nvidia-smi.txt" 2>&1; fi

# Parity: fp32 on CUDA is TF32, whose products have ten bits like fp16's. Each limit is far below what a wrong kernel costs.
for precision in ${precisions//,/ }; do
  case $device-$precision in
    cpu-*) tolerance=() ;;
    *-bf16) tolerance=(--tolerance 0.1) ;;
    *) tolerance=(--tolerance 0.02) ;;
  esac
  # shellcheck disable=SC2086
  step "parity-$precision" 150 "$node" --import tsx scripts/gpu/parity.ts "$device" $cases \
    --precision "$precision" --json "${tolerance[@]}"
done

# Samples of how busy the GPU is, five a second, while a command runs.
sampled() {
  local name=$1 limit=$2 sampler=
  shift 2
  if [ "$device" = cuda ]; then
    nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits -lms 200 > "$results/$name.busy" &
    sampler=$!
  fi
  step "$name" "$limit" "$@"
  [ -z "$sampler" ] || kill "$sampler" 2> /dev/null
}

for shape in $shapes; do
  sampled "speed-vtp-$shape" 100 "$node" --import tsx scripts/gpu/speed.ts "$device" --shape "$shape" \
    --batches "$batches" --precisions "$precisions" --seconds "$seconds" --models "$work/models"
  [ ! -d ../official ] || step "speed-official-$shape" 60 "$python" scripts/gpu/official_speed.py "$work/official" \
    "$work/models/random-vtp-${shape,,}" "$device" "$batches" "$seconds"
done

# The whole command, decoding of JPEGs included: where the GPU waits, the share says so.
last=${shapes##* }
list=$work/list.txt
find "$photos" -type f \( -iname '*.jpg' -o -iname '*.jpeg' \) > "$work/one.txt"
rounds=$([ "$device" = cpu ] && echo 1 || echo 40)
for _ in $(seq "$rounds"); do cat "$work/one.txt"; done > "$list"
rm -rf "$work/encoded"
sampled "encode-$last" 120 "$node" bin/run.js encode "$list" --out "$work/encoded" --device "$device" --overwrite \
  --model "$work/models/random-vtp-${last,,}" --json

step table 30 "$node" scripts/gpu/table.mjs "$results"
cat "$results/table.txt"
