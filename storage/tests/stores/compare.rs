//! The same random operations against the in-memory reference and the database: the same answers.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use storage::*;

use crate::support::*;

/// Small numbers stand for mailboxes, folders, messages and jobs, so that operations meet each other.
#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<(u8, u8, u8)>),
    CreateFolder(u8, u8),
    RenameFolder(u8, u8, u8),
    DeleteFolder(u8, u8),
    Flags(u8, u8, Vec<u8>, u8, u8, Option<u8>),
    Expunge(u8, u8, Vec<u8>),
    Copy(u8, u8, u8, Vec<u8>, bool),
    Subscribe(u8, u8, bool),
    Queue(u8, u8),
    Claim(u8, u8),
    Settle(u8, u8),
    Act(u8, u8),
    Dot(u8),
    Clean,
}

const FOLDERS: [&str; 8] = ["INBOX", "Sent", "Junk", "Trash", "a", "a/b", "b", "a/b/c"];
const KEYWORDS: [&str; 4] = ["one", "TWO", "two", "$Junk"];

fn op() -> impl Strategy<Value = Op> {
    let uids = || prop::collection::vec(1..8u8, 0..4);
    prop_oneof![
        6 => prop::collection::vec((0..2u8, 0..8u8, any::<u8>()), 0..4).prop_map(Op::Commit),
        2 => (0..2u8, 0..8u8).prop_map(|(m, f)| Op::CreateFolder(m, f)),
        2 => (0..2u8, 0..8u8, 0..8u8).prop_map(|(m, f, t)| Op::RenameFolder(m, f, t)),
        1 => (0..2u8, 0..8u8).prop_map(|(m, f)| Op::DeleteFolder(m, f)),
        4 => (0..2u8, 0..8u8, uids(), any::<u8>(), 0..3u8, prop::option::of(0..9u8))
            .prop_map(|(m, f, u, n, o, s)| Op::Flags(m, f, u, n, o, s)),
        2 => (0..2u8, 0..8u8, uids()).prop_map(|(m, f, u)| Op::Expunge(m, f, u)),
        2 => (0..2u8, 0..8u8, 0..8u8, uids(), any::<bool>()).prop_map(|(m, f, t, u, r)| Op::Copy(m, f, t, u, r)),
        1 => (0..2u8, 0..8u8, any::<bool>()).prop_map(|(m, f, on)| Op::Subscribe(m, f, on)),
        2 => (0..6u8, 1..90u8).prop_map(|(j, d)| Op::Queue(j, d)),
        3 => (1..90u8, 1..4u8).prop_map(|(n, l)| Op::Claim(n, l)),
        2 => (0..6u8, any::<u8>()).prop_map(|(j, how)| Op::Settle(j, how)),
        1 => (0..6u8, 0..4u8).prop_map(|(j, a)| Op::Act(j, a)),
        1 => (0..6u8).prop_map(Op::Dot),
        1 => Just(Op::Clean),
    ]
}

/// One store under test, and what the stores named themselves: folders.
struct Side {
    store: S,
    now: i64,
    claimed: HashMap<JobId, Fence>,
    made: HashMap<FolderId, usize>,
}

/// The IDs that both sides use.
struct Ids {
    mailboxes: Vec<Mailbox>,
    jobs: Vec<JobId>,
    messages: Vec<MessageId>,
}

fn named(n: u8) -> NamedFlags {
    let keywords =
        KEYWORDS.iter().enumerate().filter(|(k, _)| usize::from(n) >> (5 + k) & 1 == 1 || n == 255);
    NamedFlags { system: Flags(u64::from(n & 31)), keywords: keywords.map(|(_, k)| k.to_string()).collect() }
}

impl Side {
    /// Replaces the IDs of folders by the order in which they were first seen in.
    fn number(&mut self, folder: FolderId) -> usize {
        let next = self.made.len();
        *self.made.entry(folder).or_insert(next)
    }

    async fn folder(&self, mailbox: MailboxId, name: u8) -> FolderId {
        let folders = self.store.folders(mailbox).await.unwrap();
        let wanted = FOLDERS[usize::from(name)];
        folders.iter().find(|f| f.name == wanted).map_or(FolderId(Id([7; 16])), |folder| folder.id)
    }

    fn placed(&mut self, placed: Vec<Placed>) -> Vec<(usize, u32, Row)> {
        placed.into_iter().map(|p| (self.number(p.folder), p.uid_validity, p.row)).collect()
    }

