//! Invitations: within an organisation, to others by mail, and from others by mail.

use std::time::Duration;

use crate::dav::{Person, between, event};
use crate::harness::{Inbox, eventually, have};
use crate::signing::World;

/// The hrefs of the objects in a collection.
fn objects(who: &Person, collection: &str) -> Vec<String> {
    let text = who.propfind(collection, "1", "<D:getetag/>");
    let responses = text.split("<D:response>").skip(2);
    responses.filter_map(|r| between(r, "<D:href>", "</D:href>").map(str::to_owned)).collect()
}

/// The one object in a collection.
fn only(who: &Person, collection: &str) -> (String, String) {
    let all = objects(who, collection);
    let [href] = all.as_slice() else { panic!("{collection}: {all:?}") };
    (href.clone(), who.get(href).body)
}

fn invitation(uid: &str, organizer: &str, attendees: &[&str], summary: &str) -> String {
    let mut people = format!("ORGANIZER:mailto:{organizer}\r\n");
    for attendee in [&[organizer][..], attendees].concat() {
        people.push_str(&format!("ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{attendee}\r\n"));
    }
    event(uid, summary, &people)
}

/// A calendar object without its folds.
fn unfolded(text: &str) -> String {
    text.replace("\r\n ", "")
}

#[test]
fn an_invitation_goes_there_and_back() {
    let inbox = Inbox::started();
    let (alice, bob) = (Person::new(&inbox, "alice"), Person::new(&inbox, "bob"));
    let mine = alice.cal("default/tea.ics");
    let text = invitation("tea", &alice.address, &[&bob.address, "nobody@example.test"], "Tea");
    alice.put(&mine, &text);
    let kept = unfolded(&alice.get(&mine).body);
    assert!(
        kept.contains("SCHEDULE-STATUS=1.2:mailto:bob@example.test")
            || kept.contains("SCHEDULE-STATUS=\"1.2\""),
        "{kept}"
    );
    assert!(kept.contains("3.7"), "nobody is told as such: {kept}");
    let (theirs, invited) = only(&bob, &bob.cal("default/"));
    assert!(invited.contains("SUMMARY:Tea") && !invited.contains("METHOD"), "{invited}");
    let (told, message) = only(&bob, &bob.cal("inbox/"));
    assert!(message.contains("METHOD:REQUEST"), "{message}");
    assert_eq!(bob.status("DELETE", &told, &[], b""), 204);
    // Bob accepts: alice's object says so.
    let accepted = unfolded(&invited).replace(
        "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:bob@example.test",
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:bob@example.test",
    );
    assert_ne!(accepted, unfolded(&invited));
    bob.put(&theirs, &accepted);
    let answered = unfolded(&alice.get(&mine).body);
    let line = answered.lines().find(|line| line.contains("mailto:bob@")).expect("bob is invited");
    assert!(line.contains("PARTSTAT=ACCEPTED"), "{answered}");
    assert!(only(&alice, &alice.cal("inbox/")).1.contains("METHOD:REPLY"));
    // An attendee cannot change what the organizer has set.
    let moved = accepted
        .replace("20260105T090000Z", "20260105T110000Z")
        .replace("20260105T100000Z", "20260105T120000Z");
    let refused = bob.ask("PUT", &theirs, &[], moved.as_bytes());
    assert_eq!(refused.status, 403, "{}", refused.body);
    // The same UID in another of alice's calendars is refused.
    assert_eq!(alice.status("MKCALENDAR", &alice.cal("other/"), &[], b""), 201);
    let twice = alice.ask("PUT", &alice.cal("other/tea.ics"), &[], text.as_bytes());
    assert!(
        twice.status == 403 && twice.body.contains("unique-scheduling-object-resource"),
        "{}",
        twice.body
    );
    // She calls it off: his is cancelled.
    assert_eq!(alice.status("DELETE", &mine, &[], b""), 204);
    assert!(bob.get(&theirs).body.contains("STATUS:CANCELLED"));
    // Both are as they were, and nothing goes round in circles.
    assert_eq!(objects(&bob, &bob.cal("inbox/")).len(), 1);
    assert_eq!(objects(&alice, &alice.cal("inbox/")).len(), 1);
}

