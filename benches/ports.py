"""Loopback ports for the drivers beside this file."""
import random
import socket

# Every listener of the server.
VARIABLES = ["SMTP_TRANSFER_PORT", "SMTP_SUBMISSION_PORT", "SMTP_SUBMISSIONS_PORT", "IMAP_PORT", "IMAPS_PORT", "HTTP_PORT",
             "HTTPS_PORT"]


def free_port():
    """From below the range of outgoing connections, so that none of them takes it first; free on every address."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
                return port
            except OSError:
                pass


def free_ports():
    """One for each listener, by its variable."""
    return {name: str(free_port()) for name in VARIABLES}
