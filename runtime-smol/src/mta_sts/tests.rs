use std::sync::atomic::{AtomicI64, Ordering};

use futures_lite::future;
use storage::{StorageOptions, SurrealOptions};

use super::*;
use crate::task::block_on;
use crate::tls::ClientTls;
use crate::world::{Authority, Dir, Names, Web, self_signed};

const DOMAIN: &str = "example.test";
const HOST: &str = "mta-sts.example.test";
const DAY: i64 = 86_400;

/// `example.test` with its record and its policy host, and our policies.
struct World {
    names: Names,
    web: Web,
    authority: Authority,
    resolver: Arc<Resolver>,
    tls: ClientTls,
    storage: Storage,
    reports: Reports,
    policies: Policies,
    /// Milliseconds.
    clock: Arc<AtomicI64>,
    dir: Dir,
}

impl World {
    fn new(name: &str) -> World {
        let dir = Dir::new(&format!("sts-{name}"));
        let roots = dir.path().join("roots.pem");
        let authority = Authority::new(&roots);
        let (names, dns) = Names::start();
        let web = Web::start(authority.identity(&[HOST]));
        let resolver = Arc::new(Resolver::open(&dns).unwrap());
        let tls = ClientTls::open(Some(&roots)).unwrap();
        let storage = block_on(Storage::open(StorageOptions {
            database: SurrealOptions::memory(),
            data_dir: dir.path().to_owned(),
            objects_dir: dir.path().join("incoming"),
            s3: None,
            parsed_parts: false,
            master_key_file: dir.path().join("master.key"),
            spool_limit: 4096,
        }))
        .unwrap();
        let reports = Reports::open(Some(&dir.path().join("tlsrpt")));
        let clock = Arc::new(AtomicI64::new(1_795_433_195_000));
        let policies = policies(&web, &resolver, &tls, &storage, &reports, &clock, true);
        World { names, web, authority, resolver, tls, storage, reports, policies, clock, dir }
    }

    /// Another process over the same database.
    fn restart(&mut self) {
        let World { web, resolver, tls, storage, reports, clock, .. } = self;
        self.policies = policies(web, resolver, tls, storage, reports, clock, true);
    }

    fn announce(&self, id: &str) {
        self.names.set("_mta-sts.example.test", &[&format!("v=STSv1; id={id};")]);
    }

    fn serve(&self, mode: &str, mx: &str, max_age: u64) {
        self.web.answer(ok(&policy(mode, mx, max_age)));
    }

    fn state(&self) -> StsState {
        block_on(self.policies.state(DOMAIN))
    }

    fn pass(&self, secs: i64) {
        self.clock.fetch_add(secs * 1_000, Ordering::SeqCst);
    }

    fn fetches(&self) -> usize {
        self.web.requests().len()
    }

