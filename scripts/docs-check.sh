#!/usr/bin/env bash
# Are the committed files that the code makes (schemas, OpenAPI, man pages, completions) the ones it makes today?
# WRITE=1 writes them instead. CURB_BIN names the binary; else it is built.
. "$(dirname "$0")/common.sh"

# Whole directories and single files that are generated; nothing else may be in the directories.
readonly GENERATED=(docs/openapi.json docs/policy.schema.json docs/policy.schema.draft07.json docs/limits.schema.json docs/man docs/completions)

# generate CURB DIR: all of them below DIR, laid out as here.
generate() {
  local curb=$1 out=$2 shell
  mkdir -p "$out/docs/man" "$out/docs/completions"
  "$curb" openapi >"$out/docs/openapi.json"
  "$curb" policy schema >"$out/docs/policy.schema.json"
  "$curb" policy schema --draft07 >"$out/docs/policy.schema.draft07.json"
  "$curb" limits schema >"$out/docs/limits.schema.json"
  "$curb" man "$out/docs/man" >&2
  for shell in bash zsh fish; do
    "$curb" completions "$shell" >"$out/docs/completions/curb.$shell"
  done
}

main() {
  local curb=${CURB_BIN:-} path stale=()
  [ -n "$curb" ] || curb=$(scripts/build.sh debug)
  fresh=$(mktemp -d) # not local: the trap reads it after main has returned
  trap 'rm -rf "$fresh"' EXIT
  generate "$curb" "$fresh"
  for path in "${GENERATED[@]}"; do
    if [ -n "${WRITE:-}" ]; then
      rm -rf "$path"
      mkdir -p "$(dirname "$path")"
      cp -r "$fresh/$path" "$path"
    elif ! diff -ruN "$path" "$fresh/$path" >"$fresh/diff"; then
      head -n 40 "$fresh/diff" >&2
      stale+=("$path")
    fi
  done
  if [ "${#stale[@]}" -gt 0 ]; then
    die "not what the code makes: ${stale[*]}. To make them so: WRITE=1 make docs-check"
  fi
  if [ -n "${WRITE:-}" ]; then
    say "written: ${GENERATED[*]}"
  else
    say "fresh: ${GENERATED[*]}"
  fi
}

main
