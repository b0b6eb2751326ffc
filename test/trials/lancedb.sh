#!/usr/bin/env bash
# The optional LanceDB index for real: installs the plugin into a scratch folder, builds an index over the
# fixtures, appends to it, builds it again over the old one, and compares its answers with the exact ones.
#
#   npm run build && bash test/trials/lancedb.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
npm init -y >/dev/null
npm install --silent --ignore-scripts @lancedb/lancedb@0.37.1 apache-arrow@18.1.0
vtp() { "$root/bin/run.js" "$@"; }

vtp embed "$root/fixtures/images/things" --out first
vtp embed "$root/fixtures/images/textures and sky" --out second
for kind in lancedb exact; do
  vtp index first --out "$kind.index" --kind "$kind"
  vtp index second --out "$kind.index" --kind "$kind" --append
done
vtp index first second --out lancedb.index --kind lancedb --model nano
test "$(ls -d lancedb.index/lancedb/*.lance | wc -l)" = 1
for query in "a cup of coffee" "a rocket" "the moon"; do
  diff <(vtp search lancedb.index "$query" -k 5) <(vtp search exact.index "$query" -k 5)
done
echo "LanceDB and the exact index agree."
