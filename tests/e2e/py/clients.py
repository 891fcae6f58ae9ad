"""What the other scripts share: connections as ordinary Python programs make them, and the corpus."""
import gzip
import imaplib
import os
import pathlib
import re
import smtplib
import ssl

PASSWORD = os.environ.get("PASSWORD", "")


def port(name):
    return int(os.environ[name])


def tls():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def transfer():
    return smtplib.SMTP("127.0.0.1", port("SMTP_TRANSFER_PORT"), local_hostname="client.test", timeout=60)


def submission(user):
    client = smtplib.SMTP("127.0.0.1", port("SMTP_SUBMISSION_PORT"), local_hostname="client.test", timeout=60)
    client.starttls(context=tls())
    client.login(user, PASSWORD)
    return client


def imap(user):
    client = imaplib.IMAP4_SSL("127.0.0.1", port("IMAPS_PORT"), ssl_context=tls(), timeout=120)
    client.login(user, PASSWORD)
    return client


def corpus():
    """The messages of real-600.mbox.gz as they go over the wire: mboxrd unquoted, CRLF line ends."""
    shared = os.environ.get("INBOX_SHARED") or next(
        (str(p / "shared") for p in pathlib.Path(__file__).resolve().parents if (p / "shared/data").is_dir()), "")
    path = pathlib.Path(shared) / "data/mail/real-600.mbox.gz"
    if not path.is_file():
        return None
    data = gzip.open(path).read()
    messages = []
    for part in re.split(rb"(?m)^From [^\n]*\n", data)[1:]:
        if part.endswith(b"\n\n"):
            part = part[:-1]
        part = re.sub(rb"(?m)^>(>*From )", rb"\1", part)
        messages.append(part.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    return messages


def bodies(client, folder="INBOX"):
    """Every message of a folder, in order of UID."""
    typ, data = client.select(folder, readonly=True)
    assert typ == "OK", data
    typ, data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
    assert typ == "OK", data
    return [item[1] for item in data if isinstance(item, tuple)]
