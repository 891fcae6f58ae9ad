"""Puts one message into the inbox with imaplib: append.py USER SUBJECT"""
import sys

import clients

user, subject = sys.argv[1:]
client = clients.imap(user)
message = f"From: <{user}>\r\nSubject: {subject}\r\n\r\nText\r\n".encode()
typ, data = client.append("INBOX", None, None, message)
assert typ == "OK", data
client.logout()
