"""A client that offers an ALPN name of another protocol gets the alert 120 on every port with implicit TLS."""
import socket
import ssl

import clients

for name in ("SMTP_SUBMISSIONS_PORT", "IMAPS_PORT"):
    context = clients.tls()
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.wrap_socket(socket.create_connection(("127.0.0.1", clients.port(name)), timeout=20))
        raise SystemExit(f"{name}: the handshake went through")
    except ssl.SSLError as error:
        assert "NO_APPLICATION_PROTOCOL" in str(error).upper().replace(" ", "_"), error
print("fine")
