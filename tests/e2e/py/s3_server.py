#!/usr/bin/env python3
"""A small S3 server for tests, written from Amazon's description of the protocol and of nothing of ours.

It checks signatures (version 4) with the hash of the body and Content-MD5, keeps what it is given in memory, knows
parts, ranges, conditions, listings and SSE-C (keys checked against their MD5, refused when missing or wrong), and does
wrong what it is told to do wrong.

  s3_server.py [--tls DIR]    prints its port and, with TLS, another one without it, and makes DIR/root.pem to trust

  POST /_test/faults  [{"on": "PUT", "match": "msg/", "do": "status", "status": 503, "code": "SlowDown", "times": 2}]
       do: status, redirect, cut_answer, lost_answer, hang (secs), wrong_etag, wrong_checksum, store_half, refuse_sse_c
  POST /_test/clock   seconds that this server's clock is ahead
  GET  /_test/state   what is stored: [{"key", "size", "sse_c", "parts"}]
  GET  /_test/raw?key=KEY   its octets as they were sent
  GET  /_test/log     requests so far: [{"method", "target", "sse_c", "status"}]
"""
import base64
import datetime
import hashlib
import hmac
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY_ID, SECRET, BUCKET = "test-key-id", "test-secret-key", "inbox-mail"
SSE = "x-amz-server-side-encryption-customer-"
LEAST_PART = 5 << 20

lock = threading.RLock()
objects, uploads, faults, log = {}, {}, [], []
clock = [0]


class Refused(Exception):
    def __init__(self, status, code, message="", headers=()):
        super().__init__(code)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers)


