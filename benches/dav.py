#!/usr/bin/env python3
"""Calendars of Inbox beside those of Radicale: python3 benches/dav.py BINARY [--radicale PYTHON] [--sizes 100,1000,10000]

Both are asked the same by the same driver, one after the other, over one connection that is kept (a new one where the
server closes it), for calendars of so many events: PUT of the last hundred, PROPFIND Depth 1, calendar-query of a week, multiget of 100,
sync-collection after one change, and the resident memory that a REPORT of all events adds at its peak. Last, how long it
takes to remove the calendar. PYTHON is one in whose environment Radicale is installed, for instance

    python3 -m venv target/radicale && target/radicale/bin/pip install radicale

Without it, Inbox is measured alone. Radicale is filled by one PUT of the whole calendar, Inbox event by event. Server and client share the machine: compare the two within one run.
"""
import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

from ports import free_port, free_ports

XML = "application/xml; charset=utf-8"
CALENDAR = "text/calendar; charset=utf-8"
TIMES = 5


def vevent(n):
    at = f"2026{1 + n % 12:02d}{1 + n % 28:02d}T{8 + n % 10:02d}"
    rule = "RRULE:FREQ=WEEKLY;COUNT=10\r\n" if n % 10 == 0 else ""
    return (f"BEGIN:VEVENT\r\nUID:{n}@bench\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:{at}0000Z\r\nDTEND:{at}4500Z\r\n{rule}"
            f"SUMMARY:Meeting {n}\r\nDESCRIPTION:{'what is to be said ' * 6}\r\nEND:VEVENT\r\n")


def calendar(events):
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//bench//EN\r\n{events}END:VCALENDAR\r\n".encode()


