#!/usr/bin/env bash
# Loads what a Nightsafe gateway has queued, with ssh, sftp and age alone.
#
#   GATEWAY_HOST=sftp.example.org PORT=2222 ACCOUNT=datateam-loader \
#   KEY=~/.ssh/id_ed25519 KNOWN_HOSTS=~/.ssh/known_hosts IDENTITY=identity.txt \
#   ./load.sh COMMAND [ARGUMENT...]
#
# For each delivery, until the queue is empty, COMMAND gets the plaintext on standard input and the facts in NIGHTSAFE_*
# variables. It must read all of its input, leave out the rows that NIGHTSAFE_RESTRICTED_FILE names (17, or 20-24, a line),
# and do no harm when the same NIGHTSAFE_DELIVERY comes twice.
# Exit status: 0 all loaded, 1 a delivery failed, 2 usage, 3 the gateway did not answer.
set -uo pipefail
umask 077
: "${GATEWAY_HOST:?}" "${PORT:=22}" "${ACCOUNT:?}" "${KEY:?}" "${KNOWN_HOSTS:?}" "${IDENTITY:?}"
: "${WORK:=${XDG_CACHE_HOME:-$HOME/.cache}/nightsafe/load.sh}" "${LEASE:=900}" # seconds
[ $# -gt 0 ] || { echo "usage: load.sh COMMAND [ARGUMENT...]" >&2; exit 2; }
mkdir -p "$WORK" || exit 3

options=(-i "$KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes
  -o "UserKnownHostsFile=\"$KNOWN_HOSTS\"" -o ConnectTimeout=15 -o ServerAliveInterval=15)

# Says one of the queue's verbs.
gateway() {
  ssh -n "${options[@]}" -p "$PORT" "$ACCOUNT@$GATEWAY_HOST" "$@"
}

# Takes one field of a claim's JSON line; the ones used here hold no quotes.
field() {
  sed -n 's/^.*"'"$1"'" *: *"\{0,1\}\([^",}]*\).*$/\1/p' <<<"$claim"
}

# Fetches the sealed object, going on from what is there.
fetch() {
  printf 'get -a "%s" "%s"\n' "$remote" "$object" |
    sftp -q -b - "${options[@]}" -P "$PORT" "$ACCOUNT@$GATEWAY_HOST" >/dev/null
}

# Fetches the list of rows that must not be loaded like the others, and counts it against the manifest.
restrict() {
  local counted
  : >"$NIGHTSAFE_RESTRICTED_FILE"
  case $NIGHTSAFE_RESTRICTED in
    0) return 0 ;;
    '' | *[!0-9]*) echo "the claim does not say how many rows are restricted" >&2; return 1 ;;
  esac
  printf 'get "%s" "%s"\n' "${remote%/*}/restricted.txt" "$NIGHTSAFE_RESTRICTED_FILE" |
    sftp -q -b - "${options[@]}" -P "$PORT" "$ACCOUNT@$GATEWAY_HOST" >/dev/null ||
    { echo "the list of restricted rows cannot be fetched" >&2; return 1; }
  counted=$(awk -F- '{ rows += $NF - $1 + 1 } END { print rows + 0 }' "$NIGHTSAFE_RESTRICTED_FILE")
  [ "$counted" = "$NIGHTSAFE_RESTRICTED" ] ||
    { echo "$NIGHTSAFE_RESTRICTED rows are restricted, the list names $counted" >&2; return 1; }
}

# Opens the whole object and compares it with the manifest; the plaintext goes nowhere.
verify() {
  local found
  found=$(age -d -i "$IDENTITY" "$object" | wc -c) || { echo "age does not open the object" >&2; return 1; }
  [ "$((found))" = "$NIGHTSAFE_SIZE" ] || { echo "the plaintext has $found bytes, not $NIGHTSAFE_SIZE" >&2; return 1; }
  found=$(age -d -i "$IDENTITY" "$object" | sha256sum) || return 1
  [ "${found%% *}" = "$NIGHTSAFE_SHA256" ] || { echo "the plaintext has another SHA-256" >&2; return 1; }
}

