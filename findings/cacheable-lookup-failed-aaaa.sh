#!/usr/bin/env bash
# cacheable-lookup asks a name server for the IPv4 and the IPv6 addresses of a host, and keeps the answers.
#
# Guess: a host with a good IPv4 address is found, whatever the answer to the other question is; or the system's own
# look-up is asked in its place, as it is for a host without any address.
# Seen: it is found if the IPv6 answer is empty or NXDOMAIN. With SERVFAIL, REFUSED or NOTIMP the good address is
# thrown away, and the look-up fails with that error. The system's look-up is not asked.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund --no-save cacheable-lookup@7.0.0 >/dev/null

cat >run.mjs <<'JS'
import dgram from 'node:dgram';
import { promises as dns } from 'node:dns';
import fs from 'node:fs';
import CacheableLookup from 'cacheable-lookup';

const rcodes = { NOERROR: 0, NXDOMAIN: 3, SERVFAIL: 2, REFUSED: 5, NOTIMP: 4 };
const expected = '192.0.2.7 192.0.2.7 ESERVFAIL EREFUSED ENOTIMP';

let rcode; // of the answer for IPv6
const server = dgram.createSocket('udp4');
server.on('message', (question, asker) => {
  const end = question.indexOf(0, 12) + 5;
  const isIpv4 = question[end - 3] === 1;
  const head = [question[0], question[1], 0x85, 0x80 | (isIpv4 ? 0 : rcode), 0, 1, 0, isIpv4 ? 1 : 0, 0, 0, 0, 0];
  const record = isIpv4 ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7] : [];
  const reply = Buffer.concat([Buffer.from(head), question.subarray(12, end), Buffer.from(record)]);
  server.send(reply, asker.port, asker.address);
});
server.bind(0, '127.0.0.1', async () => {
  const { version } = JSON.parse(fs.readFileSync('node_modules/cacheable-lookup/package.json'));
  console.log(`cacheable-lookup ${version}, Node.js ${process.version}; the IPv4 answer is always 192.0.2.7`);
  const seen = [];
  for (const name of Object.keys(rcodes)) {
    rcode = rcodes[name];
    const resolver = new dns.Resolver();
    resolver.setServers([`127.0.0.1:${server.address().port}`]);
    let systemAsked = 0;
    const lookup = (host, options, callback) => {
      systemAsked += 1;
      callback(Object.assign(new Error('unknown'), { code: 'ENOTFOUND' }));
    };
    const cache = new CacheableLookup({ resolver, lookup });
    const outcome = await cache.lookupAsync('host.example').then((found) => found.address, (error) => error.code);
    console.log(`IPv6 answer ${name}: ${outcome}, the system's look-up was asked ${systemAsked} times`);
    seen.push(systemAsked ? 'asked' : outcome);
  }
  if (seen.join(' ') !== expected) {
    console.error('The behaviour has changed.');
    process.exit(1);
  }
  process.exit();
});
JS
node run.mjs
