use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use flate2::read::GzDecoder;
use protocol_core::Timestamp;
use protocol_smtp::tlsrpt::{PolicyKind, PolicySeen, ResultType};
use storage::{JobAction, Storage, StorageOptions, SurrealOptions};

use std::path::PathBuf;
use std::sync::Arc;

use crate::reports::files as files_of;
use crate::reports::notes::WAITING_MAX;

use super::*;
use crate::admin::{self, Context, Password, Request};
use crate::config::{self, Profile, Secret, Sources};
use crate::task::block_on;
use crate::world::{Dir, Names, Web, self_signed};

/// RFC 8410 §7 around the seed of RFC 8032 §7.1, test 1.
const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
const DAY: Day = Day(19_000);

fn session(domain: &str, failure: Option<ResultType>) -> Session {
    Session {
        at: DAY.start() + Duration::from_secs(3_600),
        policy: PolicySeen {
            kind: PolicyKind::Sts,
            domain: domain.into(),
            strings: vec!["version: STSv1".into(), "mode: testing".into()],
            mx_hosts: vec!["*.example.net".into()],
        },
        failure,
        sending_ip: Some([192, 0, 2, 1].into()),
        mx: Some("mx.example.net".into()),
        receiving_ip: Some([192, 0, 2, 2].into()),
        reason: failure.map(|_| "why \"not\"".into()),
    }
}

#[test]
fn what_is_noted_is_read_back() {
    let dir = Dir::new("tlsrpt-noted");
    let files = dir.path().join("made");
    let reports = Reports::open(Some(&files));
    for failure in [None, None, Some(ResultType::CertificateExpired)] {
        reports.note(&session("a.example", failure));
    }
    reports.note(&session("b.example", None));
    reports.note(&Session { at: DAY.start() + Duration::from_secs(86_400), ..session("b.example", None) });
    block_on(reports.flush());
    assert_eq!(files_of::days(&files).unwrap(), [DAY, Day(DAY.0 + 1)]);
    let path = files_of::day_file(&files, DAY);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&files)), (0o600, 0o700));
    let sum = journal::sum(&files, DAY).unwrap();
    assert_eq!((sum.sessions, sum.failures, sum.damaged, sum.domains.len()), (4, 1, 0, 2));
    let mut expected = protocol_smtp::tlsrpt::Aggregate::default();
    for failure in [None, None, Some(ResultType::CertificateExpired)] {
        expected.add(session("a.example", failure));
    }
    assert_eq!(sum.domains["a.example"], expected);
}

#[test]
fn a_line_that_a_crash_cut_off_costs_no_other() {
    let dir = Dir::new("tlsrpt-torn");
    let path = files_of::day_file(dir.path(), DAY);
    let line = session("a.example", None).line();
    files_of::append(&path, &format!("{line}{}", &line[..40])).unwrap();
    files_of::append(&path, &line).unwrap();
    let sum = journal::sum(dir.path(), DAY).unwrap();
    assert_eq!((sum.sessions, sum.damaged), (2, 1));
    assert_eq!(journal::sum(dir.path(), Day(1)).unwrap().sessions, 0, "no file is no fault");
}

#[test]
fn a_directory_that_cannot_be_written_holds_nobody_up() {
    let dir = Dir::new("tlsrpt-blocked");
    let blocked = dir.path().join("file");
    std::fs::write(&blocked, b"").unwrap();
    let reports = Reports::open(Some(&blocked));
    for _ in 0..WAITING_MAX * 2 {
        reports.note(&session("a.example", None));
    }
    block_on(reports.flush());
    let off = Reports::open(None);
    off.note(&session("a.example", None));
    block_on(off.flush());
}

/// Our server's part that sends reports, with the domains it reports to.
struct World {
    names: Names,
    web: Web,
    context: Context,
    reports: Reports,
    files: PathBuf,
    _dir: Dir,
}

impl World {
    fn new(name: &str, with_key: bool) -> World {
        let dir = Dir::new(&format!("tlsrpt-{name}"));
        let (names, dns) = Names::start();
        let mut environment = vec![
            ("DNS_RESOLVERS", dns.resolvers[0].to_string()),
            ("SERVER_HOSTNAME", "mx.example.test".into()),
        ];
        if with_key {
            environment.push(("SMTP_DKIM_DOMAIN", "example.test".into()));
            environment.push(("SMTP_DKIM_PRIVATE_KEY_B64_PKCS8", ED25519.into()));
        }
        let sources = Sources {
            data_dir: Some(dir.path().to_owned()),
            env_file: None,
            profile: Profile::Quickstart { deliver: true },
            environment: environment.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        };
        let config = Arc::new(config::load(&sources).unwrap().config);
        let storage = block_on(Storage::open(StorageOptions {
            database: SurrealOptions::memory(),
            data_dir: dir.path().to_owned(),
            objects_dir: dir.path().join("incoming"),
            s3: None,
            parsed_parts: false,
            master_key_file: dir.path().join("master.key"),
            spool_limit: 1 << 20,
        }))
        .unwrap();
        let files = config.outbound.tls_report_dir.clone().unwrap();
        let context = Context { storage, config, wake_queue: Arc::new(|| {}) };
        let world = World {
            names,
            web: Web::start(self_signed(&["elsewhere.example"])),
            context,
            reports: Reports::open(Some(&files)),
            files,
            _dir: dir,
        };
        if !with_key {
            // A domain would get keys of its own.
            return world;
        }
        world.ask(Request::OrgCreate { name: "org".into() });
        world.ask(Request::DomainAdd { domain: "example.test".into(), org: "org".into(), set: vec![] });
        let password = Password(Secret::new("correct horse battery".into()));
        world.ask(Request::MailboxCreate {
            address: "alice@example.test".into(),
            password,
            name: String::new(),
            quota: None,
        });
        world
    }