#[test]
fn who_is_busy_is_told_within_an_organisation_only() {
    let inbox = Inbox::prepared();
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    inbox.add_mailbox("carol@other.test");
    let mut inbox = inbox;
    inbox.start();
    let (alice, bob) = (Person::new(&inbox, "alice"), Person::new(&inbox, "bob"));
    bob.put(&bob.cal("default/1.ics"), &event("1", "Secret errand", ""));
    let ask = |attendee: &str| {
        let body = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//x//EN\r\nMETHOD:REQUEST\r\nBEGIN:VFREEBUSY\r\nUID:fb\r\n\
             DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T000000Z\r\nDTEND:20260106T000000Z\r\n\
             ORGANIZER:mailto:{}\r\nATTENDEE:mailto:{attendee}\r\nEND:VFREEBUSY\r\nEND:VCALENDAR\r\n",
            alice.address
        );
        let fields = [("Content-Type", "text/calendar")];
        let answer = alice.ask("POST", &alice.cal("outbox/"), &fields, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    let times = ask("bob@example.test");
    assert!(times.contains("20260105T090000Z/20260105T100000Z") && !times.contains("Secret"), "{times}");
    for other in ["carol@other.test", "nobody@example.test", "somebody@remote.test"] {
        let told = ask(other);
        assert!(told.contains("3.7") && !told.contains("calendar-data"), "{told}");
    }
    let query = "<C:free-busy-query xmlns:C=\"urn:ietf:params:xml:ns:caldav\">\
         <C:time-range start=\"20260105T000000Z\" end=\"20260106T000000Z\"/></C:free-busy-query>";
    let own = bob.ask("REPORT", &bob.cal("default/"), &[("Depth", "1")], query.as_bytes());
    assert!(own.status == 200 && own.body.contains("20260105T090000Z/20260105T100000Z"), "{}", own.body);
}

#[test]
fn others_are_invited_by_signed_mail_once() {
    if !have(&["python3", "python3:aiosmtpd", "python3:dkim", "python3:nacl"]) {
        return;
    }
    let mut world = World::new();
    world.inbox.start();
    let alice = Person::new(&world.inbox, "alice");
    let text = invitation("far", &alice.address, &["friend@remote.test"], "Dîner at eight");
    alice.put(&alice.cal("default/far.ics"), &text);
    assert!(unfolded(&alice.get(&alice.cal("default/far.ics")).body).contains("1.1"));
    eventually(Duration::from_secs(40), "the invitation arrives", || world.files().len() == 1);
    let judged = world.at_far_end().remove(0);
    assert!(judged.contains("example.test/mail/rsa-sha256=good"), "{judged}");
    let mail = std::fs::read_to_string(&world.files()[0]).expect("readable");
    let unwrapped = mail.replace("\r\n", "\n");
    assert!(unwrapped.contains("method=REQUEST"), "{mail}");
    assert!(unwrapped.contains("multipart/alternative"), "{mail}");
    world.inbox.kill();
    world.inbox.start();
    assert_eq!(alice.status("DELETE", &alice.cal("default/far.ics"), &[], b""), 204);
    eventually(Duration::from_secs(40), "the cancellation arrives", || world.files().len() == 2);
}

#[test]
fn dv13_what_comes_by_mail_counts_when_it_is_known_who_wrote_it() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let (alice, bob) = (Person::new(&inbox, "alice"), Person::new(&inbox, "bob"));
    let send = |uid: &str, organizer: &str, how: &str| {
        let text = invitation(uid, organizer, &[&bob.address], "By mail");
        let text = text.replace("BEGIN:VEVENT", "METHOD:REQUEST\r\nBEGIN:VEVENT");
        let path = inbox.dir.0.join("invitation.ics");
        std::fs::write(&path, text).expect("it can be written");
        let path = path.display().to_string();
        inbox.python_ok("dav_invite.py", &[how, &alice.address, &bob.address, &path]);
    };
    let calendar = bob.cal("default/");
    // By somebody who says to be alice, over a connection that proves nothing.
    send("forged", &alice.address, "transfer");
    // By alice, who pretends that bob's colleague invites.
    send("spoofed", "boss@example.test", "submission");
    send("good", &alice.address, "submission");
    eventually(Duration::from_secs(20), "the invitation is taken", || !objects(&bob, &calendar).is_empty());
    let (_, text) = only(&bob, &calendar);
    assert!(text.contains("UID:good"), "{text}");
    // The mails themselves are there, all three.
    let subjects = inbox.python_ok("folder.py", &["bob@example.test", "INBOX"]);
    assert_eq!(subjects.matches("Subject: An invitation").count(), 3, "{subjects}");
    assert_eq!(objects(&bob, &bob.cal("inbox/")).len(), 1);
    // What alice changes is changed in bob's calendar, and his own alarm stays out of the mail's reach.
    let (href, _) = only(&bob, &calendar);
    assert_eq!(bob.status("DELETE", &href, &[("Schedule-Reply", "F")], b""), 204);
    assert_eq!(objects(&bob, &calendar).len(), 0);
}
