#!/usr/bin/env bash
# A file `.env` holds secrets for several programs. Python's python-dotenv writes it (`dotenv set`, or `set_key`).
# Node.js programs read it with the package dotenv.
#
# Guess: both packages read the value that was written.
# Seen: python-dotenv puts the value in single quotes, and a backslash before each backslash and apostrophe. Only
# Python takes it away again: dotenv gets `C:\\site` for `C:\site`, and `it\'s` for `it's`. python-dotenv in its turn
# reads `a${b}c` as `ac`: it replaces a variable in single quotes, too. Blanks, `#`, `"` and line breaks arrive at
# both.
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q python-dotenv==1.2.4
npm install --silent --no-audit --no-fund dotenv@18.0.10

venv/bin/python - <<'PYTHON'
import json, subprocess, sys
from importlib.metadata import version
import dotenv

VALUES = ["plain", " a b ", "a#b", 'say "x"', "two\nlines", "C:\\site", "it's", "a${b}c"]
READ = "console.log(JSON.stringify(require('dotenv').parse(require('fs').readFileSync('.env'))))"

open(".env", "w").close()
for number, value in enumerate(VALUES):
    dotenv.set_key(".env", f"V{number}", value)
print(open(".env").read())
by_node = json.loads(subprocess.run(["node", "-e", READ], capture_output=True, check=True).stdout)
of_node = json.load(open("node_modules/dotenv/package.json"))["version"]
changed = []
for name, values in {
    f"python-dotenv {version('python-dotenv')}": dotenv.dotenv_values(".env"),
    f"dotenv {of_node}": by_node,
}.items():
    changed.append({})
    for number, value in enumerate(VALUES):
        read = values[f"V{number}"]
        print(f"{name}: {value!r} {'arrives' if read == value else f'arrives as {read!r}'}")
        if read != value:
            changed[-1][value] = read
if changed != [{"a${b}c": "ac"}, {"C:\\site": "C:\\\\site", "it's": "it\\'s"}]:
    sys.exit("The behaviour has changed.")
PYTHON
