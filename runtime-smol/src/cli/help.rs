//! `inbox --help`.

/// The whole syntax of this version.
pub(super) const HELP: &str = "\
inbox: a mail server

    inbox [serve]                     start every configured listener
    inbox quickstart [--deliver]      a demonstration on loopback: unprivileged ports, the domain example.test and
                                      the mailboxes alice@ and bob@; mail for other domains is kept unless --deliver
    inbox config                      the effective configuration and where each value came from
    inbox check [--repair]            compare the database with the stored messages

    inbox org create NAME | list | delete NAME | rotate-key NAME
    inbox master-key rotate           a new key in the key file, and everything that it seals sealed with it;
                                      rotate-key does the same for an organisation's mail
    inbox domain add DOMAIN --org NAME [--set FIELD=VALUE]...
    inbox domain set DOMAIN FIELD=VALUE... | show DOMAIN | list | delete DOMAIN
    inbox domain rotate-dkim DOMAIN [--finish]
                                      new DKIM keys beside the old ones and their DNS records; the old keys sign
                                      until the new records are published (looked up hourly, or by --finish)
    inbox mailbox create ADDRESS --password-stdin [--name TEXT] [--quota BYTES]
    inbox mailbox passwd ADDRESS --password-stdin | disable ADDRESS | enable ADDRESS | list | delete ADDRESS
    inbox mailbox webhook ADDRESS URL|off
                                      tell an https address of what arrives in the mailbox, signed with the secret
                                      that is shown once
    inbox alias add ALIAS --to ADDRESS... | list | delete ALIAS
    inbox key create --org NAME|--mailbox ADDRESS --scope send[,read][,admin][,operator][,imap][,smtp][,dav]
          [--expires DATE] [--name TEXT]
          [--from DOMAIN|ADDRESS]... [--network NETWORK]... [--test] | list | revoke ID
                                      keys of the API; the secret is shown once, and what a --test key sends is
                                      never delivered. With imap, smtp or dav it is an app password of the mailbox
    inbox queue list | show ID | retry ID | hold ID | release ID | cancel ID
    inbox suppression list | add ENTRY [--scope address|domain] | remove ENTRY   [--org NAME]
                                      addresses and domains that get no mail of an organisation, or of anybody here
    inbox audit [--org NAME]          who changed what, the newest first
    inbox tls-report list | send [--day YYYY-MM-DD]
                                      what was noted of TLS to other servers, and reports to the domains that ask
                                      for them; the running server sends those of each day when it is over (UTC)
    inbox tls-report received --mailbox ADDRESS [--folder NAME]
                                      what others report about us: the reports in that folder, read
    inbox dmarc-report list | send [--day YYYY-MM-DD] | received --mailbox ADDRESS [--folder NAME]
                                      the same for DMARC: what came under the names of others, and under ours
    inbox import mbox PATH --mailbox ADDRESS [--folder NAME]
    inbox export mbox PATH --mailbox ADDRESS

Every command takes --data-dir DIR (or INBOX_DATA_DIR; default `data`), --env-file FILE and --json.
--password-stdin reads one line and drops its line end. Administration works while the server runs and while it
does not. `inbox config` lists every variable of the environment that has a meaning.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 78 wrong configuration.
";
