//! From arguments to a command. Options may stand anywhere; `--name=value` is `--name value`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::keys;
use crate::admin::{QueueAction, Request, Scope};

/// What is to be done.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Command {
    Help,
    Version,
    Serve,
    Quickstart {
        deliver: bool,
    },
    Config,
    Admin(Request),
    MailboxCreate {
        address: String,
        name: String,
        quota: Option<u64>,
    },
    MailboxPasswd {
        address: String,
    },
    Import {
        path: PathBuf,
        mailbox: String,
        folder: Option<String>,
    },
    Export {
        path: PathBuf,
        mailbox: String,
    },
    /// A command that this version does not have.
    Absent(String),
}

/// A command and what every command takes.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Invocation {
    pub data_dir: Option<PathBuf>,
    pub env_file: Option<PathBuf>,
    pub json: bool,
    pub command: Command,
}

/// Wrong usage; exit status 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage(pub String);

/// Options that take a value.
const VALUED: &[&str] = &[
    "--data-dir",
    "--env-file",
    "--org",
    "--set",
    "--name",
    "--quota",
    "--to",
    "--mailbox",
    "--folder",
    "--day",
    "--scope",
    "--expires",
    "--from",
    "--network",
];
/// Options that do not.
const FLAGS: &[&str] =
    &["--json", "--deliver", "--repair", "--finish", "--password-stdin", "--test", "--help", "--version"];
/// Options of every command.
const COMMON: &[&str] = &["--data-dir", "--env-file", "--json"];
/// First words that later versions have.
const ABSENT: &[&str] = &["explain", "dns", "backup", "restore"];
/// Kinds of files that later versions import or export.
const ABSENT_KINDS: &[&str] = &["maildir", "eml", "ics", "vcf"];

#[derive(Default)]
pub(super) struct Args {
    words: Vec<String>,
    options: Vec<(&'static str, OsString)>,
}

/// Reads the arguments behind the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let args = split(args)?;
    let has = |name: &str| args.options.iter().any(|(n, _)| *n == name);
    let path = |name: &str| args.last(name).map(PathBuf::from);
    let make = |command| Invocation {
        data_dir: path("--data-dir"),
        env_file: path("--env-file"),
        json: has("--json"),
        command,
    };
    if has("--help") {
        return Ok(make(Command::Help));
    }
    if has("--version") {
        return Ok(make(Command::Version));
    }
    for name in ["--data-dir", "--env-file"] {
        if args.last(name).is_some_and(|v| v.is_empty()) {
            return Err(Usage(format!("{name} needs a value")));
        }
    }
    command(&args).map(make)
}

fn split(args: impl IntoIterator<Item = OsString>) -> Result<Args, Usage> {
    let mut out = Args::default();
    let mut args = args.into_iter().peekable();
    let mut only_words = false;
    while let Some(arg) = args.next() {
        let text = match arg.to_str() {
            Some(text) if !only_words && text.starts_with('-') && text != "-" => text,
            Some(text) => {
                out.words.push(text.to_owned());
                continue;
            }
            None => return Err(Usage(format!("{} is not UTF-8", arg.display()))),
        };
        if text == "--" {
            only_words = true;
            continue;
        }
        let text = match text {
            "-h" => "--help",
            "-V" => "--version",
            other => other,
        };
        let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        if let Some(flag) = FLAGS.iter().find(|f| **f == name) {
            if value.is_some() {
                return Err(Usage(format!("{flag} takes no value")));
            }
            out.options.push((flag, OsString::new()));
        } else if let Some(option) = VALUED.iter().find(|v| **v == name) {
            let value = value.map(OsString::from).or_else(|| args.next());
            out.options.push((option, value.ok_or_else(|| Usage(format!("{option} needs a value")))?));
            // `--to ADDRESS...`: all that follows up to the next option.
            while *option == "--to" && args.peek().is_some_and(|a| !a.to_string_lossy().starts_with('-')) {
                out.options.extend(args.next().map(|a| (*option, a)));
            }
        } else {
            return Err(Usage(format!("there is no option {name}")));
        }
    }
    Ok(out)
}

