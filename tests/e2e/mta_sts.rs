//! MTA-STS and TLS reports of the binary: our own policy as curl sees it, and reports that reach another
//! organisation's mail server and HTTPS server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use protocol_smtp::tlsrpt::Day;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::harness::{Inbox, eventually, free_port, have};

/// A process of the test's own, ended with it.
struct Helper(Child);

impl Helper {
    fn python(script: &str, args: &[&str]) -> Helper {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/py").join(script);
        let mut command = Command::new("python3");
        command.arg(path).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        Helper(command.spawn().expect("python3 starts"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A certification authority of the test's own: its certificate and a pair for some names, as files.
struct Pki {
    roots: String,
    cert: String,
    key: String,
}

impl Pki {
    fn new(dir: &Path, names: &[&str]) -> Pki {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a root for tests");
        let roots = write("roots.pem", params.self_signed(&key).expect("a root").pem());
        let issuer = Issuer::new(params, key);
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("parameters");
        let cert = write("cert.pem", params.signed_by(&key, &issuer).expect("a certificate").pem());
        Pki { roots, cert, key: write("key.pem", key.serialize_pem()) }
    }
}

#[test]
fn our_own_policy_is_served_for_our_domains_only() {
    if !have(&["curl"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let names = ["mx.example.test", "mta-sts.example.test", "mta-sts.other.test"];
    let pki = Pki::new(&inbox.dir.0, &names);
    inbox.set("TLS_CERT_PATH", &pki.cert).set("TLS_KEY_PATH", &pki.key);
    inbox.set("TLS_EXTRA_ROOTS_FILE", &pki.roots);
    inbox.start();
    let port = inbox.port("HTTPS_PORT");
    let get = |host: &str| {
        let out = Command::new("curl")
            .args(["--silent", "--show-error", "--cacert", &pki.roots, "--noproxy", "*"])
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .args(["--write-out", "%{http_code} %{content_type} %{http_version}"])
            .arg(format!("https://{host}:{port}/.well-known/mta-sts.txt"))
            .output()
            .expect("curl runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    };
    let text = get("mta-sts.example.test");
    let policy = "version: STSv1\r\nmode: testing\r\nmx: mx.example.test\r\nmax_age: 604800\r\n";
    assert!(text.starts_with(&format!("{policy}200 text/plain")), "{text}");
    assert!(get("mta-sts.other.test").starts_with("404 "));
    assert!(get("mx.example.test").starts_with("404 "));
    inbox.stop();

    // Nobody can verify the certificate now: the policy binds nobody.
    inbox.env.remove("TLS_EXTRA_ROOTS_FILE");
    inbox.set("MTA_STS_OWN_MODE", "enforce");
    inbox.start();
    let text = get("mta-sts.example.test");
    assert!(text.starts_with("version: STSv1\r\nmode: none\r\n"), "{text}");
    inbox.stop();

    inbox.set("TLS_EXTRA_ROOTS_FILE", &pki.roots);
    inbox.start();
    assert!(get("mta-sts.example.test").contains("mode: enforce\r\n"));
}

/// Another organisation: its name server, its mail server and its HTTPS server, which hold what a test says.
struct Remote {
    zone: PathBuf,
    mail: PathBuf,
    host: PathBuf,
    https: u16,
    _helpers: [Helper; 3],
}

impl Remote {
    fn new(inbox: &mut Inbox, pki: &Pki) -> Remote {
        let (dns, smtp, https) = (free_port(), free_port(), free_port());
        let path = |name: &str| inbox.dir.0.join(name);
        let (zone, mail, host) = (path("zone.json"), path("far"), path("host"));
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}")).set("SMTP_OUTBOUND_PORT", smtp);
        inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
        let text = |path: &Path| path.display().to_string();
        fs::write(&zone, "{}").expect("written");
        let helpers = [
            Helper::python("names.py", &[&dns.to_string(), &text(&zone)]),
            Helper::python("far_end.py", &[&smtp.to_string(), &text(&mail), &pki.cert, &pki.key]),
            Helper::python("policy_host.py", &[&https.to_string(), &text(&host), &pki.cert, &pki.key]),
        ];
        for port in [smtp, https] {
            eventually(Duration::from_secs(20), "the far end listens", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
        Remote { zone, mail, host, https, _helpers: helpers }
    }

    /// The zone from now on: the hosts, and these TXT records besides.
    fn publish(&self, texts: &[(&str, &str)]) {
        let mut zone = json!({
            "remote.test.": {"MX": ["10 mx.remote.test."]},
            "mx.remote.test.": {"A": ["127.0.0.1"]},
            "mta-sts.remote.test.": {"A": ["127.0.0.1"]},
            "reports.remote.test.": {"A": ["127.0.0.1"]},
        });
        for (name, text) in texts {
            zone[*name] = json!({"TXT": [text]});
        }
        let temporary = self.zone.with_extension("tmp");
        fs::write(&temporary, zone.to_string()).expect("written");
        fs::rename(&temporary, &self.zone).expect("renamed");
    }

    /// The messages that arrived.
    fn arrived(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.mail).map(|d| d.flatten().map(|e| e.path()).collect::<Vec<_>>());
        let entries = entries.unwrap_or_default().into_iter();
        entries.filter(|p| p.extension().is_some_and(|e| e == "eml")).collect()
    }
}

#[test]
fn dt10_reports_reach_those_who_ask_by_mail_and_by_https_once() {
    if !have(&["python3", "python3:aiosmtpd", "python3:dkim", "python3:nacl"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let pki = Pki::new(&inbox.dir.0, &["reports.remote.test", "mx.remote.test"]);
    let remote = Remote::new(&mut inbox, &pki);
    let https = remote.https;
    let rua = format!("v=TLSRPTv1; rua=mailto:tls@remote.test,https://reports.remote.test:{https}/v1");
    let shown = inbox.cli_json(&["domain", "show", "example.test", "--json"]);
    let mut records = vec![("_smtp._tls.remote.test.", rua.as_str())];
    let texts = shown["dns"].as_array().expect("records").iter().filter(|r| r["type"] == "TXT");
    records.extend(texts.filter_map(|r| Some((r["name"].as_str()?, r["value"].as_str()?))));
    remote.publish(&records);
    let files = inbox.data_dir().join("tlsrpt");
    fs::create_dir_all(&files).expect("a directory");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let day = Day(i64::try_from(now / 86_400).expect("a day") - 1).to_string();
    let line = |domain: &str, rest: &str| {
        format!(
            "{{\"time\":\"{day}T10:00:00Z\",\"policy-type\":\"no-policy-found\",\"policy-domain\":\"{domain}\",{rest}}}\n"
        )
    };
    let lines = [
        line("remote.test", "\"result\":\"success\",\"receiving-mx-hostname\":\"mx.remote.test\""),
        line("remote.test", "\"result\":\"failure\",\"result-type\":\"starttls-not-supported\""),
        line("quiet.test", "\"result\":\"success\""),
    ];
    fs::write(files.join(format!("{day}.jsonl")), lines.concat()).expect("written");
    // Before the server runs, which would send them by itself.
    let sent = inbox.cli_json(&["tls-report", "send", "--day", &day, "--json"]);
    let states: Vec<&str> =
        sent.as_array().expect("a list").iter().filter_map(|s| s["state"].as_str()).collect();
    assert_eq!(states, ["queued", "posted"], "{sent}");
    inbox.start();
    eventually(Duration::from_secs(30), "the report arrives by mail", || remote.arrived().len() == 1);
    let path = remote.arrived().remove(0).display().to_string();
    let text = fs::read_to_string(&path).expect("readable");
    for part in [
        "\"from\": \"<>\"",
        "\"to\": [\"tls@remote.test\"]",
        "TLS-Report-Domain: remote.test\r\n",
        "TLS-Required: No\r\n",
        "Content-Type: application/tlsrpt+gzip\r\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let verified = inbox.python_ok("verify_dkim.py", &[&remote.zone.display().to_string(), "files", &path]);
    assert!(verified.contains("ed25519-sha256=good") && verified.contains("/rsa-sha256=good"), "{verified}");
    let requests = fs::read_to_string(remote.host.join("requests")).expect("there was a request");
    let expected = format!("POST reports.remote.test:{https} /v1 application/tlsrpt+gzip\n");
    assert_eq!(requests, expected);
    let unpack = "import gzip,json,sys; print(json.load(gzip.open(sys.argv[1]))['policies'][0]['summary'])";
    let out = Command::new("python3")
        .args(["-c", unpack])
        .arg(remote.host.join("1.post"))
        .output()
        .expect("it runs");
    let summary = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(summary.contains("'total-failure-session-count': 1"), "{summary}");

    // Nothing is sent twice, by command or by itself, running or not.
    assert_eq!(inbox.cli_json(&["tls-report", "send", "--json"]), json!([]));
    let listed = inbox.cli_json(&["tls-report", "list", "--json"]);
    assert_eq!((&listed[0]["day"], &listed[0]["state"]), (&json!(day), &json!("done")), "{listed}");
    inbox.stop();
    assert_eq!(inbox.cli_json(&["tls-report", "send", "--json"]), json!([]));
    assert_eq!(inbox.cli(&["tls-report", "send", "--day", "tomorrow"]).status.code(), Some(1));
    assert_eq!(remote.arrived().len(), 1);
}
