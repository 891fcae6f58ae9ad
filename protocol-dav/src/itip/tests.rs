use super::*;
use crate::ical::parse;
use crate::time::utc;

const ANN: Party<'static> = Party { addresses: &["ann@h.example"] };
const BOB: Party<'static> = Party { addresses: &["bob@h.example", "robert@h.example"] };

fn terms() -> Terms {
    Terms { now: utc("20260101T000000Z").unwrap(), reply: true }
}

/// An object of components, each given by its lines divided by `|`.
fn object(components: &[&str]) -> String {
    let mut out = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n".to_owned();
    for lines in components {
        out.push_str(
            "BEGIN:VEVENT\r\nUID:u1\r\nDTSTAMP:20260101T000000Z\r\nORGANIZER:mailto:ann@h.example\r\n",
        );
        out.extend(lines.split('|').map(|line| format!("{}\r\n", line.trim())));
        out.push_str("END:VEVENT\r\n");
    }
    out + "END:VCALENDAR\r\n"
}

const BASE: &str = "DTSTART:20260110T100000Z|DTEND:20260110T110000Z|SUMMARY:Lunch|SEQUENCE:1\
                    |ATTENDEE;PARTSTAT=ACCEPTED:mailto:ann@h.example";
const BOB_IN: &str = "|ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:MAILTO:bob@h.example";
const CAT_IN: &str = "|ATTENDEE:mailto:cat@other.example";

fn with(attendees: &[&str]) -> String {
    object(&[&(BASE.to_owned() + &attendees.concat())])
}

fn change(old: Option<&str>, new: Option<&str>, me: Party<'_>) -> Result<Outgoing, Refusal> {
    let old = old.map(|text| parse(text).unwrap());
    let new = new.map(|text| parse(text).unwrap());
    on_change(old.as_ref(), new.as_ref(), me, terms())
}

/// `METHOD recipient` of each message.
fn sent(old: Option<&str>, new: Option<&str>, me: Party<'_>) -> Vec<String> {
    let outgoing = change(old, new, me).unwrap();
    for message in &outgoing.messages {
        let object = parse(&message.text).unwrap_or_else(|e| panic!("{e}: {}", message.text));
        assert_eq!(object.value("METHOD"), Some(message.method.name()));
        assert!(!message.text.contains("SCHEDULE-"), "{}", message.text);
    }
    let shown = |m: &Message| format!("{} {}", m.method.name(), m.recipient.as_deref().unwrap_or("?"));
    outgoing.messages.iter().map(shown).collect()
}

fn condition<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Option<Condition> {
    result.expect_err("a refusal").condition
}

#[test]
fn addresses_of_calendar_users() {
    for (uri, address) in [
        ("mailto:Bob@H.example", Some("bob@h.example")),
        ("MAILTO:bob%40h.example?subject=x", Some("bob@h.example")),
        ("/dav/principals/bob@h.example/", Some("bob@h.example")),
        ("urn:uuid:1", None),
        ("bob@h.example", None),
        ("mailto:bob", None),
        ("/dav/cal/bob@h.example/", None),
    ] {
        assert_eq!(address_of(uri).as_deref(), address, "{uri}");
    }
    assert!(BOB.is("mailto:Robert@h.example") && !BOB.is("mailto:ann@h.example"));
}

#[test]
fn the_organizer_tells_everybody_what_concerns_them() {
    let both = with(&[BOB_IN, CAT_IN]);
    let alone = with(&[BOB_IN]);
    assert_eq!(sent(None, Some(&both), ANN), ["REQUEST bob@h.example", "REQUEST cat@other.example"]);
    assert_eq!(sent(Some(&both), Some(&both), ANN), [] as [&str; 0]);
    assert_eq!(sent(Some(&alone), Some(&both), ANN), ["REQUEST bob@h.example", "REQUEST cat@other.example"]);
    assert_eq!(sent(Some(&both), Some(&alone), ANN), ["REQUEST bob@h.example", "CANCEL cat@other.example"]);
    assert_eq!(sent(Some(&both), None, ANN), ["CANCEL bob@h.example", "CANCEL cat@other.example"]);
    let moved = both.replace("20260110T100000Z", "20260110T103000Z");
    assert_eq!(sent(Some(&both), Some(&moved), ANN).len(), 2);
    let off = both.replace("SUMMARY:Lunch", "SUMMARY:Lunch\r\nSTATUS:CANCELLED");
    assert_eq!(sent(Some(&both), Some(&off), ANN), ["CANCEL bob@h.example", "CANCEL cat@other.example"]);
    let nobody = object(&[BASE]).replace("ORGANIZER:mailto:ann@h.example\r\n", "");
    assert_eq!(sent(Some(&both), Some(&nobody), ANN), ["CANCEL bob@h.example", "CANCEL cat@other.example"]);
}