def now():
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=clock[0])


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "s3-test"

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return now().strftime("%a, %d %b %Y %H:%M:%S GMT")

    def answer(self, status, body=b"", headers=(), cut=False):
        self.status_sent = status
        self.send_response(status)
        headers = dict(headers)
        headers.setdefault("Content-Length", str(len(body)))
        headers["x-amz-request-id"] = uuid.uuid4().hex
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            self.drop()

    def drop(self):
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def refuse(self, fault):
        body = ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>"
                % (fault.code, fault.message)).encode()
        self.answer(fault.status, body, {"Content-Type": "application/xml", **fault.headers})

    def handle_any(self):
        self.status_sent = 0
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(target.query, keep_blank_values=True))
        if target.path.startswith("/_test/"):
            return self.control(target.path, query, body)
        path = urllib.parse.unquote(target.path)
        fault = self.fault_for(path)
        try:
            if fault.get("do") == "status":
                raise Refused(fault["status"], fault.get("code", "InternalError"), "told to")
            if fault.get("do") == "redirect":
                raise Refused(307, "TemporaryRedirect", "elsewhere", {"Location": fault["to"] + self.path})
            if fault.get("do") == "hang":
                time.sleep(fault["secs"])
            self.check_signature(target, body)
            if fault.get("do") == "refuse_sse_c" and self.headers.get(SSE + "algorithm"):
                raise Refused(403, "AccessDenied", "the bucket has blocked SSE-C")
            bucket, _, key = path[1:].partition("/")
            if bucket != BUCKET:
                raise Refused(404, "NoSuchBucket", "The specified bucket does not exist")
            self.act(key, query, body, fault)
        except Refused as why:
            self.refuse(why)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with lock:
                log.append({"method": self.command, "target": self.path, "status": self.status_sent,
                            "sse_c": bool(self.headers.get(SSE + "algorithm")),
                            "authorization_host": self.headers.get("Host")})

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def fault_for(self, path):
        with lock:
            for fault in faults:
                on = fault.get("on", "*")
                if fault.get("times", 1 << 30) > 0 and on in ("*", self.command) \
                        and fault.get("match", "") in path + "?" + self.path:
                    fault["times"] = fault.get("times", 1 << 30) - 1
                    return fault
        return {}

    def control(self, path, query, body):
        with lock:
            if path == "/_test/faults":
                faults[:] = json.loads(body)
                return self.answer(200)
            if path == "/_test/clock":
                clock[0] = int(body)
                return self.answer(200)
            if path == "/_test/raw":
                found = objects.get(query["key"])
                return self.answer(200, found["data"]) if found else self.answer(404)
            if path == "/_test/state":
                state = [{"key": k, "size": len(o["data"]), "sse_c": bool(o["key_md5"]), "parts": o["parts"]}
                         for k, o in sorted(objects.items())]
                return self.answer(200, json.dumps({"objects": state, "uploads": len(uploads)}).encode())
            if path == "/_test/log":
                return self.answer(200, json.dumps(log).encode())
        self.answer(404)

    def check_signature(self, target, body):
        given = self.headers.get("Authorization", "")
        parts = dict(re.findall(r"(Credential|SignedHeaders|Signature)=([^,\s]+)", given))
        if not given.startswith("AWS4-HMAC-SHA256 ") or len(parts) != 3:
            raise Refused(403, "AccessDenied", "no signature")
        key_id, day, region, service, last = parts["Credential"].split("/")
        if key_id != KEY_ID:
            raise Refused(403, "InvalidAccessKeyId", "The key ID does not exist")
        stamp = self.headers["x-amz-date"]
        sent = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        if abs((sent - now()).total_seconds()) > 900:
            raise Refused(403, "RequestTimeTooSkewed", "The difference between the clocks is too large")
        signed = parts["SignedHeaders"].split(";")
        for name in self.headers:
            if (name.lower().startswith("x-amz-") or name.lower() == "host") and name.lower() not in signed:
                raise Refused(403, "AccessDenied", "a header that was not signed: " + name)
        pairs = sorted((urllib.parse.quote(k, safe="-_.~"), urllib.parse.quote(v, safe="-_.~"))
                       for k, v in urllib.parse.parse_qsl(target.query, keep_blank_values=True))
        payload = self.headers["x-amz-content-sha256"]
        canonical = "\n".join([
            self.command, urllib.parse.quote(urllib.parse.unquote(target.path), safe="/-_.~"),
            "&".join("%s=%s" % pair for pair in pairs),
            "".join("%s:%s\n" % (name, " ".join(self.headers[name].split())) for name in signed),
            ";".join(signed), payload])
        scope = "/".join([day, region, service, last])
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = mac(mac(mac(mac(b"AWS4" + SECRET.encode(), day), region), service), last)
        if not hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), parts["Signature"]):
            raise Refused(403, "SignatureDoesNotMatch", "The signature does not fit the request")
        if payload != hashlib.sha256(body).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch", "The body has another hash")
        md5 = self.headers.get("Content-MD5")
        if md5 and base64.b64decode(md5) != hashlib.md5(body).digest():
            raise Refused(400, "BadDigest", "The body has another MD5")
        checksum = self.headers.get("x-amz-checksum-sha256")
        if checksum and base64.b64decode(checksum) != hashlib.sha256(body).digest():
            raise Refused(400, "BadDigest", "The body has another SHA-256")

    def customer_key(self):
        """MD5 of the key that the request gives, or None."""
        algorithm, key, md5 = (self.headers.get(SSE + name) for name in ("algorithm", "key", "key-md5"))
        if not (algorithm or key or md5):
            return None
        if algorithm != "AES256" or not key or not md5:
            raise Refused(400, "InvalidArgument", "algorithm, key and MD5 belong together")
        if not isinstance(self.connection, ssl.SSLSocket):
            raise Refused(400, "InvalidRequest", "keys are taken over a secure connection only")
        raw = base64.b64decode(key, validate=True)
        if len(raw) != 32 or base64.b64decode(md5) != hashlib.md5(raw).digest():
            raise Refused(400, "InvalidArgument", "The MD5 of the key does not fit the key")
        return hashlib.md5(raw).hexdigest()

    def found(self, key):
        found = objects.get(key)
        if not found:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        given = self.customer_key()
        if found["key_md5"] and not given:
            raise Refused(400, "InvalidRequest", "The object was stored using a form of server side encryption")
        if not found["key_md5"] and given:
            raise Refused(400, "InvalidRequest", "The encryption parameters are not applicable to this object")
        if found["key_md5"] != given:
            raise Refused(403, "AccessDenied", "The key is not the one of the object")
        return found

    def described(self, found, fault):
        headers = {"ETag": found["etag"], "Last-Modified": self.date_time_string(), "Accept-Ranges": "bytes",
                   **found["meta"]}
        if found["checksum"] and self.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            headers["x-amz-checksum-sha256"] = found["checksum"]
        if fault.get("do") == "wrong_etag":
            headers["ETag"] = '"%s"' % ("0" * 32)
        if fault.get("do") == "wrong_checksum":
            headers["x-amz-checksum-sha256"] = base64.b64encode(bytes(32)).decode()
        return headers

    def store(self, key, data, key_md5, meta, etag, checksum, parts, fault):
        if fault.get("do") == "store_half":
            data = data[: len(data) // 2]
        objects[key] = {"data": data, "key_md5": key_md5, "meta": meta, "etag": etag, "parts": parts,
                        "checksum": checksum, "modified": now()}

    def meta(self):
        return {n: v for n, v in self.headers.items() if n.lower().startswith("x-amz-meta-")}

    def done(self, fault, *answer, **more):
        if fault.get("do") == "lost_answer":
            return self.drop()
        self.answer(*answer, cut=fault.get("do") == "cut_answer", **more)

    def act(self, key, query, body, fault):
        with lock:
            answer = self.acted(key, query, body, fault)
        self.done(fault, *answer)

    def acted(self, key, query, body, fault):
        if self.command == "GET" and not key:
            return self.listed(query)
        if self.command == "POST" and "uploads" in query:
            upload = uuid.uuid4().hex
            uploads[upload] = {"key": key, "key_md5": self.customer_key(), "meta": self.meta(), "parts": {},
                               "begun": now()}
            return 200, b"<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>" \
                % upload.encode()
        if "uploadId" in query:
            return self.part_of(key, query, body, fault)
        if self.command == "PUT":
            if self.headers.get("If-None-Match") == "*" and key in objects:
                raise Refused(412, "PreconditionFailed", "At least one of the conditions did not hold")
            key_md5 = self.customer_key()
            # With a customer's key the ETag is not the MD5 of the octets.
            etag = '"%s"' % (uuid.uuid4().hex if key_md5 else hashlib.md5(body).hexdigest())
            self.store(key, body, key_md5, self.meta(), etag, self.headers.get("x-amz-checksum-sha256"), 1, fault)
            sent = self.described(objects[key], fault)
            return 200, b"", {"ETag": sent["ETag"]}
        if self.command == "DELETE":
            objects.pop(key, None)
            return 204, b"", {}
        found = self.found(key)
        data, headers = found["data"], self.described(found, fault)
        if self.command == "HEAD":
            return 200, b"", {**headers, "Content-Length": str(len(data))}
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not ranged:
            return 200, data, headers
        first, last = int(ranged[1]), min(int(ranged[2] or len(data)), len(data) - 1)
        if first >= len(data):
            raise Refused(416, "InvalidRange", "", {"Content-Range": "bytes */%d" % len(data)})
        return 206, data[first:last + 1], {**headers, "Content-Range": "bytes %d-%d/%d" % (first, last, len(data))}

    def part_of(self, key, query, body, fault):
        upload = uploads.get(query["uploadId"])
        if not upload or upload["key"] != key:
            raise Refused(404, "NoSuchUpload", "The upload does not exist; it may have been completed or aborted")
        if self.command == "DELETE":
            del uploads[query["uploadId"]]
            return 204, b"", {}
        if self.command == "PUT":
            if self.customer_key() != upload["key_md5"]:
                raise Refused(400, "InvalidRequest", "The key is not the one of the upload")
            etag = '"%s"' % hashlib.md5(body).hexdigest()
            upload["parts"][int(query["partNumber"])] = (etag, body)
            return 200, b"", {"ETag": etag}
        named = [(re.search(r"<PartNumber>(\d+)<", part)[1], re.search(r"<ETag>([^<]+)<", part)[1])
                 for part in re.findall(r"<Part>(.*?)</Part>", body.decode(), re.S)]
        if not named:
            raise Refused(400, "MalformedXML", "no parts are named")
        data = b""
        for n, (number, etag) in enumerate(named):
            have = upload["parts"].get(int(number))
            if not have or have[0].strip('"') != etag.replace("&quot;", '"').strip('"'):
                raise Refused(400, "InvalidPart", "A part is missing or another one")
            if n + 1 < len(named) and len(have[1]) < LEAST_PART:
                raise Refused(400, "EntityTooSmall", "A part is too small")
            data += have[1]
        del uploads[query["uploadId"]]
        etag = '"%s-%d"' % (hashlib.md5(data).hexdigest(), len(named))
        self.store(key, data, upload["key_md5"], upload["meta"], etag, None, len(named), fault)
        return 200, b"<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>" % etag.encode()

    def listed(self, query):
        stamp = "%Y-%m-%dT%H:%M:%S.000Z"
        if "uploads" in query:
            rows = "".join("<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>%s</Initiated></Upload>"
                           % (u["key"], i, u["begun"].strftime(stamp)) for i, u in uploads.items())
            return 200, ("<ListMultipartUploadsResult>%s</ListMultipartUploadsResult>" % rows).encode()
        most = min(int(query.get("max-keys") or 1000), int(os.environ.get("S3_PAGE", "1000")))
        after = base64.b64decode(query.get("continuation-token", "")).decode()
        names = sorted(k for k in objects if k.startswith(query.get("prefix", "")) and k > after)
        page, more = names[:most], len(names) > most
        rows = "".join("<Contents><Key>%s</Key><LastModified>%s</LastModified><Size>%d</Size></Contents>"
                       % (k, objects[k]["modified"].strftime(stamp), len(objects[k]["data"])) for k in page)
        token = base64.b64encode(page[-1].encode()).decode() if more else ""
        token = "<NextContinuationToken>%s</NextContinuationToken>" % token if more else ""
        return 200, ("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>%s</IsTruncated>"
                     "%s%s</ListBucketResult>" % (str(more).lower(), token, rows)).encode()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):
        pass


def certificates(place):
    """A root, and a certificate for 127.0.0.1 that it signed."""
    os.makedirs(place, exist_ok=True)
    at = lambda name: os.path.join(place, name)
    run = lambda *args: subprocess.run(("openssl",) + args, check=True, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test root",
        "-keyout", at("root.key"), "-out", at("root.pem"))
    run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", at("key.pem"), "-out", at("csr"))
    with open(at("ext"), "w") as ext:
        ext.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    run("x509", "-req", "-in", at("csr"), "-CA", at("root.pem"), "-CAkey", at("root.key"), "-CAcreateserial",
        "-days", "2", "-extfile", at("ext"), "-out", at("cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(at("cert.pem"), at("key.pem"))
    return context


def main():
    server = Server(("127.0.0.1", int(os.environ.get("S3_PORT", "0"))), Handler)
    ports = [server.server_address[1]]
    if "--tls" in sys.argv:
        context = certificates(sys.argv[sys.argv.index("--tls") + 1])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        plain = Server(("127.0.0.1", 0), Handler)
        ports.append(plain.server_address[1])
        threading.Thread(target=plain.serve_forever, daemon=True).start()
    print(*ports, flush=True)
    server.serve_forever()


main()
