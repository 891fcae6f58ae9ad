"""One line for each delivery status notification in the inbox: bounces.py USER"""
import email
import sys

import clients

client = clients.imap(sys.argv[1])
for body in clients.bodies(client) if int(client.select("INBOX")[1][0]) else []:
    message = email.message_from_bytes(body)
    if message.get_content_type() != "multipart/report":
        continue
    assert message["Return-Path"] == "<>", message["Return-Path"]
    assert message["Auto-Submitted"] == "auto-replied", message["Auto-Submitted"]
    assert message["From"].count("MAILER-DAEMON@mx.example.test"), message["From"]
    text, status, returned = message.get_payload()
    assert status.get_content_type() == "message/delivery-status"
    print("; ".join(f"{k}: {v}" for block in status.get_payload() for k, v in block.items()).replace("\n", " "))
