"""How many messages of the inbox a SEARCH key finds: imap_flags.py USER KEY"""
import sys

import clients

client = clients.imap(sys.argv[1])
client.select("INBOX", readonly=True)
typ, data = client.uid("SEARCH", *sys.argv[2:])
assert typ == "OK", data
print(len(data[0].split()))
