#!/usr/bin/env bash
# wechatpy gets a new token by itself when the service calls the old one expired, and sends the request again.
#
# Guess: an upload that meets an expired token arrives whole at the second try.
# Seen: the second try sends the form with an empty file, as the open file stands at its end. The service takes it,
# and wechatpy reports success. (Its second argument may also be bytes: these arrive whole.)
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m venv "$temporary/venv"
"$temporary/venv/bin/pip" install -q wechatpy==1.8.18 pycryptodome==3.23.0

"$temporary/venv/bin/python" - "$temporary/picture.png" <<'PYTHON'
import http.server, json, sys, threading
import wechatpy

sizes = []  # of the file in each upload

class Service(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply({"access_token": "new", "expires_in": 7200})

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"]))
        sizes.append(form.count(b"x"))
        if "access_token=old" in self.path:
            self.reply({"errcode": 42001, "errmsg": "access_token expired"})
        else:
            self.reply({"type": "image", "media_id": "m1"})

service = http.server.HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{service.server_port}/"

class Client(wechatpy.WeChatClient):
    API_BASE_URL = base

    def fetch_access_token(self):  # as the original, which has the host of the service built in
        return self._fetch_access_token(base + "token", {})

def upload(media):
    sizes.clear()
    answer = Client("appid", "secret", access_token="old").media.upload("image", media)
    return answer["media_id"], list(sizes)

path = sys.argv[1]
with open(path, "wb") as file:
    file.write(1000 * b"x")
with open(path, "rb") as file:
    from_file = upload(file)
from_bytes = upload(("picture.png", 1000 * b"x"))
print(f"wechatpy {wechatpy.__version__}: a file of 1000 bytes, and a token that has expired")
print(f"an open file: wechatpy returns {from_file[0]}, the service got files of {from_file[1]} bytes")
print(f"name and bytes: wechatpy returns {from_bytes[0]}, the service got files of {from_bytes[1]} bytes")
if from_file != ("m1", [1000, 0]) or from_bytes != ("m1", [1000, 1000]):
    sys.exit("The behaviour has changed.")
PYTHON
