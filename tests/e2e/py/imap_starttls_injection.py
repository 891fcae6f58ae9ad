"""The same for IMAP: a command in the segment of STARTTLS is discarded (RFC 9051 section 6.2.1)."""
import socket

import clients

s = socket.create_connection(("127.0.0.1", clients.port("IMAP_PORT")), timeout=20)
assert s.recv(4096).startswith(b"* OK")
s.sendall(b"a STARTTLS\r\nb LOGIN alice@example.test \"x\"\r\n")
reply = s.recv(4096)
assert reply.startswith(b"a OK") and reply.count(b"\r\n") == 1, reply
t = clients.tls().wrap_socket(s)
t.settimeout(20)
t.sendall(b"c CAPABILITY\r\n")
reply = t.recv(4096)
assert reply.startswith(b"* CAPABILITY") and b"STARTTLS" not in reply and b"\r\nc OK" in reply, reply
print("fine")
