#!/usr/bin/env bash
# Start a private Slurm of two emulated nodes with two fake GPUs each, without systemd: tools/slurm/start.sh STATE_DIR
# Everything of it lies in STATE_DIR (short: the path of munge's socket is limited) and listens on the loopback only.
#   export SLURM_CONF=STATE_DIR/slurm.conf; sinfo
# Partitions: cpu (default) and gpu; jobs in urgent preempt theirs, which are requeued.
# SLURM_TEST_PORT (16817): of slurmctld; the nodes take the next two.
# Tried with Debian 12's slurm-wlm 22.05 and munge, as root. tools/slurm/stop.sh STATE_DIR ends it.
set -euo pipefail

port=${SLURM_TEST_PORT:-16817}
PATH+=:/usr/sbin  # ordinary users lack it; the daemons lie there
for program in munged slurmctld slurmd; do
    command -v "${program}" >/dev/null || { echo "error: ${program} is missing: apt-get install slurm-wlm munge" >&2
        exit 1; }
done
mkdir -p "${1:?STATE_DIR is missing}"/{munge,state,spool}
dir=$(cd "$1" && pwd)
export SLURM_CONF=${dir}/slurm.conf
host=$(hostname -s)
megabytes=$(($(awk '/^MemTotal:/ {print $2}' /proc/meminfo) / 1024 / 2))  # of a node

# The first node is called as the machine, a name that resolves: torchrun's master address.
# Links to /dev/null pass as GPUs as long as nothing opens them.
ln -sfn /dev/null "${dir}/gpu0"
ln -sfn /dev/null "${dir}/gpu1"
cat >"${dir}/gres.conf" <<CONF
AutoDetect=off
NodeName=${host},${host}2 Name=gpu File=${dir}/gpu[0-1]
CONF
# cred_expire is also what a requeued job waits before it starts again (by default 120 s).
# Without cgroups the memory limit is enforced by sampling only; nothing here relies on it.
cat >"${SLURM_CONF}" <<CONF
ClusterName=test
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=${dir}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=${dir}/state
SlurmdSpoolDir=${dir}/spool/%n
SlurmctldPidFile=${dir}/slurmctld.pid
SlurmdPidFile=${dir}/slurmd.%n.pid
SlurmctldLogFile=${dir}/slurmctld.log
SlurmdLogFile=${dir}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=${host} NodeHostname=${host} NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 RealMemory=${megabytes} Gres=gpu:2
NodeName=${host}2 NodeHostname=${host} NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 RealMemory=${megabytes} Gres=gpu:2
PartitionName=cpu Nodes=ALL Default=YES PriorityTier=1
PartitionName=gpu Nodes=ALL PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
CONF

(umask 077; head -c 1024 /dev/urandom >"${dir}/munge/key")
munged --key-file="${dir}/munge/key" --socket="${dir}/munge/socket" --pid-file="${dir}/munged.pid" \
    --log-file="${dir}/munge/log" --seed-file="${dir}/munge/seed"
slurmctld
for node in "${host}" "${host}2"; do
    mkdir -p "${dir}/spool/${node}"
    slurmd -N "${node}"
done
for ((tries = 0; tries < 200; tries++)); do
    [ "$(sinfo -h -N -p cpu -o %T 2>/dev/null)" != $'idle\nidle' ] || exit 0
    sleep 0.1
done
echo "error: the nodes are not ready after 20 s; logs in ${dir}" >&2
exit 1
