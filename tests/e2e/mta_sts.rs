//! MTA-STS and TLS reports of the binary: our own policy as curl sees it, and reports that reach another
//! organisation's mail server and HTTPS server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use protocol_smtp::tlsrpt::Day;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::dane::{attempted, outcome};
use crate::harness::{Inbox, eventually, free_port, have};
use crate::signing::Helper;

/// A certification authority of the test's own: its certificate and a pair for some names, as files.
pub struct Pki {
    pub roots: String,
    pub cert: String,
    pub key: String,
}

impl Pki {
    pub fn new(dir: &Path, names: &[&str]) -> Pki {
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

fn listens(port: u16) {
    eventually(Duration::from_secs(20), "the far end listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

/// Another organisation: its name server, its mail server and its HTTPS server, which hold what a test says.
struct Remote {
    zone: PathBuf,
    mail: PathBuf,
    host: PathBuf,
    https: u16,
    smtp: u16,
    far_end: Option<Helper>,
    _helpers: [Helper; 2],
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
            Helper::python("policy_host.py", &[&https.to_string(), &text(&host), &pki.cert, &pki.key]),
        ];
        listens(https);
        let mut remote = Remote { zone, mail, host, https, smtp, far_end: None, _helpers: helpers };
        remote.open(&[&pki.cert, &pki.key]);
        remote
    }

    /// Starts the mail server anew, with a certificate and its key, or without TLS.
    fn open(&mut self, pair: &[&str]) {
        drop(self.far_end.take());
        let (port, mail) = (self.smtp.to_string(), self.mail.display().to_string());
        let arguments = [&[port.as_str(), mail.as_str()], pair].concat();
        self.far_end = Some(Helper::python("far_end.py", &arguments));
        listens(self.smtp);
    }

    /// The zone from now on: the hosts, and these TXT records besides.
    fn publish(&self, texts: &[(&str, &str)]) {
        self.publish_mx("mx.remote.test.", texts);
    }

    fn publish_mx(&self, mx: &str, texts: &[(&str, &str)]) {
        let mut zone = json!({
            "remote.test.": {"MX": [format!("10 {mx}")]},
            "elsewhere.remote.test.": {"A": ["127.0.0.1"]},
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

#[test]
fn dt7_dt8_a_policy_binds_once_it_was_seen() {
    if !have(&["python3", "python3:aiosmtpd"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let pki = Pki::new(&inbox.dir.0, &["mx.remote.test", "elsewhere.remote.test", "mta-sts.remote.test"]);
    let mut remote = Remote::new(&mut inbox, &pki);
    inbox.set("TLS_EXTRA_ROOTS_FILE", &pki.roots).set("MTA_STS_HTTPS_PORT", remote.https);
    inbox.set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 3600).set("SMTP_OUTBOUND_DANE_MODE", "off");
    let send = |inbox: &Inbox, user: &str| {
        let to = format!("{user}@remote.test");
        inbox.python_ok("submit.py", &["alice@example.test", "alice@example.test", &to, "1", "x"]);
        eventually(Duration::from_secs(30), "an attempt", || attempted(&inbox.log(), &to).is_some());
        outcome(&attempted(&inbox.log(), &to).expect("just seen"))
    };
    remote.publish(&[]);
    inbox.start();
    assert_eq!(send(&inbox, "before"), "opportunistic verified");
    // Announced, and not to be had: TLS at least.
    let record = [("_mta-sts.remote.test.", "v=STSv1; id=1")];
    assert!(inbox.stop().success());
    remote.publish(&record);
    inbox.start();
    assert_eq!(send(&inbox, "announced"), "mta-sts verified");
    fs::write(
        remote.host.join("policy"),
        "version: STSv1\r\nmode: enforce\r\nmx: mx.remote.test\r\nmax_age: 86400\r\n",
    )
    .expect("written");
    // A failed fetch is not repeated for some minutes; a new id is a new policy.
    assert!(inbox.stop().success());
    remote.publish(&[("_mta-sts.remote.test.", "v=STSv1; id=2")]);
    inbox.start();
    assert_eq!(send(&inbox, "enforced"), "mta-sts verified");
    // An attacker takes the record and the policy away, and STARTTLS, or names a host of his own: the policy that
    // is kept still binds, after a restart too.
    assert!(inbox.stop().success());
    fs::remove_file(remote.host.join("policy")).expect("removed");
    remote.publish(&[]);
    remote.open(&[]);
    inbox.start();
    assert_eq!(send(&inbox, "stripped"), "4.7.4");
    assert!(inbox.stop().success());
    remote.publish_mx("elsewhere.remote.test.", &[]);
    remote.open(&[&pki.cert, &pki.key]);
    inbox.start();
    assert_eq!(send(&inbox, "elsewhere"), "4.7.5");
    // With enforcing off it is only reported.
    assert!(inbox.stop().success());
    inbox.set("SMTP_OUTBOUND_MTA_STS_ENFORCE", "false").start();
    assert_eq!(send(&inbox, "reported"), "opportunistic verified");
    assert!(inbox.stop().success());
    let noted: String = fs::read_dir(inbox.data_dir().join("tlsrpt"))
        .expect("a directory")
        .flatten()
        .filter_map(|e| fs::read_to_string(e.path()).ok())
        .collect();
    let lines: Vec<serde_json::Value> =
        noted.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seen: Vec<(&str, &str)> = lines
        .iter()
        .map(|l| {
            let text = |name: &str| l[name].as_str().unwrap_or_default();
            (text("policy-type"), if text("result") == "success" { "success" } else { text("result-type") })
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("no-policy-found", "success"),
            ("sts", "sts-policy-fetch-error"),
            ("no-policy-found", "success"),
            ("sts", "success"),
            ("sts", "starttls-not-supported"),
            ("sts", "validation-failure"),
            ("sts", "validation-failure"),
        ]
    );
    assert!(!noted.contains("alice") && !noted.contains("enforced@"), "{noted}");
}
