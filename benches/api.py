#!/usr/bin/env python3
"""What the API takes: python3 benches/api.py BINARY [--seconds N] [--subscribers N]

1. E-mails accepted a second at 1, 10 and 50 connections kept open, and how long one takes (median and 99th percentile):
   small ones to an address elsewhere, which wait in the queue (nothing is sent), so each is a durable row of its own.
2. So many subscribers over WebSocket, one e-mail after the other to a mailbox here, and how long its first event takes to
   reach each of them.

Server and client share the machine: compare runs of one machine with one another.
"""
import argparse
import asyncio
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
import sys
import tempfile
import time

from ports import free_port, free_ports

FROM, HERE, THERE = "alice@example.test", "bob@example.test", "somebody@elsewhere.invalid"


class Server:
    def __init__(self, binary):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="inbox-bench-api-"))
        self.port = free_port()
        self.env = {"PATH": os.environ["PATH"], "INBOX_DATA_DIR": str(self.dir / "data"),
                    "LOG_LEVEL": "warn", "SERVER_MAX_CONNECTIONS_PER_IP": "4096", "SMTP_RATE_LIMIT_ENABLED": "false",
                    **free_ports(), "HTTP_PORT": str(self.port)}
        log = open(self.dir / "log", "w")
        self.process = subprocess.Popen([binary, "quickstart", "--json"], env=self.env, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline()
        self.key = json.loads(line)["apiKey"]
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.sendall(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    if b" 200 " in s.recv(100):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("the server is not ready")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        finally:
            self.process.kill()
            shutil.rmtree(self.dir, ignore_errors=True)


def request(server, to, n):
    body = json.dumps({"from": FROM, "to": [to], "subject": f"Order {n}", "textBody": "Thank you.\n" * 20,
                       "idempotencyKey": f"{to}-{n}"}).encode()
    head = (f"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode()
    return head + body


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length.group(1))) if length else b""
    assert head.startswith(b"HTTP/1.1 200"), head + body
    return json.loads(body)


async def sends(server, connections, seconds):
    counter, times, end = iter(range(10**9)), [], time.perf_counter() + seconds

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while time.perf_counter() < end:
            began = time.perf_counter()
            writer.write(request(server, THERE, f"{connections}-{next(counter)}"))
            await answer(reader)
            times.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    times.sort()
    return len(times) / (time.perf_counter() - began), times[len(times) // 2], times[len(times) * 99 // 100]


def frame(text):
    data = text.encode()
    size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + data  # a mask of zeros changes nothing


async def text_of(reader):
    while True:
        first, size = await reader.readexactly(2)
        length = size & 127
        if length > 125:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        data = await reader.readexactly(length)
        if first & 15 == 1:
            return json.loads(data)


async def subscriber(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write((f"GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                  f"Sec-WebSocket-Protocol: graphql-transport-ws\r\nAuthorization: Bearer {server.key}\r\n\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head, head
    writer.write(frame('{"type":"connection_init"}'))
    assert (await text_of(reader))["type"] == "connection_ack"
    query = "subscription { deliveryEvents(types: [ACCEPTED]) { emailId } }"
    writer.write(frame(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}})))
    return reader, writer


async def events(server, many, rounds):
    listeners = []
    for _ in range(0, many, 50):
        listeners += await asyncio.gather(*(subscriber(server) for _ in range(min(50, many - len(listeners)))))
    await asyncio.sleep(3)  # each has begun to listen
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    delays = []
    for n in range(rounds):
        began = time.perf_counter()
        writer.write(request(server, HERE, n))

        async def heard(listener):
            await text_of(listener)
            return time.perf_counter() - began

        told = asyncio.gather(*(heard(listener) for listener, _ in listeners))
        await answer(reader)
        delays += await asyncio.wait_for(told, 60)
    delays.sort()
    return statistics.median(delays), delays[len(delays) * 99 // 100], delays[-1]


def memory_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--subscribers", type=int, default=1_000)
    args = parser.parse_args()
    server = Server(os.path.abspath(args.binary))
    try:
        print("| connections | accepted a second | median, ms | 99 %, ms |\n|---|---|---|---|")
        for connections in (1, 10, 50):
            rate, median, slow = asyncio.run(sends(server, connections, args.seconds))
            print(f"| {connections} | {rate:,.0f} | {median * 1e3:.1f} | {slow * 1e3:.1f} |", flush=True)
        median, slow, worst = asyncio.run(events(server, args.subscribers, 10))
        print(f"\n{args.subscribers:,} subscribers: an event reaches them after {median * 1e3:.0f} ms (median), "
              f"{slow * 1e3:.0f} ms (99 %), {worst * 1e3:.0f} ms (the last); "
              f"the server holds {memory_mib(server.process.pid):.0f} MiB")
    finally:
        server.end()


if __name__ == "__main__":
    sys.exit(main())
