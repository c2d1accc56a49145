#!/usr/bin/env bash
# weixin-python gets an access token by itself, and keeps it in a file: `~/.access_token`, if no other is named.
#
# Guess: an object of an account uses a token of that account.
# Seen: neither the file's name nor its content has the AppID. As long as the file is young enough, every account of the
# same user on the same computer gets the token that the first one got, also in another process: the second account's
# calls are made in the name of the first, without an error. A third argument (`ac_path`) names a file for each account.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m venv "$temporary/venv"
"$temporary/venv/bin/pip" install -q weixin-python==0.5.7 requests==2.34.2

HOME="$temporary" "$temporary/venv/bin/python" - <<'PYTHON' || { echo "The behaviour has changed." >&2 && exit 1; }
import http.server, json, os, sys, threading
from importlib.metadata import version
from urllib.parse import parse_qs, urlparse
from weixin.mp import WeixinMP

asked = []  # the accounts for which a token was asked
calls = []  # the tokens of the other calls

class Service(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        query = parse_qs(urlparse(self.path).query)
        if self.path.startswith("/cgi-bin/token"):
            asked.append(query["appid"][0])
            reply = {"access_token": "token-of-" + query["appid"][0], "expires_in": 7200}
        else:
            calls.append(query["access_token"][0])
            reply = {"ip_list": []}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()

print("weixin-python", version("weixin-python"))
for account in ("first", "second"):
    client = WeixinMP(account, "secret of " + account)
    client.api_uri = f"http://127.0.0.1:{service.server_port}"
    client.get("/getcallbackip")
    print(f"a call of the {account} account goes out with {calls[-1]}")
print("tokens were asked for:", *asked)
print("files in the home folder:", *sorted(name for name in os.listdir(os.environ["HOME"]) if name.startswith(".a")))
sys.exit(calls != ["token-of-first", "token-of-first"] or asked != ["first"])
PYTHON