#[test]
fn what_programs_note_for_themselves_is_nobody_elses_business() {
    let before = with(&[BOB_IN]);
    for (from, to) in [
        ("DTSTAMP:20260101T000000Z", "DTSTAMP:20260102T000000Z"),
        ("SEQUENCE:1", "SEQUENCE:2"),
        ("SUMMARY:Lunch", "SUMMARY:Lunch\r\nX-MOZ-LASTACK:1\r\nTRANSP:OPAQUE"),
        ("PARTSTAT=NEEDS-ACTION", "PARTSTAT=ACCEPTED"),
        (
            "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE",
            "ATTENDEE;RSVP=TRUE;SCHEDULE-STATUS=1.2;PARTSTAT=NEEDS-ACTION",
        ),
        ("END:VEVENT", "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:PT0S\r\nEND:VALARM\r\nEND:VEVENT"),
    ] {
        assert_eq!(sent(Some(&before), Some(&before.replace(from, to)), ANN), [] as [&str; 0], "{to}");
    }
    let forced = before.replace("RSVP=TRUE", "SCHEDULE-FORCE-SEND=REQUEST");
    assert_eq!(sent(Some(&before), Some(&forced), ANN), ["REQUEST bob@h.example"]);
    let kept = without_orders(&parse(&forced).unwrap()).unwrap();
    assert!(!kept.contains("FORCE-SEND"));
    assert_eq!(without_orders(&parse(&before).unwrap()), None);
    for agent in ["CLIENT", "NONE"] {
        let own = before.replace("RSVP=TRUE", &format!("SCHEDULE-AGENT={agent}"));
        assert_eq!(sent(None, Some(&own), ANN), [] as [&str; 0]);
    }
}

#[test]
fn alarms_and_time_zones_of_messages() {
    let text = with(&[BOB_IN])
        .replace("DTSTART:20260110T100000Z", "DTSTART;TZID=Here:20260110T100000")
        .replace("END:VEVENT", "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:PT0S\r\nEND:VALARM\r\nEND:VEVENT")
        .replace(
            "BEGIN:VEVENT",
            "BEGIN:VTIMEZONE\r\nTZID:Here\r\nEND:VTIMEZONE\r\nBEGIN:VTIMEZONE\r\nTZID:There\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT",
        );
    let outgoing = change(None, Some(&text), ANN).unwrap();
    let message = &outgoing.messages[0].text;
    assert!(message.contains("TZID:Here") && !message.contains("TZID:There") && !message.contains("VALARM"));
    assert!(outgoing.is_scheduling);
}

#[test]
fn attendees_of_some_instances_see_those() {
    let master = "DTSTART:20260110T100000Z|DTEND:20260110T110000Z|SUMMARY:Lunch|RRULE:FREQ=DAILY;COUNT=5\
                  |ATTENDEE:mailto:bob@h.example";
    let one = "RECURRENCE-ID:20260112T100000Z|DTSTART:20260112T120000Z|DTEND:20260112T130000Z|SUMMARY:Late";
    let only_cat = object(&[master, &(one.to_owned() + CAT_IN)]);
    let outgoing = change(None, Some(&only_cat), ANN).unwrap();
    let to = |who: &str| {
        let found = outgoing.messages.iter().find(|m| m.recipient.as_deref() == Some(who));
        found.expect("a message").text.to_string()
    };
    let bobs = to("bob@h.example");
    assert!(bobs.contains("EXDATE:20260112T100000Z") && !bobs.contains("SUMMARY:Late"), "{bobs}");
    let cats = to("cat@other.example");
    assert!(cats.contains("SUMMARY:Late") && !cats.contains("RRULE"), "{cats}");
    // The one instance is taken from her again.
    let without = object(&[master, one]);
    assert_eq!(sent(Some(&only_cat), Some(&without), ANN), ["CANCEL cat@other.example"]);
}

