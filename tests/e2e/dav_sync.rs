//! Clients that keep copies: three that edit at random and synchronise by tokens while the server is killed between,
//! and the programs that people use.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::dav::{Person, between, card, event};
use crate::harness::{Inbox, have};

/// A small generator: the same seed makes the same edits.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// A client with its copy of a calendar: entity tags by href.
#[derive(Default)]
struct Copy {
    token: String,
    known: BTreeMap<String, String>,
}

impl Copy {
    fn sync(&mut self, who: &Person, calendar: &str) {
        let (text, token) = who.sync(calendar, &self.token);
        self.token = token;
        for response in text.split("<D:response>").skip(1) {
            let href = between(response, "<D:href>", "</D:href>").expect("an href").to_owned();
            if href.ends_with('/') {
                continue;
            }
            match between(response, "<D:getetag>", "</D:getetag>") {
                Some(etag) => self.known.insert(href, etag.replace("&quot;", "\"")),
                None => {
                    assert!(response.contains("404"), "{response}");
                    self.known.remove(&href)
                }
            };
        }
    }

    /// Puts or removes an object, on the condition that it is what this copy says. What is refused is learned at the
    /// next synchronisation.
    fn edit(&mut self, who: &Person, calendar: &str, name: u64, text: Option<u64>) {
        let href = format!("{calendar}{name}.ics");
        let condition = match self.known.get(&href) {
            Some(etag) => ("If-Match", etag.clone()),
            None => ("If-None-Match", "*".to_owned()),
        };
        let fields = [(condition.0, condition.1.as_str())];
        let answer = match text {
            Some(n) => {
                let object = event(&format!("uid-{name}"), &format!("text {n}"), "");
                who.ask("PUT", &href, &fields, object.as_bytes())
            }
            None => who.ask("DELETE", &href, &fields, b""),
        };
        match (answer.status, text) {
            (201 | 204, Some(_)) => {
                self.known.insert(href, answer.field("etag").expect("kept as it was sent"));
            }
            (204, None) => {
                self.known.remove(&href);
            }
            (404 | 412, _) => {}
            (status, _) => panic!("{status} {}", answer.body),
        }
    }
}

#[test]
fn three_clients_that_edit_at_random_agree_in_the_end() {
    let seeds: Vec<u64> = match std::env::var("INBOX_DAV_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (1..=4).collect(),
    };
    let mut inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    for seed in seeds {
        println!("seed {seed}");
        let mut random = Random(seed);
        let calendar = alice.cal(&format!("random{seed}/"));
        assert_eq!(alice.status("MKCALENDAR", &calendar, &[], b""), 201);
        let mut copies: Vec<Copy> = (0..3).map(|_| Copy::default()).collect();
        for step in 0..120 {
            let copy = &mut copies[random.below(3) as usize];
            match random.below(10) {
                0..=4 => copy.edit(&alice, &calendar, random.below(12), Some(random.below(1_000))),
                5..=6 => copy.edit(&alice, &calendar, random.below(12), None),
                _ => copy.sync(&alice, &calendar),
            }
            if step % 60 == 59 {
                inbox.kill();
                inbox.start();
            }
        }
        let there = alice.propfind(&calendar, "1", "<D:getetag/>");
        let mut stored = Copy::default();
        for response in there.split("<D:response>").skip(2) {
            let href = between(response, "<D:href>", "</D:href>").expect("an href").to_owned();
            let etag =
                between(response, "<D:getetag>", "</D:getetag>").expect("a tag").replace("&quot;", "\"");
            stored.known.insert(href, etag);
        }
        for (n, copy) in copies.iter_mut().enumerate() {
            copy.sync(&alice, &calendar);
            assert_eq!(copy.known, stored.known, "client {n}, INBOX_DAV_SEED={seed}");
            let before = copy.token.clone();
            copy.sync(&alice, &calendar);
            assert_eq!(copy.token, before, "nothing changes by itself, INBOX_DAV_SEED={seed}");
        }
    }
}

/// A computer with vdirsyncer on it.
struct Computer {
    dir: PathBuf,
}

