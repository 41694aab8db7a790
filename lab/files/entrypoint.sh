#!/bin/sh
# As in the official image: arguments that are only flags belong to the image's own program.
set -e
case "${1:-}" in
    -* | '') set -- "$DEFAULT_PROGRAM" "$@" ;;
esac
exec "$@"
