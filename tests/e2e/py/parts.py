"""Prints the decoded leaves of a message as Python's parser reads them, in hexadecimal, one a line.

parts.py FILE, or parts.py imap USER: the newest message of the inbox, whose lines must be clean and short.
"""
import email
import re
import sys

import clients

if sys.argv[1] == "imap":
    client = clients.imap(sys.argv[2])
    client.select("INBOX", readonly=True)
    typ, data = client.fetch("*", "(BODY.PEEK[])")
    octets = data[0][1]
    assert not re.search(rb"\0|(?<!\r)\n|\r(?!\n)", octets), "bare CR, bare LF or NUL"
    client.logout()
else:
    octets = open(sys.argv[1], "rb").read()
assert max(map(len, octets.split(b"\r\n"))) <= 998, "a long line"
for part in email.message_from_bytes(octets).walk():
    if not part.is_multipart():
        print(part.get_payload(decode=True).hex())