impl Computer {
    fn new(inbox: &Inbox, who: &Person, name: &str, wins: &str) -> Computer {
        let dir = inbox.dir.0.join(name);
        for kind in ["cal", "card", "status"] {
            fs::create_dir_all(dir.join(kind)).expect("a directory");
        }
        let mut config = format!("[general]\nstatus_path = \"{}/status/\"\n", dir.display());
        for (kind, extension) in [("cal", ".ics"), ("card", ".vcf")] {
            config.push_str(&format!(
                "[pair {kind}]\na = \"{kind}_here\"\nb = \"{kind}_there\"\ncollections = [\"default\"]\n\
                 conflict_resolution = \"{wins} wins\"\nmetadata = [\"displayname\"]\n\
                 [storage {kind}_here]\ntype = \"filesystem\"\npath = \"{}/{kind}/\"\nfileext = \"{extension}\"\n\
                 [storage {kind}_there]\ntype = \"{kind}dav\"\nurl = \"http://127.0.0.1:{}/\"\nusername = \"{}\"\n\
                 password = \"{}\"\n",
                dir.display(),
                who.port,
                who.address,
                who.password
            ));
        }
        fs::write(dir.join("config"), config).expect("it can be written");
        let computer = Computer { dir };
        computer.run(&["discover"]);
        computer
    }

    fn run(&self, args: &[&str]) -> String {
        let mut child = Command::new("vdirsyncer")
            .arg("-c")
            .arg(self.dir.join("config"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("vdirsyncer runs");
        // It asks whether it may make directories; it may have ended without asking.
        let _ = child.stdin.take().expect("piped").write_all("y\n".repeat(20).as_bytes());
        let out = child.wait_with_output().expect("it ends");
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "vdirsyncer {args:?}: {text}");
        text
    }

    fn sync(&self) -> String {
        self.run(&["sync"])
    }

    fn calendar(&self) -> PathBuf {
        self.dir.join("cal/default")
    }

    fn book(&self) -> PathBuf {
        self.dir.join("card/default")
    }
}

fn texts(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).expect("it can be listed").flatten();
    let files = files.filter(|file| file.path().extension().is_some());
    let mut texts: Vec<String> = files.map(|f| fs::read_to_string(f.path()).expect("a text")).collect();
    texts.sort();
    texts
}

fn changes_nothing(told: &str) -> bool {
    !["Copying", "Deleting", "Updating", "conflict"].iter().any(|word| told.contains(word))
}

#[test]
fn vdirsyncer_khal_and_khard_see_one_another() {
    if !have(&["vdirsyncer", "khal", "khard"]) {
        return;
    }
    let mut inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let (desk, lap) = (Computer::new(&inbox, &alice, "desk", "a"), Computer::new(&inbox, &alice, "lap", "b"));
    for n in 0..5 {
        let name = format!("{n}.ics");
        let text = event(&format!("desk-{n}"), &format!("Desk {n}"), "RRULE:FREQ=DAILY;COUNT=3\r\n");
        fs::write(desk.calendar().join(name), text).expect("it can be written");
        let text = card(&format!("card-{n}"), &format!("Person {n}"));
        fs::write(desk.book().join(format!("{n}.vcf")), text).expect("it can be written");
    }
    desk.sync();
    lap.sync();
    assert_eq!(texts(&lap.calendar()), texts(&desk.calendar()));
    assert_eq!(texts(&lap.book()), texts(&desk.book()));
    inbox.kill();
    inbox.start();
    for computer in [&desk, &lap] {
        let told = computer.sync();
        assert!(changes_nothing(&told), "{told}");
    }
    // Both change the same event, each removes another.
    let find = |computer: &Computer, word: &str| {
        let files = fs::read_dir(computer.calendar()).expect("it can be listed").flatten();
        let mut files = files.map(|file| file.path());
        files.find(|f| fs::read_to_string(f).is_ok_and(|t| t.contains(word))).expect("the event is there")
    };
    let rewrite = |path: PathBuf, to: &str| {
        let text = fs::read_to_string(&path).expect("a text").replace("Desk 0", to);
        // A file that is written anew is known as changed even within one tick of the clock.
        fs::remove_file(&path).expect("it goes");
        fs::write(path, text).expect("it can be written");
    };
    rewrite(find(&desk, "Desk 0"), "At the desk");
    rewrite(find(&lap, "Desk 0"), "On the lap");
    fs::remove_file(find(&desk, "Desk 1")).expect("it goes");
    fs::remove_file(find(&lap, "Desk 2")).expect("it goes");
    lap.sync();
    desk.sync();
    lap.sync();
    assert_eq!(texts(&lap.calendar()), texts(&desk.calendar()));
    let all = texts(&lap.calendar()).concat();
    assert!(all.contains("At the desk") && !all.contains("On the lap"), "the desk wins: {all}");
    assert!(!all.contains("Desk 1") && !all.contains("Desk 2") && all.contains("Desk 3"), "{all}");
    for computer in [&desk, &lap] {
        let told = computer.sync();
        assert!(changes_nothing(&told), "{told}");
    }
    let khal = inbox.dir.0.join("khal.conf");
    let config = format!(
        "[calendars]\n[[one]]\npath = {}\n[locale]\ntimeformat = %H:%M\ndateformat = %Y-%m-%d\n\
         longdateformat = %Y-%m-%d\ndatetimeformat = %Y-%m-%d %H:%M\nlongdatetimeformat = %Y-%m-%d %H:%M\n\
         local_timezone = UTC\ndefault_timezone = UTC\n[sqlite]\npath = {}\n",
        lap.calendar().display(),
        inbox.dir.0.join("khal.db").display()
    );
    fs::write(&khal, config).expect("it can be written");
    let shown = tool(Command::new("khal").arg("-c").arg(&khal).args(["list", "2026-01-05", "3d"]));
    assert_eq!(shown.matches("At the desk").count(), 3, "{shown}");
    let khard = inbox.dir.0.join("khard.conf");
    let config = format!("[addressbooks]\n[[one]]\npath = {}\n", lap.book().display());
    fs::write(&khard, config).expect("it can be written");
    let shown = tool(Command::new("khard").arg("-c").arg(&khard).arg("list"));
    assert!(shown.contains("Person 4"), "{shown}");
}

