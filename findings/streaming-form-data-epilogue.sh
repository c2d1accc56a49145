#!/usr/bin/env bash
# Behind the last boundary of a form, text may follow, which parsers ignore (RFC 2046, 5.1.1). An empty line is enough.
# streaming-form-data (Python) reads a form in pieces of any size.
#
# Guess: the text is ignored, or refused by an error. How the form is cut into pieces changes nothing.
# Seen: with pieces of one byte, the text is ignored. With the form in one piece, and no error, a short last part arrives
# empty, be it a file or a field; a long file arrives with the last boundary and part of the text at its end.
set -euo pipefail
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
python3 -m venv "$temporary/venv"
"$temporary/venv/bin/pip" install -q streaming-form-data==2.1.0

"$temporary/venv/bin/python" - <<'PYTHON' || { echo "The behaviour has changed." >&2 && exit 1; }
import sys
from importlib.metadata import version
from streaming_form_data import StreamingFormDataParser
from streaming_form_data.targets import ValueTarget

HEADERS = {"Content-Type": "multipart/form-data; boundary=boundary"}

def form(size, end):
    return (
        b'--boundary\r\nContent-Disposition: form-data; name="key"\r\n\r\na.txt\r\n'
        b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n" + b"x" * size + b"\r\n--boundary--\r\n" + end
    )

def read(body, piece):
    parser = StreamingFormDataParser(HEADERS)
    file = ValueTarget()
    parser.register("file", file)
    for start in range(0, len(body), piece):
        parser.data_received(body[start:start + piece])
    return file.value

print("streaming-form-data", version("streaming-form-data"))
seen = []
for size in (5, 5000):
    for name, end in (("nothing", b""), ("an empty line", b"\r\n")):
        for cut, piece in (("one byte", 1), ("all at once", 10**6)):
            value = read(form(size, end), piece)
            rest = value.lstrip(b"x")
            print(f"a file of {size} bytes, {name} behind the form, {cut}: {len(value)} bytes, other than x: {rest!r}")
            seen.append((len(value), rest))
whole = [(5, b"")] * 3 + [(0, b"")] + [(5000, b"")] * 3
sys.exit(seen[:7] != whole or not seen[7][1].startswith(b"\r\n--boundary--"))
PYTHON
