#!/usr/bin/env bash
# A server of TLS may end the connection after a reply by `close_notify`, and send FIN later (RFC 8446, 6.1). Clients keep
# connections for their next request. ureq (Rust) and requests (Python) each make two requests, one after the other, to a
# server that sends `close_notify` together with each reply, and FIN a second after it.
#
# Guess: both notice that the connection has ended, and make the second request on a new one.
# Seen: requests does. ureq looks at the socket alone, where nothing waits: TLS has read the `close_notify` with the
# reply. So it uses the connection again, and the second request fails with `Peer disconnected`, though the server works.
set -euo pipefail
temporary=$(mktemp -d)
trap 'kill %1 2>/dev/null || true; rm -rf "$temporary"' EXIT
cd "$temporary"
python3 -m venv venv
venv/bin/pip install -q requests==2.32.5 urllib3==2.5.0 cryptography==46.0.3
cat >server.py <<'PYTHON'
import datetime, os, socket, ssl, threading, time
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
cert = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - day).not_valid_after(now + day).add_extension(names, False)
    .sign(key, hashes.SHA256())
)
open("cert.pem", "wb").write(cert.public_bytes(serialization.Encoding.PEM))
private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
open("key.pem", "wb").write(key.private_bytes(serialization.Encoding.PEM, *private))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

def serve(tcp):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    def step(work):
        while True:
            try:
                return work()
            except ssl.SSLWantReadError:
                tcp.sendall(outgoing.read())
                incoming.write(tcp.recv(65536))
    step(tls.do_handshake)
    tcp.sendall(outgoing.read())
    step(lambda: tls.read(65536))
    tls.write(REPLY)
    try:
        tls.unwrap()  # close_notify
    except ssl.SSLError:
        pass  # the client's own has not come yet
    tcp.sendall(outgoing.read())
    time.sleep(1)
    tcp.close()

listener = socket.create_server(("127.0.0.1", 0))
open("port.new", "w").write(str(listener.getsockname()[1]))
os.rename("port.new", "port")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PYTHON
venv/bin/python server.py &
until [[ -e port ]]; do sleep 0.1; done

venv/bin/python - <<'PYTHON' >python.txt
import requests
from importlib.metadata import version

session = requests.Session()
session.trust_env = False
session.verify = "cert.pem"
url = f"https://localhost:{open('port').read()}/"
print("requests", version("requests"), "urllib3", version("urllib3"))
for number in (1, 2):
    print(f"request {number}:", session.get(url).text)
PYTHON

mkdir -p rust/src
cat >rust/Cargo.toml <<'TOML'
[package]
name = "run"
version = "0.0.0"
edition = "2024"
[dependencies]
ureq = "=3.5.1"
TOML
cat >rust/src/main.rs <<'RUST'
use ureq::tls::{Certificate, RootCerts, TlsConfig};

fn main() {
    let certificate = Certificate::from_pem(&std::fs::read("cert.pem").unwrap()).unwrap();
    let roots = RootCerts::new_with_certs(&[certificate]);
    let tls = TlsConfig::builder().root_certs(roots).build();
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().tls_config(tls).build());
    let url = format!("https://localhost:{}/", std::fs::read_to_string("port").unwrap());
    println!("ureq 3.5.1");
    for number in [1, 2] {
        let reply = agent.get(&url).call().map(|mut reply| reply.body_mut().read_to_string().unwrap());
        match reply {
            Ok(text) => println!("request {number}: {text}"),
            Err(error) => println!("request {number}: {error}"),
        }
    }
}
RUST
cargo build -q --manifest-path rust/Cargo.toml
rust/target/debug/run >rust.txt
cat python.txt rust.txt
if [[ $(grep -c ': ok$' python.txt) != 2 ]] || ! grep -q '^request 1: ok$' rust.txt || grep -q '^request 2: ok$' rust.txt; then
  echo "The behaviour has changed." >&2
  exit 1
fi