    fn ask(&self, request: Request) -> serde_json::Value {
        block_on(admin::execute(&self.context, request)).unwrap()
    }

    fn note(&self, domains: &[&str]) {
        for domain in domains {
            self.reports.note(&session(domain, None));
            self.reports.note(&session(domain, Some(ResultType::CertificateExpired)));
        }
        block_on(self.reports.flush());
    }

    fn rua(&self, domain: &str, rua: &str) {
        self.names.set(&format!("_smtp._tls.{domain}"), &[&format!("v=TLSRPTv1; rua={rua}")]);
    }

    fn send(&self, last: bool) -> (Vec<(String, String)>, bool) {
        let sender = Sender::open(self.context.clone()).unwrap().unwrap();
        let (sent, done) = block_on(sender.send_day(DAY, last)).unwrap();
        (sent.into_iter().map(|s| (s.to, s.result)).collect(), done)
    }

    fn url(&self) -> String {
        format!("https://reports.example:{}/v1", self.web.port())
    }

    fn jobs(&self) -> Vec<storage::Job> {
        block_on(self.context.storage.list_jobs(99)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        block_on(self.context.storage.close());
    }
}

const OK: &str = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

fn unpacked(gzip: &[u8]) -> serde_json::Value {
    let mut json = String::new();
    GzDecoder::new(gzip).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

#[test]
fn dt10_a_report_is_queued_signed_and_makes_none_about_itself() {
    let world = World::new("queued", true);
    world.note(&["a.example", "quiet.example"]);
    world.rua("a.example", "mailto:tls@third.example");
    let queued = ("mailto:tls@third.example".to_owned(), "queued".to_owned());
    assert_eq!(world.send(false), (vec![queued], true));
    let jobs = world.jobs();
    assert_eq!(jobs.len(), 1);
    let spec = &jobs[0].spec;
    assert_eq!((spec.sender.as_str(), spec.domain.as_str()), ("", "third.example"));
    assert!(is_report(spec) && spec.is_dsn);
    assert!(!is_report(&NewJob { is_dsn: false, ..spec.clone() }), "a sender's own ENVID says nothing");
    assert!(!is_report(&NewJob { envid: None, ..spec.clone() }));
    let text = block_on(async {
        let mut object = world.context.storage.open_queued(spec.org, spec.message).await.unwrap();
        String::from_utf8(object.read_all().await.unwrap()).unwrap()
    });
    for line in [
        "DKIM-Signature: ",
        "From: <postmaster@mx.example.test>\r\n",
        "TLS-Report-Domain: a.example\r\n",
        "TLS-Report-Submitter: mx.example.test\r\n",
        "TLS-Required: No\r\n",
        "!a.example!",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("alice"), "{text}");
    assert_eq!(world.send(false), (vec![], true), "a day is reported on once");
    assert_eq!(world.jobs().len(), 1);
}

#[test]
fn a_restart_neither_repeats_a_report_nor_forgets_one() {
    let world = World::new("restart", true);
    world.note(&["a.example", "b.example"]);
    world.rua("a.example", "mailto:tls@third.example");
    world.rua("b.example", &world.url());
    world.web.answer("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let (sent, done) = world.send(false);
    assert_eq!((sent.len(), done), (2, false));
    assert_eq!(sent[1], (world.url(), "status 503".into()));
    world.web.answer(OK);
    assert_eq!(world.send(false), (vec![(world.url(), "posted".into())], true));
    // The marks are lost, as when the process ends between the queue and the mark.
    std::fs::remove_file(files_of::marks(&world.files, DAY)).unwrap();
    assert_eq!(world.send(false).0.len(), 2);
    assert_eq!(world.jobs().len(), 1, "the report is known in the queue");
    let job = world.jobs()[0].spec.id;
    block_on(world.context.storage.act_on_job(job, JobAction::Cancel, Timestamp(0))).unwrap();
    assert_eq!(files_of::days(&world.files).unwrap(), [DAY]);
}

#[test]
fn a_report_is_posted_whatever_the_certificate_and_redirects_are_not_followed() {
    let world = World::new("posted", false);
    world.note(&["a.example"]);
    world.rua("a.example", &format!("{},mailto:tls@third.example,https://192.0.2.1/x", world.url()));
    world.web.answer("HTTP/1.1 307 There\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n");
    let (sent, done) = world.send(false);
    assert!(!done);
    assert_eq!(sent[0].1, "status 307");
    assert_eq!(sent[1].1, "not sent: this host has no DKIM key");
    assert_eq!(sent[2].1, "not sent: the address cannot be used");
    world.web.answer(OK);
    assert_eq!(world.send(false), (vec![(world.url(), "posted".into())], true));
    assert!(world.jobs().is_empty());
    let requests = world.web.requests();
    assert_eq!(requests.len(), 2);
    let (head, body) = &requests[1];
    assert!(head.starts_with("POST /v1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/tlsrpt+gzip\r\n"), "{head}");
    let report = unpacked(body);
    assert_eq!(report["organization-name"], "mx.example.test");
    assert_eq!(report["policies"][0]["summary"]["total-successful-session-count"], 1);
    assert_eq!(report["policies"][0]["failure-details"][0]["result-type"], "certificate-expired");
    assert_eq!(report["date-range"]["start-datetime"], format!("{DAY}T00:00:00Z"));
}

#[test]
fn a_destination_that_fails_for_long_is_given_up_and_a_name_server_too() {
    let world = World::new("late", true);
    world.note(&["a.example"]);
    world.names.set_broken(true);
    assert_eq!(world.send(false), (vec![], false));
    assert_eq!(world.send(true), (vec![], true));
    world.names.set_broken(false);
    world.rua("a.example", &world.url());
    assert_eq!(world.send(false), (vec![], true), "it was given up");
}

#[test]
fn reports_for_our_own_people_go_into_their_folders() {
    let world = World::new("local", true);
    world.note(&["a.example", "b.example"]);
    world.rua("a.example", "mailto:alice@example.test");
    world.rua("b.example", "mailto:nobody@example.test");
    let (sent, done) = world.send(false);
    assert_eq!((sent[0].1.as_str(), done), ("queued", true));
    assert_eq!(sent[1].1, "not sent: there is nobody at this address");
    let mailboxes = world.ask(Request::MailboxList);
    assert!(mailboxes[0]["usedBytes"].as_u64().is_some_and(|n| n > 0), "{mailboxes}");
    // What was sent is what a receiver reads.
    let mailbox = "alice@example.test".to_owned();
    let read = world.ask(Request::TlsReportReceived { mailbox, folder: None });
    assert_eq!(
        (&read[0]["from"], &read[0]["domain"]),
        (&"mx.example.test".into(), &"a.example".into()),
        "{read}"
    );
    assert_eq!((&read[0]["successes"], &read[0]["failures"]), (&1.into(), &1.into()));
    assert_eq!(read[0]["details"][0]["result"], "certificate-expired");
    assert!(world.jobs().is_empty());
}

#[test]
fn days_are_sent_when_they_are_over_and_removed_after_sixty() {
    let world = World::new("ticks", true);
    world.note(&["a.example"]);
    world.rua("a.example", "mailto:tls@third.example");
    let sender = Sender::open(world.context.clone()).unwrap().unwrap();
    let mut not_before = HashMap::new();
    let mut tick = |at: Timestamp| {
        block_on(sender.tick(at, &mut not_before)).unwrap();
        world.jobs().len()
    };
    let over = Day(DAY.0 + 1).start();
    assert_eq!(tick(over - Duration::from_secs(1)), 0, "the day is not over");
    assert_eq!(tick(over + Duration::from_secs(4 * 3_600)), 1);
    assert!(files_of::marks(&world.files, DAY).exists());
    tick(Day(DAY.0 + 60).start());
    assert!(files_of::day_file(&world.files, DAY).exists());
    tick(Day(DAY.0 + 61).start());
    assert!(!files_of::day_file(&world.files, DAY).exists() && !files_of::marks(&world.files, DAY).exists());
}

#[test]
fn the_command_line_lists_and_sends() {
    let world = World::new("listed", true);
    world.note(&["a.example"]);
    world.rua("a.example", "mailto:tls@third.example");
    let listed = world.ask(Request::TlsReportList);
    assert_eq!((&listed[0]["day"], &listed[0]["state"]), (&DAY.to_string().into(), &"waiting".into()));
    assert_eq!((&listed[0]["sessions"], &listed[0]["failures"]), (&2.into(), &1.into()));
    let sent = world.ask(Request::TlsReportSend { day: Some(DAY.to_string()) });
    assert_eq!(sent[0]["state"], "queued");
    let listed = world.ask(Request::TlsReportList);
    assert_eq!((&listed[0]["reports"], &listed[0]["state"]), (&1.into(), &"done".into()));
    for day in ["2026-13-01", "9999-01-01", "x"] {
        let refused =
            block_on(admin::execute(&world.context, Request::TlsReportSend { day: Some(day.into()) }));
        assert!(refused.is_err(), "{day}");
    }
}
