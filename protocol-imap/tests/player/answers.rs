//! The driver's part: what a real one does with storage, done with a store in memory.

use protocol_core::message::Encoding;
use protocol_core::message::decode::{DecodedSize, Decoder, TextDecoder};
use protocol_core::sasl::{ChannelBinding, Question, Server};
use protocol_core::{Timestamp, sasl};
use protocol_imap::codec::StoreOp;
use protocol_imap::server::{
    Append, Authenticate, Bye, Fetching, Folder as Listed, Found, Need, No, Request, RowStep, Running,
    Searching, Selected, Step, Storing, TlsInfo, Verdict,
};

use super::Player;
use super::store::{Folder, SYSTEM, Stored};

/// The time of day in every conversation.
const NOW: Timestamp = Timestamp(1_795_700_000_000);

pub fn bye(name: &str) -> Bye {
    *Bye::ALL.iter().find(|b| format!("{b:?}") == name).unwrap_or_else(|| panic!("Bye::{name}"))
}

fn no(name: &str) -> No {
    *No::ALL.iter().find(|n| format!("{n:?}") == name).unwrap_or_else(|| panic!("No::{name}"))
}

impl Player<'_> {
    pub fn change(&mut self, text: &str) {
        let (changes, keywords) = self.store.change(text);
        self.session.learn_keywords(keywords.iter().map(String::as_str), &mut self.out);
        self.session.mailbox_changes(changes, &mut self.out);
        self.collect();
    }

    pub fn answer(&mut self, step: Step<'_>) {
        match step {
            Step::Connect(connect) => {
                self.asked("connect");
                connect.accept(&mut self.session, &mut self.out);
            }
            Step::Authenticate(ask) => self.authenticate(ask),
            Step::UpgradeTls(upgrade) => {
                self.asked("tls");
                self.upgraded = true;
                upgrade.done(TlsInfo { channel_binding: true }, &mut self.session, self.now);
            }
            Step::Chunk(octets) => self.spool.extend_from_slice(octets),
            Step::Discard => {
                self.asked("discard");
                self.spool.clear();
            }
            Step::Append(append) => self.append(append),
            Step::Appended(running) => {
                self.asked(format!("appended {} octets", self.spool.len()));
                self.appended(running);
            }
            Step::Command(running, request) => self.command(running, request),
            Step::NeedInput | Step::Idle | Step::Flush | Step::Closed(_) => {}
        }
    }

    fn authenticate(&mut self, ask: Authenticate) {
        let response = ask.response().map(|r| r.escape_ascii().to_string());
        self.asked(format!("{} {}", ask.mechanism().name(), response.unwrap_or("-".into())));
        match self.answers.as_slice().first().map(String::as_str) {
            Some("drop") => {
                self.answers.next();
                return;
            }
            Some(answer) if answer.starts_with("fail ") => {
                self.answers.next();
                return ask.fail(no(&answer[5..]), &mut self.session, &mut self.out);
            }
            _ => {}
        }
        let mut step = if ask.begins() {
            let mut server = Server::new(ask.mechanism(), ChannelBinding::default(), [7; 24]);
            let step = server.start(ask.response());
            self.sasl = Some(server);
            step
        } else {
            self.sasl.as_mut().expect("it has begun").respond(ask.response().unwrap_or_default())
        };
        loop {
            step = match step {
                sasl::Step::Challenge(text) => return ask.challenge(&text, &mut self.session, &mut self.out),
                sasl::Step::Success { .. } => return ask.succeed(&mut self.session, &mut self.out),
                sasl::Step::Failure(_) => {
                    return ask.fail(No::AuthenticationFailed, &mut self.session, &mut self.out);
                }
                sasl::Step::Question(question) => {
                    let server = self.sasl.as_mut().expect("it has begun");
                    match question {
                        Question::Password { user, password } => {
                            server.verified(user == "ann" && password.expose() == b"pw")
                        }
                        Question::Verifier { .. } => {
                            let verifier = sasl::ScramVerifier::from_password(
                                &sasl::Secret::from("pw"),
                                b"salt and pepper!",
                                4096,
                            );
                            server.verifier(verifier, true)
                        }
                    }
                }
            };
        }
    }

    fn append(&mut self, append: Append<'_>) {
        self.asked(format!(
            "append {} of {} octets, flags {}{}{}",
            append.name(),
            append.size(),
            append.system().0,
            append.keywords().map(|k| format!(" {k}")).collect::<String>(),
            append.internal_date().map_or(String::new(), |t| format!(", at {}", t.secs())),
        ));
        self.spool.clear();
        match self.answers.as_slice().first().map(String::as_str) {
            Some("drop") => {
                self.answers.next();
            }
            Some(answer) if answer.starts_with("no ") => {
                self.answers.next();
                append.refuse(no(&answer[3..]), &mut self.session, &mut self.out);
            }
            _ => match self.store.folder(append.name()) {
                None => append.refuse(No::TryCreate, &mut self.session, &mut self.out),
                Some(_) if self.store.quota.is_some_and(|q| append.size() > q as u64) => {
                    append.refuse(No::OverQuota, &mut self.session, &mut self.out);
                }
                Some(_) => append.accept(&mut self.session, &mut self.out),
            },
        }
    }

    fn appended(&mut self, running: Running) {
        if self.overridden(&running) == Some(Answered::Dropped) {
            return;
        }
        // Conversations append to INBOX only.
        let bytes = std::mem::take(&mut self.spool);
        let selected = self.store.selected.as_deref() == Some("INBOX");
        let folder = self.store.folder_mut("INBOX").expect("INBOX");
        let uid = folder.add(&bytes, protocol_imap::server::FlagBits(0), NOW);
        let validity = folder.uid_validity;
        if selected {
            let change = protocol_imap::server::Change::Added { uid };
            self.session.mailbox_changed(change, &mut self.out);
        }
        running.appended(validity, uid, &mut self.session, &mut self.out);
    }

    /// Changes that come while the command runs, and answers other than the store's.
    fn overridden(&mut self, _: &Running) -> Option<Answered> {
        for change in std::mem::take(&mut self.during) {
            if self.store.is_possible(&change) {
                let (changes, keywords) = self.store.change(&change);
                self.session.learn_keywords(keywords.iter().map(String::as_str), &mut self.out);
                self.session.mailbox_changes(changes, &mut self.out);
            }
        }
        while let Some(answer) = self.answers.as_slice().first() {
            if let Some(change) = answer.strip_prefix("during ") {
                self.answers.next();
                let (changes, keywords) = self.store.change(change);
                self.session.learn_keywords(keywords.iter().map(String::as_str), &mut self.out);
                self.session.mailbox_changes(changes, &mut self.out);
                continue;
            }
            if answer == "drop" {
                self.answers.next();
                return Some(Answered::Dropped);
            }
            if let Some(why) = answer.strip_prefix("no ") {
                self.answers.next();
                return Some(Answered::No(no(why)));
            }
            return None;
        }
        None
    }

    fn command(&mut self, running: Running, request: Request<'_>) {
        self.asked(describe(&request));
        if matches!(request, Request::Select { .. } | Request::Close { .. } | Request::Unselect)
            && !matches!(request, Request::Close { expunge: true })
        {
            self.store.selected = None;
        }
        match self.overridden(&running) {
            Some(Answered::Dropped) => return,
            Some(Answered::No(why)) => return running.no(why, &mut self.session, &mut self.out),
            None => {}
        }
        match request {
            Request::Search(searching) => return self.search(running, &searching),
            Request::Fetch(fetching) => return self.fetch(running, &fetching),
            Request::Store(storing) => return self.store_flags(running, &storing),
            Request::Copy { ref to } => return self.copy(running, to, false),
            Request::Move { ref to } => return self.copy(running, to, true),
            Request::Expunge => {
                let uids = self.targets();
                let gone = self.remove_deleted(&uids);
                return running.expunged(&gone, &mut self.session, &mut self.out);
            }
            Request::Close { expunge: true } => {
                let all: Vec<u32> = self.store.current().rows.iter().map(|r| r.data.uid).collect();
                self.remove_deleted(&all);
                self.store.selected = None;
            }
            _ => {}
        }
        match self.folder_request(&request) {
            Ok(()) => self.complete(running, &request),
            Err(why) => running.no(why, &mut self.session, &mut self.out),
        }
    }

    /// What a request does to folders.
    fn folder_request(&mut self, request: &Request<'_>) -> Result<(), No> {
        let store = &mut self.store;
        match request {
            Request::Select { name, .. } | Request::Status { name, .. } => {
                store.folder(name).map(|_| ()).ok_or(No::NonExistent)
            }
            Request::Create { name, special_use } => {
                if store.folder(name).is_some() {
                    return Err(No::AlreadyExists);
                }
                store.folders.push(Folder::new(name, *special_use, 20));
                Ok(())
            }
            Request::Delete { name } => {
                let below = format!("{name}/");
                if store.folders.iter().any(|f| f.name.starts_with(&below)) {
                    return Err(No::HasChildren);
                }
                store.folder(name).ok_or(No::NonExistent)?;
                store.folders.retain(|f| f.name != **name);
                Ok(())
            }
            Request::Rename { from, to } => {
                if store.folder(to).is_some() {
                    return Err(No::AlreadyExists);
                }
                store.folder_mut(from).ok_or(No::NonExistent)?.name = to.to_string();
                Ok(())
            }
            Request::Subscribe { name, on } => {
                store.subscriptions.retain(|s| s != name);
                if *on {
                    store.subscriptions.push(name.to_string());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn complete(&mut self, running: Running, request: &Request<'_>) {
        let (session, out) = (&mut self.session, &mut self.out);
        match request {
            Request::Select { name, read_only } => {
                self.store.selected = Some(name.to_string());
                self.store.read_only = *read_only;
                let folder = self.store.current().clone();
                let selected = Selected {
                    name: &folder.name,
                    uid_validity: folder.uid_validity,
                    uid_next: folder.uid_next,
                    highest_modseq: folder.modseq,
                    read_only: *read_only,
                };
                let keywords = folder.keywords.iter().map(String::as_str);
                let rows = folder.rows.iter().map(|r| (r.data.uid, r.data.flags));
                running.selected(&selected, keywords, rows, session, out);
            }
            Request::List(listing) => {
                let folders: Vec<Listed<'_>> = self.store.folders.iter().map(listed).collect();
                let subscriptions = self.store.subscriptions.iter().map(String::as_str);
                running.listed(listing, &folders, subscriptions, session, out);
            }
            Request::Status { name, query } => {
                let data = self.store.folder(name).expect("it is there").status();
                running.status(name, query, &data, session, out);
            }
            _ => running.ok(session, out),
        }
    }

    fn targets(&self) -> Vec<u32> {
        let mut targets = self.session.targets();
        std::iter::from_fn(|| targets.next(&self.session).map(|m| m.uid)).collect()
    }

    fn remove_deleted(&mut self, uids: &[u32]) -> Vec<u32> {
        let folder = self.store.current();
        let deleted = |u: &&u32| folder.row(**u).is_some_and(|r| r.data.flags.contains(SYSTEM[3].1));
        let gone: Vec<u32> = uids.iter().filter(deleted).copied().collect();
        folder.expunge(&gone)
    }

    // ---- messages -------------------------------------------------------------------------------------

    fn fetch(&mut self, running: Running, fetching: &Fetching<'_>) {
        let mut seen_now = Vec::new();
        if fetching.sets_seen() {
            let uids = self.targets();
            let folder = self.store.current();
            folder.modseq += 1;
            let modseq = folder.modseq;
            for row in folder.rows.iter_mut().filter(|r| uids.contains(&r.data.uid)) {
                if fetching.wants(row.data.modseq) && !row.data.flags.contains(SYSTEM[0].1) {
                    row.data.flags = row.data.flags.union(SYSTEM[0].1);
                    row.data.modseq = modseq;
                    seen_now.push(row.data.uid);
                }
            }
        }
        let mut targets = self.session.targets();
        while let Some(message) = targets.next(&self.session) {
            let Some(stored) = self.store.current().row(message.uid).cloned() else {
                self.session.message_gone();
                continue;
            };
            if !fetching.wants(stored.data.modseq) {
                continue;
            }
            let seen = seen_now.contains(&message.uid);
            let structure = fetching.needs().structure.then_some(&stored.structure);
            let mut row = self.session.row(fetching, message, stored.data, seen, structure);
            let mut next = None;
            loop {
                let step = match next.take() {
                    Some(step) => step,
                    None => row.step(&mut self.session, &mut self.out),
                };
                match step {
                    RowStep::Done => break,
                    RowStep::Read { range } => {
                        let bytes = &stored.bytes[range.start as usize..range.end as usize];
                        row.supply(bytes, &mut self.session, &mut self.out);
                    }
                    RowStep::Size { range, encoding } => {
                        let mut size = DecodedSize::new(&encoding);
                        size.feed(&stored.bytes[range.start as usize..range.end as usize]);
                        next = row.decoded_size(Some(size.finish()), &mut self.session, &mut self.out);
                    }
                    RowStep::Stream { range } => {
                        let bytes = &stored.bytes[range.start as usize..range.end as usize];
                        self.stream(bytes);
                        row.streamed(bytes.len() as u64).expect("as many as announced");
                    }
                    RowStep::StreamDecoded { range, encoding, skip, len } => {
                        let bytes =
                            decoded(&stored.bytes[range.start as usize..range.end as usize], &encoding);
                        let piece = bytes[skip as usize..(skip + len) as usize].to_vec();
                        self.stream(&piece);
                        row.streamed(len).expect("as many as announced");
                    }
                }
            }
            if self.out.is_high() {
                self.collect();
            }
        }
        running.fetched(&mut self.session, &mut self.out);
    }

    /// Past the session, as a driver does it.
    fn stream(&mut self, bytes: &[u8]) {
        self.collect();
        super::push(&mut self.events, super::Event::Said(bytes.to_vec()));
    }

    fn store_flags(&mut self, running: Running, storing: &Storing<'_>) {
        let uids = self.targets();
        let system = SYSTEM.iter().filter(|(_, bit)| storing.system().contains(*bit)).map(|(name, _)| *name);
        let names: Vec<&str> = system.chain(storing.keywords()).collect();
        let folder = self.store.current();
        let bits = folder.bits(names.into_iter());
        folder.modseq += 1;
        let (modseq, mut modified, mut rows) = (folder.modseq, Vec::new(), Vec::new());
        for uid in uids {
            let Some(row) = folder.rows.iter_mut().find(|r| r.data.uid == uid) else {
                self.session.message_gone();
                continue;
            };
            if storing.unchanged_since().is_some_and(|since| row.data.modseq > since) {
                modified.push(uid);
                continue;
            }
            let old = row.data.flags.0;
            row.data.flags.0 = match storing.op() {
                StoreOp::Add => old | bits.0,
                StoreOp::Remove => old & !bits.0,
                StoreOp::Replace => bits.0,
            };
            row.data.modseq = modseq;
            rows.push(row.data);
        }
        let keywords = folder.keywords.clone();
        self.session.learn_keywords(keywords.iter().map(String::as_str), &mut self.out);
        for row in rows {
            self.session.stored_row(storing, row.uid, row.flags, row.modseq, &mut self.out);
        }
        running.stored(storing, &modified, &mut self.session, &mut self.out);
    }

    fn copy(&mut self, running: Running, to: &str, remove: bool) {
        let uids = self.targets();
        let rows: Vec<Stored> = uids.iter().filter_map(|u| self.store.current().row(*u).cloned()).collect();
        if rows.len() < uids.len() {
            self.session.message_gone();
        }
        let Some(folder) = self.store.folder_mut(to) else {
            return running.no(No::TryCreate, &mut self.session, &mut self.out);
        };
        let validity = folder.uid_validity;
        let mut pairs = Vec::new();
        for row in &rows {
            pairs.push((row.data.uid, folder.add(&row.bytes, row.data.flags, row.data.internal_date)));
        }
        if remove {
            let from: Vec<u32> = pairs.iter().map(|(from, _)| *from).collect();
            self.store.current().expunge(&from);
            running.moved(validity, &pairs, &mut self.session, &mut self.out);
        } else {
            running.copied(validity, &pairs, &mut self.session, &mut self.out);
        }
    }

    fn search(&mut self, running: Running, searching: &Searching<'_>) {
        let mut program = match searching.program(&self.session, NOW) {
            Ok(program) => program,
            Err(why) => return running.no(why, &mut self.session, &mut self.out),
        };
        let mut found = Found::new();
        let mut targets = self.session.targets();
        while let Some(message) = targets.next(&self.session) {
            let Some(stored) = self.store.current().row(message.uid) else {
                self.session.message_gone();
                continue;
            };
            let mut verdict = program.row(message, &stored.data);
            while let Verdict::Need(need) = verdict {
                verdict = match need {
                    Need::Structure => program.structure(&stored.structure),
                    Need::Header => {
                        let header = stored.structure.root().header();
                        program.header(&stored.bytes[..header.end as usize])
                    }
                    Need::Text => {
                        for (_, part) in stored.structure.leaves().filter(|(_, p)| p.media_type == "text") {
                            let body = part.body();
                            let mut decoder = TextDecoder::new(&part.encoding, part.charset().as_deref());
                            let mut text = String::new();
                            for chunk in stored.bytes[body.start as usize..body.end as usize].chunks(7) {
                                decoder.feed(chunk, &mut text);
                                let _ = program.text(&text);
                                text.clear();
                            }
                            decoder.finish(&mut text);
                            let _ = program.text(&text);
                            program.part_ended();
                        }
                        program.text_ended()
                    }
                };
            }
            if verdict == Verdict::Match {
                found.push(message, stored.data.modseq);
            }
        }
        running.searched(searching, &program, &found, &mut self.session, &mut self.out);
    }
}

#[derive(PartialEq)]
enum Answered {
    Dropped,
    No(No),
}

fn decoded(bytes: &[u8], encoding: &Encoding) -> Vec<u8> {
    let mut decoder = Decoder::new(encoding);
    let mut out = Vec::new();
    decoder.feed(bytes, &mut out);
    decoder.finish(&mut out);
    out
}

fn listed(folder: &Folder) -> Listed<'_> {
    Listed { name: &folder.name, special_use: folder.special_use, status: folder.status() }
}

fn describe(request: &Request<'_>) -> String {
    match request {
        Request::Noop => "noop".into(),
        Request::Select { name, read_only: false } => format!("select {name}"),
        Request::Select { name, .. } => format!("examine {name}"),
        Request::Create { name, special_use } => format!("create {name} {special_use:?}"),
        Request::Delete { name } => format!("delete {name}"),
        Request::Rename { from, to } => format!("rename {from} to {to}"),
        Request::Subscribe { name, on } => format!("subscribe {name} {on}"),
        Request::List(_) => "list".into(),
        Request::Status { name, .. } => format!("status {name}"),
        Request::Close { expunge } => format!("close, expunge {expunge}"),
        Request::Unselect => "unselect".into(),
        Request::Expunge => "expunge".into(),
        Request::Search(_) => "search".into(),
        Request::Fetch(_) => "fetch".into(),
        Request::Store(_) => "store".into(),
        Request::Copy { to } => format!("copy to {to}"),
        Request::Move { to } => format!("move to {to}"),
    }
}
