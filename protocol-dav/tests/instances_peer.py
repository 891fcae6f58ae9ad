"""Makes recurring events in time zones from a seed and prints when python-dateutil has their instances.

One line an event: LINES TAB FROM TAB TO TAB TIME,TIME,...   (lines divided by |, times in UTC)
"""
import datetime
import random
import sys

from dateutil import tz
from dateutil.rrule import rrulestr, rruleset
from dateutil.zoneinfo import get_zonefile_instance

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia"]
DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
UTC = tz.tzutc()


def text(time):
    return time.strftime("%Y%m%dT%H%M%S")


def rule(rng):
    parts = [rng.choice(["FREQ=DAILY", "FREQ=WEEKLY", "FREQ=MONTHLY", "FREQ=DAILY;BYDAY=SU", "FREQ=HOURLY;INTERVAL=7"])]
    if "INTERVAL" not in parts[0]:
        parts.append("INTERVAL=%d" % rng.randint(1, 3))
    if parts[0] == "FREQ=WEEKLY":
        parts.append("BYDAY=" + ",".join(rng.sample(DAYS, rng.randint(1, 3))))
    return ";".join(parts)


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    for _ in range(count):
        name = rng.choice(ZONES)
        zone = get_zonefile_instance().get(name)
        # Around the hours at which clocks are changed, more often than not.
        start = datetime.datetime(rng.randint(2000, 2020), rng.randint(1, 12), rng.randint(1, 28),
                                  rng.choice([0, 1, 2, 2, 3, 12, 23]), rng.choice([0, 30, 59]), 0)
        line = rule(rng)
        days = rng.randint(1, 900)
        begin = start + datetime.timedelta(days=rng.choice([0, 0, 30, 400]), hours=rng.randint(0, 23))
        end = begin + datetime.timedelta(days=days)
        instances = rruleset()
        lines = ["DTSTART;TZID=%s:%s" % (name, text(start)), "DURATION:PT0S", "RRULE:" + line]
        instances.rdate(start)
        instances.rrule(rrulestr(line + ";UNTIL=" + text(end + datetime.timedelta(days=2)), dtstart=start))
        for kind in ("RDATE", "EXDATE"):
            for _ in range(rng.randint(0, 3)):
                if kind == "EXDATE" and rng.random() < 0.7:
                    # One that is there, most often.
                    found = list(instances.xafter(start, count=rng.randint(1, 20), inc=True))
                    time = found[-1] if found else start
                else:
                    time = start + datetime.timedelta(days=rng.randint(0, 600), hours=rng.randint(0, 5))
                lines.append("%s;TZID=%s:%s" % (kind, name, text(time)))
                (instances.rdate if kind == "RDATE" else instances.exdate)(time)
        times = set()
        for time in instances.xafter(start, count=4000, inc=True):
            utc = tz.resolve_imaginary(time.replace(tzinfo=zone)).astimezone(UTC).replace(tzinfo=None)
            if begin <= utc < end:
                times.add(utc)
        found = ",".join(text(time) + "Z" for time in sorted(times)[:1000])
        print("\t".join(["|".join(lines), text(begin) + "Z", text(end) + "Z", found]))


main()
