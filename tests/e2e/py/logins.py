"""Tries passwords on every protocol; prints, for each, the protocols that let it in.

Standard input: JSON, a list of passwords. Argument: the address.
"""
import base64
import http.client
import imaplib
import json
import os
import smtplib
import ssl
import sys

ADDRESS = sys.argv[1]
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE


def port(name):
    return int(os.environ[name])


def imap_login(password):
    with imaplib.IMAP4_SSL("127.0.0.1", port("IMAPS_PORT"), ssl_context=TLS) as client:
        try:
            client.login(ADDRESS, password)
            return True
        except imaplib.IMAP4.error as error:
            assert "AUTHENTICATIONFAILED" in str(error), error
            return False


def imap_plain(password):
    with imaplib.IMAP4_SSL("127.0.0.1", port("IMAPS_PORT"), ssl_context=TLS) as client:
        try:
            client.authenticate("PLAIN", lambda _: f"\0{ADDRESS}\0{password}".encode())
            return True
        except imaplib.IMAP4.error as error:
            assert "AUTHENTICATIONFAILED" in str(error), error
            return False


def smtp(password):
    with smtplib.SMTP_SSL("127.0.0.1", port("SMTP_SUBMISSIONS_PORT"), context=TLS) as client:
        client.ehlo("client.test")
        token = base64.b64encode(f"\0{ADDRESS}\0{password}".encode()).decode()
        code, text = client.docmd("AUTH", "PLAIN " + token)
        assert code in (235, 535), (code, text)
        return code == 235


def ask(method, path, authorization, body=None):
    client = http.client.HTTPConnection("127.0.0.1", port("HTTP_PORT"), timeout=30)
    fields = {"Authorization": authorization, "Content-Type": "application/json", "Depth": "0"}
    client.request(method, path, body, fields)
    answer = client.getresponse()
    answer.read()
    return answer.status


def basic(password):
    return "Basic " + base64.b64encode(f"{ADDRESS}:{password}".encode()).decode()


def dav(password):
    status = ask("PROPFIND", f"/dav/principals/{ADDRESS}/", basic(password))
    assert status in (207, 401), status
    return status == 207


def api(authorization):
    status = ask("POST", "/graphql", authorization, json.dumps({"query": "{ __typename }"}))
    assert status in (200, 401), status
    return status == 200


TRIES = {
    "imap login": imap_login,
    "imap plain": imap_plain,
    "smtp": smtp,
    "dav": dav,
    "api basic": lambda password: api(basic(password)),
    "api bearer": lambda password: api("Bearer " + password),
}
print(json.dumps([[name for name, let_in in TRIES.items() if let_in(password)] for password in json.load(sys.stdin)]))