#[test]
fn cancellations_say_little_and_raise_the_sequence() {
    let both = with(&[BOB_IN, CAT_IN]).replace("SUMMARY:Lunch", "SUMMARY:Lunch\r\nDESCRIPTION:secret");
    let outgoing = change(Some(&both), None, ANN).unwrap();
    let text = &outgoing.messages[0].text;
    for expected in ["STATUS:CANCELLED", "SEQUENCE:2", "bob@h.example", "DTSTAMP:20260101T000000Z"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!text.contains("secret") && !text.contains("cat@"), "{text}");
}

#[test]
fn attendees_answer_when_their_answer_changes() {
    let invited = with(&[BOB_IN, CAT_IN]);
    let accepted = invited.replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", "PARTSTAT=ACCEPTED");
    assert_eq!(sent(Some(&invited), Some(&invited), BOB), [] as [&str; 0]);
    assert_eq!(sent(Some(&invited), Some(&accepted), BOB), ["REPLY ann@h.example"]);
    assert_eq!(sent(None, Some(&accepted), BOB), ["REPLY ann@h.example"]);
    assert_eq!(sent(None, Some(&invited), BOB), [] as [&str; 0]);
    let message = &change(Some(&invited), Some(&accepted), BOB).unwrap().messages[0];
    assert!(message.text.contains("PARTSTAT=ACCEPTED") && !message.text.contains("cat@"), "{}", message.text);
    assert_eq!((message.sender.as_str(), &*message.uid), ("bob@h.example", "u1"));
    let clients = accepted.replace("ORGANIZER", "ORGANIZER;SCHEDULE-AGENT=CLIENT");
    assert_eq!(sent(Some(&invited), Some(&clients), BOB), [] as [&str; 0]);

    assert_eq!(sent(Some(&accepted), None, BOB), ["REPLY ann@h.example"]);
    let object = parse(&accepted).unwrap();
    let silent = on_change(Some(&object), None, BOB, Terms { reply: false, ..terms() }).unwrap();
    assert_eq!(silent.messages, []);
    let declined = invited.replace("PARTSTAT=NEEDS-ACTION", "PARTSTAT=DECLINED");
    assert_eq!(sent(Some(&declined), None, BOB), [] as [&str; 0]);
    let off = invited.replace("SUMMARY:Lunch", "STATUS:CANCELLED");
    assert_eq!(sent(Some(&off), None, BOB), [] as [&str; 0]);
}

#[test]
fn attendees_answer_about_one_instance() {
    let series = with(&[BOB_IN]).replace("SUMMARY:Lunch", "SUMMARY:Lunch\r\nRRULE:FREQ=DAILY;COUNT=5");
    let left_out = series.replace("RRULE", "EXDATE:20260112T100000Z\r\nRRULE");
    let message = &change(Some(&series), Some(&left_out), BOB).unwrap().messages[0];
    assert!(message.text.contains("RECURRENCE-ID:20260112T100000Z"), "{}", message.text);
    assert!(
        message.text.contains("PARTSTAT=DECLINED") && !message.text.contains("RRULE"),
        "{}",
        message.text
    );
    // The same written otherwise is no news.
    let otherwise = left_out.replace("EXDATE:20260112T100000Z", "EXDATE;TZID=Europe/Berlin:20260112T110000");
    assert_eq!(sent(Some(&left_out), Some(&otherwise), BOB), [] as [&str; 0]);
    let one = "RECURRENCE-ID:20260113T100000Z|DTSTART:20260113T100000Z|DTEND:20260113T110000Z|SEQUENCE:1\
               |ATTENDEE:mailto:ann@h.example|ATTENDEE;PARTSTAT=TENTATIVE:mailto:bob@h.example";
    let extra = object(&[one]);
    let inner = &extra[extra.find("BEGIN:VEVENT").unwrap()..];
    let overridden = series.replace("END:VCALENDAR\r\n", inner);
    let message = &change(Some(&series), Some(&overridden), BOB).unwrap().messages[0];
    assert!(message.text.contains("RECURRENCE-ID:20260113T100000Z") && message.text.contains("TENTATIVE"));
    assert_eq!(message.text.matches("BEGIN:VEVENT").count(), 1);
}

