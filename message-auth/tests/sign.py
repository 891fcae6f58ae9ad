"""Signs the message on standard input with dkimpy and prints the fields to put on top of it.

usage: sign.py dkim|arc ALGORITHM KEYFILE SELECTOR DOMAIN FIELDS [length]
FIELDS: names separated by colons, each as often as it is to be signed."""
import base64
import sys

import dkim

what, algorithm, key_file, selector, domain, fields = sys.argv[1:7]
if algorithm == "ed25519-sha256":
    key = base64.b64encode(bytes(range(32)))
else:
    with open(key_file, "rb") as file:
        key = file.read()
message = sys.stdin.buffer.read()
names = [name.encode() for name in fields.split(":")]
if what == "arc":
    lines = dkim.arc_sign(message, selector.encode(), domain.encode(), key, domain.encode(),
                          include_headers=names, linesep=b"\r\n")
    signature = b"".join(lines)
else:
    signature = dkim.sign(message, selector.encode(), domain.encode(), key, include_headers=names,
                          canonicalize=(b"relaxed", b"relaxed"), signature_algorithm=algorithm.encode(),
                          length="length" in sys.argv[7:], linesep=b"\r\n")
sys.stdout.buffer.write(signature)
