"""What runs on a node while its etcd is swapped: one shell script, so that it ends what it began.

If kt is killed, `docker exec` lets a script go on. Whoever comes next (`kt recover`) must not meet
it half-way, so every script holds the lock of the restores' folder. Each prints one word a line as
it gets there.

A restore's folder lies beside the data directory, on the same file system, so that every step of
the swap is one rename:

    kt-etcd/<run>/staged/member   the restored data, until it is moved in
    kt-etcd/<run>/old/member      the data that was there, until `kt etcd cleanup`
    kt-etcd/<run>/undone/member   restored data that was taken out again by a roll-back
    kt-etcd/<run>/started         the kubelet was told to start on the restored data
    kt-etcd/<run>/settled         nothing more is to be done: the restore held, or was undone
"""

from __future__ import annotations

LOCK_PATIENCE = 90  # seconds that another script may hold the lock
GONE_PATIENCE = 200  # tenths of a second until a killed process must be gone

# $1: the run's folder, $2: etcd's data directory.
_COMMON = f"""
set -eu
run="$1" data="$2"
mkdir -p -m 700 "$(dirname "$run")"
exec 9>>"$(dirname "$run")/.lock"
die() {{ echo "$1" >&2; exit 1; }}
flock -w {LOCK_PATIENCE} 9 || die "another restore holds $(dirname "$run")/.lock"
c() {{ ctr -n k8s.io "$@" 2>/dev/null; }}
ids() {{
  c containers ls -q \\
    "labels.\\"io.kubernetes.container.name\\"==$1,labels.\\"io.kubernetes.pod.namespace\\"==kube-system"
}}
# A rename is on the disk once both folders are.
move() {{
  mkdir -p -m 700 "$(dirname "$2")"
  mv -T -- "$1" "$2"
  sync "$(dirname "$1")" "$(dirname "$2")"
}}
# What was staged and is not needed any more.
tidy() {{
  rm -rf -- "$run/staged" "$run/snapshot.db"
  rmdir -- "$run/old" 2>/dev/null || :
}}
mark() {{ : > "$run/$1"; sync "$run/$1" "$run"; }}
# The API server goes first, lest it sees etcd end or, worse, change under it.
# A removed record leaves the kubelet no exit to count, and so no back-off.
halt() {{
  systemctl stop kubelet
  echo kubelet-stopped
  all=""
  for name in kube-apiserver kube-controller-manager kube-scheduler etcd; do
    all="$all $(ids $name)"
  done
  tasks="$(c tasks ls)"
  pids=""
  for id in $all; do
    pid="$(echo "$tasks" | awk -v id="$id" '$1 == id && $3 != "STOPPED" {{ print $2 }}')"
    if [ "${{pid:-0}}" != 0 ]; then kill -KILL "$pid" 2>/dev/null || :; pids="$pids $pid"; fi
  done
  for pid in $pids; do
    n=0
    while [ -d "/proc/$pid" ]; do
      n=$((n + 1))
      [ $n -lt {GONE_PATIENCE} ] || die "process $pid does not end"
      sleep 0.1
    done
  done
  echo halted
}}
# Beside the start of the kubelet, which takes longer to look at its pods.
forget() {{
  for id in $all; do
    c tasks rm -f "$id" >/dev/null || :
    c containers rm "$id" >/dev/null || :
  done
}}
"""

SWAP = (
    _COMMON
    + """
[ -d "$run/staged/member" ] && [ -d "$data/member" ] && [ ! -e "$run/old" ] ||
  die "the folders are not as they were when the restore began"
halt
move "$data/member" "$run/old/member"
echo aside
move "$run/staged/member" "$data/member"
echo in-place
mark started
forget &
systemctl start kubelet; wait
echo started
"""
)

# Tells where a swap stopped: done, untouched, moving or restored.
STATE = (
    _COMMON
    + """
if [ -e "$run/settled" ]; then echo settled
elif [ ! -d "$run/old/member" ]; then
  if [ -d "$data/member" ]; then echo untouched; else echo lost; fi
elif [ -d "$data/member" ] && [ ! -e "$run/staged/member" ] && [ -e "$run/started" ]; then
  echo restored
else echo moving; fi
"""
)

# Puts the old data back, whatever a swap came to; it may be repeated at every point.
ROLL_BACK = (
    _COMMON
    + """
if [ -d "$run/old/member" ]; then
  halt
  if [ -e "$data/member" ]; then
    n=1; while [ -e "$run/undone/$n" ]; do n=$((n + 1)); done
    move "$data/member" "$run/undone/$n/member"
  fi
  move "$run/old/member" "$data/member"
  forget &
fi
[ -d "$data/member" ] || die "there is no $data/member"
systemctl start kubelet; wait
tidy
[ ! -d "$run" ] || mark settled
echo rolled-back
"""
)

# The restore held: only the old data stays, for `kt etcd cleanup`.
SETTLE = (
    _COMMON
    + """
tidy
mark settled
echo settled
"""
)
