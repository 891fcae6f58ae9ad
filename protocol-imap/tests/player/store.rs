//! A mailbox in memory.

use protocol_core::Timestamp;
use protocol_core::message::{Scanner, Structure};
use protocol_imap::codec::SpecialUse;
use protocol_imap::server::{Change, FlagBits, RowData, StatusData};

const PLAIN: &str = include_str!("../dialogues/messages/plain.eml");
const MIXED: &str = include_str!("../dialogues/messages/mixed.eml");
const BARE: &str = include_str!("../dialogues/messages/bare.eml");

#[derive(Clone, Debug)]
pub struct Stored {
    pub data: RowData,
    pub bytes: Vec<u8>,
    pub structure: Structure,
}

#[derive(Clone, Debug)]
pub struct Folder {
    pub name: String,
    pub special_use: Option<SpecialUse>,
    pub uid_validity: u32,
    pub uid_next: u32,
    pub modseq: u64,
    pub keywords: Vec<String>,
    pub rows: Vec<Stored>,
}

#[derive(Clone, Debug)]
pub struct Store {
    pub folders: Vec<Folder>,
    pub subscriptions: Vec<String>,
    pub selected: Option<String>,
    pub read_only: bool,
    pub quota: Option<usize>,
}

pub const SYSTEM: [(&str, FlagBits); 5] = [
    ("\\Seen", FlagBits::SEEN),
    ("\\Answered", FlagBits::ANSWERED),
    ("\\Flagged", FlagBits::FLAGGED),
    ("\\Deleted", FlagBits::DELETED),
    ("\\Draft", FlagBits::DRAFT),
];

impl Folder {
    pub fn new(name: &str, special_use: Option<SpecialUse>, uid_validity: u32) -> Folder {
        let (uid_next, modseq) = (1, 1);
        let (keywords, rows) = (Vec::new(), Vec::new());
        Folder { name: name.into(), special_use, uid_validity, uid_next, modseq, keywords, rows }
    }

    pub fn add(&mut self, bytes: &[u8], flags: FlagBits, date: Timestamp) -> u32 {
        let mut scanner = Scanner::new();
        scanner.feed(bytes);
        self.modseq += 1;
        let (uid, modseq, size) = (self.uid_next, self.modseq, bytes.len() as u64);
        self.uid_next += 1;
        let data = RowData { uid, flags, modseq, size, internal_date: date };
        self.rows.push(Stored { data, bytes: bytes.to_vec(), structure: scanner.finish() });
        uid
    }

    pub fn row(&self, uid: u32) -> Option<&Stored> {
        self.rows.iter().find(|row| row.data.uid == uid)
    }

    /// The bits of flags by name; keywords that are new join.
    pub fn bits<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> FlagBits {
        names.fold(FlagBits(0), |bits, name| {
            if let Some((_, bit)) = SYSTEM.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
                return bits.union(*bit);
            }
            let n = match self.keywords.iter().position(|k| k.eq_ignore_ascii_case(name)) {
                Some(n) => n,
                None => {
                    self.keywords.push(name.into());
                    self.keywords.len() - 1
                }
            };
            bits.union(FlagBits::keyword(n))
        })
    }

    /// The bits of flags in the order they are written, with spaces between them.
    pub fn bits_of(&self, names: &str) -> FlagBits {
        self.clone().bits(names.split(' ').filter(|n| !n.is_empty()))
    }

    pub fn expunge(&mut self, uids: &[u32]) -> Vec<u32> {
        let gone: Vec<u32> = self.rows.iter().map(|r| r.data.uid).filter(|u| uids.contains(u)).collect();
        if !gone.is_empty() {
            self.modseq += 1;
            self.rows.retain(|r| !gone.contains(&r.data.uid));
        }
        gone
    }

    pub fn status(&self) -> StatusData {
        let without = |flag| self.rows.iter().filter(|r| !r.data.flags.contains(flag)).count() as u32;
        StatusData {
            messages: self.rows.len() as u32,
            uid_next: self.uid_next,
            uid_validity: self.uid_validity,
            unseen: without(FlagBits::SEEN),
            deleted: self.rows.len() as u32 - without(FlagBits::DELETED),
            size: self.rows.iter().map(|r| r.data.size).sum(),
            highest_modseq: self.modseq,
        }
    }
}

pub fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

