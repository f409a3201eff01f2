#!/bin/sh
# Runs one program as several processes on this machine: sh examples/launch/local.sh COUNT PROGRAM [ARGUMENT ...]
#
# The program calls kcg.distribution.initialize(), which reads the three variables below. Ends with the first bad exit code.
count=$1
shift
port=${PORT:-29400}
export KERAS_DISTRIBUTION_JOB_ADDRESSES="127.0.0.1:$port" KERAS_DISTRIBUTION_NUM_PROCESSES="$count"

processes=
index=0
while [ "$index" -lt "$count" ]; do
    KERAS_DISTRIBUTION_PROCESS_ID=$index python "$@" &
    processes="$processes $!"
    index=$((index + 1))
done

code=0
for process in $processes; do
    wait "$process"
    found=$?
    [ "$code" -ne 0 ] || code=$found
done
exit "$code"
