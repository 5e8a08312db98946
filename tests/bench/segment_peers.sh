#!/usr/bin/env bash
# The intersection of two sets of a million random ids: Thermocline, Redis, PostgreSQL and comm, one after the other in each round; medians
# and ratios. `./dev bench segment` calls it with the path of segment_bench.
set -euo pipefail

bench=$1 ids=${2:-1000000} rounds=3
scratch=$(mktemp -d "${TMPDIR:-/tmp}/thermocline-segment-peers-XXXXXX")
chmod 755 "$scratch"
redis_pid=
as_postgres=()
((EUID != 0)) || as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups --)
postgres=$(ls -d /usr/lib/postgresql/*/bin | tail -1)

finish() {
  [[ -z $redis_pid ]] || kill "$redis_pid" 2>/dev/null || true
  [[ ! -d $scratch/pg/base ]] || "${as_postgres[@]}" "$postgres/pg_ctl" -D "$scratch/pg" -m immediate stop >/dev/null 2>&1 || true
  wait 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

python3 - "$ids" "$scratch" <<'PYTHON'
import random, sys
count, directory = int(sys.argv[1]), sys.argv[2]
for seed, name in ((1, "a"), (2, "b")):
    chosen = random.Random(seed).sample(range(4 * count), count)
    with open(f"{directory}/{name}.txt", "w") as out:
        out.writelines(f"{10**12 + id}\n" for id in sorted(chosen))
PYTHON

# The seconds that a command takes, to standard output.
seconds_of() {
  local start end
  start=$(date +%s.%N)
  "$@" >/dev/null
  end=$(date +%s.%N)
  awk "BEGIN { printf \"%.4f\", $end - $start }"
}

start_redis() {
  local port=$1
  redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --daemonize no >/dev/null &
  redis_pid=$!
  until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done
  for name in a b; do
    xargs -n 500 echo "SADD $name" <"$scratch/$name.txt" | redis-cli -p "$port" --pipe >/dev/null
  done
}

start_postgres() {
  mkdir "$scratch/pg"
  ((EUID != 0)) || chown postgres "$scratch/pg"
  "${as_postgres[@]}" "$postgres/initdb" -D "$scratch/pg" -A trust >/dev/null
  "${as_postgres[@]}" "$postgres/pg_ctl" -D "$scratch/pg" -w -l "$scratch/pg/log" \
    -o "-c listen_addresses='' -k $scratch/pg -c shared_buffers=512MB -c work_mem=256MB" start >/dev/null
  for name in a b; do
    sql "create table $name (id bigint primary key)"
    sql "\\copy $name from '$scratch/$name.txt'"
    sql "vacuum analyze $name"
  done
}
sql() { "${as_postgres[@]}" psql -q -h "$scratch/pg" -d postgres -c "$1"; }

median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

port=$((20000 + RANDOM % 20000))
start_redis "$port"
start_postgres
for ((round = 0; round < rounds; ++round)); do
  seconds_of redis-cli -p "$port" SINTERSTORE out a b >>"$scratch/redis"
  echo >>"$scratch/redis"
  seconds_of sql "select count(*) from (select id from a intersect select id from b) as matches" >>"$scratch/postgres"
  echo >>"$scratch/postgres"
  LC_ALL=C seconds_of comm -12 "$scratch/a.txt" "$scratch/b.txt" >>"$scratch/comm"
  echo >>"$scratch/comm"
  rm -rf "$scratch/bench"
  "$bench" --directory "$scratch/bench" --text "$scratch/a.txt" "$scratch/b.txt" --rounds 3 >>"$scratch/thermocline"
done
ours=$(median <"$scratch/thermocline")
printf '\nintersection of two sets of %d ids (a quarter of their range), stored or printed:\n' "$ids"
printf '  %-12s %9s s\n' thermocline "$ours"
for peer in redis postgres comm; do
  theirs=$(median <"$scratch/$peer")
  printf '  %-12s %9s s  %s times as long\n' "$peer" "$theirs" "$(awk "BEGIN { printf \"%.1f\", $theirs / $ours }")"
done
