#!/usr/bin/env bash
# Removes what a demo left behind after a crash: a Ray in the background, and the demos' data directories.
. "$(dirname "$0")/common.sh"

if [ -f .cache/ray.json ]; then
  scripts/ray-loopback.sh stop
fi
rm -rf .cache/demo
say 'clean'
