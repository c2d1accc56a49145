#!/usr/bin/env bash
# An upload states the type of its content. Where a file has no ending, or stands in memory only, its first bytes tell
# the type. Three packages do so: filetype and puremagic for Python, and file-type for Node.js. They look at a plain
# zip, and at a spreadsheet, an e-book and a text of LibreOffice, which are zips, too.
#
# Guess: each names the type, or says just "zip".
# Seen: filetype and file-type name all of them. puremagic takes the zip, the spreadsheet and the text for a document of
# Word, if it has the bytes alone (`from_string`), or a file whose name has no ending. An upload of a plain zip then
# states "application/vnd.openxmlformats-officedocument.wordprocessingml.document". With an ending it is right. This is
# version 1.30, the last one for Python 3.11; 2.2.0 looks into a file without ending, but not into bytes.
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund file-type@21.3.4
python3 -m venv venv
venv/bin/pip install -q puremagic==1.30 filetype==1.2.0 openpyxl==3.1.5

cat >run.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { fileTypeFromFile } from "file-type";

const types = {};
for (const name of process.argv.slice(2)) types[name] = (await fileTypeFromFile(name))?.mime;
const { version } = JSON.parse(readFileSync("node_modules/file-type/package.json"));
console.log(JSON.stringify({ version, types }));
JAVASCRIPT
cat >run.py <<'PYTHON'
import json, subprocess, sys, zipfile
from importlib.metadata import version
from pathlib import Path
import filetype, openpyxl, puremagic

OFFICE = "application/vnd.openxmlformats-officedocument"
WORD = f"{OFFICE}.wordprocessingml.document"
TYPES = {
    "photos.zip": "application/zip",
    "table.xlsx": f"{OFFICE}.spreadsheetml.sheet",
    "book.epub": "application/epub+zip",
    "letter.odt": "application/vnd.oasis.opendocument.text",
}
with zipfile.ZipFile("photos.zip", "w") as archive:
    archive.writestr("one.txt", "hello " * 50)
openpyxl.Workbook().save("table.xlsx")
for name in "book.epub", "letter.odt":
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("mimetype", TYPES[name])
        archive.writestr("content.xml", "<text>hello</text>" * 20)

in_node = json.loads(subprocess.check_output(["node", "run.mjs", *TYPES]))
changed = False
for name, right in TYPES.items():
    content = Path(name).read_bytes()
    bare = Path(name.split(".")[0])
    bare.write_bytes(content)
    seen = {
        f"filetype {version('filetype')}": filetype.guess_mime(content),
        f"file-type {in_node['version']}": in_node["types"][name],
        f"puremagic {version('puremagic')}, file with its ending": puremagic.from_file(name, mime=True),
        f"puremagic {version('puremagic')}, file without ending": puremagic.from_file(bare, mime=True),
        f"puremagic {version('puremagic')}, bytes": puremagic.from_string(content, mime=True),
    }
    print(name)
    for words, found in seen.items():
        print(f"  {words}: {found}")
    guessed = right if name == "book.epub" else WORD
    changed |= list(seen.values()) != [right, right, right, guessed, guessed]
if changed:
    sys.exit("The behaviour has changed.")
PYTHON
venv/bin/python run.py
