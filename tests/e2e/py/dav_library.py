"""Drives a calendar by the caldav library: URL ADDRESS; the password is in the environment."""

import os
import sys
from datetime import datetime, timezone

import caldav

url, address = sys.argv[1:]
client = caldav.DAVClient(url=url, username=address, password=os.environ["PASSWORD"])
principal = client.principal()
names = sorted(str(calendar.url).rstrip("/").rsplit("/", 1)[1] for calendar in principal.calendars())
assert "default" in names and "tasks" in names, names

calendar = principal.make_calendar(name="Work", cal_id="work")
assert calendar.get_display_name() == "Work", calendar.get_display_name()


def event(uid, start, summary, more=""):
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//x//EN\r\nBEGIN:VEVENT\r\n"
        f"UID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:{start}\r\nDURATION:PT1H\r\nSUMMARY:{summary}\r\n{more}"
        "END:VEVENT\r\nEND:VCALENDAR\r\n"
    )


calendar.save_event(event("one", "20260105T090000Z", "Once"))
calendar.save_event(event("many", "20260105T120000Z", "Daily", "RRULE:FREQ=DAILY;COUNT=10\r\n"))
first = calendar.objects_by_sync_token(load_objects=True)
assert len(list(first)) == 2, list(first)

day = [datetime(2026, 1, 6, tzinfo=timezone.utc), datetime(2026, 1, 8, tzinfo=timezone.utc)]
found = calendar.search(start=day[0], end=day[1], event=True, expand=True)
starts = sorted(str(item.icalendar_component["DTSTART"].dt)[:10] for item in found)
assert starts == ["2026-01-06", "2026-01-07"], starts

one = calendar.event_by_uid("one")
component = one.icalendar_component
component["SUMMARY"] = "Changed"
one.save()
calendar.event_by_uid("many").delete()
later = calendar.objects_by_sync_token(sync_token=first.sync_token, load_objects=False)
assert [str(item.url).rsplit("/", 1)[1] for item in later] == ["one.ics"], [str(item.url) for item in later]
assert [str(e.icalendar_component["SUMMARY"]) for e in calendar.events()] == ["Changed"]

tasks = principal.calendar(cal_id="tasks")
tasks.save_todo(summary="Water the plants", uid="todo-1")
assert [str(t.icalendar_component["SUMMARY"]) for t in tasks.todos()] == ["Water the plants"]
tasks.todos()[0].complete()
assert tasks.todos() == []

calendar.delete()
names = sorted(str(calendar.url).rstrip("/").rsplit("/", 1)[1] for calendar in principal.calendars())
assert "work" not in names, names
print("all good")
