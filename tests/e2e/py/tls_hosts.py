"""Mail servers of many organisations, each at a loopback address of its own, that write down every line they get.

tls_hosts.py PORT DIR: DIR/hosts has a line for each, `ADDRESS CERTIFICATES KEY`, or `ADDRESS` alone for one that does
not offer STARTTLS. What comes is appended to DIR/ADDRESS, each line after the word `plain` or `tls`; the name that the
client asked for in the handshake (SNI) stands after `sni`. While there is a file DIR/requiretls, all offer REQUIRETLS.
"""
import pathlib
import socket
import ssl
import sys
import threading

PORT, DIR = int(sys.argv[1]), pathlib.Path(sys.argv[2])


def note(address, *words):
    with open(DIR / address, "a") as log:
        print(*words, file=log, flush=True)


def talk(address, connection, context):
    connection.settimeout(60)
    lines, how = connection.makefile("rb"), "plain"

    def say(*replies):
        connection.sendall("".join(r + "\r\n" for r in replies).encode())

    say(f"220 {address} ESMTP")
    in_data = False
    while line := lines.readline():
        text = line.decode("latin-1").rstrip("\r\n")
        note(address, how, text)
        verb = text.split(" ")[0].split(":")[0].upper()
        if in_data:
            if text == ".":
                in_data = False
                say("250 2.0.0 kept")
        elif verb == "EHLO":
            offers = ["PIPELINING", "8BITMIME"] + (["STARTTLS"] if context and how == "plain" else [])
            offers += ["REQUIRETLS"] if how == "tls" and (DIR / "requiretls").exists() else []
            say(*[f"250-{o}" for o in [address] + offers[:-1]], f"250 {offers[-1]}")
        elif verb == "STARTTLS" and context and how == "plain":
            say("220 2.0.0 go")
            lines.close()
            connection = context.wrap_socket(connection, server_side=True)
            lines, how = connection.makefile("rb"), "tls"
        elif verb == "DATA":
            in_data = True
            say("354 go")
        elif verb == "QUIT":
            say("221 2.0.0 bye")
            return
        else:
            say("250 2.1.0 OK" if verb in ("MAIL", "RCPT", "RSET", "NOOP", "HELO") else "502 5.5.1 what")


def serve(address, context):
    listener = socket.create_server((address, PORT), backlog=64)

    def one(connection):
        note(address, "connected")
        try:
            talk(address, connection, context)
        except OSError as error:
            note(address, "broke", error)
        finally:
            connection.close()

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def context_of(address, files):
    if not files:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    context.sni_callback = lambda connection, name, _: note(address, "sni", name)
    return context


for row in (DIR / "hosts").read_text().splitlines():
    address, *files = row.split()
    threading.Thread(target=serve, args=(address, context_of(address, files)), daemon=True).start()
threading.Event().wait()
