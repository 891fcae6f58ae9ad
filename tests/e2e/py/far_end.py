"""Another organisation's mail server, by aiosmtpd: keeps what it accepts and answers as the file `mode` says.

far_end.py PORT DIR: messages become DIR/N.eml (first line: envelope as JSON), every attempt a line of DIR/attempts.
mode: `ok`; `451` temporary refusal of each RCPT; `550` permanent refusal; `slow` 2 s before each reply to data;
`mixed` accepts, defers and refuses by the local part. With a file DIR/seven-bit there is no 8BITMIME; DIR/wire holds
every octet that came.
"""
import asyncio
import json
import pathlib
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

PORT, DIR = int(sys.argv[1]), pathlib.Path(sys.argv[2])
DIR.mkdir(parents=True, exist_ok=True)


def mode():
    try:
        return (DIR / "mode").read_text().strip()
    except FileNotFoundError:
        return "ok"


class Handler:
    count = 0

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        seven_bit = (DIR / "seven-bit").exists()
        return [r for r in responses if not (seven_bit and ("8BITMIME" in r or "SMTPUTF8" in r))]

    async def handle_RCPT(self, server, session, envelope, address, options):
        with open(DIR / "attempts", "a") as log:
            print(time.time(), address, file=log)
        answers = {"451": "451 4.3.2 try again later", "550": "550 5.1.1 no such user"}
        by_name = {"later": "450 4.2.0 not now", "never": "550 5.1.1 no such user"}
        answer = answers.get(mode()) or (by_name.get(address.split("@")[0]) if mode() == "mixed" else None)
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        if mode() == "slow":
            await asyncio.sleep(2)
        Handler.count += 1
        head = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
                "peer": session.peer[1]}
        temporary = DIR / f"{Handler.count}.tmp"
        temporary.write_bytes(json.dumps(head).encode() + b"\n" + envelope.original_content)
        temporary.rename(DIR / f"{Handler.count}.eml")
        return "250 2.0.0 kept"


class Server(SMTP):
    line_length_limit = 2_000_000

    def data_received(self, data):
        with open(DIR / "wire", "ab") as wire:
            wire.write(data)
        super().data_received(data)


class FarEnd(Controller):
    def factory(self):
        context = None
        if len(sys.argv) > 3:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[3], sys.argv[4])
        return Server(self.handler, hostname="mx.remote.test", enable_SMTPUTF8=True, tls_context=context,
                      data_size_limit=40_000_000)


controller = FarEnd(Handler(), hostname="127.0.0.1", port=PORT)
controller.start()
print("ready", flush=True)
while True:
    time.sleep(60)
