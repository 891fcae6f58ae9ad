"""Makes recurrence rules from a seed and prints what python-dateutil expands each to.

One line a rule: RULE TAB START TAB FROM TAB TIME,TIME,...   (times as 20260102T030405)
Left out is what RFC 5545 and dateutil understand differently: BYWEEKNO without BYDAY, where the RFC takes the
weekday of DTSTART, numbers before weekdays together with BYWEEKNO, and weekdays with and without numbers in one
BYDAY, of which dateutil wants both to hold, and BYSETPOS of weeks, the first of which begins with DTSTART there.
"""
import datetime
import random
import signal
import sys

from dateutil.rrule import rrulestr

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
FREQUENCIES = ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"]


class Slow(Exception):
    pass


def give_up(_signal, _frame):
    raise Slow


def some(rng, values, most):
    return sorted(rng.sample(values, rng.randint(1, min(most, len(values)))))


def signed(rng, limit, most):
    values = [v for v in range(-limit, limit + 1) if v]
    return some(rng, values, most)


def joined(values):
    return ",".join(str(v) for v in values)


def rule(rng):
    frequency = rng.choice(FREQUENCIES)
    long = frequency in ("YEARLY", "MONTHLY")
    parts = ["FREQ=" + frequency]
    if rng.random() < 0.5:
        parts.append("INTERVAL=%d" % rng.choice([2, 3, 4, 5, 7, 11, 13, 24, 25, 90]))
    days = False
    if rng.random() < 0.35:
        parts.append("BYMONTH=" + joined(some(rng, list(range(1, 13)), 4)))
    weeks = frequency == "YEARLY" and rng.random() < 0.15
    if weeks:
        # How many weeks the year before has is miscounted there, so those around the turn of the year are left out.
        parts.append("BYWEEKNO=" + joined(v for v in signed(rng, 51, 5) if abs(v) > 1) + ",20")
    if frequency in ("YEARLY", "HOURLY", "MINUTELY", "SECONDLY") and rng.random() < 0.12:
        parts.append("BYYEARDAY=" + joined(signed(rng, 366, 5)))
        days = True
    if frequency != "WEEKLY" and rng.random() < 0.3:
        parts.append("BYMONTHDAY=" + joined(signed(rng, 31, 5)))
        days = True
    if weeks or rng.random() < 0.4:
        chosen = rng.sample(DAYS, rng.randint(1, 4))
        if long and not weeks and rng.random() < 0.6:
            limit = 5 if frequency == "MONTHLY" or any(p.startswith("BYMONTH=") for p in parts) else 53
            chosen = [str(rng.choice(signed(rng, limit, 6))) + d for d in chosen]
        parts.append("BYDAY=" + ",".join(chosen))
        days = True
    for name, limit, chance in (("BYHOUR", 24, 0.25), ("BYMINUTE", 60, 0.2), ("BYSECOND", 60, 0.15)):
        if rng.random() < chance:
            parts.append("%s=%s" % (name, joined(some(rng, list(range(limit)), 4))))
            days = True
    if days and frequency != "WEEKLY" and rng.random() < 0.2:
        # With one that is in every set, or dateutil would look on until the year 9999.
        parts.append("BYSETPOS=" + joined(sorted({rng.choice([1, -1]), *signed(rng, 6, 2)})))
    if rng.random() < 0.3:
        parts.append("WKST=" + rng.choice(DAYS))
    if rng.random() < 0.25:
        parts.append("COUNT=%d" % rng.randint(1, 40))
    elif rng.random() < 0.2:
        year = rng.randint(1998, 2012)
        parts.append("UNTIL=%04d%02d%02dT%02d0000" % (year, rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23)))
    rng.shuffle(parts)
    return ";".join(parts)


def until(text, end):
    """Without an end of its own dateutil would look on until the year 9999."""
    return {} if "UNTIL=" in text else {"until": end}


def expand(text, start, begin, end):
    signal.setitimer(signal.ITIMER_PROF, 0.03)
    times = []
    for time in rrulestr(text, dtstart=start).replace(**until(text, end)):
        if time > end or len(times) == 30:
            break
        if time >= begin:
            times.append(time.strftime("%Y%m%dT%H%M%S"))
    signal.setitimer(signal.ITIMER_PROF, 0)
    return times


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    signal.signal(signal.SIGPROF, give_up)
    made = 0
    while made < count:
        text = rule(rng)
        start = datetime.datetime(rng.randint(1995, 2005), rng.randint(1, 12), rng.randint(1, 28),
                                  rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59))
        # dateutil looks at every period, so short ones get short windows.
        end = datetime.datetime(2015, 1, 1)
        for frequency, days in (("HOURLY", 300), ("MINUTELY", 6), ("SECONDLY", 0.1)):
            if "FREQ=" + frequency in text:
                end = (start + datetime.timedelta(days=days * rng.choice([0.2, 1]))).replace(microsecond=0)
        begin = start + (end - start) * rng.choice([0, 0, 0.01, 0.3, 0.7])
        begin = begin.replace(microsecond=0)
        try:
            times = expand(text, start, begin, end)
        except (Slow, ValueError):
            # It takes too long, or dateutil sees that nothing can match.
            continue
        bound = end.strftime("%Y%m%dT%H%M%S")
        print("\t".join([text, start.strftime("%Y%m%dT%H%M%S"), begin.strftime("%Y%m%dT%H%M%S"), bound, ",".join(times)]))
        made += 1


main()
