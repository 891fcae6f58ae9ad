//! `inbox key`.

use super::parse::{Args, Command, Usage};
use crate::admin::{KeyCreate, Request};

pub(super) fn key(args: &Args, words: &[&str]) -> Result<Command, Usage> {
    let request = match words {
        ["create"] => {
            args.allow(&[
                "--org",
                "--mailbox",
                "--scope",
                "--expires",
                "--name",
                "--from",
                "--network",
                "--test",
            ])?;
            let (org, mailbox) = (args.text("--org")?, args.text("--mailbox")?);
            if org.is_some() == mailbox.is_some() {
                return Err(Usage("give --org NAME or --mailbox ADDRESS".into()));
            }
            let create = KeyCreate {
                org,
                mailbox,
                scopes: args.needed("--scope")?,
                expires: args.text("--expires")?,
                name: args.text("--name")?.unwrap_or_default(),
                senders: args.all("--from")?,
                networks: args.all("--network")?,
                test: args.has("--test"),
            };
            return Ok(Command::Admin(Request::KeyCreate(create)));
        }
        ["list"] => Request::KeyList,
        ["revoke", id] => Request::KeyRevoke { id: (*id).into() },
        _ => {
            return Err(Usage(
                "inbox key create --org NAME|--mailbox ADDRESS --scope send[,read][,admin][,imap][,smtp][,dav] [--expires DATE] \
                 [--name TEXT] [--from DOMAIN|ADDRESS]... [--network NETWORK]... [--test] | list | revoke ID"
                    .into(),
            ));
        }
    };
    args.allow(&[])?;
    Ok(Command::Admin(request))
}
