//! Who sent it: SPF, DKIM, ARC and DMARC of incoming mail over a name server of the test's own, and what they
//! lead to.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::dav::{Person, event};
use crate::harness::{Inbox, Raw, eventually, free_port, have, http_get};
use crate::signing::Helper;

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../message-auth/tests/keys");
const RSA: &str = include_str!("../../message-auth/tests/keys/rsa2048.pub");

/// Our server, and the DNS of those who send to it.
struct World {
    inbox: Inbox,
    _names: Helper,
}

impl World {
    fn new(settings: &[(&str, &str)]) -> World {
        let mut inbox = Inbox::prepared();
        inbox.env.remove("SMTP_AUTH_EXEMPT_NETWORKS");
        let dns = free_port();
        let zone = inbox.dir.0.join("zone.json");
        fs::write(&zone, zone_of_senders().to_string()).expect("written");
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}"));
        for (name, value) in settings {
            inbox.set(name, value);
        }
        let names = Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()]);
        inbox.start();
        World { inbox, _names: names }
    }

    fn raw(&self) -> Raw {
        Raw::greeted(self.inbox.smtp())
    }

    /// The reply to the first command of a transaction that is not accepted, or that to the message.
    fn send(&self, sender: &str, rcpts: &[&str], message: &str) -> String {
        let mut raw = self.raw();
        let mut lines = vec![format!("MAIL FROM:<{sender}>\r\n")];
        lines.extend(rcpts.iter().map(|r| format!("RCPT TO:<{r}>\r\n")));
        for line in lines {
            let reply = raw.ask(&line);
            if !reply.starts_with("250") {
                return reply;
            }
        }
        assert!(raw.ask("DATA\r\n").starts_with("354"));
        raw.ask(&format!("{message}.\r\n"))
    }

    fn folder(&self, user: &str, folder: &str) -> Vec<String> {
        let text = self.inbox.python_ok("folder.py", &[user, folder]);
        serde_json::from_str(&text).expect("a list")
    }
}

/// Senders for every result of SPF, with keys and policies.
fn zone_of_senders() -> Value {
    let key = json!({"TXT": [format!("v=DKIM1; k=rsa; p={}", RSA.trim())]});
    let policy = |p: &str| json!({"TXT": [format!("v=DMARC1; p={p}")]});
    json!({
        "pass.test.": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
        "fail.test.": {"TXT": ["v=spf1 -all"]},
        "soft.test.": {"TXT": ["v=spf1 ~all"]},
        "neutral.test.": {"TXT": ["v=spf1 ?all"]},
        "none.test.": {"A": ["127.0.0.1"]},
        "broken.test.": {"TXT": ["v=spf1 include: -all"]},
        "down.test.": "SERVFAIL",
        "client.test.": {"A": ["127.0.0.1"]},
        "badhelo.test.": {"TXT": ["v=spf1 -all"]},
        "s._domainkey.pass.test.": key, "s._domainkey.fail.test.": key, "s._domainkey.strict.test.": key,
        "s._domainkey.list.test.": key,
        "_dmarc.pass.test.": policy("none"), "_dmarc.fail.test.": policy("none"),
        "_dmarc.strict.test.": policy("reject; rua=mailto:dmarc@strict.test,mailto:x@victim.test"),
        "_dmarc.junk.test.": policy("quarantine; rua=mailto:bob@example.test"),
        "junk.test._report._dmarc.example.test.": {"TXT": ["v=DMARC1"]},
        "_dmarc.slow.test.": "SERVFAIL",
    })
}

fn message(from: &str, subject: &str) -> String {
    format!("From: <{from}>\r\nTo: <alice@example.test>\r\nSubject: {subject}\r\n\r\nHello\r\n")
}