#[test]
fn attendees_change_nothing_that_is_the_organizers() {
    let invited = with(&[BOB_IN, CAT_IN]);
    let refused = Some(Condition::AllowedAttendeeSchedulingObjectChange);
    for (from, to) in [
        ("DTSTART:20260110T100000Z", "DTSTART:20260110T090000Z"),
        ("DTEND:20260110T110000Z", "DTEND:20260110T120000Z"),
        ("SUMMARY:Lunch", "SUMMARY:Lunch\r\nRRULE:FREQ=DAILY"),
        ("ATTENDEE:mailto:cat@other.example\r\n", ""),
    ] {
        let changed = invited.replace(from, to);
        assert_eq!(condition(change(Some(&invited), Some(&changed), BOB)), refused, "{to}");
    }
    for (from, to) in [
        ("SUMMARY:Lunch", "SUMMARY:Lunch with them\r\nCATEGORIES:x\r\nTRANSP:TRANSPARENT"),
        ("DTSTART:20260110T100000Z", "DTSTART;TZID=Europe/Berlin:20260110T110000"),
        ("END:VEVENT", "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:PT0S\r\nEND:VALARM\r\nEND:VEVENT"),
    ] {
        assert!(change(Some(&invited), Some(&invited.replace(from, to)), BOB).is_ok(), "{to}");
    }
}

#[test]
fn organizers_do_not_change() {
    let invited = with(&[BOB_IN]);
    let others = invited.replace("ORGANIZER:mailto:ann", "ORGANIZER:mailto:eve");
    let refused = Some(Condition::AllowedOrganizerSchedulingObjectChange);
    assert_eq!(condition(change(Some(&invited), Some(&others), ANN)), refused);
    let two = object(&[BASE, &format!("RECURRENCE-ID:20260111T100000Z|{BASE}")]);
    let two = two.replacen("ORGANIZER:mailto:ann", "ORGANIZER:mailto:eve", 1);
    assert_eq!(condition(change(None, Some(&two), ANN)), Some(Condition::SameOrganizerInAllComponents));
}

fn receives(message: &str, existing: Option<&str>, me: Party<'_>, sender: &str) -> Result<Received, Refusal> {
    let existing = existing.map(|text| parse(text).unwrap());
    receive(&parse(message).unwrap(), existing.as_ref(), me, sender)
}

fn kept(received: Result<Received, Refusal>) -> String {
    match received {
        Ok(Received::Store { text, .. }) => text,
        other => panic!("{other:?}"),
    }
}

/// The one message that a change makes for `bob@h.example`.
fn invitation(old: Option<&str>, new: Option<&str>) -> String {
    let outgoing = change(old, new, ANN).unwrap();
    outgoing
        .messages
        .iter()
        .find(|m| m.recipient.as_deref() == Some("bob@h.example"))
        .unwrap()
        .text
        .to_string()
}

