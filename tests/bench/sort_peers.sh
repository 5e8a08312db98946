#!/bin/bash
# sort_peers.sh INPUT_PROGRAM THERMOCLINE DIRECTORY [GIGABYTES] [MEMORY_MIB]: sorts the same NDJSON by a number with
# thermocline and with GNU sort, both with that memory and two threads, and prints times and peak memory.
#
# GNU sort knows no JSON. So that it is not charged for it, its input has the key before each record ("KEY\tRECORD"),
# made by INPUT_PROGRAM; its output is the same when cut(1) has taken it away, which is not counted either. Then the
# count of intervals that run at the same time, of a quarter as many bytes.
set -euo pipefail

input_program=$1 thermocline=$2 directory=$3 gigabytes=${4:-1} memory=${5:-1024}
mkdir -p "$directory"
trap 'rm -rf "$directory"' EXIT
bytes=$((gigabytes * 1000000000))
in=$directory/in.ndjson keyed=$directory/keyed.tsv

# timed NAME COMMAND...: prints seconds, and the most memory of any process of it.
timed() {
  local name=$1
  shift
  sync
  /usr/bin/time -f "$name: %e s, %M KiB at most, %U s user, %S s system" "$@"
}

echo "disk: $(dd if=/dev/zero of="$directory/zeros" bs=4M count=512 conv=fdatasync 2>&1 | tail -1)"
rm "$directory/zeros"
"$input_program" "$bytes" > "$in"
echo "input: $(stat -c %s "$in") bytes"
timed "thermocline sort" "$thermocline" sort "$in" --key id --memory "${memory}MiB" --threads 2 "$directory/ours.ndjson"
rm "$in"
ours=$(sha256sum < "$directory/ours.ndjson")
rm "$directory/ours.ndjson"

"$input_program" "$bytes" keyed > "$keyed"
timed "GNU sort" env LC_ALL=C sort --parallel=2 -S "${memory}M" -T "$directory" -s -t $'\t' -k1,1n "$keyed" \
  -o "$directory/theirs.tsv"
rm "$keyed"
theirs=$(cut -f2- "$directory/theirs.tsv" | sha256sum)
rm "$directory/theirs.tsv"
[[ $ours == "$theirs" ]] || { echo "THE OUTPUTS DIFFER"; exit 1; }
echo "both outputs are the same"

"$input_program" $((bytes / 4)) intervals > "$in"
timed "thermocline timeline --every 1h" "$thermocline" timeline "$in" --memory 256MiB --every 1h > /dev/null