/// The message under what dkimpy puts on top of it: a signature, or the set of an ARC chain.
fn signed(what: &str, domain: &str, message: &str) -> String {
    let mut child = Command::new("python3")
        .arg(Path::new(KEYS).join("../sign.py"))
        .args([what, "rsa-sha256"])
        .arg(PathBuf::from(KEYS).join("rsa2048.pem"))
        .args(["s", domain, "From:To:Subject"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    child.stdin.take().expect("piped").write_all(message.as_bytes()).expect("read");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success());
    String::from_utf8(out.stdout).expect("text") + message
}

const TOOLS: [&str; 3] = ["python3", "python3:dkim", "python3:authres"];
const ALICE: &str = "alice@example.test";

#[test]
fn spf_is_judged_at_each_recipient_with_the_codes_of_the_specification() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&[]);
    for (sender, code) in [
        ("u@pass.test", "250"),
        ("u@fail.test", "550 5.7.23 SPF of fail.test is fail; required by SMTP_REQUIRE_SPF_PASS"),
        ("u@soft.test", "550 5.7.23 SPF of soft.test is softfail; "),
        ("u@neutral.test", "550 5.7.23 SPF of neutral.test is neutral; "),
        ("u@none.test", "550 5.7.23 SPF of none.test is none; "),
        ("u@broken.test", "550 5.7.24 SPF of broken.test is permerror; "),
        ("u@down.test", "451 4.4.3 SPF of down.test is temperror; "),
        ("", "250"),
    ] {
        let mut raw = world.raw();
        assert!(raw.ask(&format!("MAIL FROM:<{sender}>\r\n")).starts_with("250"), "{sender}");
        let reply = raw.ask("RCPT TO:<alice@example.test>\r\n");
        assert!(reply.starts_with(code), "{sender}: {reply}");
        // Who is refused one recipient may name another; a role address is never refused for this.
        assert!(raw.ask("RCPT TO:<nobody@example.test>\r\n").starts_with("550 5.1.1"));
        assert!(raw.ask("RCPT TO:<postmaster@example.test>\r\n").starts_with("250"), "{sender}");
    }
    let mut raw = Raw::connect(world.inbox.smtp());
    raw.reply();
    assert!(raw.ask("EHLO badhelo.test\r\n").starts_with("250"));
    raw.ask("MAIL FROM:<>\r\n");
    let reply = raw.ask("RCPT TO:<alice@example.test>\r\n");
    assert!(reply.starts_with("550 5.7.23 SPF of badhelo.test is fail; "), "{reply}");

    world.inbox.cli_ok(&["domain", "set", "example.test", "require_spf_pass=false"]);
    assert!(world.send("u@fail.test", &[ALICE], &message("u@fail.test", "lenient")).starts_with("250"));

    let metrics = http_get(world.inbox.port("HTTP_PORT"), "/metrics").expect("an answer");
    for line in [
        "inbox_origin_refusals_total{result=\"spf-softfail\"} 1",
        "inbox_origin_refusals_total{result=\"spf-fail\"} 2",
        "inbox_origin_results_total{result=\"spf-permerror\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(world.inbox.log().contains("mail of domains without an SPF record is refused"));
}

#[test]
fn si28_the_fields_say_what_was_found_and_forged_ones_are_gone() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&[]);
    let forged = "Authentication-Results: mx.example.test; dkim=fail\r\n\
                  Authentication-Results: other.test; spf=pass\r\n\
                  authentication-results : \"mx.example.test\" 1; dmarc=pass\r\n";
    let body = signed("dkim", "pass.test", &message("u@pass.test", "fields"));
    let sent = format!("{forged}{body}");
    assert!(world.send("u@pass.test", &[ALICE], &sent).starts_with("250"));
    let stored = world.folder(ALICE, "INBOX").remove(0);
    let unfolded = stored.replace("\r\n\t", " ").replace("\r\n ", " ");
    let top: Vec<&str> = unfolded.lines().take(5).collect();
    assert_eq!(top[0], "Return-Path: <u@pass.test>");
    assert_eq!(top[1], "Delivered-To: alice@example.test");
    let results = top[2];
    for part in [
        "Authentication-Results: mx.example.test; spf=pass smtp.mailfrom=\"u@pass.test\"; dkim=pass ",
        "header.d=pass.test header.s=s header.a=rsa-sha256",
        "; dmarc=pass header.from=pass.test policy.dmarc=none; iprev=pass policy.iprev=127.0.0.1",
    ] {
        assert!(results.contains(part), "{part} in {results}");
    }
    assert!(
        top[3].starts_with("Received-SPF: pass receiver=mx.example.test; client-ip=127.0.0.1;"),
        "{}",
        top[3]
    );
    assert!(top[4].starts_with("Received: from client.test (localhost [127.0.0.1])"), "{}", top[4]);
    let rest = format!("Authentication-Results: other.test; spf=pass\r\n{body}");
    assert!(stored.ends_with(&rest), "what was below stays byte for byte:\n{stored}");
    assert!(!stored.contains("dkim=fail") && !unfolded.contains("\" 1; dmarc=pass"), "{stored}");
    // Others read it as it is meant.
    let check = "import sys,authres;r=authres.AuthenticationResultsHeader.parse(sys.argv[1]);\
                 print(r.authserv_id,*sorted(f'{x.method}={x.result}' for x in r.results))";
    let out = Command::new("python3").args(["-c", check, results]).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(said.trim(), "mx.example.test dkim=pass dmarc=pass iprev=pass spf=pass", "{out:?}");
}

