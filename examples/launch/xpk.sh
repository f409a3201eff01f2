#!/bin/sh
# Runs one program on a TPU slice of a GKE cluster: CLUSTER=... IMAGE=... sh examples/launch/xpk.sh PROGRAM [ARGUMENT ...]
#
# IMAGE holds Python, this package with its extra `tpu`, and the program. One process runs on each host of the slice;
# kcg.distribution.initialize() needs no settings, JAX reads GKE's. Not run on a cluster by us.
set -eu
xpk workload create \
    --cluster "$CLUSTER" \
    --workload "${WORKLOAD:-codegemma}" \
    --docker-image "$IMAGE" \
    --tpu-type "${TPU_TYPE:-v5litepod-256}" \
    --max-restarts "${MAX_RESTARTS:-3}" \
    --command "python $*"
