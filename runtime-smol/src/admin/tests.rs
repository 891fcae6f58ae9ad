use std::path::PathBuf;
use std::sync::Arc;

use async_io::Async;
use serde_json::{Value, json};
use storage::{Storage, StorageOptions, SurrealOptions};

use super::client::Client;
use super::*;
use crate::app::Stop;
use crate::config::{self, Profile, Sources};
use crate::net::Sessions;
use crate::task::{block_on, spawn};

struct World {
    context: Context,
    dir: PathBuf,
}

impl World {
    fn new(name: &str) -> World {
        let dir = std::env::temp_dir().join(format!("inbox-admin-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let sources = Sources {
            data_dir: Some(dir.clone()),
            env_file: None,
            profile: Profile::Quickstart { deliver: false },
            environment: Vec::new(),
        };
        let config = config::load(&sources).unwrap().config;
        let storage = block_on(Storage::open(StorageOptions {
            database: SurrealOptions::memory(),
            data_dir: dir.clone(),
            objects_dir: dir.join("incoming"),
            s3: None,
            parsed_parts: false,
            master_key_file: dir.join("master.key"),
            spool_limit: 4096,
        }))
        .unwrap();
        let context = Context { storage, config: Arc::new(config), wake_queue: Arc::new(|| {}) };
        World { context, dir }
    }

    /// With an organisation, the domain a.test and the mailbox alice@.
    fn with_mailbox(name: &str) -> World {
        let world = World::new(name);
        world.ok(Request::OrgCreate { name: "acme".into() });
        world.ok(Request::DomainAdd { domain: "A.test".into(), org: "acme".into(), set: vec![] });
        world.ok(create("Alice@a.test"));
        world
    }

    fn client(&self) -> Client {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let context = self.context.clone();
        let theirs = Async::new(theirs).unwrap();
        spawn(async move { server::answer(&context, theirs).await }).detach();
        Client::over(ours).unwrap()
    }

    fn ask(&self, request: Request) -> Result<Value, Failure> {
        block_on(self.client().ask(request))
    }

    fn ok(&self, request: Request) -> Value {
        self.ask(request).unwrap_or_else(|e| panic!("{e}"))
    }

    fn refused(&self, request: Request) -> String {
        self.ask(request).unwrap_err().0
    }
}

impl Drop for World {
    fn drop(&mut self) {
        block_on(self.context.storage.close());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn password() -> Password {
    Password(Secret::new("correct horse".into()))
}

fn create(address: &str) -> Request {
    Request::MailboxCreate { address: address.into(), password: password(), name: "A".into(), quota: None }
}

#[test]
fn an_organisation_from_its_making_to_its_end() {
    let world = World::new("org");
    let org = world.ok(Request::OrgCreate { name: "acme".into() });
    assert_eq!(org["name"], "acme");
    assert!(world.refused(Request::OrgCreate { name: "acme".into() }).contains("exists"));
    assert!(world.refused(Request::OrgCreate { name: " ".into() }).contains("1 to 128"));
    let set = vec![("catch_all".into(), "Alice".into())];
    let added = world.ok(Request::DomainAdd { domain: "Bücher.test.".into(), org: "acme".into(), set });
    assert_eq!(added["domain"], "xn--bcher-kva.test");
    let dns: Vec<(String, String)> = added["dns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["type"].as_str().unwrap().to_owned(), r["value"].as_str().unwrap().to_owned()))
        .collect();
    assert!(dns.contains(&("MX".into(), "10 mail.example.test.".into())), "{dns:?}");
    for start in [
        "v=spf1 ",
        "v=DKIM1; k=rsa; p=",
        "v=DKIM1; k=ed25519; p=",
        "v=DMARC1; ",
        "v=STSv1; id=",
        "v=TLSRPTv1; rua=mailto:postmaster@",
    ] {
        assert!(dns.iter().any(|(kind, value)| kind == "TXT" && value.starts_with(start)), "{start}");
    }
    let shown = world.ok(Request::DomainShow { domain: "bücher.test".into() });
    assert_eq!(shown["settings"]["catch_all"], "alice@xn--bcher-kva.test");
    assert_eq!(shown["settings"]["dkim_private_key_b64_pkcs8"], "********");
    assert!(world.refused(Request::OrgDelete { name: "acme".into() }).contains("acme"));
    world.ok(Request::DomainDelete { domain: "bücher.test".into() });
    world.ok(Request::OrgDelete { name: "acme".into() });
    assert_eq!(world.ok(Request::OrgList), json!([]));
    assert_eq!(world.refused(Request::DomainShow { domain: "b.test".into() }), "there is no domain b.test");
}

#[test]
fn fields_of_a_domain_are_checked() {
    let world = World::with_mailbox("fields");
    let set = |field: &str, value: &str| {
        world.ask(Request::DomainSet { domain: "a.test".into(), set: vec![(field.into(), value.into())] })
    };
    assert_eq!(set("plus_delimiter", "-").unwrap()["settings"]["plus_delimiter"], "-");
    assert_eq!(set("plus_delimiter", "").unwrap()["settings"].get("plus_delimiter"), None);
    assert_eq!(set("require_spf_pass", "true").unwrap()["notes"], json!([]));
    assert!(
        set("enc_mode", "e2ee").unwrap()["notes"][0].as_str().unwrap().contains("set enc_e2ee_recipient")
    );
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    assert_eq!(set("enc_e2ee_recipient", recipient).unwrap()["notes"], json!([]));
    let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let shown = set("enc_sse_c_key_b64", key).unwrap();
    assert_eq!(shown["settings"]["enc_sse_c_key_b64"], "********");
    assert!(!shown.to_string().contains(key));
    assert!(set("enc_sse_c_key_b64", "").is_ok());
    for (field, value) in [
        ("plus_delimiter", "--"),
        ("plus_addressing", "yes"),
        ("quota_mailbox_bytes", "-1"),
        ("catch_all", "a b"),
        ("enc_mode", "secret"),
        ("enc_e2ee_recipient", "age1nonsense"),
        ("enc_e2ee_recipient", "-----BEGIN PGP PUBLIC KEY BLOCK-----"),
        ("enc_sse_c_key_b64", "AAAA"),
        ("dkim_private_key_b64_pkcs8", "AAAA"),
        ("nonsense", "1"),
    ] {
        let why = set(field, value).unwrap_err().0;
        assert!(why.starts_with(&format!("{field}: ")), "{why}");
    }
    assert!(set("enc_mode", "standard").is_ok());
}

#[test]
fn mailboxes_and_aliases() {
    let world = World::with_mailbox("mailboxes");
    assert!(world.refused(create("alice@a.test")).contains("exists"));
    assert!(world.refused(create("bob@b.test")).contains("there is no domain b.test"));
    assert!(world.refused(create("bob")).contains("local@domain"));
    assert_eq!(world.ok(create("bob@a.test"))["admin"], false);
    let list = world.ok(Request::MailboxList);
    assert_eq!(list[0]["address"], "alice@a.test");
    assert_eq!(
        (&list[0]["admin"], &list[0]["org"], &list[0]["disabled"]),
        (&json!(true), &json!("acme"), &json!(false))
    );
    world.ok(Request::MailboxDisable { address: "ALICE@a.test".into(), disabled: true });
    assert_eq!(world.ok(Request::MailboxList)[0]["disabled"], true);
    world.ok(Request::MailboxPasswd { address: "alice@a.test".into(), password: password() });
    let to = vec!["Bob@A.test".into(), "Friend@Elsewhere.test".into()];
    let alias = world.ok(Request::AliasAdd { alias: "Team@a.test".into(), to });
    assert_eq!(alias, json!({"address": "team@a.test", "to": ["bob@a.test", "Friend@Elsewhere.test"]}));
    assert!(
        world
            .refused(Request::AliasAdd { alias: "bob@a.test".into(), to: vec!["x@y.test".into()] })
            .contains("exists")
    );
    world.ok(Request::AliasDelete { alias: "team@a.test".into() });
    assert_eq!(world.ok(Request::AliasList), json!([]));
    world.ok(Request::MailboxDelete { address: "bob@a.test".into() });
    assert_eq!(world.ok(Request::MailboxList).as_array().unwrap().len(), 1);
    assert_eq!(world.ok(Request::QueueList), json!([]));
    assert!(world.refused(Request::QueueShow { id: "x".into() }).contains("no job's ID"));
    assert_eq!(world.ok(Request::Check { repair: false })["clean"], true);
}

#[test]
fn messages_go_in_and_come_out_as_they_were() {
    let world = World::with_mailbox("mbox");
    let (path, out) = (world.dir.join("in.mbox"), world.dir.join("out.mbox"));
    let big = "x".repeat(5000);
    let text = format!(
        "From a@b.test Thu Jan  1 00:00:01 2015\nFrom: a@b.test\nSubject: one\n\n>From the start\nend\n\n\
         From a@b.test Thu Jan  1 00:00:02 2015\nSubject: too large\n\n{big}\n\n\
         From a@b.test Thu Jan  1 00:00:03 2015\nSubject: bad\n\n\0\n\nFrom x\n\n\
         From a@b.test Thu Jan  1 00:00:04 2015\nStatus: RO\nSubject: two\n\nbody\n\n"
    );
    std::fs::write(&path, &text).unwrap();
    let import = |mailbox: &str, folder| block_on(world.client().import(&path, mailbox, folder));
    assert_eq!(import("nobody@a.test", None).unwrap_err().0, "there is no mailbox nobody@a.test");
    let done = import("alice@a.test", Some("Old/Mail")).unwrap();
    assert_eq!(done, json!({"imported": 2, "skipped": 1, "failed": 2}));
    block_on(world.client().export(&out, "alice@a.test")).unwrap();
    let first = text.split("From a@b.test Thu Jan  1 00:00:02").next().unwrap();
    let last = text.rsplit_once("From x\n\n").unwrap().1;
    assert_eq!(std::fs::read_to_string(&out).unwrap(), format!("{first}{last}"));
    let missing = block_on(world.client().import(&world.dir.join("none"), "alice@a.test", None));
    assert!(missing.unwrap_err().0.contains("none"));
    std::fs::write(&path, "Subject: no mbox\n").unwrap();
    assert!(import("alice@a.test", None).unwrap_err().0.contains("no mbox file"));
}

#[test]
fn the_socket_serves_many_and_goes_with_its_server() {
    let world = World::with_mailbox("socket");
    let path = world.dir.join("inbox.sock");
    assert!(Client::connect(&path).unwrap().is_none());
    let listener = server::Listener::bind(&path).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let stop = Stop::default();
    let sessions = Sessions::new(stop.clone());
    let serving = spawn(listener.serve(world.context.clone(), sessions.clone(), stop.clone()));
    for _ in 0..3 {
        let client = Client::connect(&path).unwrap().expect("the server listens");
        assert_eq!(block_on(client.ask(Request::OrgList)).unwrap()[0]["name"], "acme");
    }
    stop.set();
    block_on(serving);
    assert!(!path.exists());
    assert_eq!(block_on(sessions.drained(std::time::Duration::from_secs(10))), 0);
}

#[test]
fn a_password_is_not_shown_by_debug() {
    let shown = format!("{:?}", create("a@b.test"));
    assert!(!shown.contains("correct horse"), "{shown}");
}