#[test]
fn the_senders_own_policy_refuses_or_means_junk() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&[("SMTP_REQUIRE_SPF_PASS", "false")]);
    let reply = world.send("u@pass.test", &[ALICE], &message("boss@strict.test", "forged"));
    assert!(reply.starts_with("550 5.7.26 DMARC of strict.test is fail; "), "{reply}");
    let genuine = signed("dkim", "strict.test", &message("boss@strict.test", "genuine"));
    assert!(world.send("u@pass.test", &[ALICE], &genuine).starts_with("250"));
    let broken = genuine.replace("Hello", "Hullo");
    assert!(world.send("u@pass.test", &[ALICE], &broken).starts_with("550 5.7.26"));
    assert!(world.send("u@pass.test", &[ALICE], &message("u@junk.test", "suspicious")).starts_with("250"));
    let (inbox, junk) = (world.folder(ALICE, "INBOX"), world.folder(ALICE, "Junk"));
    assert!(inbox.len() == 1 && inbox[0].contains("Subject: genuine"), "{inbox:?}");
    assert!(junk.len() == 1 && junk[0].contains("Subject: suspicious"), "{junk:?}");
    // Several authors of several domains: the strictest policy counts (SI26).
    let two = message("u@pass.test>, <boss@strict.test", "two authors");
    assert!(world.send("u@pass.test", &[ALICE], &two).starts_with("550 5.7.26"));
    // A bounce need not say who wrote it.
    let bounce = "From: Mail Delivery\r\nSubject: bounce\r\n\r\nnot delivered\r\n";
    assert!(world.send("", &[ALICE], bounce).starts_with("250"));
    // SI24: exactly one From field, by the letter.
    for from in [
        "From: <u@pass.test>\r\nFrom: <boss@strict.test>",
        "From : <boss@strict.test>",
        " From: x\r\nFrom: <a@b.test>",
    ] {
        let reply = world.send("u@pass.test", &[ALICE], &format!("{from}\r\nSubject: x\r\n\r\nx\r\n"));
        assert!(reply.starts_with("550 5.6.0"), "{from}: {reply}");
    }
}

#[test]
fn what_a_domain_requires_is_judged_alike_for_a_whole_transaction() {
    if !have(&TOOLS) {
        return;
    }
    let mut world = World::new(&[("SMTP_REQUIRE_SPF_PASS", "false")]);
    world.inbox.cli_ok(&["domain", "add", "strict.example.test", "--org", "test"]);
    world.inbox.add_mailbox("carol@strict.example.test");
    let set = ["require_dkim_pass=true", "require_dmarc_pass=true"];
    world.inbox.cli_ok(&["domain", "set", "strict.example.test", set[0], set[1]]);
    let carol = "carol@strict.example.test";
    let plain = message("u@pass.test", "plain");
    let reply = world.send("u@pass.test", &[ALICE, carol], &plain);
    assert!(reply.starts_with("452 4.5.3"), "{reply}");
    let reply = world.send("u@pass.test", &[carol], &plain);
    assert!(
        reply.starts_with("550 5.7.20 DKIM of this message is none; required by require_dkim_pass"),
        "{reply}"
    );
    let aligned = signed("dkim", "pass.test", &plain);
    assert!(world.send("u@pass.test", &[carol], &aligned).starts_with("250"));
    let foreign = signed("dkim", "strict.test", &message("u@none.test", "no policy"));
    assert!(
        world.send("u@none.test", &[carol], &foreign).starts_with("550 5.7.26 DMARC of none.test is none")
    );
    let slow = signed("dkim", "pass.test", &message("u@slow.test", "no answer"));
    assert!(world.send("u@pass.test", &[carol], &slow).starts_with("451 4.4.3 DMARC of slow.test"));
    // Restarted with exempt networks, nothing is asked of the same client.
    assert!(world.inbox.stop().success());
    world.inbox.set("SMTP_AUTH_EXEMPT_NETWORKS", "127.0.0.0/8").start();
    assert!(world.send("u@fail.test", &[ALICE, carol], &plain).starts_with("250"));
}

#[test]
fn an_aligned_signature_stands_for_spf_where_that_is_allowed() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&[("SMTP_SPF_ACCEPT_ALIGNED_DKIM", "true")]);
    let plain = message("u@fail.test", "forwarded");
    let reply = world.send("u@fail.test", &[ALICE], &plain);
    assert!(reply.starts_with("550 5.7.23 SPF of fail.test is fail"), "{reply}");
    assert!(world.send("u@fail.test", &[ALICE], &signed("dkim", "fail.test", &plain)).starts_with("250"));
    let foreign = signed("dkim", "pass.test", &plain);
    assert!(world.send("u@fail.test", &[ALICE], &foreign).starts_with("550 5.7.23"), "not aligned");
}

