#!/usr/bin/env bash
# A real S3 server on 127.0.0.1 for tests: Ceph's radosgw with one monitor and one disk daemon of its own,
# without authentication inside. About 110 MB when idle, ready in two to three seconds.
#
#   s3_server.sh start DIRECTORY [memstore|bluestore] [PORT]   prints the endpoint when it serves
#   s3_server.sh restart DIRECTORY                             radosgw alone, after it was killed
#   s3_server.sh kill DIRECTORY                                radosgw alone
#   s3_server.sh stop DIRECTORY
#   s3_server.sh guard DIRECTORY      waits for the end of its input, stops, removes DIRECTORY
#
# DIRECTORY must be short (sockets lie in it) and is made. memstore keeps objects in memory. Without PORT one
# that is free is chosen. The key is AKIDTEST, the secret secretsecretsecret. Exit code 77: not installed.
set -euo pipefail

command=${1:?start, restart, kill, stop or guard}
directory=$(mkdir -p "${2:?a directory}" && cd "$2" && pwd)
conf=$directory/ceph.conf
export CEPH_CONF=$conf

free_port() {
  local port
  for _ in $(seq 200); do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  echo "no free port" >&2
  return 1
}

# paxos_propose_interval: a start takes one second instead of twelve. tcp_nodelay: a GET one millisecond
# instead of forty. rgw_gc_*: what was deleted is freed within seconds instead of hours.
write_conf() {
  local store=$1 gateway=$2 fsid=$3
  cat >"$conf" <<CONF
[global]
fsid = $fsid
monmap = $directory/monmap
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
admin_socket = $directory/\$name.asok
pid_file = $directory/\$name.pid
log_file = $directory/\$name.log
crash_dir = $directory
ms_crc_data = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
paxos_propose_interval = 0.05
mon_data = $directory/mon
osd_data = $directory/osd
osd_objectstore = $store
memstore_device_bytes = 8G
bluestore_block_size = 20G
bluestore_cache_autotune = false
bluestore_cache_size = 128M
rgw_data = $directory/rgw
rgw_frontends = beast endpoint=127.0.0.1:$gateway tcp_nodelay=1
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 5
rgw_gc_processor_max_time = 5
CONF
}

# Until it answers, or has gone (somebody else had the port).
await_gateway() {
  local port=$1
  for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 &&
      grep -q HTTP <&3) 2>/dev/null; then
      kill -0 "$(cat "$directory/client.rgw.pid")"
      return
    fi
    sleep 0.1
  done
  return 1
}

stop_all() {
  # They take long to end by themselves, and there is nothing to keep.
  for pid_file in "$directory"/*.pid; do
    [ -s "$pid_file" ] && kill -9 "$(cat "$pid_file")" 2>/dev/null
    rm -f "$pid_file"
  done
  return 0
}

start_once() {
  local store=$1 monitor gateway fsid disk
  monitor=$(free_port)
  gateway=${2:-$(free_port)}
  rm -rf "$directory"/{mon,osd,rgw,monmap}
  mkdir -p "$directory"/{mon,osd,rgw}
  # Its own fsid: a server that another test starts at the same time must not be taken for this one.
  fsid=$(cat /proc/sys/kernel/random/uuid)
  disk=$(cat /proc/sys/kernel/random/uuid)
  write_conf "$store" "$gateway" "$fsid"
  monmaptool --create --fsid "$fsid" --addv a "v1:127.0.0.1:$monitor" "$directory/monmap"
  ceph-mon -c "$conf" --mkfs -i a --monmap "$directory/monmap"
  ceph-mon -c "$conf" -i a || return 1
  local made=
  for _ in 1 2 3 4 5; do
    timeout 10 ceph -c "$conf" osd new "$disk" && made=yes && break
    sleep 0.2
  done
  [ -n "$made" ] || return 1
  ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$disk"
  # Without --no-mon-config, one start in four says "wrong fsid".
  ceph-osd -c "$conf" -i 0 --no-mon-config || return 1
  radosgw -c "$conf" -n client.rgw --no-mon-config || return 1
  await_gateway "$gateway" || return 1
  timeout 60 radosgw-admin -c "$conf" user create --uid=test --display-name=test --access-key=AKIDTEST \
    --secret-key=secretsecretsecret --no-mon-config
}

endpoint() { sed -n 's/^rgw_frontends = beast endpoint=\([^ ]*\).*/http:\/\/\1/p' "$conf"; }

case $command in
  start)
    for program in ceph-mon ceph-osd radosgw radosgw-admin monmaptool ceph; do
      if ! command -v $program >/dev/null; then
        echo "$program is not installed (apt-get install radosgw ceph-mon ceph-osd ceph-common)" >&2
        exit 77
      fi
    done
    for _ in 1 2 3 4; do
      if (start_once "${3:-memstore}" "${4:-}") >"$directory/start.log" 2>&1; then
        endpoint
        exit 0
      fi
      stop_all
    done
    cat "$directory/start.log" >&2
    exit 1
    ;;
  restart)
    radosgw -c "$conf" -n client.rgw --no-mon-config >>"$directory/start.log" 2>&1
    gateway=$(endpoint)
    await_gateway "${gateway##*:}"
    ;;
  kill)
    kill -9 "$(cat "$directory/client.rgw.pid")"
    while kill -0 "$(cat "$directory/client.rgw.pid")" 2>/dev/null; do sleep 0.01; done
    ;;
  stop) stop_all ;;
  guard)
    cat >/dev/null
    stop_all
    rm -rf "$directory"
    ;;
  *)
    echo "start, restart, kill, stop or guard" >&2
    exit 2
    ;;
esac
