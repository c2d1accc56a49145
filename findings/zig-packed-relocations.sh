#!/usr/bin/env bash
# A static-pie has a relocation for each pointer in its data. Packed (DT_RELR), it takes a fraction of a word; musl has
# read that form since 1.2.4, and LLD writes it on request. zig has both: LLD 20 within, and its own copy of musl 1.2.5.
#
# Guess: `zig cc -Wl,--pack-dyn-relocs=relr` hands the option to its linker, or packs by itself.
# Seen: it refuses the option. The linker within, `zig ld.lld`, takes it: run again with the command that zig tells, it
# makes a binary of which the relocations are a fiftieth, and which runs.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q ziglang==0.15.2
zig() { venv/bin/python-zig "$@"; }
changed() { echo "The behaviour has changed." >&2 && exit 1; }

{
  echo '#include <stdio.h>'
  echo 'const char *words[] = {'
  for n in {1..2000}; do echo "\"word $n\","; done
  echo '};'
  echo 'int main(int count, char **all) { return puts(words[(count + all[0][0]) % 2000]) < 0; }'
} >words.c
target=(-target x86_64-linux-musl -static -pie -O1)

echo "zig $(zig version), $(zig ld.lld --version | cut -d' ' -f1-2)"
zig cc "${target[@]}" -Wl,--pack-dyn-relocs=relr words.c -o refused >refusal 2>&1 && changed
cat refusal
grep -q 'unsupported linker arg: --pack-dyn-relocs' refusal || changed

zig cc "${target[@]}" words.c -c -o words.o
read -ra command < <(ZIG_VERBOSE_LINK=1 zig cc "${target[@]}" words.o -o plain 2>&1 | grep '^ld\.lld ' | tail -1)
# The plain binary stays: the second run writes another.
for n in "${!command[@]}"; do [[ ${command[n]} != */plain && ${command[n]} != plain ]] || command[n]=packed; done
zig "${command[@]}" --pack-dyn-relocs=relr

size_of() { readelf -SW "$1" | awk -v name="$2" '$0 ~ " \\" name " " { sub(/.*\] /, ""); print $5 }'; }
plain=$((16#$(size_of plain .rela.dyn))) packed=$((16#$(size_of packed .relr.dyn)))
echo "relocations of the plain binary: $plain bytes; packed: $packed bytes"
[[ $(./plain) == $(./packed) ]] || changed
((packed > 0 && packed * 20 < plain)) || changed
