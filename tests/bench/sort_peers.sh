#!/bin/bash
# sort_peers.sh INPUT_PROGRAM THERMOCLINE DIRECTORY [GIGABYTES] [MEMORY_MIB]: sorts the same NDJSON by a number with
# thermocline and with GNU sort, both with that memory and two threads, and prints times and peak memory.
#
# GNU sort knows no JSON. So that it is not charged for it, the key stands before each record in its input ("KEY\tRECORD"),
# and stays in its output; how long it takes to put it there and to take it away (with sed and cut) is told, not counted.
set -euo pipefail

input_program=$1 thermocline=$2 directory=$3 gigabytes=${4:-1} memory=${5:-1024}
mkdir -p "$directory"
trap 'rm -rf "$directory"' EXIT
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
"$input_program" $((gigabytes * 1000000000)) > "$in"
echo "input: $(stat -c %s "$in") bytes, $(wc -l < "$in") records"

timed "thermocline sort" "$thermocline" sort "$in" --key id --memory "${memory}MiB" --threads 2 "$directory/ours.ndjson"
ours=$(sha256sum < "$directory/ours.ndjson")
rm "$directory/ours.ndjson"

timed "key put before each record (not counted)" sed -E 's/^(.*"id":([0-9]+).*)$/\2\t\1/' "$in" > "$keyed"
rm "$in"
timed "GNU sort" env LC_ALL=C sort --parallel=2 -S "${memory}M" -T "$directory" -s -t $'\t' -k1,1n "$keyed" -o "$directory/theirs.tsv"
rm "$keyed"
theirs=$(cut -f2- "$directory/theirs.tsv" | sha256sum)
[[ $ours == "$theirs" ]] || { echo "THE OUTPUTS DIFFER"; exit 1; }
echo "both outputs are the same"