impl Args {
    fn last(&self, name: &str) -> Option<&OsString> {
        self.options.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Usage> {
        self.last(name).map(|v| as_text(v, name)).transpose()
    }

    pub(super) fn needed(&self, name: &str) -> Result<String, Usage> {
        self.text(name)?.filter(|v| !v.is_empty()).ok_or_else(|| Usage(format!("{name} is missing")))
    }

    pub(super) fn all(&self, name: &str) -> Result<Vec<String>, Usage> {
        self.options.iter().filter(|(n, _)| *n == name).map(|(_, v)| as_text(v, name)).collect()
    }

    /// Only these options besides the common ones.
    pub(super) fn allow(&self, names: &[&str]) -> Result<(), Usage> {
        match self.options.iter().find(|(n, _)| !COMMON.contains(n) && !names.contains(n)) {
            Some((name, _)) => {
                Err(Usage(format!("{name} does not belong to `inbox {}`", self.words.join(" "))))
            }
            None => Ok(()),
        }
    }
}

fn as_text(value: &OsString, name: &str) -> Result<String, Usage> {
    value.to_str().map(str::to_owned).ok_or_else(|| Usage(format!("the value of {name} is not UTF-8")))
}

fn command(args: &Args) -> Result<Command, Usage> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["serve"] => args.allow(&[]).map(|()| Command::Serve),
        ["quickstart"] => {
            args.allow(&["--deliver"])?;
            Ok(Command::Quickstart { deliver: args.has("--deliver") })
        }
        ["config"] => args.allow(&[]).map(|()| Command::Config),
        ["check"] => {
            args.allow(&["--repair"])?;
            Ok(Command::Admin(Request::Check { repair: args.has("--repair") }))
        }
        ["master-key", "rotate"] => args.allow(&[]).map(|()| Command::Admin(Request::RotateMasterKey)),
        ["org", rest @ ..] => org(args, rest),
        ["domain", rest @ ..] => domain(args, rest),
        ["mailbox", rest @ ..] => mailbox(args, rest),
        ["alias", rest @ ..] => alias(args, rest),
        ["key", rest @ ..] => keys::key(args, rest),
        ["queue", rest @ ..] => queue(args, rest),
        ["audit"] => {
            args.allow(&["--org"])?;
            Ok(Command::Admin(Request::Audit { org: args.text("--org")? }))
        }
        ["suppression", rest @ ..] => suppression(args, rest),
        ["tls-report", rest @ ..] => tls_report(args, rest),
        ["dmarc-report", rest @ ..] => dmarc_report(args, rest),
        [way @ ("import" | "export"), kind, ..] if ABSENT_KINDS.contains(kind) => {
            Ok(Command::Absent(format!("{way} {kind}")))
        }
        ["import", "mbox", path] => {
            args.allow(&["--mailbox", "--folder"])?;
            let (mailbox, folder) = (args.needed("--mailbox")?, args.text("--folder")?);
            Ok(Command::Import { path: path.into(), mailbox, folder })
        }
        ["export", "mbox", path] => {
            args.allow(&["--mailbox"])?;
            Ok(Command::Export { path: path.into(), mailbox: args.needed("--mailbox")? })
        }
        [way @ ("import" | "export"), ..] => Err(Usage(format!("inbox {way} mbox PATH --mailbox ADDRESS"))),
        [word, ..] if ABSENT.contains(word) => Ok(Command::Absent((*word).to_owned())),
        [word, ..] => Err(Usage(format!("there is no command {word}"))),
    }
}

fn org(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    args.allow(&[])?;
    Ok(Command::Admin(match words {
        ["create", name] => Request::OrgCreate { name: (*name).into() },
        ["list"] => Request::OrgList,
        ["delete", name] => Request::OrgDelete { name: (*name).into() },
        ["rotate-key", name] => Request::OrgRotateKey { name: (*name).into() },
        _ => return Err(Usage("inbox org create NAME | list | delete NAME | rotate-key NAME".into())),
    }))
}

fn domain(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    let request = match words {
        ["add", domain] => {
            args.allow(&["--org", "--set"])?;
            let set = args.all("--set")?.iter().map(|s| assignment(s)).collect::<Result<_, _>>()?;
            return Ok(Command::Admin(Request::DomainAdd {
                domain: (*domain).into(),
                org: args.needed("--org")?,
                set,
            }));
        }
        ["rotate-dkim", domain] => {
            args.allow(&["--finish"])?;
            let finish = args.has("--finish");
            return Ok(Command::Admin(Request::DomainRotateDkim { domain: (*domain).into(), finish }));
        }
        ["set", domain, set @ ..] if !set.is_empty() => Request::DomainSet {
            domain: (*domain).into(),
            set: set.iter().map(|s| assignment(s)).collect::<Result<_, _>>()?,
        },
        ["show", domain] => Request::DomainShow { domain: (*domain).into() },
        ["list"] => Request::DomainList,
        ["delete", domain] => Request::DomainDelete { domain: (*domain).into() },
        _ => {
            return Err(Usage(
                "inbox domain add DOMAIN --org NAME [--set FIELD=VALUE]... | set DOMAIN FIELD=VALUE... | \
                 show DOMAIN | list | delete DOMAIN | rotate-dkim DOMAIN [--finish]"
                    .into(),
            ));
        }
    };
    args.allow(&[])?;
    Ok(Command::Admin(request))
}