#[test]
fn an_invitation_its_answer_a_change_and_the_end_of_it() {
    let anns = with(&[BOB_IN]);
    let request = invitation(None, Some(&anns));
    let bobs = kept(receives(&request, None, BOB, "ann@h.example"));
    assert!(!bobs.contains("METHOD") && bobs.contains("SUMMARY:Lunch"));
    assert_eq!(receives(&request, Some(&bobs), BOB, "ann@h.example"), Ok(Received::Nothing));

    let accepted = bobs.replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", "PARTSTAT=ACCEPTED");
    let reply = change(Some(&bobs), Some(&accepted), BOB).unwrap().messages.remove(0).text.to_string();
    let Ok(Received::Store { text: noted, new_schedule_tag }) =
        receives(&reply, Some(&anns), ANN, "bob@h.example")
    else {
        panic!("noted")
    };
    assert!(!new_schedule_tag);
    assert!(noted.contains("PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:MAILTO:bob@h.example"), "{noted}");
    assert_eq!(receives(&reply, Some(&noted), ANN, "bob@h.example"), Ok(Received::Nothing));

    let moved = noted.replace("T100000Z", "T093000Z").replace("SEQUENCE:1", "SEQUENCE:2");
    let alarmed = accepted.replace(
        "END:VEVENT",
        "TRANSP:TRANSPARENT\r\nBEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:PT0S\r\nEND:VALARM\r\nEND:VEVENT",
    );
    let updated =
        kept(receives(&invitation(Some(&noted), Some(&moved)), Some(&alarmed), BOB, "ann@h.example"));
    assert!(updated.contains("T093000Z") && updated.contains("VALARM") && updated.contains("TRANSPARENT"));
    // What is older is not taken for news.
    assert_eq!(receives(&request, Some(&updated), BOB, "ann@h.example"), Ok(Received::Nothing));

    let cancel = invitation(Some(&moved), None);
    let off = kept(receives(&cancel, Some(&updated), BOB, "ann@h.example"));
    assert!(off.contains("STATUS:CANCELLED") && off.contains("SEQUENCE:3"), "{off}");
    assert_eq!(receives(&cancel, Some(&off), BOB, "ann@h.example"), Ok(Received::Nothing));
    assert_eq!(receives(&cancel, None, BOB, "ann@h.example"), Ok(Received::Nothing));
}

#[test]
fn one_instance_is_answered_and_cancelled() {
    let zoned = "DTSTART;TZID=Europe/Berlin:20260327T100000|DTEND;TZID=Europe/Berlin:20260327T113000|SEQUENCE:1\
                 |RRULE:FREQ=DAILY;COUNT=5|SUMMARY:Lunch|ATTENDEE:mailto:bob@h.example";
    let anns = object(&[zoned]);
    let reply = object(&["RECURRENCE-ID:20260329T080000Z|DTSTART:20260329T080000Z|SEQUENCE:1\
         |ATTENDEE;PARTSTAT=DECLINED:mailto:bob@h.example"])
    .replace("PRODID", "METHOD:REPLY\r\nPRODID");
    let noted = kept(receives(&reply, Some(&anns), ANN, "bob@h.example"));
    for expected in [
        "RECURRENCE-ID;TZID=Europe/Berlin:20260329T100000",
        "DTSTART;TZID=Europe/Berlin:20260329T100000",
        "DTEND;TZID=Europe/Berlin:20260329T113000",
        "ATTENDEE;PARTSTAT=DECLINED:mailto:bob@h.example",
    ] {
        assert!(noted.contains(expected), "{expected} in {noted}");
    }
    assert_eq!(noted.matches("RRULE").count(), 1);
    let nowhere = reply.replace("20260329T080000Z", "20260329T090000Z");
    assert_eq!(receives(&nowhere, Some(&anns), ANN, "bob@h.example"), Ok(Received::InboxOnly));

    let cancel = object(&["RECURRENCE-ID:20260328T090000Z|DTSTART:20260328T090000Z|SEQUENCE:2"])
        .replace("PRODID", "METHOD:CANCEL\r\nPRODID");
    let without = kept(receives(&cancel, Some(&anns), BOB, "ann@h.example"));
    assert!(without.contains("EXDATE:20260328T090000Z"), "{without}");
}

#[test]
fn a_message_about_one_instance_leaves_the_others() {
    let series = with(&[BOB_IN]).replace("SUMMARY:Lunch", "SUMMARY:Lunch\r\nRRULE:FREQ=DAILY;COUNT=5");
    let one = object(&[&format!("RECURRENCE-ID:20260112T100000Z|{BASE}{BOB_IN}")])
        .replace("SUMMARY:Lunch", "SUMMARY:Late")
        .replace("PRODID", "METHOD:REQUEST\r\nPRODID");
    let merged = kept(receives(&one, Some(&series), BOB, "ann@h.example"));
    assert!(merged.contains("RRULE") && merged.contains("SUMMARY:Late") && merged.contains("SUMMARY:Lunch"));
}

