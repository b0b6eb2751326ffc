#!/usr/bin/env bash
# Packs what a bare GPU machine needs, in pieces that travel one by one: Node, the built project with its production
# libraries, ONNX Runtime's CUDA provider, reference data, the official code, photographs.
#
#   bash scripts/gpu/prepare.sh [FOLDER]      FOLDER: default gpu-pieces, which git ignores
#
# Variables:
#   PIECE_MB      most megabytes of a piece; default 60
#   GPU_ARCH      e.g. 90 for an H100 or H200: keep the provider's machine code for this architecture only, by which
#                 what travels halves. Default: all of it, as published
#   PROVIDER      a folder with libonnxruntime_providers_{cuda,shared}.so, or `none`; default: from PyPI
#   VTP_OFFICIAL  a clone of MiniMax-AI/VTP; without it there is nothing to compare speed with
#   VTP_GOLDEN    reference data; default ../shared/golden
#   PHOTOS        a folder of photographs, of which 64 go along; default: crops of the bundled ones, made over there
#   PYTHON        a Python with pip, which downloads the provider and omegaconf (for the official code); default python3
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
out=$(realpath -m "${1:-gpu-pieces}")
golden=${VTP_GOLDEN:-$root/../shared/golden}
ort=node_modules/onnxruntime-node/bin/napi-v6/linux/x64
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
say() { echo "[prepare] $*" >&2; }

test -f dist/index.js || { say "no dist/: run npm run build"; exit 1; }
say "project"
mkdir -p "$stage/node" "$stage/vtp"
cp "$(node -p process.execPath)" "$stage/node/node"
cp -r bin dist src scripts bench fixtures package.json tsconfig.json oclif.manifest.json "$stage/vtp/"
mkdir -p "$stage/vtp/test" "$stage/vtp/models"
cp -r test/golden.ts test/support "$stage/vtp/test/"
cp -r models/vtp-nano "$stage/vtp/models/"

say "libraries"
# tsx runs the scripts; the rest is what the package depends on, for Linux x64.
for name in tsx esbuild @esbuild/linux-x64 get-tsconfig resolve-pkg-maps; do
  [ -d "node_modules/$name" ] && realpath "node_modules/$name"
done > "$stage/packages"
npm ls --omit=dev --all --parseable 2>/dev/null | grep /node_modules/ >> "$stage/packages" || true
while read -r folder; do
  to=$stage/vtp/${folder#"$root"/}
  mkdir -p "$(dirname "$to")"
  [ -e "$to" ] || cp -r "$folder" "$to"
done < <(sort -u "$stage/packages")
rm "$stage/packages"
find "$stage/vtp/node_modules/onnxruntime-node/bin/napi-v6" -mindepth 2 -maxdepth 2 ! -path '*/linux/x64' -exec rm -rf {} +
find "$stage/vtp/node_modules" \( -name '*.map' -o -name '*.d.ts' \) -delete
rm -f "$stage/vtp/$ort"/libonnxruntime_providers_*

provider=${PROVIDER:-pypi}
if [ "$provider" = pypi ]; then
  version=$(node -p 'require("onnxruntime-node/package.json").version')
  say "onnxruntime-gpu $version from PyPI"
  mkdir "$stage/wheel"
  "${PYTHON:-python3}" -m pip download -q --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64 \
    --python-version 3.12 --implementation cp -d "$stage/wheel" "onnxruntime-gpu==$version"
  "${PYTHON:-python3}" -m zipfile -e "$stage"/wheel/*.whl "$stage/wheel"
  provider=$stage/wheel/onnxruntime/capi
fi
if [ "$provider" != none ]; then
  for name in cuda shared; do cp -L "$provider/libonnxruntime_providers_$name.so" "$stage/vtp/$ort/"; done
  [ -z "${GPU_ARCH:-}" ] ||
    node --import tsx scripts/gpu/one-architecture.ts "$stage/vtp/$ort/libonnxruntime_providers_cuda.so" "$GPU_ARCH" >&2
fi
rm -rf "$stage/wheel"

say "data"
mkdir -p "$stage/golden"
cp -r "$golden/models" "$golden/peers" "$stage/golden/"
if [ -n "${VTP_OFFICIAL:-}" ]; then
  mkdir "$stage/official"
  cp -r "$VTP_OFFICIAL/vtp" "$VTP_OFFICIAL/LICENSE" "$stage/official/"
  # What the official code imports and PyTorch's machines seldom have; both are plain Python.
  "${PYTHON:-python3}" -m pip install -q --no-deps --target "$stage/official" omegaconf==2.3.0 antlr4-python3-runtime==4.9.3
  find "$stage/official" -name __pycache__ -prune -exec rm -rf {} +
fi
if [ -n "${PHOTOS:-}" ]; then
  mkdir "$stage/photos"
  find "$PHOTOS" -type f \( -iname '*.jpg' -o -iname '*.jpeg' \) | sort | head -n 64 | xargs -d '\n' cp -t "$stage/photos"
fi

say "pieces"
mkdir -p "$out"
rm -f "$out"/part-* "$out/SHA256SUMS"
tar -C "$stage" -cf - . | xz -T0 -1 | split -b "${PIECE_MB:-60}000000" -d - "$out/part-"
(cd "$out" && sha256sum part-* > SHA256SUMS)
du -sh "$stage" | sed 's/\t.*/ unpacked/' >&2
ls -l "$out" >&2
say "take $out over there, piece by piece; then: bash scripts/gpu/run.sh --pieces FOLDER"
