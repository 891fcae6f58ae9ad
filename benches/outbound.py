#!/usr/bin/env python3
"""Mail from submission to the remote server, Inbox beside Postfix, in one run:
`python3 benches/outbound.py target/release/inbox [MESSAGES]` (as root; Debian's postfix, dnsmasq-base).

Both have their default durability, the same clients (sessions that are open before the clock starts, one message after
the other in each) and the same far end: Postfix's smtp-sink, on one address for each destination domain. Inbox's
clients log in over TLS and its mail is signed (RSA and Ed25519), encrypted at rest and looked up in DNS; Postfix takes
mail from the network it trusts, signs and encrypts nothing, and is told its routes. Each figure is the better of two
runs; `end to end` is until the last message has reached the far end.
"""
import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from ports import free_port, free_ports

BINARY = os.path.abspath(sys.argv[1])
MESSAGES = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
SIZE = 4096
LINE = b"The quick brown fox jumps over the lazy dog 0123456789 abcdefghijklm\r\n"


def until(what, condition, limit=30):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {limit} s")
        time.sleep(0.02)


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            return s.recv(4) == b"220 "
    except OSError:
        return False


class Sink:
    """The far end: counts what it was given."""

    def __init__(self):
        self.port, self.messages = free_port(), 0
        self.process = subprocess.Popen(["smtp-sink", "-c", "-u", "root", "-m", "2000", f"0.0.0.0:{self.port}", "1000"],
                                        stdout=subprocess.PIPE)
        threading.Thread(target=self.count, daemon=True).start()
        until("smtp-sink", lambda: answers(self.port))

    def count(self):
        rest = b""
        while piece := os.read(self.process.stdout.fileno(), 65536):
            *lines, rest = (rest + piece).split(b"\r")
            if found := [int(n) for line in lines for n in re.findall(rb"mesg=(\d+)", line)]:
                self.messages = found[-1]

    def stop(self):
        self.process.kill()
        self.process.wait()


class Postfix:
    name = "Postfix"
    login = None

    def __init__(self, root, sink):
        self.port, self.conf = free_port(), f"{root}/conf"
        for directory in (self.conf, f"{root}/queue", f"{root}/data"):
            os.mkdir(directory)
        os.chmod(root, 0o755)
        subprocess.run(["chown", "postfix", f"{root}/data"], check=True)
        with open(f"{self.conf}/main.cf", "w") as f:
            f.write(f"""compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {root}/log
maillog_file_prefixes = {root}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
transport_maps = texthash:{self.conf}/routes
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
disable_dns_lookups = yes
smtp_dns_support_level = disabled
""")
        with open(f"{self.conf}/routes", "w") as f:
            f.writelines(f"d{n}.test smtp:[127.0.0.{n}]:{sink.port}\n" for n in range(1, 101))
        with open("/usr/share/postfix/master.cf.dist") as source, open(f"{self.conf}/master.cf", "w") as f:
            for line in source:
                if re.match(r"smtp\s+inet", line):
                    line = f"127.0.0.1:{self.port} inet n - n - - smtpd\n"
                f.write(re.sub(r"^(\w+\s+(?:unix|unix-dgram)\s+\S+\s+\S+\s+)y", r"\1n", line))

    def start(self):
        subprocess.run(["postfix", "-c", self.conf, "start"], check=True, capture_output=True)
        until("Postfix", lambda: answers(self.port))

    def stop(self):
        subprocess.run(["postfix", "-c", self.conf, "stop"], capture_output=True)