    async fn commit(&mut self, ids: &Ids, step: usize, rows: &[(u8, u8, u8)]) -> String {
        // Every second row is a commit of its own; a message comes again now and then.
        let mut commits = vec![Commit::default()];
        for (n, (mailbox, name, what)) in rows.iter().enumerate() {
            if n == 2 {
                commits.push(Commit::default());
            }
            let mailbox = ids.mailboxes[usize::from(*mailbox)].id;
            let target = match name {
                0 => inbox(),
                1 => FolderTarget::Use(SpecialUse::Sent),
                2 => FolderTarget::Use(SpecialUse::Junk),
                _ => FolderTarget::Id(self.folder(mailbox, *name).await),
            };
            let row = NewRow {
                message: ids.messages[(step * 4 + n) / (1 + usize::from(what & 1)) % ids.messages.len()],
                size: u64::from(*what),
                flags: named(what.wrapping_mul(37)),
                meta: vec![*what; 3],
                check_quota: what & 2 == 0,
                ..row(mailbox, target, 0)
            };
            commits.last_mut().unwrap().rows.push(row);
        }
        let answers = self.store.commit_batch(commits).await;
        let mut told = Vec::new();
        for answer in answers {
            told.push(match answer {
                Ok(placed) => format!("{:?}", self.placed(placed)),
                Err(Error::Refused(Refusal::Exists(_))) => "exists".into(),
                Err(error) => format!("{error:?}"),
            });
        }
        told.join(";")
    }

    async fn run(&mut self, ids: &Ids, step: usize, op: &Op) -> String {
        self.now += 1;
        let now = at(self.now);
        let mailbox = |n: &u8| ids.mailboxes[usize::from(*n)].id;
        let name = |n: &u8| FOLDERS[usize::from(*n)];
        let wide = |uids: &[u8]| uids.iter().map(|uid| u32::from(*uid)).collect::<Vec<_>>();
        match op {
            Op::Commit(rows) => self.commit(ids, step, rows).await,
            Op::CreateFolder(m, f) => {
                let special = (*f == 1).then_some(SpecialUse::Sent);
                let made = self.store.create_folder(mailbox(m), name(f), special, now).await;
                let made = made.map(|folder| (self.number(folder.id), folder.uid_validity, folder.name));
                format!("{made:?}")
            }
            Op::RenameFolder(m, f, t) => {
                format!("{:?}", self.store.rename_folder(mailbox(m), name(f), name(t), now).await)
            }
            Op::DeleteFolder(m, f) => format!("{:?}", self.store.delete_folder(mailbox(m), name(f)).await),
            Op::Flags(m, f, uids, flags, how, since) => {
                let folder = self.folder(mailbox(m), *f).await;
                let how = [FlagOp::Add, FlagOp::Remove, FlagOp::Replace][usize::from(*how)];
                let since = since.map(u64::from);
                format!("{:?}", self.store.set_flags(folder, &wide(uids), how, &named(*flags), since).await)
            }
            Op::Expunge(m, f, uids) => {
                let folder = self.folder(mailbox(m), *f).await;
                format!("{:?}", self.store.expunge(folder, &wide(uids)).await)
            }
            Op::Copy(m, f, t, uids, remove) => {
                let from = self.folder(mailbox(m), *f).await;
                let to = self.folder(ids.mailboxes[usize::from(*m)].id, *t).await;
                format!("{:?}", self.store.copy(from, &wide(uids), to, *remove).await)
            }
            Op::Subscribe(m, f, on) => format!("{:?}", self.store.subscribe(mailbox(m), name(f), *on).await),
            _ => self.run_job(ids, op).await,
        }
    }

    async fn run_job(&mut self, ids: &Ids, op: &Op) -> String {
        let now = at(self.now);
        let fence_of = |side: &Side, j: &u8| {
            let id = ids.jobs[usize::from(*j)];
            side.claimed.get(&id).copied().unwrap_or(Fence { job: id, epoch: 0 })
        };
        match op {
            Op::Queue(j, due) => {
                let spec =
                    job(ids.mailboxes[0].org, at(i64::from(*due)), &["a@example.net", "b@example.net"]);
                let n = usize::from(*j);
                let spec = NewJob { id: ids.jobs[n], message: ids.messages[n], ..spec };
                let answers = self
                    .store
                    .commit_batch(vec![Commit { rows: vec![], jobs: vec![spec], ..Commit::default() }])
                    .await;
                format!("{}", answers[0].is_ok())
            }
            Op::Claim(later, limit) => {
                let now = at(self.now + i64::from(*later));
                let claimed = self.store.claim_jobs("w", now, secs(30), secs(2), usize::from(*limit)).await;
                for job in claimed.iter().flatten() {
                    self.claimed.insert(job.spec.id, fence(job));
                }
                format!("{claimed:?}")
            }
            Op::Settle(j, how) => {
                let fence = fence_of(self, j);
                let row = NewRow {
                    message: ids.messages[usize::from(*how) % ids.messages.len()],
                    ..row(ids.mailboxes[1].id, inbox(), 3)
                };
                let update = JobUpdate {
                    recipients: vec![recipient("a@example.net"), recipient("b@example.net")],
                    attempts: u32::from(*how),
                    next_due: (how & 1 == 0).then(|| at(i64::from(*how))),
                    dead: how & 2 == 0,
                    deliveries: vec![delivery("a@example.net", RecipientState::Bounced, 1, now)],
                    also: commit(if how & 4 == 0 { vec![NewRow { meta: vec![1], ..row }] } else { vec![] }),
                    ..JobUpdate::default()
                };
                if how & 24 == 0 {
                    format!("{:?}", self.store.release_job(fence, now).await)
                } else if how & 24 == 8 {
                    format!("{:?}", self.store.renew_job(fence, now, secs(20)).await)
                } else {
                    match self.store.save_job(fence, update, now).await {
                        Ok(placed) => format!("{:?}", self.placed(placed)),
                        Err(Error::Refused(Refusal::Exists(_))) => "exists".into(),
                        Err(error) => format!("{error:?}"),
                    }
                }
            }
            Op::Act(j, action) => {
                let actions = [JobAction::Retry, JobAction::Hold, JobAction::Release, JobAction::Cancel];
                let id = ids.jobs[usize::from(*j)];
                format!("{:?}", self.store.act_on_job(id, actions[usize::from(*action)], now).await)
            }
            Op::Dot(j) => format!("{:?}", self.store.dot_sent(fence_of(self, j), &[1], now, secs(20)).await),
            _ => format!("{:?}", self.store.clean_jobs(at(self.now - 20), at(self.now - 10)).await),
        }
    }

