"""The messages of a folder, in order, as a JSON list: folder.py USER FOLDER."""
import json
import sys

import clients

octets = clients.bodies(clients.imap(sys.argv[1]), sys.argv[2])
print(json.dumps([message.decode("utf-8", "surrogateescape") for message in octets]))
