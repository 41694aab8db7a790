#!/bin/sh
# Debian's busybox crashes on wget's -T: the same limit by `timeout` instead.
limit=
left=$#
while [ "$left" -gt 0 ]; do
    case "$1" in
        -T)
            limit=$2
            shift
            left=$((left - 1))
            ;;
        -T?*) limit=${1#-T} ;;
        --timeout=*) limit=${1#--timeout=} ;;
        *) set -- "$@" "$1" ;;
    esac
    shift
    left=$((left - 1))
done
if [ -n "$limit" ]; then exec timeout "$limit" busybox wget "$@"; fi
exec busybox wget "$@"
