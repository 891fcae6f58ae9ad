"""Submits the octets of files as they are: send_raw.py USER RCPT BODY FILE...; prints the last reply of each.

BODY: `7BIT` or `8BITMIME` by DATA, `BINARYMIME` by BDAT.
"""
import sys

import clients

user, rcpt, body = sys.argv[1:4]
smtp = clients.submission(user)
for path in sys.argv[4:]:
    octets = open(path, "rb").read()
    assert smtp.docmd(f"MAIL FROM:<{user}> BODY={body}")[0] == 250
    assert smtp.docmd(f"RCPT TO:<{rcpt}>")[0] == 250
    if body == "BINARYMIME":
        smtp.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
    else:
        assert smtp.docmd("DATA")[0] == 354
        smtp.send(b"\r\n".join(b"." + l if l.startswith(b".") else l for l in octets.split(b"\r\n")) + b".\r\n")
    code, text = smtp.getreply()
    print(code, text.decode())
smtp.quit()