#[test]
fn dv13_who_is_not_the_organizer_invites_and_cancels_nothing() {
    let anns = with(&[BOB_IN]);
    let request = invitation(None, Some(&anns));
    let bobs = kept(receives(&request, None, BOB, "ann@h.example"));
    let spoofed = Some(Condition::OrganizerAllowed);
    assert_eq!(condition(receives(&request, None, BOB, "eve@other.example")), spoofed);
    let cancel = invitation(Some(&anns), None);
    assert_eq!(condition(receives(&cancel, Some(&bobs), BOB, "eve@other.example")), spoofed);
    // Not by saying that it is her own, either.
    let hers = request.replace("ORGANIZER:mailto:ann@h.example", "ORGANIZER:mailto:eve@other.example");
    assert_eq!(condition(receives(&hers, Some(&bobs), BOB, "eve@other.example")), spoofed);
    let private = bobs.replace("ORGANIZER:mailto:ann@h.example\r\n", "");
    assert_eq!(condition(receives(&request, Some(&private), BOB, "ann@h.example")), spoofed);
    // Nor does anybody answer for another.
    let accepted = bobs.replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", "PARTSTAT=ACCEPTED");
    let reply = change(Some(&bobs), Some(&accepted), BOB).unwrap().messages.remove(0).text.to_string();
    assert_eq!(condition(receives(&reply, Some(&anns), ANN, "eve@other.example")), spoofed);
    assert_eq!(condition(receives(&reply, Some(&anns), BOB, "bob@h.example")), spoofed);
    let uninvited = reply.replace("bob@h.example", "eve@other.example");
    assert_eq!(receives(&uninvited, Some(&anns), ANN, "eve@other.example"), Ok(Received::InboxOnly));
}

#[test]
fn dv13_what_an_invitation_would_run_or_read_is_not_kept() {
    let evil = with(&[BOB_IN]).replace("PRODID", "METHOD:REQUEST\r\nPRODID").replace(
        "END:VEVENT",
        "ATTACH:file:///etc/passwd\r\nATTACH:https://h.example/x\r\nBEGIN:VALARM\r\nACTION:PROCEDURE\r\n\
         TRIGGER:PT0S\r\nATTACH:ftp://h.example/x\r\nEND:VALARM\r\nEND:VEVENT",
    );
    let kept = kept(receives(&evil, None, BOB, "ann@h.example"));
    assert!(!kept.contains("file:") && !kept.contains("PROCEDURE") && kept.contains("https://h.example/x"));
}

#[test]
fn dv13_attendees_are_counted() {
    let many = |count: usize| {
        let others: String = (2..count).map(|n| format!("|ATTENDEE:mailto:a{n}@h.example")).collect();
        with(&[BOB_IN, &others])
    };
    let exact = many(limits::ATTENDEES_MAX);
    let messages = change(None, Some(&exact), ANN).unwrap().messages;
    assert_eq!(messages.len(), limits::ATTENDEES_MAX - 1);
    // All get the same, and it is there once.
    assert!(messages.iter().all(|m| std::sync::Arc::ptr_eq(&m.text, &messages[0].text)));
    let past = many(limits::ATTENDEES_MAX + 1);
    let refused = Some(Condition::MaxAttendeesPerInstance);
    assert_eq!(condition(change(None, Some(&past), ANN)), refused);
    let message = past.replace("PRODID", "METHOD:REQUEST\r\nPRODID");
    assert_eq!(condition(receives(&message, None, BOB, "ann@h.example")), refused);
}

