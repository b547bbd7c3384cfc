# Shell shared by tests/all and its parts: announcing steps, bounded commands, free ports, and the list of
# processes that have to end with us. Sourced, never run.

declare -a started=()   # process ids we started and must end
job=""                  # the bounded command that runs right now
step_name=""
step_began=$SECONDS

say() { printf '%s\n' "$*"; }
die() { printf 'tests/all: %s\n' "$*" >&2; exit 1; }

# step NAME: closes the step before with its time and opens the next.
step() {
  end_step
  step_name=$1 step_began=$SECONDS
  printf '\n── %s\n' "$step_name"
}

end_step() {
  [[ -n $step_name ]] && printf '   %s: %d s\n' "$step_name" $((SECONDS - step_began))
  step_name=""
}

# bounded SECONDS COMMAND...: in the background and waited for, so that an interrupt reaches our trap at once;
# `timeout` leads a process group of its own and passes a signal on to all of it.
bounded() {
  local limit=$1 status=0
  shift
  timeout --kill-after=20 "$limit" "$@" &
  job=$!
  wait "$job" || status=$?
  job=""
  [[ $status == 124 ]] && printf 'tests/all: gave up after %s s: %s\n' "$limit" "$*" >&2
  return "$status"
}

# quietly LOG SECONDS COMMAND...: output into a file, shown only if the command fails.
quietly() {
  local log=$cache/logs/$1.log limit=$2
  shift 2
  bounded "$limit" "$@" >"$log" 2>&1 && return
  tail -n 40 "$log" >&2
  die "failed: $* (all of it in $log)"
}

# free_ports N: loopback ports below those which the system hands to connections (from 32768 on), so that none
# of those takes one before its server does.
free_ports() {
  python3 - "$1" <<'PY'
import random, socket, sys
ports = []
for port in random.sample(range(20_000, 32_000), 12_000):
    if len(ports) == int(sys.argv[1]):
        break
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        except OSError:
            pass
print(*ports)
PY
}

# await SECONDS PID LOG COMMAND...: until the command succeeds; fails at once if the process has ended.
await() {
  local limit=$1 pid=$2 log=$3 began=$SECONDS
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null || ((SECONDS - began > limit)); then
      tail -n 30 "$log" >&2
      die "did not come up: see above"
    fi
    sleep 0.2
  done
}

# Ends what we started and nothing else: a polite signal, 20 s, then a hard one.
stop_all() {
  [[ -n $job ]] && kill -TERM "$job" 2>/dev/null
  local pid began=$SECONDS
  # TERM stops a broker; PostgreSQL would wait for its clients, so it gets INT, its fast stop, as well.
  for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null && kill -INT "$pid" 2>/dev/null; done
  for pid in "${started[@]}"; do
    while kill -0 "$pid" 2>/dev/null && ((SECONDS - began < 20)); do sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  done
  started=()
  return 0
}
