#!/usr/bin/env bash
# co-wechat-api repairs replies before it parses them: it escapes raw control characters, which the service has sent
# inside of texts.
#
# Guess: it reads every reply that is valid JSON, with or without line breaks between the values.
# Seen: it escapes every control character, not only those inside of texts. A line break at the end, or between two
# values, makes valid JSON invalid: the call fails with "JSON.parse error". Reads what the service sends today (one
# line), but not what a pretty-printing mock or gateway sends.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm install --silent --no-audit --no-fund --no-save co-wechat-api@3.11.0 >/dev/null

cat >run.js <<'JS'
const http = require('http');
const API = require('co-wechat-api');

const replies = {
  'one line': '{"openid":"o1","nickname":"n1"}',
  'a raw line break inside of a text': '{"openid":"o1","nickname":"n\n1"}',
  'a line break at the end': '{"openid":"o1","nickname":"n1"}\n',
  'four lines': JSON.stringify({ openid: 'o1', nickname: 'n1' }, null, 2),
};
const expected = ['read', 'read', 'JSON.parse error', 'JSON.parse error'];

let reply;
const service = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'application/json');
  response.end(reply);
});
service.listen(0, '127.0.0.1', async () => {
  const token = async () => ({ accessToken: 't', expireTime: Date.now() + 3600000 });
  const api = new API('appid', 'secret', token);
  api.prefix = `http://127.0.0.1:${service.address().port}/`;
  console.log('co-wechat-api', require('co-wechat-api/package.json').version);
  const seen = [];
  for (const [shape, text] of Object.entries(replies)) {
    reply = text;
    let outcome;
    try {
      outcome = (await api.getUser('o1')).openid === 'o1' ? 'read' : 'something else';
    } catch (error) {
      outcome = error.message.split('.').slice(0, 2).join('.');
    }
    seen.push(outcome);
    console.log(`${shape}: ${outcome}`);
  }
  if (seen.join() !== expected.join()) {
    console.error('The behaviour has changed.');
    process.exit(1);
  }
  process.exit();
});
JS
node run.js