class Client:
    """HTTP/1.1 without anything that takes time of its own."""

    def __init__(self, port, user, password):
        self.port, self.file = port, None
        self.authorization = base64.b64encode(f"{user}:{password}".encode()).decode()

    def open(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), 600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 18)

    def begin(self, octets):
        for again in (False, True):
            if self.file is None:
                self.open()
            try:
                self.socket.sendall(octets)
                line = self.file.readline()
                if line:
                    return line
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.file = None
        raise SystemExit("the server closes every connection")

    def ask(self, method, path, body=b"", **fields):
        fields = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Basic {self.authorization}", **fields,
                  "Content-Length": len(body)}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        line = self.begin(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        status, answer, got = int(line.split()[1]), {}, b""
        while line := self.file.readline().strip():
            name, _, value = line.partition(b":")
            answer[name.lower()] = value.strip().lower()
        if answer.get(b"transfer-encoding") == b"chunked":
            pieces = []
            while size := int(self.file.readline(), 16):
                pieces.append(self.file.read(size))
                self.file.readline()
            self.file.readline()
            got = b"".join(pieces)
        elif b"content-length" in answer:
            got = self.file.read(int(answer[b"content-length"]))
        elif status not in (204, 304):
            got = self.file.read()
            self.file = None
        if answer.get(b"connection") == b"close":
            self.file = None
        return status, got


class Inbox:
    name = "Inbox"

    def __init__(self, binary):
        self.dir, self.port = pathlib.Path(tempfile.mkdtemp(prefix="inbox-bench-dav-")), free_port()
        env = {"PATH": os.environ["PATH"], "INBOX_DATA_DIR": str(self.dir / "data"), "LOG_LEVEL": "warn",
               "SMTP_RATE_LIMIT_ENABLED": "false", **free_ports(), "HTTP_PORT": str(self.port)}
        self.process = subprocess.Popen([binary, "quickstart", "--json"], env=env, stdout=subprocess.PIPE,
                                        stderr=open(self.dir / "log", "w"))
        made = json.loads(self.process.stdout.readline())["mailboxes"][0]
        self.client = Client(self.port, made["address"], made["password"])
        self.home = f"/dav/cal/{made['address']}/"

    def fill(self, path, size):
        for n in range(size):
            status, body = self.client.ask("PUT", f"{path}{n}.ics", calendar(vevent(n)), Content_Type=CALENDAR)
            assert status == 201, (status, body)


class Radicale:
    name = "Radicale"

    def __init__(self, python):
        self.dir, self.port = pathlib.Path(tempfile.mkdtemp(prefix="inbox-bench-dav-")), free_port()
        (self.dir / "users").write_text("alice:alice\n")
        config = self.dir / "config"
        config.write_text(f"[server]\nhosts = 127.0.0.1:{self.port}\ntimeout = 600\nmax_content_length = 200000000\n"
                          f"[auth]\ntype = htpasswd\nhtpasswd_filename = {self.dir}/users\nhtpasswd_encryption = plain\ndelay = 0\n"
                          f"[storage]\nfilesystem_folder = {self.dir}/data\n[logging]\nlevel = warning\n")
        self.process = subprocess.Popen([python, "-m", "radicale", "--config", config], stdout=subprocess.DEVNULL,
                                        stderr=open(self.dir / "log", "w"))
        self.client, self.home = Client(self.port, "alice", "alice"), "/alice/"

    def fill(self, path, size):
        self.client.ask("DELETE", path)
        whole = calendar("".join(vevent(n) for n in range(size)))
        status, body = self.client.ask("PUT", path, whole, Content_Type=CALENDAR)
        assert status == 201, (status, body)
        # Its cache is made before anything is measured.
        report(self.client, path, query(""))


def wait(server):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{server.name} is not ready: {(server.dir / 'log').read_text()}")


def end(server):
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(40)
    finally:
        server.process.kill()
        shutil.rmtree(server.dir, ignore_errors=True)


def kib(pid, field):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{field}:\s*(\d+)", text)[1])


def propfind(client, path):
    body = b'<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><D:resourcetype/></D:prop></D:propfind>'
    return client.ask("PROPFIND", path, body, Content_Type=XML, Depth="1")


def report(client, path, body, depth="1"):
    status, got = client.ask("REPORT", path, body.encode(), Content_Type=XML, Depth=depth)
    assert status == 207, (status, got[:500])
    return status, got


def query(within):
    return ('<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/><C:calendar-data/></D:prop>'
            '<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">' + within +
            "</C:comp-filter></C:comp-filter></C:filter></C:calendar-query>")


def sync(token):
    return (f'<D:sync-collection xmlns:D="DAV:"><D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level>'
            "<D:prop><D:getetag/></D:prop></D:sync-collection>")


def token_of(got):
    return re.search(rb"sync-token>([^<]*)<", got)[1].decode()


def responses(got):
    return len(re.findall(rb"<(?:[A-Za-z]+:)?response[ >]", got))


def timed(work, times=TIMES):
    """The median of milliseconds, and what the last one answered."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        answer = work()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken), answer


def measure(server, size):
    client, path, figures = server.client, f"{server.home}bench{size}/", {}
    client.ask("MKCALENDAR", path)
    many = min(100, size // 2)
    server.fill(path, size - many)
    hrefs = [href.decode() for href in re.findall(rb"href>([^<]+)<", propfind(client, path)[1])]
    hrefs = [href for href in hrefs if not href.endswith("/")]
    assert len(hrefs) == size - many, (len(hrefs), size)
    begun = time.perf_counter()
    for n in range(many):
        status, body = client.ask("PUT", f"{path}more{n}.ics", calendar(vevent(1_000_000 + n)), Content_Type=CALENDAR)
        assert status == 201, (status, body)
    figures["PUT a second"] = many / (time.perf_counter() - begun)
    figures["PROPFIND Depth 1, ms"], (_, got) = timed(lambda: propfind(client, path))
    assert responses(got) == size + 1, responses(got)
    week = query('<C:time-range start="20260309T000000Z" end="20260316T000000Z"/>')
    figures["calendar-query of a week, ms"], (_, got) = timed(lambda: report(client, path, week))
    server.week = responses(got)
    multiget = ('<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/><C:calendar-data/>'
                "</D:prop>" + "".join(f"<D:href>{href}</D:href>" for href in hrefs[:100]) + "</C:calendar-multiget>")
    figures["multiget of 100, ms"], (_, got) = timed(lambda: report(client, path, multiget))
    assert got.count(b"BEGIN:VEVENT") == min(100, len(hrefs))
    token, taken = token_of(report(client, path, sync(""), "0")[1]), []
    for n in range(TIMES):
        client.ask("PUT", f"{path}more0.ics", calendar(vevent(1_000_000).replace("Meeting", f"Talk {n}")), Content_Type=CALENDAR)
        milliseconds, (_, got) = timed(lambda: report(client, path, sync(token), "0"), 1)
        taken.append(milliseconds)
        assert responses(got) == 1, got
        token = token_of(got)
    figures["sync-collection after one change, ms"] = statistics.median(taken)
    # Forgets the peak that there was (proc(5), clear_refs).
    pathlib.Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    before = kib(server.process.pid, "VmRSS")
    figures["REPORT of all, ms"], (_, got) = timed(lambda: report(client, path, query("")), 1)
    figures["memory that it adds, MiB"] = (kib(server.process.pid, "VmHWM") - before) / 1024
    figures["removal of the calendar, ms"], (status, _) = timed(lambda: client.ask("DELETE", path), 1)
    assert status in (200, 204), status
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--radicale", help="a Python that has Radicale")
    parser.add_argument("--sizes", default="100,1000,10000")
    given = parser.parse_args()
    servers = [lambda: Inbox(given.binary)] + ([lambda: Radicale(given.radicale)] if given.radicale else [])
    sizes = [int(size) for size in given.sizes.split(",")]
    told = {}
    for make in servers:
        server = make()
        try:
            wait(server)
            for size in sizes:
                told[server.name, size] = measure(server, size)
                told[server.name, size]["events in that week"] = server.week
                print(f"{server.name}, {size}: " + ", ".join(f"{n}: {v:.1f}" for n, v in told[server.name, size].items()), flush=True)
        finally:
            end(server)
    if not given.radicale:
        return
    print("\n| events | | Radicale | Inbox | times |\n|---|---|---|---|---|")
    for size in sizes:
        for name, other in told["Radicale", size].items():
            ours = told["Inbox", size][name]
            times = other / ours if ours and name.endswith("ms") else ours / other if name.startswith("PUT") and other else None
            print(f"| {size:,} | {name} | {other:.1f} | {ours:.1f} | {f'{times:.1f}' if times else ''} |")


main()
