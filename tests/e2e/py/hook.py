"""An HTTPS server that events are sent to: hook.py PORT DIR CERT KEY

Each POST becomes DIR/N.json: {"headers": {...}, "body": text}. The answer is 200, or what the file DIR/status says.
"""
import http.server
import json
import pathlib
import ssl
import sys

PORT, DIR = int(sys.argv[1]), pathlib.Path(sys.argv[2])
DIR.mkdir(parents=True, exist_ok=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        Handler.count += 1
        status = (DIR / "status").read_text().strip() if (DIR / "status").exists() else "200"
        seen = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body,
                "status": status}
        temporary = DIR / f"{Handler.count}.tmp"
        temporary.write_text(json.dumps(seen))
        temporary.rename(DIR / f"{Handler.count:04}.json")
        self.send_response(int(status))
        if status.startswith("3"):
            self.send_header("Location", "https://127.0.0.1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3], sys.argv[4])
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