#[test]
fn messages_that_are_none() {
    let request = with(&[BOB_IN]).replace("PRODID", "METHOD:REQUEST\r\nPRODID");
    let invalid = Some(Condition::ValidSchedulingMessage);
    for broken in [
        with(&[BOB_IN]),
        request.replace("ORGANIZER:mailto:ann@h.example\r\n", ""),
        request.replace("UID:u1\r\n", ""),
        request.replace("bob@h.example", "cat@other.example"),
    ] {
        assert_eq!(condition(receives(&broken, None, BOB, "ann@h.example")), invalid, "{broken}");
    }
    let counter = request.replace("METHOD:REQUEST", "METHOD:COUNTER");
    assert_eq!(receives(&counter, None, BOB, "ann@h.example"), Ok(Received::InboxOnly));
    assert_eq!(receives(&request, None, ANN, "ann@h.example"), Ok(Received::Nothing));
}

#[test]
fn statuses_are_noted() {
    let text = with(&[BOB_IN, CAT_IN]);
    let object = parse(&text).unwrap();
    let noted = with_status(&object, &[("mailto:BOB@h.example", "1.2"), ("mailto:cat@other.example", "1.1")]);
    assert!(
        noted.contains("SCHEDULE-STATUS=1.2:MAILTO:bob") && noted.contains("SCHEDULE-STATUS=1.1:mailto:cat")
    );
}

#[test]
fn mails_that_carry_messages() {
    let text = with(&[BOB_IN]).replace("SUMMARY:Lunch", "SUMMARY:Lunch\\nBcc: eve@other.example");
    let outgoing = change(None, Some(&text), ANN).unwrap();
    let mail = outgoing.messages[0].mail();
    assert_eq!(mail.subject, "Invitation: Lunch Bcc: eve@other.example");
    assert_eq!(mail.content_type, "text/calendar; charset=UTF-8; method=REQUEST; component=VEVENT");
    assert!(mail.text.contains("When: 2026-01-10 10:00 UTC"), "{}", mail.text);
}

#[test]
fn asking_for_free_and_busy_times() {
    let request = |lines: &str| {
        let lines: String = lines.split('|').map(|line| format!("{line}\r\n")).collect();
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:REQUEST\r\nBEGIN:VFREEBUSY\r\nUID:f1\r\n{lines}\
             END:VFREEBUSY\r\nEND:VCALENDAR\r\n"
        );
        FreeBusyRequest::parse(text.as_bytes(), ANN)
    };
    let whole = "DTSTART:20260101T000000Z|DTEND:20260102T000000Z|ORGANIZER:mailto:ann@h.example\
                 |ATTENDEE:mailto:bob@h.example|ATTENDEE:urn:uuid:1";
    let asked = request(whole).unwrap();
    assert_eq!(asked.attendees[0].1.as_deref(), Some("bob@h.example"));
    assert_eq!(asked.attendees[1].1, None);
    let invalid = Some(Condition::ValidSchedulingMessage);
    for (broken, expected) in [
        (whole.replace("20260102T000000Z", "20260101T000000Z"), invalid),
        (whole.replace("DTEND", "X-END"), invalid),
        (whole.replace("ATTENDEE", "X-ATTENDEE"), invalid),
        (whole.replace("mailto:ann", "mailto:eve"), Some(Condition::OrganizerAllowed)),
        (
            whole.to_owned() + &"|ATTENDEE:mailto:x@h.example".repeat(limits::ATTENDEES_MAX),
            Some(Condition::MaxAttendeesPerInstance),
        ),
    ] {
        assert_eq!(condition(request(&broken)), expected);
    }
    let times = crate::ical::free_busy_object(
        asked.range,
        &[],
        Some("REPLY"),
        asked.answer_properties("mailto:bob@h.example"),
        0,
    );
    let answers = [
        ("mailto:bob@h.example".to_owned(), Recipient::Times(times)),
        ("urn:uuid:1".to_owned(), Recipient::Unknown),
    ];
    let response = schedule_response(&answers);
    let root = crate::xml::parse(&response.body).unwrap();
    assert_eq!(root.elements().count(), 2);
    let data = root.elements().next().unwrap().elements().last().unwrap().raw_text();
    assert!(parse(&data).unwrap().components[0].value("UID") == Some("f1"));
}
