"""Submits one message that says how it wants to travel: wish.py USER RCPT SUBJECT requiretls|optional|none."""
import sys

import clients

user, rcpt, subject, wish = sys.argv[1:5]
smtp = clients.submission(user)
assert "requiretls" in smtp.esmtp_features
assert smtp.docmd(f"MAIL FROM:<{user}>" + (" REQUIRETLS RET=FULL" if wish == "requiretls" else ""))[0] == 250
assert smtp.docmd(f"RCPT TO:<{rcpt}>")[0] == 250
assert smtp.docmd("DATA")[0] == 354
field = "TLS-Required: No\r\n" if wish == "optional" else ""
smtp.send(f"{field}From: <{user}>\r\nTo: <{rcpt}>\r\nSubject: {subject}\r\n\r\nfor your eyes\r\n.\r\n".encode())
code, text = smtp.getreply()
assert code == 250, text
smtp.quit()
