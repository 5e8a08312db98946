#!/usr/bin/env bash
# Thermocline beside Redis and memcached: the same load in alternation, medians, ratios. `./dev bench peers` calls it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

show_help() {
  cat <<'END'
Starts thermocline-server, redis-server (without persistence, and another with appendfsync everysec) and memcached on free
ports of the loopback interface, puts them under the same load in turns, and prints medians and ratios. All servers
are pinned to the same cores, the load generator to the others. Nothing stays behind but the table in
tests/load/README.md.

  --rounds N         how often each load is repeated (default 5)
  --seconds N        of each repetition (default 4, after a second of warm-up)
  --keys COUNT       that are there and read (default 1M)
  --server-cores N   cores of the servers (default: half of them)
  --only PATTERN     only loads whose name matches this regular expression; then the table is printed, not kept
  --quick            2 rounds of 1 second with 100k keys, not kept: to see that it works
  --before           keep the table as that of an earlier server, to compare with; only unary gets
  --server FILE      another thermocline-server than that of build/release
END
}

fail() {
  printf 'peers: %s\n' "$*" >&2
  exit 1
}

rounds=5 seconds=4 warm_up=1 keys=1M only=. table=peers
processors=$(nproc) cores=$((($(nproc) + 1) / 2))
server=$here/../../build/release/server/thermocline-server
load=$here/../../build/release/tests/load/thermocline-load

while (($# > 0)); do
  case $1 in
    --rounds | --seconds | --keys | --server-cores | --only | --server) (($# > 1)) || fail "$1 needs a value" ;;&
    --rounds) rounds=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --keys) keys=$2 && shift ;;
    --server-cores) cores=$2 && shift ;;
    --only) only=$2 table= && shift ;;
    --server) server=$2 && shift ;;
    --quick) rounds=2 seconds=1 warm_up=0.3 keys=100k table= ;;
    --before) table=before only='^get' ;;
    -h | --help) show_help && exit 0 ;;
    *) fail "there is no '$1'; --help lists what there is" ;;
  esac
  shift
done
[[ -x $server && -x $load ]] || fail "build thermocline-server and thermocline-load first, as ./dev bench peers does"

scratch=$(mktemp -d "${TMPDIR:-/tmp}/thermocline-peers-XXXXXX")
started=()
declare -A pid port
finish() {
  local one
  for one in "${started[@]}"; do kill "$one" 2>/dev/null || true; done
  for one in "${started[@]}"; do wait "$one" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

busy=$(cut -d' ' -f1 /proc/loadavg)
server_cores=0-$((cores - 1)) load_cores=$cores-$((processors - 1))
if ((processors <= cores)); then load_cores=0-$((processors - 1)); fi

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the system's range for outgoing connections.
free_port() {
  local candidate
  while candidate=$((20000 + RANDOM % 12000)) && is_open "$candidate"; do :; done
  echo "$candidate"
}

# start NAME COMMAND...: a server that runs until the end; PORT in its arguments stands for a free port.
start() {
  local name=$1 tries=0
  shift
  port[$name]=$(free_port)
  taskset -c "$server_cores" "${@//PORT/${port[$name]}}" >"$scratch/$name.log" 2>&1 &
  pid[$name]=$!
  started+=($!)
  until is_open "${port[$name]}"; do
    ((++tries < 600)) && kill -0 "${pid[$name]}" 2>/dev/null ||
      fail "$name does not start: $(tail -n 3 "$scratch/$name.log")"
    sleep 0.1
  done
}

start_all() {
  local user=()
  ((EUID != 0)) || user=(-u nobody)
  mkdir "$scratch/aof"
  start thermocline "$server" --listen 127.0.0.1:PORT --data "$scratch/data" --memory 2GiB
  start redis redis-server --port PORT --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch"
  [[ $table != before ]] || return 0
  start redis-everysec redis-server --port PORT --bind 127.0.0.1 --save '' --appendonly yes --appendfsync everysec \
    --dir "$scratch/aof"
  start memcached memcached "${user[@]}" -l 127.0.0.1 -p PORT -U 0 -m 2048 -t "$cores"
}

# Of the last run.
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),*\$/\1/p" "$scratch/result.json" | head -n 1; }

