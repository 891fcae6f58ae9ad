"""Appends, searches and fails to log in: canary.py USER TEXT WRONG-PASSWORD."""
import imaplib
import sys

import clients

user, text, wrong = sys.argv[1:4]
imap = clients.imap(user)
message = f"From: {user}\r\nSubject: {text}\r\n\r\n{text}\r\n".encode()
assert imap.append("Drafts", None, None, message)[0] == "OK"
assert imap.select("INBOX")[0] == "OK"
assert imap.search(None, "BODY", text)[0] == "OK"
imap.logout()
other = imaplib.IMAP4_SSL("127.0.0.1", clients.port("IMAPS_PORT"), ssl_context=clients.tls())
try:
    other.login(user, wrong)
    raise SystemExit("a wrong password was taken")
except imaplib.IMAP4.error:
    pass