#[test]
fn a_trusted_chain_lifts_the_senders_policy() {
    if !have(&TOOLS) {
        return;
    }
    let results = "Authentication-Results: list.test; dmarc=pass header.from=strict.test\r\n";
    let through_list =
        signed("arc", "list.test", &format!("{results}{}", message("boss@strict.test", "by list")));
    let trusting =
        World::new(&[("SMTP_REQUIRE_SPF_PASS", "false"), ("SMTP_ARC_TRUSTED_SEALERS", "list.test")]);
    let reply = trusting.send("u@pass.test", &[ALICE], &through_list);
    assert!(reply.starts_with("250"), "{reply}");
    assert!(trusting.folder(ALICE, "INBOX")[0].replace("\r\n\t", " ").contains("; arc=pass"));
    let altered = through_list.replace("Hello", "Hullo");
    assert!(trusting.send("u@pass.test", &[ALICE], &altered).starts_with("550 5.7.26"));
    let other = World::new(&[("SMTP_REQUIRE_SPF_PASS", "false"), ("SMTP_ARC_TRUSTED_SEALERS", "else.test")]);
    assert!(other.send("u@pass.test", &[ALICE], &through_list).starts_with("550 5.7.26"));
}

#[test]
fn a_gateways_results_stand_in_only_where_it_is_trusted() {
    if !have(&TOOLS) {
        return;
    }
    let stamped = |results: &str| {
        format!("Authentication-Results: mx.example.test; {results}\r\n{}", message("u@fail.test", "gateway"))
    };
    let good = stamped("spf=pass smtp.mailfrom=u@fail.test; dkim=none; dmarc=pass header.from=fail.test");
    let world = World::new(&[("SMTP_AUTH_ALLOW_HEADER_OVERRIDE", "true")]);
    assert!(world.send("u@fail.test", &[ALICE], &good).starts_with("250"));
    let stored = world.folder(ALICE, "INBOX").remove(0);
    assert!(stored.ends_with(&good) && stored.matches("Authentication-Results").count() == 1, "{stored}");
    let bad = stamped("spf=softfail smtp.mailfrom=u@fail.test");
    let reply = world.send("u@pass.test", &[ALICE], &bad);
    assert!(reply.starts_with("550 5.7.23 SPF of fail.test is softfail"), "{reply}");
    let reject = stamped("spf=pass smtp.mailfrom=u@x.test; dmarc=fail (p=REJECT) header.from=x.test");
    assert!(world.send("u@pass.test", &[ALICE], &reject).starts_with("550 5.7.26 DMARC of x.test is fail"));
    // Without such a field our own results count.
    assert!(world.send("u@fail.test", &[ALICE], &message("u@fail.test", "x")).starts_with("550 5.7.23"));
    let elsewhere = World::new(&[
        ("SMTP_AUTH_ALLOW_HEADER_OVERRIDE", "true"),
        ("SMTP_AUTH_TRUSTED_NETWORKS", "192.0.2.0/24"),
    ]);
    assert!(elsewhere.send("u@fail.test", &[ALICE], &good).starts_with("550 5.7.23"));
}

#[test]
fn si32_a_signed_message_sent_again_and_again_is_slowed_down() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&[]);
    let body = signed("dkim", "pass.test", &message("u@pass.test", "replayed"));
    let mut raw = world.raw();
    let begun = Instant::now();
    let mut accepted = 0;
    let last = loop {
        raw.send(b"MAIL FROM:<u@pass.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n");
        let replies = [raw.reply(), raw.reply(), raw.reply()];
        assert!(replies[2].starts_with("354"), "{replies:?}");
        let reply = raw.ask(&format!("{body}.\r\n"));
        if !reply.starts_with("250") || begun.elapsed() > Duration::from_secs(120) {
            break reply;
        }
        accepted += 1;
    };
    assert_eq!((accepted, last.split(' ').take(2).collect::<Vec<_>>()), (1_000, vec!["450", "4.7.1"]));
    let other = signed("dkim", "pass.test", &message("u@pass.test", "another"));
    assert!(world.send("u@pass.test", &[ALICE], &other).starts_with("250"), "only that one");
    let metrics = http_get(world.inbox.port("HTTP_PORT"), "/metrics").expect("an answer");
    assert!(metrics.contains("inbox_signatures_repeated_total 1000\n"), "{metrics}");
}

