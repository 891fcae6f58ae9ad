"""Prints the X-Test-Id of every message in a folder, one a line: ids.py USER [FOLDER]"""
import re
import sys

import clients

client = clients.imap(sys.argv[1])
typ, data = client.select(sys.argv[2] if len(sys.argv) > 2 else "INBOX", readonly=True)
assert typ == "OK", data
if int(data[0]):
    typ, data = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (X-Test-Id)])")
    assert typ == "OK", data
    for item in data:
        if isinstance(item, tuple):
            print(re.search(rb"(?i)x-test-id:\s*(\S+)", item[1]).group(1).decode())
client.logout()
