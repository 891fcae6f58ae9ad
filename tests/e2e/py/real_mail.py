"""Sends the corpus over SMTP, or checks over IMAP that it is there byte for byte behind the trace fields."""
import re
import smtplib
import sys

import clients

TRACE = re.compile(rb"\A(?:(?:Return-Path|Delivered-To|Authentication-Results|Received-SPF|Received):"
                   rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+", re.I)


def send(first, last):
    smtp = clients.transfer()
    for message in clients.corpus()[first:last]:
        try:
            smtp.sendmail("sender@ext.test", ["alice@example.test"], message)
        except smtplib.SMTPDataError as refused:
            # One message of the corpus has an empty From field. It is refused, but for the null reverse-path,
            # for which a From field suffices whatever it holds.
            assert refused.smtp_code == 550 and refused.smtp_error.startswith(b"5.6.0 "), refused
            assert re.search(rb"(?mi)^From:[ \t]*\r$", message), message[:500]
            smtp.sendmail("", ["alice@example.test"], message)
    smtp.quit()
    print("sent", last - first)


def check(count):
    expected = sorted(clients.corpus()[:count])
    client = clients.imap("alice@example.test")
    stored = clients.bodies(client)
    assert len(stored) == len(expected), f"{len(stored)} messages are there, {len(expected)} were accepted"
    originals = []
    for body in stored:
        # The fields that were added end with the first Received, which is ours.
        at = body.index(b"\r\nReceived: from client.test") + 2 if b"\r\nReceived: from client.test" in body else 0
        end = re.compile(rb"\r\n(?![ \t])").search(body, at).end()
        added, original = body[:end], body[end:]
        assert TRACE.fullmatch(added), added
        assert re.match(rb"Return-Path: <(sender@ext\.test)?>\r\nDelivered-To: ", added), added
        originals.append(original)
    missing = [m for m in expected if m not in set(originals)]
    assert not missing, f"{len(missing)} differ; the first begins {missing[0][:200]!r}"
    assert sorted(originals) == expected
    typ, data = client.uid("FETCH", "1:*", "(UID RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
    assert typ == "OK"
    sizes = [int(s) for s in re.findall(rb"RFC822.SIZE (\d+)", b"".join(
        d if isinstance(d, bytes) else d[0] for d in data))]
    assert sizes == [len(b) for b in stored], "RFC822.SIZE is exact"
    print("checked", len(stored))


if sys.argv[1] == "send":
    send(int(sys.argv[2]), int(sys.argv[3]))
else:
    check(int(sys.argv[2]))
