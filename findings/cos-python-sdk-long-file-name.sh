#!/usr/bin/env bash
# Most file systems take names of up to 255 bytes, which is 85 Chinese characters. An object is downloaded from COS to
# a file with a name of 80 Chinese characters, by Tencent's SDKs for Python and for Node.js. A server on this machine
# stands in for COS.
#
# Guess: a name that the file system takes is good for a download.
# Seen: for the SDK for Node.js it is. The SDK for Python writes to a temporary name first, which is the name and 33
# bytes more, and fails with "File name too long": `download_file` and `get_stream_to_file` take 74 Chinese characters
# at most. `get_stream_to_file(name, disable_tmp_file=True)` takes 85; `download_file` has no such argument.
set -euo pipefail
temporary=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q cos-python-sdk-v5==1.9.44
npm install --silent --no-audit --no-fund --no-save cos-nodejs-sdk-v5@3.0.0 >/dev/null

cat >server.py <<'PYTHON'
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", "7")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"content")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
open("port.new", "w").write(str(server.server_address[1]))
os.rename("port.new", "port")
server.serve_forever()
PYTHON
python3 server.py &
until [[ -e port ]]; do sleep 0.1; done
mkdir python node

HOME=$temporary venv/bin/python - <<'PYTHON'
import errno, logging, os, sys
from importlib.metadata import version
from qcloud_cos import CosConfig, CosS3Client

logging.disable(logging.CRITICAL)
address = f"127.0.0.1:{open('port').read()}"
config = CosConfig(Region="ap-shanghai", SecretId="id", SecretKey="key", Scheme="http", Domain=address)
client = CosS3Client(config)
where = {"Bucket": "example-1250000000", "Key": "object"}
downloads = {
    "download_file": lambda path: client.download_file(**where, DestFilePath=path),
    "get_stream_to_file": lambda path: client.get_object(**where)["Body"].get_stream_to_file(path),
    "get_stream_to_file, disable_tmp_file":
        lambda path: client.get_object(**where)["Body"].get_stream_to_file(path, disable_tmp_file=True),
}
print("cos-python-sdk-v5", version("cos-python-sdk-v5"))
seen = []
for name, download in downloads.items():
    for characters in 74, 75, 80, 85:
        path = "python/" + "长" * characters
        try:
            download(path)
            outcome = open(path).read()
            os.remove(path)
        except OSError as error:
            outcome = errno.errorcode[error.errno]
        print(f"{name}, {characters} Chinese characters: {outcome}")
        seen.append(outcome)
if seen != ["content", *["ENAMETOOLONG"] * 3] * 2 + ["content"] * 4:
    sys.exit("The behaviour has changed.")
PYTHON
cat >run.cjs <<'JAVASCRIPT'
const { readFileSync } = require('node:fs');
const COS = require('cos-nodejs-sdk-v5');

const Domain = `127.0.0.1:${readFileSync('port')}`;
const cos = new COS({ SecretId: 'id', SecretKey: 'key', Protocol: 'http:', Domain });
const where = { Bucket: 'example-1250000000', Region: 'ap-shanghai', Key: 'object' };
const name = (character) => `node/${character.repeat(80)}`;
async function main() {
  console.log('cos-nodejs-sdk-v5', require('cos-nodejs-sdk-v5/package.json').version);
  await cos.downloadFile({ ...where, FilePath: name('长') });
  await cos.getObject({ ...where, Output: name('名') });
  const outcomes = ['长', '名'].map((character) => readFileSync(name(character), 'utf8'));
  console.log(`downloadFile and getObject, 80 Chinese characters: ${outcomes.join(', ')}`);
  if (outcomes.join() !== 'content,content') throw new Error('The behaviour has changed.');
}
main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
JAVASCRIPT
node run.cjs
