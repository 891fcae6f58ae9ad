#!/usr/bin/env python3
"""Figures of a running server, from outside: `python3 benches/server.py target/release/inbox [MESSAGES]`.

Start-up time, resident memory at rest, durable acceptance by connections and message size, memory for each idle
connection. Client and server share the machine; each figure of acceptance is the better of two runs.
"""
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from ports import free_ports

BINARY = os.path.abspath(sys.argv[1])
MESSAGES = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
IDLE = 2000
# Held open while the others are counted: what is made once, at the first connections, is no cost of each.
WARM = 100


def memory_kib(pid, field="Rss"):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field + ":"))


class Server:
    def __init__(self, directory):
        self.env = free_ports()
        self.env |= {"PATH": os.environ["PATH"], "INBOX_DATA_DIR": directory, "LOG_LEVEL": "warn",
                     "SERVER_MAX_CONNECTIONS_PER_IP": "16384"}

    def port(self, name):
        return int(self.env[name])

    def start(self):
        begun = time.perf_counter()
        self.process = subprocess.Popen([BINARY, "quickstart", "--json"], env=self.env, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        json.loads(self.process.stdout.readline())
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port("SMTP_TRANSFER_PORT"))) as s:
                    assert s.recv(512).startswith(b"220 ")
                return time.perf_counter() - begun
            except ConnectionRefusedError:
                time.sleep(0.002)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)


def message(size):
    head = b"From: <bench@ext.test>\r\nTo: <alice@example.test>\r\nSubject: bench\r\n\r\n"
    line = b"The quick brown fox jumps over the lazy dog 0123456789 abcdefghijklm\r\n"
    return head + line * ((size - len(head)) // len(line)) + b".\r\n"


def session(port, count, body, times, fault):
    try:
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            f = s.makefile("rb")

            def reply():
                while True:
                    line = f.readline()
                    if line[3:4] != b"-":
                        return line

            reply()
            s.sendall(b"EHLO bench\r\n")
            reply()
            for _ in range(count):
                begun = time.perf_counter()
                s.sendall(b"MAIL FROM:<bench@ext.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
                answers = [reply(), reply(), reply()]
                assert answers[2].startswith(b"354"), answers
                s.sendall(body)
                answer = reply()
                assert answer.startswith(b"250"), answer
                times.append(time.perf_counter() - begun)
    except Exception as error:
        fault.append(repr(error))


def accept(port, connections, size, messages):
    body, times, fault = message(size), [], []
    count = max(1, messages // connections)
    threads = [threading.Thread(target=session, args=(port, count, body, times, fault)) for _ in range(connections)]
    begun = time.perf_counter()
    [t.start() for t in threads]
    [t.join() for t in threads]
    took = time.perf_counter() - begun
    assert not fault, fault[:3]
    times.sort()
    return len(times) / took, times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000


def idle(server, name, tls):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before, held = 0, []
    for n in range(WARM + IDLE):
        if n == WARM:
            time.sleep(1)
            before = memory_kib(server.process.pid)
        s = socket.create_connection(("127.0.0.1", server.port(name)))
        if tls:
            s = context.wrap_socket(s)
        assert s.recv(512)
        held.append(s)
    time.sleep(1)
    each = (memory_kib(server.process.pid) - before) / IDLE
    [s.close() for s in held]
    return each


with tempfile.TemporaryDirectory() as directory:
    server = Server(directory)
    first = server.start()
    server.stop()
    again = server.start()
    print(f"start to greeting: {first:.2f} s with an empty directory, {again:.2f} s with an existing one")
    time.sleep(1)
    print(f"resident memory at rest: {memory_kib(server.process.pid) / 1024:.0f} MiB")
    # A process of its own for each: memory that one kind gave back would be taken for the next.
    for what, name, tls in (("SMTP connection, plain", "SMTP_TRANSFER_PORT", False),
                            ("IMAP connection, plain", "IMAP_PORT", False),
                            ("IMAP connection, TLS", "IMAPS_PORT", True)):
        server.stop()
        server.start()
        time.sleep(1)
        print(f"idle {what}: {idle(server, name, tls):.1f} KiB")
    server.stop()
    server.start()
    for size in (4096, 102400):
        for connections in (1, 10, 50):
            runs = [accept(server.port("SMTP_TRANSFER_PORT"), connections, size, MESSAGES) for _ in range(2)]
            rate, median, p99 = max(runs)
            print(f"accepted, {size // 1024:>3} KiB, {connections:>2} connections: {rate:6.0f}/s, "
                  f"median {median:.1f} ms, 99 % {p99:.1f} ms")
    print(f"resident memory afterwards: {memory_kib(server.process.pid) / 1024:.0f} MiB")
    server.stop()
