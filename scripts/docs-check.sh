#!/usr/bin/env bash
# Are the committed files that the code makes (schema, OpenAPI, man pages, completions) the ones it makes today?
# WRITE=1 writes them instead. CURB_BIN names the binary; else it is built.
. "$(dirname "$0")/common.sh"

place=docs/generated

generate() {
  local curb=$1 out=$2
  mkdir -p "$out/man" "$out/completions"
  "$curb" policy schema >"$out/policy.schema.json"
  "$curb" openapi >"$out/openapi.json"
  "$curb" man "$out/man" >&2
  local shell
  for shell in bash zsh fish; do
    "$curb" completions "$shell" >"$out/completions/curb.$shell"
  done
}

main() {
  local curb=${CURB_BIN:-} fresh
  [ -n "$curb" ] || curb=$(scripts/build.sh debug)
  fresh=$(mktemp -d)
  # shellcheck disable=SC2064 # its value of now is meant
  trap "rm -rf '$fresh'" EXIT
  generate "$curb" "$fresh"
  if [ -n "${WRITE:-}" ]; then
    rm -rf "$place"
    mkdir -p "$place"
    cp -r "$fresh/." "$place/"
    say "wrote $(find "$place" -type f | wc -l) files to $place/"
  elif diff -ru "$place" "$fresh" >&2; then
    say "$(find "$place" -type f | wc -l) files in $place/ are fresh"
  else
    die "the files in $place/ are not those that the code makes. To make them so: WRITE=1 make docs-check"
  fi
}

main