fn tool(command: &mut Command) -> String {
    let out = command.env("LC_ALL", "C.UTF-8").output().expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn the_caldav_library_makes_finds_changes_and_removes() {
    if !have(&["python3", "python3:caldav"]) {
        return;
    }
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let told = inbox
        .python_ok("dav_library.py", &[&format!("http://127.0.0.1:{}/dav/", alice.port), &alice.address]);
    assert!(told.contains("all good"), "{told}");
}

/// Names and entity tags, in order.
fn listing(who: &Person, collection: &str) -> Vec<(String, String)> {
    let text = who.propfind(collection, "1", "<D:getetag/>");
    let row = |row: &str| {
        let href = between(row, "<D:href>", "</D:href>")?.to_owned();
        Some((href, between(row, "<D:getetag>", "</D:getetag>").unwrap_or("").to_owned()))
    };
    let mut rows: Vec<_> = text.split("<D:response>").filter_map(row).collect();
    rows.sort();
    rows
}

#[test]
fn what_is_remembered_of_a_collection_is_what_is_there() {
    let mut inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let mut random = Random(20_261_128);
    let path = |calendar: u64, name: u64| {
        alice.cal(&format!("{}/{name}.ics", ["default", "second"][calendar as usize]))
    };
    assert_eq!(alice.status("MKCALENDAR", &alice.cal("second/"), &[], b""), 201);
    let calendars = [alice.cal("default/"), alice.cal("second/")];
    let mut tokens = calendars.clone().map(|calendar| alice.sync(&calendar, "").1);
    for round in 0..6 {
        let before = calendars.clone().map(|calendar| listing(&alice, &calendar));
        for _ in 0..12 {
            let (calendar, name) = (random.below(2), random.below(9));
            let at = path(calendar, name);
            match random.below(5) {
                0 | 1 => {
                    let text = event(&format!("{name}"), &random.below(1_000_000).to_string(), "");
                    alice.ask("PUT", &at, &[], text.as_bytes());
                }
                2 => drop(alice.status("DELETE", &at, &[], b"")),
                3 => {
                    let to = format!("http://localhost{}", path(random.below(2), random.below(9)));
                    alice.status("MOVE", &at, &[("Destination", &to)], b"");
                }
                _ => {
                    let patch = "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><D:displayname>x</D:displayname></D:prop></D:set></D:propertyupdate>";
                    alice.status("PROPPATCH", &at, &[], patch.as_bytes());
                }
            }
            if random.below(3) == 0 {
                listing(&alice, &calendars[calendar as usize]);
            }
        }
        let remembered = calendars.clone().map(|calendar| listing(&alice, &calendar));
        // What the token of before leads to is what is shown now.
        for (n, calendar) in calendars.iter().enumerate() {
            let (changes, token) = alice.sync(calendar, &tokens[n]);
            for (href, etag) in
                remembered[n].iter().filter(|row| !before[n].contains(row) && row.0 != *calendar)
            {
                assert!(
                    changes.contains(href.as_str()) && changes.contains(etag.as_str()),
                    "{round}: {href}: {changes}"
                );
            }
            tokens[n] = token;
        }
        if round % 2 == 1 {
            inbox.stop();
            inbox.start();
        }
        assert_eq!(calendars.clone().map(|calendar| listing(&alice, &calendar)), remembered, "{round}");
    }
}
