"""Says MAIL, one RCPT each and, when one was accepted, DATA; prints a JSON list of [command, code, text].

replies.py USER RCPT[,RCPT...] [MAIL parameter...]
"""
import json
import sys

import clients

user, rcpts, *params = sys.argv[1:]
smtp = clients.submission(user)
told = []


def tell(command, answer):
    told.append([command, answer[0], answer[1].decode()])
    return answer[0]


tell("MAIL", smtp.mail(user, params))
accepted = [r for r in rcpts.split(",") if tell(f"RCPT {r}", smtp.rcpt(r)) == 250]
if accepted:
    text = f"From: {user}\r\nTo: {', '.join(accepted)}\r\nSubject: replies\r\n\r\nHello\r\n"
    tell("DATA", smtp.data(text.encode()))
smtp.quit()
print(json.dumps(told))
