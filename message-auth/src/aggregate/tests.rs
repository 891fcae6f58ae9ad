use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use protocol_core::auth::{Dmarc, DmarcResult};

use super::*;

fn spf() -> Spf {
    Spf { domain: "bounce.a.test".into(), result: SpfResult::Pass, ..Spf::default() }
}

fn found(domain: &str) -> MessageResults {
    MessageResults {
        dkim: vec![Dkim {
            result: DkimResult::Fail,
            domain: "a.test".into(),
            selector: "s".into(),
            ..Dkim::default()
        }],
        dmarc: Dmarc {
            result: DmarcResult::Fail,
            domain: domain.into(),
            policy: DmarcPolicy::Reject,
            published: Some(PublishedPolicy { policy: DmarcPolicy::Reject, ..PublishedPolicy::default() }),
            report_to: vec!["dmarc@a.test".into()],
            ..Dmarc::default()
        },
        ..MessageResults::default()
    }
}

fn observed(domain: &str, last: u8) -> Observation {
    let source = IpAddr::from([192, 0, 2, last]);
    let sender = "someone.secret@bounce.a.test";
    Observation::of(source, sender, &spf(), &found(domain), Disposition::Rejected, false).unwrap()
}

#[test]
fn a_day_becomes_a_report_that_is_read_back() {
    let mut day = Aggregate::default();
    for (domain, last) in [("a.test", 1), ("a.test", 1), ("sub.a.test", 2), ("other.test", 3)] {
        let line = observed(domain, last).line();
        assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
        let read = Observation::parse(&line).unwrap();
        assert_eq!((read.domain(), &read), (domain, &observed(domain, last)));
        day.add(read);
    }
    assert_eq!(day.domains(), ["a.test", "other.test", "sub.a.test"]);
    let reporter = Reporter { host: "mx.here.test", address: "dmarc@mx.here.test", id: "1.a.test" };
    let time = (1_790_000_000, 1_790_086_400);
    let xml = day.report("a.test", &["a.test", "sub.a.test"], reporter, time).unwrap();
    assert!(!xml.contains("secret"), "{xml}");
    let message = mailed("application/gzip", "r.xml.gz", &packed(xml.as_bytes()));
    let report = parse_received(&message).unwrap();
    assert_eq!(
        (report.reporter.as_str(), report.id.as_str(), report.domain.as_str()),
        ("mx.here.test", "1.a.test", "a.test")
    );
    assert_eq!((report.begin, report.end), time);
    let row = |last, count, from: &str| ReceivedRow {
        source: Some(IpAddr::from([192, 0, 2, last])),
        count,
        disposition: "reject",
        dkim: false,
        spf: false,
        header_from: from.into(),
    };
    assert_eq!(report.rows, [row(1, 2, "a.test"), row(2, 1, "sub.a.test")]);
    assert_eq!(day.report("none.test", &["none.test"], reporter, time), None);
}

#[test]
fn domains_are_bounded_and_the_busiest_come_first() {
    let mut day = Aggregate::default();
    for n in 0..DOMAINS_MAX {
        day.add(observed(&format!("d{n:05}.test"), 1));
    }
    day.add(observed("one-more.test", 1));
    assert_eq!(day.domains().len(), DOMAINS_MAX);
    day.add(observed("d00007.test", 1));
    assert_eq!(day.domains()[..2], ["d00007.test", "d00000.test"]);
}

#[test]
fn a_domain_that_asks_for_nothing_is_not_noted() {
    let source = IpAddr::from([192, 0, 2, 1]);
    let mut quiet = found("a.test");
    quiet.dmarc.report_to.clear();
    assert_eq!(Observation::of(source, "", &spf(), &quiet, Disposition::Delivered, false), None);
    let mut none = found("a.test");
    none.dmarc.published = None;
    assert_eq!(Observation::of(source, "", &spf(), &none, Disposition::Delivered, false), None);
    assert_eq!(Observation::parse("{}"), None);
}

fn packed(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn zipped(files: usize, octets: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for n in 0..files {
        archive.start_file(format!("{n}.xml"), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(octets).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn mailed(kind: &str, name: &str, octets: &[u8]) -> Vec<u8> {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(octets);
    let lines: Vec<&str> = body.as_bytes().chunks(76).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!(
        "From: a@b.test\r\nContent-Type: {kind}; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{}\r\n",
        lines.join("\r\n")
    )
    .into_bytes()
}

const XML: &str = "<?xml version=\"1.0\"?><feedback><report_metadata><org_name>o</org_name><email>e@o.test</email>\
    <report_id>7</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata><policy_published>\
    <domain>a.test</domain><p>none</p></policy_published><record><row><source_ip>192.0.2.9</source_ip><count>3</count>\
    <policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>\
    <identifiers><header_from>a.test</header_from></identifiers></record></feedback>";

#[test]
fn every_packing_is_read() {
    for (kind, name, octets) in [
        ("application/gzip", "r.xml.gz", packed(XML.as_bytes())),
        ("application/octet-stream", "r.xml.gz", packed(XML.as_bytes())),
        ("application/zip", "r.zip", zipped(1, XML.as_bytes())),
        ("application/x-zip-compressed", "r.zip", zipped(1, XML.as_bytes())),
        ("text/xml", "r.xml", XML.as_bytes().to_vec()),
    ] {
        let report =
            parse_received(&mailed(kind, name, &octets)).unwrap_or_else(|e| panic!("{kind} {name}: {e}"));
        assert_eq!((report.domain.as_str(), report.rows.len()), ("a.test", 1), "{kind}");
        assert_eq!((report.rows[0].count, report.rows[0].dkim, report.rows[0].spf), (3, true, false));
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // What is measured is time.
fn si34_bombs_are_small_here() {
    let began = std::time::Instant::now();
    let zeros = vec![b'a'; 64 * 1024 * 1024];
    let entities = "<?xml version=\"1.0\"?><!DOCTYPE f [<!ENTITY a \"aaaaaaaaaaaaaaaa\">\
        <!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><feedback>&c;</feedback>";
    for (kind, name, octets) in [
        ("application/gzip", "r.xml.gz", packed(&zeros)),
        ("application/zip", "r.zip", zipped(1, &zeros)),
        ("application/zip", "r.zip", zipped(5_000, b"<feedback>")),
        ("text/xml", "r.xml", entities.as_bytes().to_vec()),
        ("text/xml", "r.xml", "<a>".repeat(500_000).into_bytes()),
        ("application/gzip", "r.xml.gz", b"\x1f\x8b no gzip".to_vec()),
        ("application/zip", "r.zip", b"PK no zip".to_vec()),
    ] {
        let outcome = parse_received(&mailed(kind, name, &octets));
        assert!(outcome.is_err(), "{kind} {name}: {outcome:?}");
    }
    assert!(parse_received(&vec![b'x'; MESSAGE_MAX + 1]).is_err());
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
