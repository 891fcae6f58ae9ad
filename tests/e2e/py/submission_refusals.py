"""What submission refuses, by code and text, and that a wrong password and an unknown user look and last alike."""
import base64
import smtplib
import time

import clients


def session():
    smtp = smtplib.SMTP("127.0.0.1", clients.port("SMTP_SUBMISSION_PORT"), local_hostname="client.test", timeout=60)
    smtp.starttls(context=clients.tls())
    smtp.ehlo()
    return smtp


def plain(user, password):
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


smtp = session()
assert "auth" in smtp.esmtp_features and "starttls" not in smtp.esmtp_features, smtp.esmtp_features
for name in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
    assert name in smtp.esmtp_features["auth"].split(), smtp.esmtp_features["auth"]
assert smtp.docmd("AUTH FOO")[0] == 504
assert smtp.docmd("MAIL FROM:<alice@example.test>")[0] == 530
assert smtp.docmd("AUTH LOGIN")[0] == 334
code, text = smtp.docmd("*")
assert code == 501 and text.startswith(b"5.7.0 "), (code, text)

# Same code, text and time for a wrong password and a user that does not exist.
times, replies = {"alice@example.test": [], "nobody@example.test": []}, set()
for _ in range(12):
    for user in times:
        smtp = session()
        begun = time.perf_counter()
        replies.add(smtp.docmd(plain(user, "wrong password")))
        times[user].append(time.perf_counter() - begun)
        smtp.close()
assert len(replies) == 1, replies
code, text = replies.pop()
assert code == 535 and text.startswith(b"5.7.8 "), (code, text)
# The least of each: other work on the machine makes a log-in slower, never faster.
known, unknown = (min(times[u]) for u in times)
assert 0.6 < known / unknown < 1.7, (known, unknown)

smtp = session()
assert smtp.docmd(plain("alice@example.test", clients.PASSWORD))[0] == 235
assert smtp.docmd(plain("alice@example.test", clients.PASSWORD))[0] == 503
code, text = smtp.docmd("MAIL FROM:<bob@example.test>")
assert code == 553 and text.startswith(b"5.7.1 "), (code, text)
for head in (b"From: bob@example.test\r\n",
             b"From: alice@example.test, bob@example.test\r\n",
             b"From: alice@example.test\r\nSender: bob@example.test\r\n"):
    assert smtp.docmd("MAIL FROM:<alice@example.test>")[0] == 250
    assert smtp.docmd("RCPT TO:<bob@example.test>")[0] == 250
    code, text = smtp.data(head + b"Subject: forged\r\n\r\nx\r\n")
    assert code == 553 and text.startswith(b"5.7.1 "), (head, code, text)
assert smtp.docmd("MAIL FROM:<alice+tag@example.test>")[0] == 250
assert smtp.docmd("RSET")[0] == 250
for head in (b"Subject: no From\r\n", b"From: alice@example.test\r\nFrom: alice@example.test\r\n"):
    assert smtp.docmd("MAIL FROM:<alice@example.test>")[0] == 250
    assert smtp.docmd("RCPT TO:<bob@example.test>")[0] == 250
    code, text = smtp.data(head + b"\r\nx\r\n")
    assert code == 550 and text.startswith(b"5.6.0 "), (head, code, text)
smtp.quit()
print("fine")
