#!/usr/bin/env bash
# form-data (npm) states the length of a form with a part of a file: of `fs.createReadStream(path, {start, end})`.
#
# Guess: it states what it sends, whether `start`, `end`, or both are given.
# Seen: with both, or with `start` alone, it does. With `end` alone, where Node.js reads from the beginning, it states the
# size of the whole file: the first kilobyte of a file of 10 announces 9 kilobytes that never come. `start: 0` helps.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund --no-save form-data@4.0.6 >/dev/null

cat >run.js <<'JS'
const fs = require('fs');
const { promisify } = require('util');
const FormData = require('form-data');

fs.writeFileSync('file', Buffer.alloc(10000));
const parts = { '{}': 0, '{"start":9000}': 0, '{"start":0,"end":999}': 0, '{"end":999}': 9000 };

(async () => {
  console.log('form-data', require('form-data/package.json').version);
  let changed = false;
  for (const [options, expected] of Object.entries(parts)) {
    const form = new FormData();
    form.append('file', fs.createReadStream('file', JSON.parse(options)));
    const stated = await promisify(form.getLength.bind(form))();
    let sent = 0;
    await new Promise((resolve, reject) => {
      form.on('data', (bytes) => { sent += bytes.length; });
      form.on('end', resolve);
      form.on('error', reject);
      form.resume();
    });
    console.log(`createReadStream('file', ${options}): ${stated} bytes stated, ${sent} sent`);
    changed ||= stated - sent !== expected;
  }
  if (changed) {
    console.error('The behaviour has changed.');
    process.exit(1);
  }
})();
JS
node run.js
