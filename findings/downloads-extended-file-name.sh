#!/usr/bin/env bash
# A server names a download in `Content-Disposition`. A name that is not ASCII stands in `filename*`: the encoding, a
# language that may be empty, and the name in percent codes (RFC 6266; RFC 8187). A plain `filename` may be there, too.
#
# Guess: each client or parser finds the name, whichever stands first, and whatever the language is.
# Seen: content-disposition (npm), aiohttp and Django do. node-downloader-helper leaves the percent codes as they are:
# the file on the disk has the name "%E5%9B%BE.txt". nodejs-file-downloader takes a lone `filename*` for nothing, and
# mixes encoding and codes ("UTF-8%E5%9B%BE.txt") if a plain name follows. pyrfc6266 raises an error for a language with
# a region, such as "zh-CN".
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund content-disposition@2.0.1 node-downloader-helper@2.1.11 \
  nodejs-file-downloader@4.13.0
python3 -m venv venv
venv/bin/pip install -q aiohttp==3.14.5 django==5.2.19 pyrfc6266==1.0.2

cat >run.mjs <<'JAVASCRIPT'
import { mkdtempSync, readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import * as contentDisposition from "content-disposition";
import { DownloaderHelper } from "node-downloader-helper";
import downloader from "nodejs-file-downloader";

const headers = JSON.parse(process.argv[2]);
let header;
const server = createServer((_, answer) => {
  answer.setHeader("Content-Disposition", header);
  answer.setHeader("Content-Type", "text/plain");
  answer.setHeader("Content-Length", 7);
  answer.end("content");
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const url = `http://127.0.0.1:${server.address().port}/from-the-url`;
const ways = {
  "content-disposition": () => contentDisposition.parse(header).parameters.filename,
  "node-downloader-helper": async (directory) => {
    await new DownloaderHelper(url, directory).start();
    return readdirSync(directory).join();
  },
  "nodejs-file-downloader": async (directory) => {
    await new downloader.Downloader({ url, directory }).download();
    return readdirSync(directory).join();
  },
};
const names = {};
for (const [way, find] of Object.entries(ways)) {
  const { version } = JSON.parse(readFileSync(`node_modules/${way}/package.json`));
  const found = (names[`${way} ${version}`] = []);
  for (header of headers) found.push(await find(mkdtempSync("download")));
}
console.log(JSON.stringify(names));
process.exit();
JAVASCRIPT
cat >run.py <<'PYTHON'
import json, subprocess, sys
from importlib.metadata import version
from aiohttp.multipart import content_disposition_filename, parse_content_disposition
from django.utils.http import parse_header_parameters
import pyrfc6266

HEADERS = [
    "attachment; filename*=UTF-8''%E5%9B%BE.txt",
    "attachment; filename*=UTF-8''%E5%9B%BE.txt; filename=\"picture.txt\"",
    "attachment; filename=\"picture.txt\"; filename*=UTF-8''%E5%9B%BE.txt",
    "attachment; filename*=UTF-8'zh'%E5%9B%BE.txt",
    "attachment; filename*=UTF-8'zh-CN'%E5%9B%BE.txt",
]
RIGHT = ["图.txt"] * 5
EXPECTED = {
    "content-disposition": RIGHT, "aiohttp": RIGHT, "django": RIGHT,
    "node-downloader-helper": ["%E5%9B%BE.txt"] * 5,
    "nodejs-file-downloader":
        ["from-the-url.txt", "UTF-8%E5%9B%BE.txt", "picture.txt", "from-the-url.txt", "from-the-url.txt"],
    "pyrfc6266": RIGHT[:4] + ["ParseException"],
}
names = json.loads(subprocess.check_output(["node", "run.mjs", json.dumps(HEADERS)]))
for name, find in {
    "aiohttp": lambda header: content_disposition_filename(parse_content_disposition(header)[1]),
    "django": lambda header: parse_header_parameters(header)[1]["filename"],
    "pyrfc6266": pyrfc6266.parse_filename,
}.items():
    found = names[f"{name} {version(name)}"] = []
    for header in HEADERS:
        try:
            found.append(find(header))
        except Exception as error:
            found.append(type(error).__name__)
for name, found in names.items():
    for header, seen in zip(HEADERS, found):
        print(f"{name}, {header.removeprefix('attachment; ')}: {seen}")
if {name.split()[0]: found for name, found in names.items()} != EXPECTED:
    sys.exit("The behaviour has changed.")
PYTHON
venv/bin/python run.py
