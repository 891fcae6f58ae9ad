"""Submits with smtplib as an ordinary program does: submit.py USER SENDER RCPT[,RCPT...] COUNT SUBJECT"""
import sys
from email.message import EmailMessage

import clients

user, sender, rcpts, count, subject = sys.argv[1:6]
smtp = clients.submission(user)
for n in range(int(count)):
    message = EmailMessage()
    message["From"] = sender
    message["To"] = rcpts
    message["Subject"] = f"{subject} {n}"
    message["X-Test-Id"] = f"{subject}-{n}"
    message.set_content("Grüße aus der Prüfung.\n.\n..two dots\nend\n")
    smtp.sendmail(sender, rcpts.split(","), message.as_bytes(policy=message.policy.clone(linesep="\r\n")))
smtp.quit()
