"""Sends an invitation by mail: dav_invite.py transfer|submission SENDER RECIPIENT FILE"""
import os
import smtplib
import sys
from email.message import EmailMessage

import clients

how, sender, recipient, path = sys.argv[1:5]
text = open(path, newline="").read()
message = EmailMessage()
message["From"], message["To"], message["Subject"] = sender, recipient, "An invitation"
message.set_content("You are invited.\n")
message.add_alternative(text.encode(), maintype="text", subtype="calendar", params={"method": "REQUEST", "charset": "utf-8"})
octets = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
if how == "submission":
    smtp = clients.submission(sender)
else:
    smtp = smtplib.SMTP("127.0.0.1", int(os.environ["SMTP_TRANSFER_PORT"]))
smtp.sendmail(sender, [recipient], octets)
smtp.quit()