#[test]
fn si34_aggregate_reports_go_to_those_who_ask_and_agree_and_are_read() {
    if !have(&TOOLS) {
        return;
    }
    let mut world = World::new(&[("SMTP_REQUIRE_SPF_PASS", "false")]);
    let to_alice = |world: &World, from: &str| world.send("u@pass.test", &[ALICE], &message(from, "x"));
    assert!(to_alice(&world, "boss@strict.test").starts_with("550"));
    assert!(to_alice(&world, "a@junk.test").starts_with("250"));
    assert!(to_alice(&world, "b@junk.test").starts_with("250"));
    assert!(to_alice(&world, "c@none.test").starts_with("250"));
    assert!(world.inbox.stop().success());
    // The day is over: what was noted is yesterday's.
    let dir = world.inbox.data_dir().join("dmarcrpt");
    let file = fs::read_dir(&dir).expect("a directory").flatten().next().expect("a file").path();
    let noted = fs::read_to_string(&file).expect("readable");
    assert_eq!(noted.lines().count(), 3, "{noted}");
    assert!(!noted.contains("alice") && !noted.contains("boss") && !noted.contains("u@"), "{noted}");
    let secs =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let day = protocol_smtp::tlsrpt::Day(i64::try_from(secs / 86_400).expect("a day") - 1).to_string();
    fs::rename(&file, dir.join(format!("{day}.jsonl"))).expect("renamed");
    let sent = world.inbox.cli_json(&["dmarc-report", "send", "--json"]);
    let mut destinations: Vec<(&str, &str)> = sent
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| (s["to"].as_str().unwrap_or_default(), s["state"].as_str().unwrap_or_default()))
        .collect();
    destinations.sort_unstable();
    // The victim never agreed to anything.
    assert_eq!(destinations, [("bob@example.test", "queued"), ("dmarc@strict.test", "queued")]);
    assert_eq!(world.inbox.cli_json(&["dmarc-report", "send", "--json"]), json!([]), "once");
    let listed = world.inbox.cli_json(&["dmarc-report", "list", "--json"]);
    assert_eq!((&listed[0]["day"], &listed[0]["state"]), (&json!(day), &json!("done")));
    // Bob is one of ours: his report is in his folder, and read there.
    let received =
        world.inbox.cli_json(&["dmarc-report", "received", "--mailbox", "bob@example.test", "--json"]);
    let report = &received[0];
    assert_eq!(
        (&report["domain"], &report["from"]),
        (&json!("junk.test"), &json!("mx.example.test")),
        "{received}"
    );
    let row = json!({
        "source": "127.0.0.1", "count": 2, "disposition": "quarantine", "dkim": "fail", "spf": "fail",
        "headerFrom": "junk.test",
    });
    assert_eq!(report["rows"], json!([row]));
    let queue = world.inbox.cli_json(&["queue", "list", "--json"]);
    assert_eq!(queue[0]["recipients"][0]["address"], "dmarc@strict.test", "{queue}");
}

#[test]
fn dv13_an_invitation_counts_when_its_domain_vouches_for_it() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&[]);
    let alice = Person::new(&world.inbox, "alice");
    let invite = |uid: &str, author: &str, organizer: &str| {
        let people =
            format!("ORGANIZER:mailto:{organizer}\r\nATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:{ALICE}\r\n");
        let calendar =
            event(uid, "By mail", &people).replace("BEGIN:VEVENT", "METHOD:REQUEST\r\nBEGIN:VEVENT");
        let message = format!(
            "From: <{author}>\r\nTo: <{ALICE}>\r\nSubject: {uid}\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\n{calendar}"
        );
        assert!(world.send("u@pass.test", &[ALICE], &message).starts_with("250"), "{uid}");
    };
    // The envelope's domain vouches for itself alone, and an author for no other organizer.
    invite("other-domain", "boss@none.test", "boss@none.test");
    invite("other-organizer", "boss@pass.test", "chief@pass.test");
    invite("good", "boss@pass.test", "boss@pass.test");
    let calendar = alice.cal("default/");
    let there = || alice.propfind(&calendar, "1", "<D:getetag/>").matches(".ics</D:href>").count();
    eventually(Duration::from_secs(20), "the invitation is taken", || there() == 1);
    let query = "<C:calendar-query xmlns:C=\"urn:ietf:params:xml:ns:caldav\" xmlns:D=\"DAV:\"><D:prop><C:calendar-data/></D:prop>\
         <C:filter><C:comp-filter name=\"VCALENDAR\"/></C:filter></C:calendar-query>";
    let text = alice.ask("REPORT", &calendar, &[("Depth", "1")], query.as_bytes()).text();
    assert!(text.contains("UID:good") && !text.contains("METHOD"), "{text}");
}
