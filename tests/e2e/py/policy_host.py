"""An HTTPS server: the policy host of another domain (RFC 8461), and where its TLS reports are handed in.

policy_host.py PORT DIR CERT KEY: a GET is answered with the file DIR/policy as text/plain, or 404 without it; a POST
is kept as DIR/N.post. Every request is a line of DIR/requests: method, Host, path, Content-Type.
"""
import http.server
import pathlib
import ssl
import sys

PORT, DIR = int(sys.argv[1]), pathlib.Path(sys.argv[2])
DIR.mkdir(parents=True, exist_ok=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def note(self):
        with open(DIR / "requests", "a") as log:
            print(self.command, self.headers["Host"], self.path, self.headers.get("Content-Type", "-"), file=log)

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.note()
        try:
            self.reply(200, (DIR / "policy").read_bytes())
        except FileNotFoundError:
            self.reply(404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Handler.count += 1
        temporary = DIR / f"{Handler.count}.tmp"
        temporary.write_bytes(body)
        temporary.rename(DIR / f"{Handler.count}.post")
        self.note()
        self.reply(201, b"")

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3], sys.argv[4])
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
