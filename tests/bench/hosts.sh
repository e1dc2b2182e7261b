#!/usr/bin/env bash
# Trains on two and on three "hosts", which are network namespaces of this machine, joined by a bridge: the losses are
# those of one process, and a cut cable ends all of them. Needs root on Linux with iproute2; ends with 77 where that is not so.
#
#     tests/bench/hosts.sh [PYTHON]
set -euo pipefail

PYTHON=${1:-.venv/bin/python}
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
WORK=$(mktemp -d)
TAG=nmt$$
export PYTHONPATH=$ROOT NMT_CACHE=$WORK/cache OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=eth0
LOST=60 # seconds in which every process has noticed a cut cable: 30 without a sign of life, 10 to leave by itself

clean_up() {
    for host in 1 2 3; do
        ip netns pids "$TAG-$host" 2>/dev/null | xargs -r kill -9 || true
        ip netns delete "$TAG-$host" 2>/dev/null || true
    done
    ip netns delete "$TAG-net" 2>/dev/null || true
    rm -rf "$WORK"
}
trap clean_up EXIT

if ! { ip netns add "$TAG-net" && unshare --uts true; } 2>/dev/null; then
    echo "no network namespaces here: not tried"
    exit 77
fi

# A switch in a namespace of its own, and hosts 10.77.0.1 to .3 that are plugged into it.
inside() { ip netns exec "$TAG-$1" "${@:2}"; }
inside net ip link add switch type bridge
inside net ip link set switch up
for host in 1 2 3; do
    ip netns add "$TAG-$host"
    inside $host ip link set lo up
    ip link add "port$host" netns "$TAG-net" type veth peer name eth0 netns "$TAG-$host"
    inside net ip link set "port$host" master switch up
    inside $host ip address add "10.77.0.$host/24" dev eth0
    inside $host ip link set eth0 up
done

cd "$WORK"
"$PYTHON" - <<'PYTHON'
import random

chance = random.Random(1)
names = "zero one two three four five six seven eight nine".split()
rows = [[chance.randrange(10) for _ in range(chance.randint(1, 6))] for _ in range(300)]
open("digits.en", "w").write("".join(" ".join(map(str, row)) + "\n" for row in rows))
open("digits.de", "w").write("".join(" ".join(names[n] for n in reversed(row)) + "\n" for row in rows))
PYTHON
cat > digits.yaml <<YAML
data: {source_lang: en, target_lang: de, train: "$WORK/digits.{lang}"}
tokenizer: {vocab_size: 290}
model: {dim: 16, heads: 2, feed_forward: 32, encoder_layers: 1, decoder_layers: 1, dropout: 0, attention_dropout: 0}
training: {batch_tokens: 256, learning_rate: 0.01, warmup: 4, max_steps: 100, valid_every: 50, valid_lines: 4,
           save_every: 20, log_every: 1, patience: 0, threads: 1, device: cpu}
search: {max_length_ratio: 0.5, max_length_offset: 3}
YAML

start() { # number of hosts, run, further options
    hosts=()
    for host in $(seq "$1"); do
        inside "$host" unshare --uts sh -c "hostname host$host; exec \"\$@\"" sh \
            "$PYTHON" -m torch.distributed.run --nnodes "$1" --nproc-per-node 1 \
            --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29500 --rdzv-conf is_host=$((host == 1)) --rdzv-id "$2" --local-addr "10.77.0.$host" \
            -m nmt train digits.yaml -o "$2" "${@:3}" > "$2.host$host.log" 2>&1 &
        hosts+=($!)
    done
}

together() { # run: waits for its hosts; where one fails, says which, and what all of them said but for steps
    local failed=0 ended=0
    for host in "${!hosts[@]}"; do
        wait "${hosts[host]}" && ended=0 || ended=$?
        [ "$ended" = 0 ] || { echo "$1: host $((host + 1)) ended with $ended"; failed=1; }
    done
    [ "$failed" = 0 ] || { grep -hv "^step \|hostname of the client" "$1".host*.log | cut -c 1-300; exit 1; }
}

"$PYTHON" -m nmt train digits.yaml -o alone 2> alone.log || { cat alone.log; exit 1; }
for count in 2 3; do
    start "$count" "run$count"
    together "run$count"
    "$PYTHON" - alone "run$count" <<'PYTHON'
import json, sys

def losses(run):
    records = map(json.loads, open(f"{run}/metrics.jsonl"))
    return {record["step"]: record["loss"] for record in records if record["kind"] == "train"}

one, other = map(losses, sys.argv[1:])
assert sorted(one) == sorted(other) == list(range(1, 101)), "steps are missing"
early, late = (max(abs(one[s] - other[s]) / one[s] for s in range(1, last + 1)) for last in (20, 100))
print(f"{sys.argv[2]}: losses of one process but for {early:.1e} to step 20, {late:.1e} to step 100")
sys.exit(early > 1e-5 or late > 1e-4)
PYTHON
done

start 2 cut --max-steps 1000000
for _ in $(seq 600); do
    grep -q "^step 21 " cut.host1.log && break
    sleep 0.1
done
inside net ip link set port2 down
before=$SECONDS
while { ip netns pids "$TAG-1"; ip netns pids "$TAG-2"; } | xargs -r ps -o args= -p | grep -q -- "-u -m nmt train"; do
    sleep 0.5
    [ $((SECONDS - before)) -le $LOST ] || { cat cut.host*.log; exit 1; }
done
echo "cable cut: all processes have ended after $((SECONDS - before)) s"
for host in 1 2; do
    grep "nmt train: error: rank [01] on host$host: .*(exit code 5)" "cut.host$host.log" \
        || { cat "cut.host$host.log"; exit 1; }
done
# torchrun itself waits on a cut host for as long as TCP does.
inside net ip link set port2 up
for host in "${hosts[@]}"; do
    if wait "$host"; then
        echo "a host ended as if nothing had happened"
        exit 1
    fi
done
start 2 cut --max-steps 60
together cut
grep -h "^resuming" cut.host1.log
