#!/usr/bin/env bash
# A part of a form may state `Content-Transfer-Encoding: base64`. RFC 7578 calls this deprecated, so parsers differ.
#
# Guess: a parser either decodes the part or hands it on as it is.
# Seen: busboy (and multer, which uses it) hands it on, multiparty decodes it, for a field as for a file. formidable
# decodes a file; of a field it decodes the value, encodes it again, and drops what does not fill three bytes: from
# "hello" remains "aGVs", the beginning "hel" in base64.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund --no-save busboy@1.6.0 formidable@3.5.4 multiparty@4.3.1 >/dev/null

cat >run.mjs <<'JS'
import fs from 'node:fs';
import http from 'node:http';
import busboy from 'busboy';
import { formidable } from 'formidable';
import multiparty from 'multiparty';

const hello = Buffer.from('hello').toString('base64'); // aGVsbG8=
const part = (disposition) =>
  `--B\r\nContent-Disposition: form-data; ${disposition}\r\nContent-Transfer-Encoding: base64\r\n\r\n${hello}\r\n`;
const form = `${part('name="field"')}${part('name="file"; filename="a.txt"\r\nContent-Type: text/plain')}--B--\r\n`;

const parsers = {
  busboy: (request) => new Promise((resolve, reject) => {
    const found = {};
    const parser = busboy({ headers: request.headers });
    parser.on('field', (name, value) => { found[name] = value; });
    parser.on('file', (name, stream) => {
      found[name] = '';
      stream.on('data', (bytes) => { found[name] += bytes; });
    });
    parser.on('close', () => resolve(found));
    parser.on('error', reject);
    request.pipe(parser);
  }),
  multiparty: (request) => new Promise((resolve, reject) => {
    new multiparty.Form({ uploadDir: '.' }).parse(request, (error, fields, files) => {
      if (error) return reject(error);
      resolve({ field: fields.field[0], file: fs.readFileSync(files.file[0].path, 'utf8') });
    });
  }),
  formidable: async (request) => {
    const [fields, files] = await formidable({ uploadDir: '.' }).parse(request);
    return { field: fields.field[0], file: fs.readFileSync(files.file[0].filepath, 'utf8') };
  },
};
const expected = 'busboy aGVsbG8= aGVsbG8=, multiparty hello hello, formidable aGVs hello';

let parse;
const server = http.createServer(async (request, response) => {
  response.end(JSON.stringify(await parse(request).catch((error) => ({ field: error.message }))));
});
server.listen(0, '127.0.0.1', async () => {
  const seen = [];
  for (const name of Object.keys(parsers)) {
    parse = parsers[name];
    const { version } = JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`));
    const reply = await fetch(`http://127.0.0.1:${server.address().port}/`, {
      method: 'POST', headers: { 'Content-Type': 'multipart/form-data; boundary=B' }, body: form,
    });
    const { field, file } = await reply.json();
    console.log(`${name} ${version}: the field is ${field}, the file is ${file}`);
    seen.push(`${name} ${field} ${file}`);
  }
  if (seen.join(', ') !== expected) {
    console.error('The behaviour has changed.');
    process.exit(1);
  }
  process.exit();
});
JS
node run.mjs
