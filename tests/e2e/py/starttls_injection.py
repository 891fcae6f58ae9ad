"""Plain text sent in one segment with STARTTLS is neither answered nor remembered (RFC 3207 section 4.2)."""
import socket

import clients

s = socket.create_connection(("127.0.0.1", clients.port("SMTP_TRANSFER_PORT")), timeout=20)
assert s.recv(4096).startswith(b"220 ")
s.sendall(b"EHLO client.test\r\n")
assert b"STARTTLS" in s.recv(4096)
s.sendall(b"STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<a@b.test>\r\n")
reply = s.recv(4096)
assert reply.startswith(b"220 ") and reply.count(b"\r\n") == 1, reply
t = clients.tls().wrap_socket(s)
t.settimeout(20)
t.sendall(b"MAIL FROM:<a@b.test>\r\n")
reply = t.recv(4096)
assert reply.startswith(b"503 5.5.1"), reply
t.sendall(b"EHLO client.test\r\n")
reply = t.recv(4096)
assert b"STARTTLS" not in reply and b"250" in reply, reply
t.sendall(b"STARTTLS\r\n")
reply = t.recv(4096)
assert reply.startswith(b"503 5.5.1"), reply
print("fine")
