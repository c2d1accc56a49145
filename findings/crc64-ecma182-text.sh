#!/usr/bin/env bash
# COS tells the CRC-64 of each object in a header. crc64-ecma182.js (npm) calculates such sums, of a Buffer or of a
# string.
#
# Guess: a string has the sum of its bytes in UTF-8, whatever its characters are.
# Seen: only a string of ASCII does. The package makes bytes of the string, but counts characters: of Chinese text it
# sums up the first third of the bytes. So two texts that differ further behind have the same sum, and an object that
# arrived whole looks damaged. `Buffer.from(text)` helps.
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund crc64-ecma182.js@2.0.2
python3 -m venv venv
venv/bin/pip install -q fastcrc==0.5.0

cat >run.cjs <<'JAVASCRIPT'
const { readFileSync } = require('node:fs');
const { crc64 } = require('crc64-ecma182.js');

const { version } = JSON.parse(readFileSync('node_modules/crc64-ecma182.js/package.json'));
const sums = JSON.parse(readFileSync(0, 'utf8'));
console.log(`crc64-ecma182.js ${version}`);
let changed = false;
for (const [text, { whole, part }] of Object.entries(sums)) {
  const ofBuffer = crc64(Buffer.from(text));
  const ofString = crc64(text);
  console.log(`${text}: by fastcrc ${whole}, as a Buffer ${ofBuffer}, as a string ${ofString}`);
  if (ofString !== whole) {
    console.log(`  ${ofString} is the sum of the first ${text.length} bytes of ${Buffer.byteLength(text)}`);
  }
  changed ||= ofBuffer !== whole || ofString !== part;
}
const [one, other] = ['小程序云托管一', '小程序云托管二'].map((text) => crc64(text));
console.log(`小程序云托管一 and 小程序云托管二: ${one === other ? 'the same sum' : 'two sums'}`);
if (changed || one !== other) {
  console.error('The behaviour has changed.');
  process.exit(1);
}
JAVASCRIPT
venv/bin/python - <<'PYTHON' | node run.cjs
import json
from fastcrc import crc64

sums = {}
for text in "123456789", "café", "图片", "小程序云托管":
    whole = text.encode()
    sums[text] = {"whole": str(crc64.xz(whole)), "part": str(crc64.xz(whole[: len(text)]))}
print(json.dumps(sums))
PYTHON
