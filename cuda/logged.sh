#!/bin/sh
# nvcc's launcher: keeps what the assembler says of each kernel's registers and memory beside the object, for
# scripts/compile-check.mjs, and shows it only where compiling fails.
previous=
object=
for argument; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
if "$@" 2> "$object.ptxas"; then
  exit 0
else
  status=$?
  cat "$object.ptxas" >&2
  rm -f "$object.ptxas"
  exit $status
fi
