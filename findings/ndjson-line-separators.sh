#!/usr/bin/env bash
# JSON Lines holds one JSON value on each line. JSON allows three rare line separators inside of texts as they are:
# U+2028, U+2029 and U+0085. Most writers that leave Chinese unescaped leave these unescaped, too. Python's packages
# ndjson, jsonlines and orjsonl each read such a file.
#
# Guess: each reads the texts as they are, or raises an error for a line that it has cut in two.
# Seen: jsonlines and orjsonl read them. `ndjson.loads` and `ndjson.load` put a comma in place of the separator, without
# a word: the number of values is right, and the text is not. (`ndjson.reader` reads the same file well.)
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q ndjson==0.3.1 jsonlines==4.0.0 orjsonl==1.0.0 orjson==3.13.0

venv/bin/python - <<'PYTHON'
import importlib.metadata, json, sys
import jsonlines, ndjson, orjsonl

NAMES = {"U+2028": "one\u2028two", "U+2029": "one\u2029two", "U+0085": "one\u0085two"}
READERS = {
    "ndjson.loads": lambda: ndjson.loads(open("manifest.jsonl", encoding="utf-8", newline="").read()),
    "ndjson.load": lambda: ndjson.load(open("manifest.jsonl", encoding="utf-8", newline="")),
    "ndjson.reader": lambda: list(ndjson.reader(open("manifest.jsonl", encoding="utf-8", newline=""))),
    "jsonlines.open": lambda: list(jsonlines.open("manifest.jsonl")),
    "orjsonl.load": lambda: orjsonl.load("manifest.jsonl"),
}
for package in "ndjson", "jsonlines", "orjsonl":
    print(package, importlib.metadata.version(package))
is_as_expected = True
for words, name in NAMES.items():
    rows = [{"name": name, "size": 3}, {"name": "three", "size": 5}]
    with open("manifest.jsonl", "w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for reader, read in READERS.items():
        seen = read()
        print(f"{words} by {reader}: {len(seen)} values,", "as written" if seen == rows else ascii(seen[0]["name"]))
        if reader in ("ndjson.loads", "ndjson.load"):
            rows_expected = [{"name": "one,two", "size": 3}, rows[1]]
        else:
            rows_expected = rows
        is_as_expected &= seen == rows_expected
if not is_as_expected:
    sys.exit("The behaviour has changed.")
PYTHON