# Gives the plaintext to the command.
hand_over() {
  age -d -i "$IDENTITY" "$object" | "$@"
}

deliver() {
  restrict || return 1
  fetch || { echo "the fetch failed" >&2; return 1; }
  # What an earlier run left may be damaged: fetch all of it, once.
  verify || { rm -f "$object"; fetch && verify; } || { rm -f "$object"; return 1; }
  hand_over "$@"
}

# Extends the lease at a third of its time; ends the work when the lease is over, or this script is gone.
keep() {
  while sleep $((LEASE / 3)); do
    kill -0 $$ 2>/dev/null || { kill -TERM -- "-$1"; return; }
    gateway extend "$NIGHTSAFE_DELIVERY" --lease "$lease" --for "${LEASE}s" >/dev/null
    [ $? -ne 1 ] || { touch "$WORK/lost"; kill -TERM -- "-$1"; return; }
  done
}

# Each background job gets a process group of its own, so that it can be ended whole.
set -m
job='' keeper=''
trap 'for group in $job $keeper; do kill -TERM -- "-$group" 2>/dev/null; done; exit 130' INT TERM
failed=0
while :; do
  claim=$(gateway claim --max 1 --lease "${LEASE}s") || { echo "the gateway does not answer the claim" >&2; exit 3; }
  [ -n "$claim" ] || exit "$failed"
  lease=$(field lease) remote=$(field object)
  NIGHTSAFE_DELIVERY=$(field delivery) NIGHTSAFE_UPLOAD=$(field upload) NIGHTSAFE_ORG=$(field organisation)
  NIGHTSAFE_DATASET=$(field dataset) NIGHTSAFE_SIZE=$(field size) NIGHTSAFE_SHA256=$(field sha256)
  NIGHTSAFE_RESTRICTED=$(field restricted) NIGHTSAFE_RESTRICTED_FILE=$WORK/$NIGHTSAFE_DELIVERY.restricted.txt
  NIGHTSAFE_ATTEMPT=$(field attempt) NIGHTSAFE_MANIFEST=$WORK/$NIGHTSAFE_DELIVERY.json
  export "${!NIGHTSAFE_@}"
  object=$WORK/$NIGHTSAFE_DELIVERY.age
  printf '%s\n' "$claim" >"$NIGHTSAFE_MANIFEST"
  rm -f "$WORK/lost"

  deliver "$@" 2>"$WORK/stderr" &
  job=$!
  keep "$job" &
  keeper=$!
  wait "$job"
  status=$?
  kill -TERM -- "-$keeper" 2>/dev/null
  wait "$keeper" 2>/dev/null
  job='' keeper=''
  cat "$WORK/stderr" >&2
  rm -f "$NIGHTSAFE_RESTRICTED_FILE"

  if [ -e "$WORK/lost" ]; then
    echo "$NIGHTSAFE_DELIVERY: the lease was lost" >&2
    failed=1
  elif [ "$status" -eq 0 ]; then
    # Said again when the connection breaks: the same lease may acknowledge twice.
    for pause in 0 1 5 20; do
      sleep "$pause"
      gateway ack "$NIGHTSAFE_DELIVERY" --lease "$lease" >/dev/null
      status=$?
      [ "$status" -gt 1 ] || break
    done
    if [ "$status" -eq 0 ]; then rm -f "$object" "$NIGHTSAFE_MANIFEST"; else failed=1; fi
  else
    reason=$(tail -n 1 "$WORK/stderr" | tr -cd '[:alnum:] .,:_/-' | cut -c 1-300)
    gateway nack "$NIGHTSAFE_DELIVERY" --lease "$lease" --reason "exit status $status: $reason" >/dev/null
    failed=1
  fi
done