# run LOAD CONTESTANT SERVER FLAGS...: one repetition; appends load, contestant, operations/s, CPU us, p99 and p99.9 in ms.
run() {
  local name=$1 contestant=$2 who=$3
  shift 3
  taskset -c "$load_cores" "$load" --server "127.0.0.1:${port[$who]}" --server-pid "${pid[$who]}" --keys "$keys" \
    --distribution uniform --seconds "$seconds" --warm-up "$warm_up" --json "$scratch/result.json" "$@" \
    >"$scratch/load.log" 2>&1 || fail "'$name' on $contestant failed: $(tail -n 4 "$scratch/load.log")"
  printf '%s|%s|%s|%s|%s|%s\n' "$name" "$contestant" "$(number operations_per_second)" \
    "$(number server_cpu_seconds_per_operation)" "$(number p99)" "$(number 'p99\.9')" |
    awk -F'|' -v OFS='|' '{ $4 *= 1e6; $5 *= 1e3; $6 *= 1e3; print }' | tee -a "$scratch/numbers" |
    awk -F'|' '{ printf "  %-34s %-22s %10.0f ops/s  %7.2f us CPU/op  p99 %8.2f ms  p99.9 %8.2f ms\n", $1, $2, $3, $4, $5, $6 }'
}

median() { sort -g | awk '{ all[NR] = $1 } END { if (NR) print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

# median_of LOAD CONTESTANT FIELD
median_of() { awk -F'|' -v load="$1" -v who="$2" -v field="$3" '$1 == load && $2 == who { print $field }' "$scratch/numbers" | median; }

# What the contestants do, each line: load | contestant | server | flags. The contestants of a load take turns; the ratios
# are to its last.
loads() {
  local shape
  for shape in 50x1 50x16 50x64 1x256; do
    local flags="--workload get --connections ${shape%x*} --in-flight ${shape#*x}"
    echo "get $shape|thermocline|thermocline|--via wire $flags"
    [[ $table == before ]] || echo "get $shape|memcached|memcached|--via memcached $flags"
    echo "get $shape|redis|redis|--via redis $flags"
  done
  local sets='--workload set --connections 64 --in-flight 64'
  cat <<END
batch 64, 16 connections|thermocline stream|thermocline|--workload get --via stream --connections 16 --in-flight 1 --batch 64
batch 64, 16 connections|thermocline client|thermocline|--workload get --via client --connections 16 --in-flight 64
batch 64, 16 connections|thermocline BatchGet|thermocline|--workload get --via wire --connections 16 --in-flight 1 --batch 64
batch 64, 16 connections|redis pipeline|redis|--workload get --via redis --connections 16 --in-flight 64
set, 4096 in flight|thermocline SYNC|thermocline|--via wire $sets --durability sync
set, 4096 in flight|thermocline MEMORY|thermocline|--via wire $sets --durability memory
set, 4096 in flight|redis everysec|redis-everysec|--via redis $sets
END
}

# Some servers do not have every method yet: what fails in a trial is left out, and said.
trial() {
  local name=$1 contestant=$2 who=$3
  shift 3
  "$load" --server "127.0.0.1:${port[$who]}" --keys "$keys" "$@" --operations 1000 >"$scratch/load.log" 2>&1 && return
  printf '  %s on %s is left out: %s\n' "$name" "$contestant" "$(tail -n 1 "$scratch/load.log")"
  return 1
}

# run_load NAME: its contestants in turns, which changes from round to round.
run_load() {
  local name=$1 round line contestants=() fields
  while IFS= read -r line; do
    IFS='|' read -r -a fields <<<"$line"
    # shellcheck disable=SC2086 # flags are words
    if trial "$name" "${fields[1]}" "${fields[2]}" ${fields[3]}; then contestants+=("$line"); fi
  done < <(loads | grep -F "$name|")
  for ((round = 0; round < rounds; ++round)); do
    for line in "${contestants[@]}"; do
      IFS='|' read -r -a fields <<<"$line"
      # shellcheck disable=SC2086
      run "$name" "${fields[1]}" "${fields[2]}" ${fields[3]}
    done
  done
}

# Open loops: each at half of what it did at most.
run_open() {
  local name='open loop, get 50x16, half rate' round who rate
  [[ $name =~ $only && -n $(median_of 'get 50x16' thermocline 3) ]] || return 0
  for ((round = 0; round < rounds; ++round)); do
    for who in thermocline memcached redis; do
      [[ -n ${port[$who]-} ]] || continue
      rate=$(median_of 'get 50x16' "$who" 3 | awk '{ printf "%d", $1 / 2 }')
      local via=$who
      [[ $who == thermocline ]] && via=wire
      run "$name" "$who" "$who" --workload get --via "$via" --connections 50 --in-flight 16 --rate "$rate"
    done
  done
}

# The table: medians, and ratios to the last contestant of each load.
render() {
  local name contestant
  echo "Measured on $(date +%Y-%m-%d): $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $processors cores," \
    "$(awk '/^MemTotal:/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r | cut -d. -f1-2). Servers on $cores of the cores," \
    "the load generator on the others; medians of $rounds rounds of $seconds s; $keys keys, uniform; 16 B keys, 100 B values." \
    "The machine's load average was $busy when it began."
  echo
  echo "| load | server | operations/s | CPU us/op | p99 ms | p99.9 ms | throughput, ratio | CPU, ratio |"
  echo "|---|---|---:|---:|---:|---:|---:|---:|"
  awk -F'|' '!seen[$1]++ { print $1 }' "$scratch/numbers" | while IFS= read -r name; do
    local names last last_rate last_cpu
    mapfile -t names < <(awk -F'|' -v load="$name" '$1 == load && !seen[$2]++ { print $2 }' "$scratch/numbers")
    last=${names[-1]}
    last_rate=$(median_of "$name" "$last" 3)
    last_cpu=$(median_of "$name" "$last" 4)
    for contestant in "${names[@]}"; do
      printf '%s|%s|%s|%s|%s|%s|%s|%s\n' "$name" "$contestant" "$(median_of "$name" "$contestant" 3)" \
        "$(median_of "$name" "$contestant" 4)" "$(median_of "$name" "$contestant" 5)" \
        "$(median_of "$name" "$contestant" 6)" "$last_rate" "$last_cpu"
    done
  done | awk -F'|' '{ printf "| %s | %s | %d | %.2f | %.2f | %.2f | %.2f | %.2f |\n", $1, $2, $3, $4, $5, $6, $3 / $7, ($8 > 0 ? $4 / $8 : 0) }'
}

# keep FILE: puts the table between its marks in tests/load/README.md.
keep() {
  local readme=$here/README.md
  awk -v begin="<!-- $table -->" -v end="<!-- end of $table -->" -v file="$1" '
    $0 == begin { print; while ((getline line < file) > 0) print line; skip = 1 }
    $0 == end { skip = 0 }
    !skip || $0 == end { if ($0 != begin) print }' "$readme" >"$scratch/readme"
  cat "$scratch/readme" >"$readme"
  echo "kept in $readme"
}

start_all
mapfile -t names < <(loads | awk -F'|' '!seen[$1]++ { print $1 }' | grep -E "$only" || true)
for name in "${names[@]}"; do run_load "$name"; done
run_open
[[ -s $scratch/numbers ]] || fail "no load matches '$only'"
echo
render | tee "$scratch/table"
[[ -z $table ]] || keep "$scratch/table"
