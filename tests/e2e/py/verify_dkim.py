"""What dkimpy says of the signatures of messages, with the keys of a zone file as names.py reads it.

verify_dkim.py ZONE imap USER | verify_dkim.py ZONE files PATH...: one line for each message: its Subject, then for
each signature `d/s/a=good` or `=bad`. Files begin with a line that is no part of the message.
"""
import email
import json
import pathlib
import sys

import clients
import dkim

zone = json.loads(pathlib.Path(sys.argv[1]).read_text())
if sys.argv[2] == "imap":
    messages = clients.bodies(clients.imap(sys.argv[3]))
else:
    messages = [pathlib.Path(path).read_bytes().split(b"\n", 1)[1] for path in sys.argv[3:]]


def key(name, timeout=5):
    return zone[name.decode().lower()]["TXT"][0].encode()


for octets in messages:
    message = email.message_from_bytes(octets)
    said = []
    for index, field in enumerate(message.get_all("DKIM-Signature", [])):
        tags = dict(tag.strip().split("=", 1) for tag in field.replace("\r\n", "").split(";") if "=" in tag)
        try:
            good = dkim.DKIM(octets).verify(idx=index, dnsfunc=key)
        except (dkim.DKIMException, KeyError) as error:
            good, said = False, said + [repr(error)]
        said.append(f"{tags['d']}/{tags['s']}/{tags['a']}={'good' if good else 'bad'}")
    print(str(message["Subject"]), *said, sep="; ")
