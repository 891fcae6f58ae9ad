"""Sends the corpus over SMTP, or checks over IMAP that it is there byte for byte behind the trace fields."""
import re
import sys

import clients

TRACE = re.compile(rb"\A(?:(?:Return-Path|Delivered-To|Authentication-Results|Received-SPF|Received):"
                   rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+", re.I)


def send(first, last):
    smtp = clients.transfer()
    for n, message in enumerate(clients.corpus()[first:last]):
        smtp.sendmail("sender@ext.test", ["alice@example.test"], message)
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
        assert added.startswith(b"Return-Path: <sender@ext.test>\r\nDelivered-To: "), added
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
