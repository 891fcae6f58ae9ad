"""A mail program's day by imaplib: folders, flags, search, copy, move, append, expunge, idle, and what must fail."""
import imaplib
import socket
import ssl
import time

import clients


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def no(answer, code):
    assert answer[0] == "NO" and code in answer[1][0], answer


imaplib.Commands.setdefault("MOVE", ("SELECTED",))
imaplib.Commands.setdefault("UNSELECT", ("SELECTED",))
imaplib.Commands.setdefault("ID", ("NONAUTH", "AUTH", "SELECTED"))

# Before TLS no password is taken.
plain = imaplib.IMAP4("127.0.0.1", clients.port("IMAP_PORT"))
assert "LOGINDISABLED" in plain.capabilities, plain.capabilities
try:
    plain.login("alice@example.test", clients.PASSWORD)
    raise SystemExit("LOGIN worked without TLS")
except imaplib.IMAP4.error as error:
    assert "PRIVACYREQUIRED" in str(error), error
plain.starttls(clients.tls())
plain.login("alice@example.test", clients.PASSWORD)
plain.logout()

# A wrong password and an unknown user look alike.
texts = set()
for user in ("alice@example.test", "nobody@example.test"):
    other = imaplib.IMAP4_SSL("127.0.0.1", clients.port("IMAPS_PORT"), ssl_context=clients.tls())
    try:
        other.login(user, "wrong")
        raise SystemExit("a wrong password worked")
    except imaplib.IMAP4.error as error:
        texts.add(str(error))
assert len(texts) == 1 and "AUTHENTICATIONFAILED" in texts.pop()

c = clients.imap("alice@example.test")
ok(c._simple_command("ID", '("name" "test")'))
ok(c.create("Work/Projects"))
names = b" ".join(n for n in ok(c.list()))
assert b'"Work"' in names or b" Work" in names, names
no(c.create("Work"), b"ALREADYEXISTS")
no(c.select("Nowhere"), b"NONEXISTENT")
ok(c.subscribe("Work/Projects"))
assert any(b"Work/Projects" in n for n in ok(c.lsub()))

count = int(ok(c.select("INBOX"))[0])
assert count == 40, count
ok(c.uid("STORE", "1:3", "+FLAGS", "(\\Seen \\Flagged project)"))
assert len(ok(c.uid("SEARCH", "FLAGGED"))[0].split()) == 3
assert len(ok(c.uid("SEARCH", "KEYWORD", "project"))[0].split()) == 3
assert len(ok(c.uid("SEARCH", "UNSEEN"))[0].split()) == 37
body = ok(c.fetch("5", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT]<0.100> ENVELOPE BODYSTRUCTURE)"))
assert body[0][1].lower().startswith(b"subject:"), body
word = ok(c.fetch("7", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"))[0][1].split(b":", 1)[1].strip().decode()
assert ok(c.uid("SEARCH", "HEADER", "Message-ID", f'"{word}"'))[0] == b"7"
assert ok(c.uid("SEARCH", "TEXT", f'"{word}"'))[0].split()[0] == b"7"

ok(c.uid("COPY", "1:5", "Work/Projects"))
code = c.response("COPYUID")[1][0]
assert code and code.split()[1] == b"1:5", code
ok(c.uid("MOVE", "6:10", "Archive"))
assert int(ok(c.select("INBOX"))[0]) == 35
assert int(ok(c.select("Archive"))[0]) == 5
no(c.uid("COPY", "1", "Nowhere"), b"TRYCREATE")

ok(c.append("Drafts", "(\\Draft)", imaplib.Time2Internaldate(1_000_000_000),
            b"From: alice@example.test\r\nX-Test-Id: draft\r\nSubject: draft\r\n\r\nnot sent yet\r\n"))
assert c.response("APPENDUID")[1][0], "APPENDUID"
ok(c.select("Drafts"))
item = ok(c.fetch("1", "(FLAGS INTERNALDATE RFC822.SIZE BODY[])"))
assert b"\\Draft" in item[0][0] + item[1] and b"9-Sep-2001 01:46:40 +0000" in item[0][0] + item[1], item
ok(c.store("1", "+FLAGS", "(\\Deleted)"))
assert ok(c.expunge()) == [b"1"]
ok(c.close())
ok(c.rename("Work", "Play"))
assert any(b"Play/Projects" in n for n in ok(c.list()))
ok(c.delete("Play/Projects"))
ok(c.status("INBOX", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE)"))

# IDLE hears of new mail within a second.
ok(c.select("INBOX"))
tag = c._new_tag()
c.send(tag + b" IDLE\r\n")
assert c.readline().startswith(b"+ ")
begun = time.time()
smtp = clients.transfer()
smtp.sendmail("sender@ext.test", ["alice@example.test"], b"From: a@ext.test\r\n\r\nnews\r\n")
line = c.readline()
assert b"EXISTS" in line, line
assert time.time() - begun < 1.5, time.time() - begun
c.send(b"DONE\r\n")
while not line.startswith(tag):
    line = c.readline()
assert b"OK" in line
c.logout()
print("fine")