impl Store {
    /// INBOX with three messages, the five special folders, and two levels below `Work`.
    pub fn new() -> Store {
        let mut folders = vec![
            Folder::new("INBOX", None, 7),
            Folder::new("Archive", Some(SpecialUse::Archive), 8),
            Folder::new("Drafts", Some(SpecialUse::Drafts), 9),
            Folder::new("Junk", Some(SpecialUse::Junk), 10),
            Folder::new("Sent", Some(SpecialUse::Sent), 11),
            Folder::new("Trash", Some(SpecialUse::Trash), 12),
            Folder::new("Work", None, 13),
            Folder::new("Work/Entwürfe", None, 14),
        ];
        let inbox = &mut folders[0];
        for (text, flags, day) in
            [(PLAIN, FlagBits::SEEN, 0), (MIXED, FlagBits(0), 1), (BARE, FlagBits::FLAGGED, 2)]
        {
            inbox.add(&crlf(text), flags, Timestamp::from_secs(1_795_433_195 + day * 86_400));
        }
        let subscriptions = ["INBOX", "Drafts", "Work/Entwürfe", "Gone/Far"].map(String::from).to_vec();
        Store { folders, subscriptions, selected: None, read_only: false, quota: None }
    }

    /// `% store ...`: `empty FOLDER`, `many FOLDER COUNT`, `large FOLDER OCTETS`, `quota OCTETS`.
    pub fn prepare(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["empty", name] => self.folder_mut(name).expect("a folder").rows.clear(),
            ["many", name, count] => {
                let folder = self.folder_mut(name).expect("a folder");
                for _ in 0..count.parse::<u32>().expect("a number") {
                    folder.add(&crlf(BARE), FlagBits(0), Timestamp::from_secs(1_795_433_195));
                }
            }
            ["large", name, octets] => {
                let body = "0123456789abcde\n".repeat(octets.parse::<usize>().expect("a number") / 17);
                let folder = self.folder_mut(name).expect("a folder");
                folder.add(&crlf(&format!("Subject: large\n\n{body}")), FlagBits(0), Timestamp(0));
            }
            ["quota", octets] => self.quota = Some(octets.parse().expect("a number")),
            _ => panic!("store {text}"),
        }
    }

    pub fn folder(&self, name: &str) -> Option<&Folder> {
        self.folders.iter().find(|f| f.name == name)
    }

    pub fn folder_mut(&mut self, name: &str) -> Option<&mut Folder> {
        self.folders.iter_mut().find(|f| f.name == name)
    }

    pub fn current(&mut self) -> &mut Folder {
        let name = self.selected.clone().expect("a folder is selected");
        self.folder_mut(&name).expect("the selected folder")
    }

    /// Whether the messages of a change are still there.
    pub fn is_possible(&mut self, text: &str) -> bool {
        let mut words = text.split(' ');
        words.next() != Some("flags") || {
            let uid = words.next().and_then(|u| u.parse().ok());
            uid.is_some_and(|uid| self.current().row(uid).is_some())
        }
    }

    /// What another session does to the selected folder: `deliver`, `flags UID FLAG...`, `expunge UID...`.
    /// The changes to be passed in, and keywords.
    pub fn change(&mut self, text: &str) -> (Vec<Change>, Vec<String>) {
        let folder = self.current();
        let words: Vec<&str> = text.split(' ').collect();
        let changes = match words.as_slice() {
            ["deliver"] => {
                vec![Change::Added { uid: folder.add(&crlf(BARE), FlagBits(0), Timestamp::from_secs(0)) }]
            }
            ["flags", uid, names @ ..] => {
                let flags = folder.bits(names.iter().copied());
                let uid = uid.parse().expect("a UID");
                folder.modseq += 1;
                let modseq = folder.modseq;
                let row = folder.rows.iter_mut().find(|r| r.data.uid == uid).expect("a row");
                (row.data.flags, row.data.modseq) = (flags, modseq);
                vec![Change::Flags { uid, flags, modseq }]
            }
            ["expunge", uids @ ..] => {
                let uids: Vec<u32> = uids.iter().map(|u| u.parse().expect("a UID")).collect();
                let gone = folder.expunge(&uids);
                gone.into_iter().map(|uid| Change::Expunged { uid, modseq: folder.modseq }).collect()
            }
            _ => panic!("change {text}"),
        };
        (changes, folder.keywords.clone())
    }
}
