# shellcheck shell=bash
# The part of the demo that is about segments, sourced by demo.sh: the places become segments, by country, state,
# latitude and first letter, and expressions over them are answered. Beside that, awk works out from the file itself
# which ids each segment and each answer must have. An id is the number of a place in the file, which its key ends with.

# Enough for expressions, few enough to load one by one.
segment_countries="US MX CA BR AR ZA GB FR DE IT ES RU CN IN JP AU"

# What is asked; group_places knows the answers in this order.
expressions=(
  'country:US & lat:40..50 - name:S'
  'lat:-*'
  'name:S - lat:-*'
  '(admin1:US.N* | country:MX) - lat:40..50'
)

loader_pid=

# Writes the ids of each segment to $run/segments/NAME, and those of each answer to $run/answer.NUMBER; also, to
# $run/answer.values, what `segment values` must print for the first one, whose keys differ in the id only.
group_places() {
  mkdir -p "$run/segments"
  LC_ALL=C awk -v countries="$segment_countries" -v segments="$run/segments/" -v answer="$run/answer." '
    # An unescaped quote is never within a string, so this separates places and nothing else.
    BEGIN {
      RS = "\"name\":\""
      split(countries, list, " ")
      for (i in list) chosen[list[i]] = 1
    }
    function field(name,    start) {
      start = index($0, "\"" name "\":\"") + length(name) + 4
      return substr($0, start, index(substr($0, start), "\"") - 1)
    }
    # As --json prints it.
    function value(    text) {
      text = "{\"name\":\"" $0
      sub(/\}[^}]*$/, "}", text)
      gsub(/\\/, "&&", text)
      gsub(/"/, "\\\\&", text)
      return text
    }
    NR > 1 {
      id = NR - 1
      letter = substr($0, 1, 1)
      lat = field("lat") + 0
      country = field("country")
      state = field("admin1")
      low = int(lat / 10) * 10
      if (low > lat) low -= 10

      print id > (segments "lat:" low ".." low + 10)
      if (letter ~ /[A-Z]/) print id > (segments "name:" letter)
      if (country in chosen) print id > (segments "country:" country)
      if (country == "US" && state ~ /^[0-9A-Z]+$/) print id > (segments "admin1:US." state)

      if (country == "US" && low == 40 && letter != "S") {
        print id > (answer 0)
        print "{\"id\":" id ",\"value\":\"" value() "\"}" > (answer "values")
      }
      if (lat < 0) print id > (answer 1)
      if (letter == "S" && lat >= 0) print id > (answer 2)
      if ((country == "US" && state ~ /^N/ || country == "MX") && low != 40) print id > (answer 3)
    }' "$places"
  local i
  for i in "${!expressions[@]}"; do
    [[ -s $run/answer.$i ]] || fail "no place of the file is in ${expressions[i]}: the test says nothing"
  done
}

load_segments() {
  say "Loading segments of the places: country:US, admin1:US.NY, lat:40..50, name:A and so on"
  group_places
  local file start
  start=$(date +%s%3N)
  for file in "$run"/segments/*; do
    "$cli" segment load "${file##*/}" "$file" >/dev/null 2>"$run/load.txt" || fail "$(cat "$run/load.txt")"
  done
  segment_count=$(find "$run/segments" -type f | wc -l)
  segment_ids=$(cat "$run"/segments/* | wc -l)
  printf '%d ids loaded into %d segments in %d ms\n' "$segment_ids" "$segment_count" $(($(date +%s%3N) - start))
}

# Asks every expression, and compares the ids that come with those that awk has found in the file.
ask_segments() {
  say "Asking which places are in some expressions, and comparing every id with the file"
  local i count
  for i in "${!expressions[@]}"; do
    "$cli" segment query "${expressions[i]}" >"$run/ids" 2>"$run/query.txt" || fail "$(cat "$run/query.txt")"
    count=$(wc -l <"$run/ids")
    cmp -s "$run/ids" "$run/answer.$i" ||
      fail "${expressions[i]}: $count ids, but not the $(wc -l <"$run/answer.$i") that it has in the file"
    [[ $("$cli" segment count "${expressions[i]}" 2>/dev/null) == "$count" ]] ||
      fail "${expressions[i]}: segment count does not tell the $count ids that segment query brings"
    printf '  %-42s %6d ids, as in the file (%s)\n' "${expressions[i]}" "$count" \
      "$(sed 's/^[^i]*ids //' "$run/query.txt")"
  done
}

show_values() {
  say "thermocline segment values '${expressions[0]}' --key 'place:US:{id}' --limit 5"
  "$cli" segment values "${expressions[0]}" --key 'place:US:{id}' --limit 5 2>/dev/null
  "$cli" segment values "${expressions[0]}" --key 'place:US:{id}' --json 2>/dev/null >"$run/values" ||
    fail "the values of '${expressions[0]}' cannot be read"
  cmp -s "$run/values" "$run/answer.values" || fail "the values of '${expressions[0]}' are not those of the file"
}

# Goes on until the server is killed, and notes in again.acked what the server has acknowledged.
load_again() {
  local file
  for file in "$run"/segments/*; do
    "$cli" segment load "again:${file##*/}" "$file" --append --timeout 3s >/dev/null 2>&1 || return 0
    echo "${file##*/}" >>"$run/again.acked"
  done
}

start_loading_again() {
  : >"$run/again.acked"
  load_again &
  loader_pid=$!
}

finish_loading_again() {
  wait "$loader_pid"
  loader_pid=
  [[ -s $run/again.acked ]] || fail "no segment was loaded before the server was killed: the test says nothing"
  say "$(wc -l <"$run/again.acked") segments were loaded again meanwhile, under other names"
}

# as_in_file NAME FILE: whether the segment has the ids of the file of this name, no more and no less.
as_in_file() { "$cli" segment query "$1" 2>/dev/null | cmp -s - "$run/segments/$2"; }

# Sets segments_acked and segments_wrong. What was not acknowledged may be there as a whole, or not at all.
verify_segments() {
  local name
  segments_acked=$((segment_count + $(wc -l <"$run/again.acked")))
  segments_wrong=0
  while read -r name; do
    as_in_file "$name" "$name" || segments_wrong=$((segments_wrong + 1))
  done < <(cd "$run/segments" && ls)
  "$cli" segment list again: --json | sed -nE 's/^\{"name":"again:([^"]*)".*/\1/p' | sort >"$run/again.present"
  while read -r name; do
    as_in_file "again:$name" "$name" || segments_wrong=$((segments_wrong + 1))
  done < <(sort -u "$run/again.acked" "$run/again.present")
  segment_bytes=$("$cli" segment list --json | number bytes | awk '{ sum += $1 } END { print sum + 0 }')
}

print_segment_rows() {
  row "segments / ids in them" "$segment_count / $segment_ids"
  row "their files, with those again" "$((segment_bytes / 1024)) KiB"
  row "segments acknowledged" "$segments_acked"
  row "with other ids than the file" "$segments_wrong"
}
