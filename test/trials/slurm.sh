#!/usr/bin/env bash
# Real Slurm on one node (Debian: apt-get install slurm-wlm munge; as root): deploy/slurm.sbatch as an array of 4
# tasks over a folder; one task is killed -9 and requeued by Slurm, one gets SIGTERM and requeues itself. The
# output is compared with that of a single undisturbed run.
#
#   bash test/trials/slurm.sh IMAGES_FOLDER
set -euo pipefail
images=$(realpath "$1")
root=$(realpath "$(dirname "$0")/../..")
work=$(mktemp -d /tmp/vtp-slurm-XXXX)
host=$(hostname -s)
pids=()
cleanup() {
  scancel --user=root >/dev/null 2>&1 || true
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
}
trap cleanup EXIT

mkdir -p "$work"/{state,spool,run}
dd if=/dev/urandom of="$work/munge.key" bs=128 count=1 status=none && chmod 400 "$work/munge.key"
chmod 755 "$work" "$work/run"
munged --foreground --key-file="$work/munge.key" --socket="$work/run/munge.socket" --pid-file="$work/run/munged.pid" \
  --log-file="$work/run/munged.log" --seed-file="$work/run/munged.seed" --force >/dev/null 2>&1 &
pids+=($!)
cat >"$work/slurm.conf" <<CONF
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$work/run/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/run/slurmctld.pid
SlurmdPidFile=$work/run/slurmd.pid
SlurmctldLogFile=$work/run/slurmctld.log
SlurmdLogFile=$work/run/slurmd.log
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SchedulerParameters=requeue_setup_env_fail,batch_sched_delay=1,sched_interval=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$work/slurm.conf"
for _ in $(seq 50); do [ -S "$work/run/munge.socket" ] && break; sleep 0.1; done
slurmctld -D >/dev/null 2>&1 & pids+=($!)
slurmd -D -N "$host" >/dev/null 2>&1 & pids+=($!)
for _ in $(seq 60); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 0.5; done
sinfo --version
sinfo

flags="--shard-rows 25 --transform resize(64,64,bilinear) --image-size 64 --workers 1"
export VTP="node $root/bin/run.js" SOURCE=$images OUT=$work/out VTP_FLAGS="$flags"
# shellcheck disable=SC2086
$VTP encode "$images" --out "$work/single" $flags 2>"$work/single.log"
job=$(sbatch --parsable --array=0-3 --chdir="$work" "$root/deploy/slurm.sbatch")
echo "job array $job"
task() { squeue -h -r -j "${job}_$1" -o %A; }
running() { squeue -h -r -j "${job}_$1" -t R -o %T 2>/dev/null | grep -q RUNNING; }
for _ in $(seq 100); do running 1 && running 2 && break; sleep 0.1; done
sleep "${KILL_AFTER:-2.5}"
# Task 1: the program is killed, and Slurm requeues the task.
worker_of() {
  local pid
  for pid in $(pgrep -f "run.js encode $images --out $work/out" || true); do
    if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -q "^SLURM_ARRAY_TASK_ID=$1\$"; then echo "$pid"; fi
  done | tail -n 1
}
pid1=$(worker_of 1)
kill -9 "$pid1" && echo "task 1: process $pid1 killed -9"
scontrol requeue "${job}_1" && echo "task 1: requeued by Slurm"
# Task 2: SIGTERM as before the end of its time; the batch script requeues itself.
scancel --signal=TERM --batch "${job}_2" && echo "task 2: SIGTERM"
while squeue -h -j "$job" | grep -q .; do sleep 0.5; done
sleep 1
for i in 0 1 2 3; do
  echo "task $i: $(scontrol show job "${job}_$i" | grep -oE '(JobState|Restarts|ExitCode)=[^ ]+' | tr '\n' ' ')"
done
for file in "$work"/single/part-* "$work"/single/_manifest.json; do cmp "$file" "$work/out/$(basename "$file")"; done
node "$root/bin/run.js" verify "$work/out"
echo "all parts and the manifest are those of the single run"
rm -rf "$work"