fn assignment(text: &str) -> Result<(String, String), Usage> {
    let (field, value) = text.split_once('=').ok_or_else(|| Usage(format!("{text} is not FIELD=VALUE")))?;
    Ok((field.to_owned(), value.to_owned()))
}

fn mailbox(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    let stdin = || match args.has("--password-stdin") {
        true => Ok(()),
        false => Err(Usage("the password is read from standard input only: give --password-stdin".into())),
    };
    let request = match words {
        ["create", address] => {
            args.allow(&["--password-stdin", "--name", "--quota"])?;
            stdin()?;
            let quota = args.text("--quota")?.map(|q| q.parse::<u64>());
            let quota = quota.transpose().map_err(|_| Usage("--quota is a number of bytes".into()))?;
            let name = args.text("--name")?.unwrap_or_default();
            return Ok(Command::MailboxCreate { address: (*address).into(), name, quota });
        }
        ["passwd", address] => {
            args.allow(&["--password-stdin"])?;
            stdin()?;
            return Ok(Command::MailboxPasswd { address: (*address).into() });
        }
        ["disable", address] => Request::MailboxDisable { address: (*address).into(), disabled: true },
        ["enable", address] => Request::MailboxDisable { address: (*address).into(), disabled: false },
        ["list"] => Request::MailboxList,
        ["delete", address] => Request::MailboxDelete { address: (*address).into() },
        ["webhook", address, url] => {
            let url = (*url != "off").then(|| (*url).to_owned());
            Request::MailboxWebhook { address: (*address).into(), url }
        }
        _ => {
            return Err(Usage(
                "inbox mailbox create ADDRESS --password-stdin [--name TEXT] [--quota BYTES] | \
                 passwd ADDRESS --password-stdin | disable ADDRESS | enable ADDRESS | list | delete ADDRESS | \
                 webhook ADDRESS URL|off"
                    .into(),
            ));
        }
    };
    args.allow(&[])?;
    Ok(Command::Admin(request))
}

fn alias(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    let request = match words {
        ["add", alias] => {
            args.allow(&["--to"])?;
            args.needed("--to")?;
            let request = Request::AliasAdd { alias: (*alias).into(), to: args.all("--to")? };
            return Ok(Command::Admin(request));
        }
        ["list"] => Request::AliasList,
        ["delete", alias] => Request::AliasDelete { alias: (*alias).into() },
        _ => return Err(Usage("inbox alias add ALIAS --to ADDRESS... | list | delete ALIAS".into())),
    };
    args.allow(&[])?;
    Ok(Command::Admin(request))
}

fn queue(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    args.allow(&[])?;
    let act = |id: &str, action| Request::QueueAct { id: id.into(), action };
    Ok(Command::Admin(match words {
        ["list"] => Request::QueueList,
        ["show", id] => Request::QueueShow { id: (*id).into() },
        ["retry", id] => act(id, QueueAction::Retry),
        ["hold", id] => act(id, QueueAction::Hold),
        ["release", id] => act(id, QueueAction::Release),
        ["cancel", id] => act(id, QueueAction::Cancel),
        _ => {
            return Err(Usage(
                "inbox queue list | show ID | retry ID | hold ID | release ID | cancel ID".into(),
            ));
        }
    }))
}

fn suppression(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    let org = args.text("--org")?;
    Ok(Command::Admin(match words {
        ["list"] => {
            args.allow(&["--org"])?;
            Request::SuppressionList { org }
        }
        ["add", entry] => {
            args.allow(&["--org", "--scope"])?;
            let scope = match args.text("--scope")?.as_deref() {
                None => None,
                Some("address") => Some(Scope::Address),
                Some("domain") => Some(Scope::Domain),
                Some(other) => return Err(Usage(format!("--scope is address or domain, not {other}"))),
            };
            Request::SuppressionAdd { entry: (*entry).into(), scope, org }
        }
        ["remove", entry] => {
            args.allow(&["--org"])?;
            Request::SuppressionRemove { entry: (*entry).into(), org }
        }
        _ => {
            return Err(Usage(
                "inbox suppression list | add ENTRY [--scope address|domain] | remove ENTRY   [--org NAME]"
                    .into(),
            ));
        }
    }))
}

