"""A name server over UDP that reads its records anew for each question: names.py PORT ZONE

ZONE is JSON: {"name.": {"A": ["127.0.0.1"], "MX": ["10 mx.name."], "TXT": ["text"]}}. Other names do not exist.
{"name.": "SERVFAIL"} answers with that code, {"name.": "SILENT"} never.
"""
import ipaddress
import json
import pathlib
import socket
import struct
import sys

KINDS = {1: "A", 15: "MX", 16: "TXT"}


def wire_name(name):
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def rdata(kind, text):
    if kind == "A":
        return ipaddress.ip_address(text).packed
    if kind == "MX":
        preference, host = text.split()
        return struct.pack("!H", int(preference)) + wire_name(host)
    octets = text.encode()
    pieces = [octets[at:at + 255] for at in range(0, len(octets), 255)] or [b""]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def reply(query, zone):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12:at + 5]
    kind = KINDS.get(struct.unpack("!H", query[at + 1:at + 3])[0])
    records = zone.get(".".join(labels).lower() + ".")
    if records == "SILENT":
        return None
    failed = records == "SERVFAIL"
    answers = [] if failed else [rdata(kind, text) for text in (records or {}).get(kind, [])]
    code = 2 if failed else 3 if records is None else 0
    head = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(answers), 0, 0)
    number = query[at + 1:at + 3]
    return head + question + b"".join(
        b"\xc0\x0c" + number + b"\0\1" + struct.pack("!IH", 60, len(data)) + data for data in answers)


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    asked, peer = server.recvfrom(4096)
    said = reply(asked, json.loads(pathlib.Path(sys.argv[2]).read_text()))
    if said is not None:
        server.sendto(said, peer)
