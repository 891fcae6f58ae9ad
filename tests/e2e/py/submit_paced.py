"""Submits to a server that is killed again and again: submit_paced.py USER FIRST LAST STEP GAP

Messages FIRST, FIRST+STEP, ... below LAST go to mN@dD.test, one recipient each, GAP seconds apart. For each a line:
`accepted N` when the final reply was 250, `unanswered N` when the connection broke, `refused N REPLY` otherwise. A
server that is away is dialled until it is back, for at most a minute.
"""
import smtplib
import sys
import time

import clients

user, first, last, step, gap = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])
BROKEN = (smtplib.SMTPServerDisconnected, OSError)


def connected():
    begun = time.monotonic()
    while True:
        try:
            return clients.submission(user)
        except (*BROKEN, smtplib.SMTPException) as why:
            if time.monotonic() - begun > 60:
                raise
            print("connecting again:", why, file=sys.stderr)
            time.sleep(0.1)


smtp = connected()
for n in range(first, last, step):
    rcpt = f"m{n}@d{n % 5}.test"
    text = f"From: {user}\r\nTo: {rcpt}\r\nSubject: paced\r\nX-Test-Id: {n}\r\n\r\nNumber {n}.\r\n"
    try:
        smtp.sendmail(user, [rcpt], text)
        print("accepted", n, flush=True)
    except (smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused) as why:
        print("refused", n, str(why).replace("\n", " "), flush=True)
        smtp = connected()
    except BROKEN:
        print("unanswered", n, flush=True)
        smtp = connected()
    time.sleep(gap)
