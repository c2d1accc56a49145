#!/usr/bin/env bash
# Tencent's COS keeps objects under any key. Its SDKs for Python and for Node.js make the URL of an object.
#
# Guess: both SDKs make the same URL for the same key, and the URL leads to that key.
# Seen: for every printable character of ASCII, and for Chinese, the two agree. They part at keys with a segment `.`
# or `..`: the Python SDK encodes the slash behind the dots, and the URL leads to the key. The Node.js SDK leaves the
# dots bare: every client that follows the URL standard folds them, and asks for another object.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q cos-python-sdk-v5==1.9.44
npm install --silent --no-audit --no-fund --no-save cos-nodejs-sdk-v5@3.0.0 >/dev/null

venv/bin/python - <<'PYTHON'
import json, logging
from importlib.metadata import version
from qcloud_cos import CosConfig, CosS3Client

logging.disable(logging.CRITICAL)
client = CosS3Client(CosConfig(Region="ap-shanghai", SecretId="id", SecretKey="key"))
keys = [f"a{chr(code)}b" for code in range(0x20, 0x7F)] + ["图/片", "a//b", "./b", "a/./b", "a/../b"]
urls = {key: client.get_object_url(Bucket="example-1250000000", Key=key) for key in keys}
json.dump(urls, open("urls.json", "w"))
print("cos-python-sdk-v5", version("cos-python-sdk-v5"))
PYTHON
cat >run.js <<'JS'
const COS = require('cos-nodejs-sdk-v5');
const cos = new COS({ SecretId: 'id', SecretKey: 'key' });
const expected = './b: /.%2Fb and /b, a/./b: /a/.%2Fb and /a/b, a/../b: /a/..%2Fb and /b';

console.log('cos-nodejs-sdk-v5', require('cos-nodejs-sdk-v5/package.json').version);
const different = [];
const urls = Object.entries(require('./urls.json'));
for (const [key, python] of urls) {
  const node = cos.getObjectUrl({ Bucket: 'example-1250000000', Region: 'ap-shanghai', Key: key, Sign: false });
  if (node === python) continue;
  console.log(`key ${key}\n  Python:  ${python}\n  Node.js: ${node}`);
  different.push(`${key}: ${new URL(python).pathname} and ${new URL(node).pathname}`);
}
console.log(`the same for ${urls.length - different.length} of ${urls.length} keys; a client asks for`);
console.log(different.join('\n'));
if (different.join(', ') !== expected) {
  console.error('The behaviour has changed.');
  process.exit(1);
}
JS
node run.js
