"""Submits one message with parameters of its own: envelope.py USER SUBJECT MAIL-PARAMETERS RCPT[ PARAMETERS] ...

Prints the reply to MAIL, and the last one."""
import sys

import clients

user, subject, parameters, *rcpts = sys.argv[1:]
smtp = clients.submission(user)
for name in ("futurerelease", "deliverby", "dsn"):
    assert name in smtp.esmtp_features, smtp.esmtp_features
assert smtp.esmtp_features["futurerelease"].startswith("2592000 "), smtp.esmtp_features["futurerelease"]
code, text = smtp.docmd(f"MAIL FROM:<{user}> {parameters}".rstrip())
print(code, text.decode())
if code == 250:
    for rcpt in rcpts:
        address, _, rest = rcpt.partition(" ")
        code, text = smtp.docmd(f"RCPT TO:<{address}> {rest}".rstrip())
        assert code == 250, text
    assert smtp.docmd("DATA")[0] == 354
    names = ", ".join(rcpt.split(" ")[0] for rcpt in rcpts)
    smtp.send(f"From: <{user}>\r\nTo: {names}\r\nSubject: {subject}\r\nX-Test-Id: {subject}\r\n\r\nText\r\n.\r\n".encode())
    code, text = smtp.getreply()
    print(code, text.decode())
smtp.quit()