fn dmarc_report(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    Ok(Command::Admin(match words {
        ["list"] => {
            args.allow(&[])?;
            Request::DmarcReportList
        }
        ["send"] => {
            args.allow(&["--day"])?;
            Request::DmarcReportSend { day: args.text("--day")? }
        }
        ["received"] => {
            args.allow(&["--mailbox", "--folder"])?;
            Request::DmarcReportReceived {
                mailbox: args.needed("--mailbox")?,
                folder: args.text("--folder")?,
            }
        }
        _ => {
            return Err(Usage(
                "inbox dmarc-report list | send [--day YYYY-MM-DD] | received --mailbox ADDRESS [--folder NAME]"
                    .into(),
            ));
        }
    }))
}

fn tls_report(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    Ok(Command::Admin(match words {
        ["list"] => {
            args.allow(&[])?;
            Request::TlsReportList
        }
        ["send"] => {
            args.allow(&["--day"])?;
            Request::TlsReportSend { day: args.text("--day")? }
        }
        ["received"] => {
            args.allow(&["--mailbox", "--folder"])?;
            Request::TlsReportReceived { mailbox: args.needed("--mailbox")?, folder: args.text("--folder")? }
        }
        _ => {
            return Err(Usage(
                "inbox tls-report list | send [--day YYYY-MM-DD] | received --mailbox ADDRESS [--folder NAME]"
                    .into(),
            ));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, Usage> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn shown(line: &str) -> String {
        format!("{:?}", read(line).unwrap_or_else(|u| panic!("{line}: {}", u.0)).command)
    }

    #[test]
    fn every_command_of_this_version_is_read() {
        for (line, command) in [
            ("", "Serve"),
            ("serve --env-file f", "Serve"),
            ("quickstart --json", "Quickstart { deliver: false }"),
            ("--deliver quickstart", "Quickstart { deliver: true }"),
            ("config", "Config"),
            ("check", "Admin(Check { repair: false })"),
            ("check --repair --data-dir=d", "Admin(Check { repair: true })"),
            ("org create acme", "Admin(OrgCreate { name: \"acme\" })"),
            ("org list --json", "Admin(OrgList)"),
            ("org delete acme", "Admin(OrgDelete { name: \"acme\" })"),
            ("master-key rotate", "Admin(RotateMasterKey)"),
            ("org rotate-key acme", "Admin(OrgRotateKey { name: \"acme\" })"),
            ("domain list", "Admin(DomainList)"),
            ("domain show a.test", "Admin(DomainShow { domain: \"a.test\" })"),
            ("domain rotate-dkim a.test", "Admin(DomainRotateDkim { domain: \"a.test\", finish: false })"),
            (
                "domain rotate-dkim a.test --finish",
                "Admin(DomainRotateDkim { domain: \"a.test\", finish: true })",
            ),
            ("domain delete a.test", "Admin(DomainDelete { domain: \"a.test\" })"),
            ("mailbox passwd a@b --password-stdin", "MailboxPasswd { address: \"a@b\" }"),
            ("mailbox disable a@b", "Admin(MailboxDisable { address: \"a@b\", disabled: true })"),
            ("mailbox enable a@b", "Admin(MailboxDisable { address: \"a@b\", disabled: false })"),
            ("mailbox list", "Admin(MailboxList)"),
            ("mailbox delete a@b", "Admin(MailboxDelete { address: \"a@b\" })"),
            (
                "mailbox webhook a@b https://c.test/",
                "Admin(MailboxWebhook { address: \"a@b\", url: Some(\"https://c.test/\") })",
            ),
            ("mailbox webhook a@b off", "Admin(MailboxWebhook { address: \"a@b\", url: None })"),
            ("alias list", "Admin(AliasList)"),
            ("alias delete a@b", "Admin(AliasDelete { alias: \"a@b\" })"),
            (
                "alias add a@b --to c@d e@f --json",
                "Admin(AliasAdd { alias: \"a@b\", to: [\"c@d\", \"e@f\"] })",
            ),
            ("alias add a@b --to c@d --to e@f", "Admin(AliasAdd { alias: \"a@b\", to: [\"c@d\", \"e@f\"] })"),
            ("queue list", "Admin(QueueList)"),
            ("key list", "Admin(KeyList)"),
            ("key revoke 1", "Admin(KeyRevoke { id: \"1\" })"),
            (
                "key create --org a --scope send,read --from a.test --from b@c.test --test",
                "Admin(KeyCreate(KeyCreate { org: Some(\"a\"), mailbox: None, scopes: \"send,read\", expires: None, \
                 name: \"\", senders: [\"a.test\", \"b@c.test\"], networks: [], test: true }))",
            ),
            ("tls-report list", "Admin(TlsReportList)"),
            ("dmarc-report list", "Admin(DmarcReportList)"),
            ("dmarc-report send", "Admin(DmarcReportSend { day: None })"),
            (
                "dmarc-report received --mailbox a@b",
                "Admin(DmarcReportReceived { mailbox: \"a@b\", folder: None })",
            ),
            ("tls-report send", "Admin(TlsReportSend { day: None })"),
            (
                "tls-report received --mailbox a@b",
                "Admin(TlsReportReceived { mailbox: \"a@b\", folder: None })",
            ),
            ("tls-report send --day 2026-11-26", "Admin(TlsReportSend { day: Some(\"2026-11-26\") })"),
            ("queue show 1", "Admin(QueueShow { id: \"1\" })"),
            ("queue retry 1", "Admin(QueueAct { id: \"1\", action: Retry })"),
            ("queue hold 1", "Admin(QueueAct { id: \"1\", action: Hold })"),
            ("queue release 1", "Admin(QueueAct { id: \"1\", action: Release })"),
            ("suppression list --org a", "Admin(SuppressionList { org: Some(\"a\") })"),
            (
                "suppression add example.net --scope domain",
                "Admin(SuppressionAdd { entry: \"example.net\", scope: Some(Domain), org: None })",
            ),
            (
                "suppression remove a@example.net",
                "Admin(SuppressionRemove { entry: \"a@example.net\", org: None })",
            ),
            ("queue cancel 1", "Admin(QueueAct { id: \"1\", action: Cancel })"),
            ("export mbox p --mailbox a@b", "Export { path: \"p\", mailbox: \"a@b\" }"),
            (
                "import mbox p --mailbox a@b --folder Old/Mail",
                "Import { path: \"p\", mailbox: \"a@b\", folder: Some(\"Old/Mail\") }",
            ),
            (
                "mailbox create a@b --password-stdin --name Al --quota 5",
                "MailboxCreate { address: \"a@b\", name: \"Al\", quota: Some(5) }",
            ),
            (
                "domain add a.test --org acme --set catch_all=x --set plus_delimiter=-",
                "Admin(DomainAdd { domain: \"a.test\", org: \"acme\", set: [(\"catch_all\", \"x\"), \
                 (\"plus_delimiter\", \"-\")] })",
            ),
            (
                "domain set a.test catch_all= dkim_selector=s=t",
                "Admin(DomainSet { domain: \"a.test\", set: [(\"catch_all\", \"\"), (\"dkim_selector\", \"s=t\")] })",
            ),
            ("-h", "Help"),
            ("mailbox create --help", "Help"),
            ("--version", "Version"),
        ] {
            assert_eq!(shown(line), command, "{line}");
        }
        let invocation = read("config --data-dir d --env-file=f --json").unwrap();
        assert_eq!((invocation.data_dir, invocation.env_file), (Some("d".into()), Some("f".into())));
        assert!(invocation.json);
        assert_eq!(shown("org create -- --json"), "Admin(OrgCreate { name: \"--json\" })");
    }

    #[test]
    fn commands_of_later_versions_are_named() {
        for line in ["explain a@b", "dns a.test", "backup p", "restore p"] {
            assert!(shown(line).starts_with("Absent("), "{line}");
        }
        assert_eq!(shown("import maildir p --mailbox a@b"), "Absent(\"import maildir\")");
        assert_eq!(shown("export ics p --mailbox a@b"), "Absent(\"export ics\")");
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "nonsense",
            "org create",
            "org create a b",
            "org",
            "serve extra",
            "serve --repair",
            "config --nonsense",
            "config --json=yes",
            "check --deliver",
            "domain add a.test",
            "domain add a.test --org acme --set plus",
            "domain set a.test",
            "domain rotate-dkim",
            "domain show a.test --finish",
            "domain set a.test novalue",
            "mailbox create a@b",
            "mailbox create a@b --password-stdin --quota many",
            "mailbox passwd a@b",
            "mailbox webhook a@b",
            "alias add a@b",
            "key create --scope send",
            "key create --org a --mailbox b@c --scope send",
            "key create --org a",
            "key revoke",
            "key list --test",
            "alias add a@b --to",
            "queue retry",
            "import mbox p",
            "import tar p --mailbox a@b",
            "export mbox --mailbox a@b",
            "export mbox p --mailbox a@b --folder x",
            "config --data-dir",
            "config --data-dir=",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
