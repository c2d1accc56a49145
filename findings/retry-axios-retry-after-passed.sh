#!/usr/bin/env bash
# A server that is busy says when to come again: `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3). It may say
# 0, and its date has passed already if the clock of the client is ahead. Node.js clients that try again each meet
# such a server: it answers a PUT with 503 once, and with 200 then.
#
# Guess: all wait for the time that is named, and try again at once if it is 0 or has passed.
# Seen: ky and axios-retry do. undici, and got at 0, take their usual pause first. retry-axios waits for a time to
# come, too, and tries again where there is no header. But at 0, or at a date that has passed, it gives up: the caller
# gets the 503, although 3 tries are left.
#
# Needs Node.js 20 or later, with npm.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund axios@1.21.1 retry-axios@4.0.3 \
  axios-retry@4.5.0 got@14.6.6 ky@1.14.3 undici@7.30.2

cat >run.mjs <<'JAVASCRIPT'
import http from "node:http";
import { readFileSync } from "node:fs";
import axios from "axios";
import axiosRetry from "axios-retry";
import { got } from "got";
import ky from "ky";
import { attach } from "retry-axios";
import { Agent, RetryAgent, request } from "undici";

const AFTER = {
  "no header": () => undefined,
  "2 seconds": () => "2",
  "0 seconds": () => "0",
  "a date 5 seconds ago": () => new Date(Date.now() - 5000).toUTCString(),
};
let after;
let times = [];
const server = http.createServer((incoming, answer) => {
  incoming.resume();
  incoming.on("end", () => {
    times.push(Date.now());
    if (times.length === 1) {
      answer.statusCode = 503;
      if (after() !== undefined) answer.setHeader("Retry-After", after());
    }
    answer.end();
  });
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const url = `http://127.0.0.1:${server.address().port}/`;
const clients = {
  got: async () => (await got.put(url, { body: "x" })).statusCode,
  ky: async () => (await ky.put(url, { body: "x" })).status,
  "axios-retry": async () => {
    const client = axios.create({ proxy: false });
    axiosRetry(client);
    return (await client.put(url, "x")).status;
  },
  undici: async () =>
    (await request(url, { method: "PUT", body: "x", dispatcher: new RetryAgent(new Agent()) })).statusCode,
  "retry-axios": async () => {
    const client = axios.create({ proxy: false });
    attach(client);
    return (await client.put(url, "x")).status;
  },
};

let changed = false;
for (const [name, put] of Object.entries(clients)) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  for (const [words, header] of Object.entries(AFTER)) {
    after = header;
    times = [];
    const status = await put().catch((error) => error.response.status);
    const pause = times.length > 1 ? `, a pause of ${((times[1] - times[0]) / 1000).toFixed(1)} s` : "";
    console.log(`${name} ${version}, ${words}: tries ${times.length}${pause}, the caller sees ${status}`);
    const givesUp = name === "retry-axios" && (words.startsWith("0") || words.startsWith("a date"));
    if (status !== (givesUp ? 503 : 200) || times.length !== (givesUp ? 1 : 2)) changed = true;
    if (words === "2 seconds" && times[1] - times[0] < 1900) changed = true;
  }
}
if (changed) console.error("The behaviour has changed.");
process.exit(changed ? 1 : 0);
JAVASCRIPT
node run.mjs