    /// Everything that can be read.
    async fn picture(&mut self, ids: &Ids) -> Vec<String> {
        let mut told = Vec::new();
        for mailbox in &ids.mailboxes {
            told.push(format!("{:?}", self.store.mailbox(mailbox.id).await));
            told.push(format!("{:?}", self.store.subscriptions(mailbox.id).await));
            told.push(format!("{:?}", self.store.messages(mailbox.id).await));
            for folder in self.store.folders(mailbox.id).await.unwrap() {
                let anonymous = |info: FolderInfo| FolderInfo { id: FolderId(Id([0; 16])), ..info };
                let (info, rows) = self.store.load_folder(folder.id).await.unwrap();
                assert_eq!(info, folder);
                check_counts(&info, &rows);
                told.push(format!("{:?} {rows:?}", anonymous(info)));
                let (info, rows, gone) = self.store.changes_since(folder.id, 3).await.unwrap();
                told.push(format!("{:?} {rows:?} {gone:?}", anonymous(info)));
                told.push(format!("{:?}", self.store.meta(folder.id, 2..=5).await));
            }
        }
        told.push(format!("{:?}", self.store.list_jobs(100).await));
        told.push(format!("{:?}", self.store.next_due().await));
        told.push(format!("{:?}", self.store.queued_messages().await));
        for id in &ids.jobs {
            told.push(format!("{:?}", self.store.job(*id).await));
        }
        told
    }
}

fn check_counts(info: &FolderInfo, rows: &[Row]) {
    assert_eq!(info.messages as usize, rows.len());
    assert_eq!(info.unseen as usize, rows.iter().filter(|row| !row.flags.contains(Flags::SEEN)).count());
    assert_eq!(info.size, rows.iter().map(|row| row.size).sum::<u64>());
    assert!(rows.iter().all(|row| row.uid < info.uid_next && row.modseq <= info.highest_modseq));
    assert!(rows.windows(2).all(|pair| pair[0].uid < pair[1].uid));
}

async fn compare(ops: &[Op]) {
    let mailboxes = vec![
        Mailbox { quota_bytes: Some(900), ..new_mailbox(OrgId::random(), "a@x.test") },
        new_mailbox(OrgId::random(), "b@x.test"),
    ];
    let mut ids = Ids {
        mailboxes,
        jobs: (0..6).map(|_| JobId::random()).collect(),
        messages: (0..400).map(|_| MessageId::random()).collect(),
    };
    let memory: S = Arc::new(MemoryStore::new());
    let surreal: S = Arc::new(SurrealStore::open(SurrealOptions::memory()).await.unwrap());
    let mut sides = Vec::new();
    for store in [memory, surreal] {
        let org = org(&store, "org").await;
        domain(&store, org, "x.test").await;
        for mailbox in &ids.mailboxes {
            let mailbox = Mailbox { org, ..mailbox.clone() };
            store.create_mailbox(&mailbox, &password("p"), at(0)).await.unwrap();
        }
        sides.push(Side { store, now: 0, claimed: HashMap::new(), made: HashMap::new() });
    }
    // Organisations get their IDs from the store; nothing below depends on which.
    let org = OrgId(Id([9; 16]));
    ids.mailboxes.iter_mut().for_each(|mailbox| mailbox.org = org);
    let [mut left, mut right] = <[Side; 2]>::try_from(sides).ok().unwrap();
    for (step, op) in ops.iter().enumerate() {
        let expected = left.run(&ids, step, op).await;
        assert_eq!(right.run(&ids, step, op).await, expected, "step {step}: {op:?}");
    }
    let expected = hide_org(left.picture(&ids).await, &left).await;
    assert_eq!(hide_org(right.picture(&ids).await, &right).await, expected);
    right.store.close().await;
}

async fn hide_org(told: Vec<String>, side: &Side) -> Vec<String> {
    let org = side.store.org("org").await.unwrap().id.to_string();
    told.into_iter().map(|text| text.replace(&org, "ORG")).collect()
}

/// Each case opens a database, so there are few, unless `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn answers_are_the_same(ops in prop::collection::vec(op(), 1..60)) {
        block_on(compare(&ops));
    }
}