class Inbox:
    name = "Inbox"

    def __init__(self, root, sink):
        self.env = free_ports()
        self.port, dns = int(self.env["SMTP_SUBMISSION_PORT"]), free_port()
        records = [f"--mx-host=d{n}.test,mx{n}.test,10" for n in range(1, 101)]
        records += [f"--address=/mx{n}.test/127.0.0.{n}" for n in range(1, 101)]
        self.dns = subprocess.Popen(["dnsmasq", "-k", "-h", "-R", "-C", "/dev/null", f"--port={dns}",
                                     "--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/", *records])
        self.env |= {"PATH": os.environ["PATH"], "INBOX_DATA_DIR": f"{root}/data", "LOG_LEVEL": "warn",
                     "SERVER_MAX_CONNECTIONS_PER_IP": "16384", "DNS_RESOLVERS": f"127.0.0.1:{dns}",
                     "SMTP_OUTBOUND_PORT": str(sink.port), "SMTP_OUTBOUND_TLS_MODE": "disabled",
                     "SMTP_OUTBOUND_ALLOW_PRIVATE_NETWORKS": "true"}

    def start(self):
        self.process = subprocess.Popen([BINARY, "quickstart", "--deliver", "--json"], env=self.env,
                                        stdout=subprocess.PIPE, stderr=sys.stderr)
        said = json.loads(self.process.stdout.readline())
        alice = next(m for m in said["mailboxes"] if m["address"].startswith("alice@"))
        self.login = (alice["address"], alice["password"])
        until("Inbox", lambda: answers(self.port))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)
        self.dns.kill()
        self.dns.wait()


class Session:
    def __init__(self, server):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sender = (server.login or ("alice@example.test",))[0]
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.reply()
        self.say(b"EHLO bench.test\r\n")
        if server.login:
            self.say(b"STARTTLS\r\n")
            self.socket = context.wrap_socket(self.socket)
            self.file = self.socket.makefile("rb")
            self.say(b"EHLO bench.test\r\n")
            secret = base64.b64encode("\0{}\0{}".format(*server.login).encode())
            self.say(b"AUTH PLAIN " + secret + b"\r\n")

    def reply(self):
        while True:
            line = self.file.readline()
            if line[3:4] != b"-":
                assert line[:1] in b"23" and line, line
                return

    def say(self, octets, replies=1):
        self.socket.sendall(octets)
        for _ in range(replies):
            self.reply()

    def send(self, n, destinations):
        to, sender = f"u{n}@d{n % destinations + 1}.test", self.sender
        self.say(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode(), 3)
        head = f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: bench {n}\r\nMessage-ID: <{n}.{time.time_ns()}@bench.test>\r\n"
        head += "Date: Fri, 27 Nov 2026 12:00:00 +0000\r\n\r\n"
        self.say(head.encode() + LINE * ((SIZE - len(head)) // len(LINE)) + b".\r\n")


def work(session, numbers, destinations, fault):
    try:
        for n in numbers:
            session.send(n, destinations)
    except Exception as error:
        fault.append(repr(error))


def run(server, sink, connections, destinations):
    sessions, fault = [Session(server) for _ in range(connections)], []
    expected = sink.messages + MESSAGES
    threads = [threading.Thread(target=work, args=(s, range(i, MESSAGES, connections), destinations, fault))
               for i, s in enumerate(sessions)]
    begun = time.perf_counter()
    [t.start() for t in threads]
    [t.join() for t in threads]
    accepted = time.perf_counter() - begun
    assert not fault, fault[:3]
    until("the last message", lambda: sink.messages >= expected, 120)
    arrived = time.perf_counter() - begun
    assert sink.messages == expected, "a message came twice"
    [s.socket.close() for s in sessions]
    return MESSAGES / arrived, MESSAGES / accepted


with tempfile.TemporaryDirectory() as scratch:
    figures = {}
    for kind in (Postfix, Inbox):
        root = f"{scratch}/{kind.name}"
        os.mkdir(root)
        os.chmod(scratch, 0o755)
        sink = Sink()
        server = kind(root, sink)
        server.start()
        try:
            for connections in (1, 10, 50):
                for destinations in (1, 10, 100):
                    end, accepted = max(run(server, sink, connections, destinations) for _ in range(2))
                    figures[kind.name, connections, destinations] = end
                    print(f"{kind.name:>7}, {connections:>2} connections, {destinations:>3} destinations: accepted "
                          f"{accepted:5.0f}/s, end to end {end:5.0f}/s", flush=True)
        finally:
            server.stop()
            sink.stop()
    for connections in (1, 10, 50):
        ratios = [figures["Inbox", connections, d] / figures["Postfix", connections, d] for d in (1, 10, 100)]
        told = ", ".join(f"{ratio:.2f} ({d})" for ratio, d in zip(ratios, (1, 10, 100)))
        print(f"Inbox to Postfix, end to end, {connections:>2} connections, by destinations: {told}")