    fn wait_for(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if done() {
                return;
            }
            block_on(async { Timer::after(Duration::from_millis(10)).await });
        }
        panic!("still not: {what}");
    }

    /// What was noted for TLS reports: result types, sorted.
    fn noted(&self) -> Vec<String> {
        block_on(self.reports.flush());
        let mut types: Vec<String> = std::fs::read_dir(self.dir.path().join("tlsrpt"))
            .into_iter()
            .flatten()
            .flat_map(|file| {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
                lines.map(|line| line["result-type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            })
            .collect();
        types.sort();
        types
    }
}

impl Drop for World {
    fn drop(&mut self) {
        block_on(self.storage.close());
    }
}

fn policies(
    web: &Web,
    resolver: &Arc<Resolver>,
    tls: &ClientTls,
    storage: &Storage,
    reports: &Reports,
    clock: &Arc<AtomicI64>,
    allow_private: bool,
) -> Policies {
    let https = Https::new(resolver.clone(), tls.clone(), allow_private);
    let clock = clock.clone();
    let now = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
    Policies::with_clock(https, resolver.clone(), storage.clone(), reports.clone(), web.port(), now)
}

fn policy(mode: &str, mx: &str, max_age: u64) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age}\r\n")
}

fn answer(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ok(body: &str) -> String {
    answer("200 OK", "text/plain; charset=utf-8", body)
}

fn enforce(mx: &str) -> StsState {
    StsState::Enforce { mx: vec![mx.to_owned()] }
}

#[test]
fn a_policy_is_fetched_once_and_kept() {
    let world = World::new("kept");
    assert_eq!((world.state(), world.fetches()), (StsState::None, 0));
    world.announce("1");
    world.serve("enforce", "mx.example.test", 7 * DAY as u64);
    let both = future::zip(world.policies.state(DOMAIN), world.policies.state("Example.Test."));
    assert_eq!(block_on(both), (enforce("mx.example.test"), enforce("mx.example.test")));
    assert_eq!((world.state(), world.fetches()), (enforce("mx.example.test"), 1));
    let (head, _) = &world.web.requests()[0];
    assert!(head.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {HOST}:{}\r\n", world.web.port())), "{head}");
    assert_eq!(block_on(world.policies.state("[192.0.2.1]")), StsState::None);
    let look = block_on(world.policies.look(DOMAIN)).seen(DOMAIN);
    assert_eq!((look.kind, look.strings.len()), (PolicyKind::Sts, 4));
    assert_eq!(world.noted(), Vec::<String>::new());
}

#[test]
fn dt7_what_is_no_policy_is_not_believed() {
    let world = World::new("bad");
    let good = policy("enforce", "mx.example.test", 600);
    let moved = format!("HTTP/1.1 301 Moved\r\nLocation: https://{HOST}/\r\nContent-Length: 0\r\n\r\n");
    let long = format!("{good}{}", "x: y\r\n".repeat(11_000));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    for (n, (answer, kind)) in [
        (moved, "sts-policy-fetch-error"),
        (answer("404 Not Found", "text/plain", &good), "sts-policy-fetch-error"),
        ("SSH-2.0-x\r\n".to_owned(), "sts-policy-fetch-error"),
        (String::new(), "sts-policy-fetch-error"),
        (answer("200 OK", "text/html", &good), "sts-policy-invalid"),
        (ok(&long), "sts-policy-invalid"),
        (chunked, "sts-policy-invalid"),
        (ok("version: STSv2\r\n"), "sts-policy-invalid"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = world.noted();
        world.announce(&format!("bad{n}"));
        world.web.answer(answer.clone());
        assert_eq!(world.state(), StsState::Advertised, "{answer:.200}");
        assert_eq!(world.fetches(), n + 1, "redirects are not followed");
        let mut expected = [before, vec![kind.to_owned()]].concat();
        expected.sort();
        assert_eq!(world.noted(), expected, "{answer:.200}");
    }
    // The same `id` is not fetched again at once, another one is.
    world.web.answer(ok(&good));
    assert_eq!((world.state(), world.fetches()), (StsState::Advertised, 8));
    world.pass(300);
    assert_eq!((world.state(), world.fetches()), (enforce("mx.example.test"), 9));
}

#[test]
fn dt7_the_certificate_of_the_policy_host_must_be_valid() {
    let world = World::new("certificates");
    world.serve("enforce", "mx.example.test", 600);
    for (n, identity) in
        [self_signed(&[HOST]), world.authority.identity(&["example.test"]), world.authority.expired(&[HOST])]
            .into_iter()
            .enumerate()
    {
        world.announce(&format!("c{n}"));
        world.web.present(identity);
        assert_eq!(world.state(), StsState::Advertised, "certificate {n}");
        assert_eq!(world.noted(), vec!["sts-webpki-invalid"; n + 1]);
    }
    assert_eq!(world.fetches(), 0, "nothing was asked before the certificate was known");
    world.web.present(world.authority.identity(&["*.example.test"]));
    world.announce("good");
    assert_eq!(world.state(), enforce("mx.example.test"));
}

#[test]
fn dt7_another_id_brings_another_policy_and_a_failure_keeps_the_old_one() {
    let world = World::new("change");
    world.announce("1");
    world.serve("enforce", "*.example.test", 7 * DAY as u64);
    assert_eq!(world.state(), enforce("*.example.test"));
    let look = block_on(world.policies.look(DOMAIN));
    let allows = |host: &str| look.policy.as_ref().is_some_and(|p| p.allows(host));
    assert!(allows("a.example.test") && !allows("a.b.example.test") && !allows("example.test"));
    world.announce("2");
    world.web.answer("");
    assert_eq!((world.state(), world.fetches()), (enforce("*.example.test"), 2));
    world.announce("3");
    world.serve("testing", "mx.example.test", 7 * DAY as u64);
    assert_eq!(world.state(), StsState::Testing);
    world.announce("4");
    world.serve("none", "mx.example.test", 7 * DAY as u64);
    assert_eq!((world.state(), world.fetches()), (StsState::Off, 4));
}

#[test]
fn dt8_a_policy_binds_while_everything_else_is_blocked() {
    let mut world = World::new("blocked");
    world.announce("1");
    world.serve("enforce", "mx.example.test", 3 * DAY as u64);
    assert_eq!(world.state(), enforce("mx.example.test"));
    // The record is gone, then no name server answers, then the policy host is down.
    world.names.set("_mta-sts.example.test", &[]);
    world.web.answer("");
    assert_eq!(world.state(), enforce("mx.example.test"));
    world.names.set_broken(true);
    assert_eq!(world.state(), enforce("mx.example.test"));
    world.restart();
    assert_eq!(world.state(), enforce("mx.example.test"), "a restart forgets nothing");
    world.pass(3 * DAY - 1);
    assert_eq!(world.state(), enforce("mx.example.test"), "to the last second");
    world.restart();
    assert_eq!(world.state(), enforce("mx.example.test"));
    world.pass(1);
    assert_eq!(world.state(), StsState::None);
}

#[test]
fn dt7_max_age_of_nothing_and_of_ten_years() {
    let world = World::new("ages");
    world.announce("1");
    world.serve("enforce", "mx.example.test", 0);
    assert_eq!((world.state(), world.fetches()), (enforce("mx.example.test"), 1));
    world.pass(1);
    assert_eq!((world.state(), world.fetches()), (enforce("mx.example.test"), 2));
    world.pass(1);
    world.web.answer("");
    assert_eq!(world.state(), StsState::Advertised);
    world.announce("2");
    world.serve("enforce", "mx.example.test", 315_576_000);
    assert_eq!(world.state(), enforce("mx.example.test"));
    world.web.answer("");
    world.names.set("_mta-sts.example.test", &[]);
    world.pass(365 * DAY);
    assert_eq!(world.state(), enforce("mx.example.test"));
    world.pass(DAY);
    assert_eq!(world.state(), StsState::None, "a year is the most");
}

#[test]
fn policies_are_fetched_again_daily_and_before_they_expire() {
    let world = World::new("daily");
    world.announce("1");
    world.serve("enforce", "mx.example.test", 30 * DAY as u64);
    world.state();
    world.pass(DAY);
    // Mail does not wait for it.
    world.serve("testing", "mx.example.test", 30 * DAY as u64);
    assert_eq!(world.state(), enforce("mx.example.test"));
    world.wait_for("the refreshed policy", || world.state() == StsState::Testing);
    assert_eq!(world.fetches(), 2);
    // Without mail the background does it, as long as there was mail lately.
    world.pass(DAY);
    world.serve("none", "mx.example.test", 30 * DAY as u64);
    block_on(world.policies.tend_once());
    assert_eq!((world.fetches(), world.state()), (3, StsState::Off));
    for day in 0..40 {
        world.pass(DAY);
        block_on(world.policies.tend_once());
        assert_eq!(world.fetches(), 4 + day.min(29), "day {day}");
    }
    world.pass(40 * DAY);
    block_on(world.policies.tend_once());
    assert_eq!(block_on(world.storage.store().policy(DOMAIN)).unwrap(), None, "it expired");
}

#[test]
fn private_addresses_are_not_dialled_unless_allowed() {
    let world = World::new("private");
    world.announce("1");
    world.serve("enforce", "mx.example.test", 600);
    let World { web, resolver, tls, storage, reports, clock, .. } = &world;
    let strict = policies(web, resolver, tls, storage, reports, clock, false);
    assert_eq!(block_on(strict.state(DOMAIN)), StsState::Advertised);
    assert_eq!(world.fetches(), 0);
    assert_eq!(world.noted(), ["sts-policy-fetch-error"]);
}
