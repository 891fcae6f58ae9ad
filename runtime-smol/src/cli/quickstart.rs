//! The demonstration: an organisation, a domain and two mailboxes, made when absent, and what to try with them.

use serde_json::{Value, json};

use crate::admin::{Context, Failure, KeyCreate, Password, Request, execute, keys};
use crate::config::{Config, Secret};

const ORG: &str = "demo";
const DOMAIN: &str = "example.test";
const KEY: &str = "quickstart";
const MAILBOXES: [&str; 2] = ["alice@example.test", "bob@example.test"];

/// Asks [`crate::serve::run`] for the demonstration.
#[derive(Clone, Copy, Debug)]
pub struct Quickstart {
    /// Print one JSON object instead of text.
    pub json: bool,
}

impl Quickstart {
    /// Makes what is absent; the answer is what to print once.
    pub async fn prepare(self, context: &Context) -> Result<String, Failure> {
        let orgs = execute(context, Request::OrgList).await?;
        if !has(&orgs, "name", ORG) {
            execute(context, Request::OrgCreate { name: ORG.into() }).await?;
        }
        let domains = execute(context, Request::DomainList).await?;
        if !has(&domains, "domain", DOMAIN) {
            let add = Request::DomainAdd { domain: DOMAIN.into(), org: ORG.into(), set: Vec::new() };
            execute(context, add).await?;
        }
        let known = execute(context, Request::MailboxList).await?;
        let mut mailboxes = Vec::new();
        for address in MAILBOXES {
            let mut password = None;
            if !has(&known, "address", address) {
                let made = random_password()?;
                let secret = Password(Secret::new(made.clone()));
                let create = Request::MailboxCreate {
                    address: address.into(),
                    password: secret,
                    name: String::new(),
                    quota: None,
                };
                execute(context, create).await?;
                password = Some(made);
            }
            mailboxes.push((address, password));
        }
        let key = api_key(context).await?;
        Ok(match self.json {
            true => format!("{}\n", as_json(&context.config, &mailboxes, key.as_deref())),
            false => as_text(&context.config, &mailboxes, key.as_deref()),
        })
    }
}

/// The secret of a key that is made at the first start.
async fn api_key(context: &Context) -> Result<Option<String>, Failure> {
    if keys::is_there(&context.storage, KEY).await? {
        return Ok(None);
    }
    let wanted = KeyCreate {
        org: Some(ORG.into()),
        scopes: "send,read".into(),
        name: KEY.into(),
        ..KeyCreate::default()
    };
    let made = execute(context, Request::KeyCreate(wanted)).await?;
    Ok(made.get("secret").and_then(Value::as_str).map(str::to_owned))
}

fn has(list: &Value, field: &str, value: &str) -> bool {
    list.as_array()
        .is_some_and(|rows| rows.iter().any(|r| r.get(field).and_then(Value::as_str) == Some(value)))
}

/// 100 random bits in four groups.
fn random_password() -> Result<String, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstvwxyz0123456789";
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes).map_err(|e| Failure(format!("no randomness for a password: {e}")))?;
    let letters: Vec<char> = bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect();
    Ok(letters.chunks(5).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
}

fn ports(config: &Config) -> [(&'static str, Option<u16>); 7] {
    let p = &config.ports;
    [
        ("transfer", p.smtp_transfer),
        ("submission", p.smtp_submission),
        ("submissions", p.smtp_submissions),
        ("imap", p.imap),
        ("imaps", p.imaps),
        ("http", p.http),
        ("https", p.https),
    ]
}

fn host(config: &Config) -> String {
    config.server.bind_addrs.first().map_or("127.0.0.1".into(), |ip| match ip {
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        v4 => v4.to_string(),
    })
}

fn graphql_url(config: &Config) -> Option<String> {
    config.ports.http.map(|port| format!("http://{}:{port}/graphql", host(config)))
}

fn as_json(config: &Config, mailboxes: &[(&str, Option<String>)], key: Option<&str>) -> Value {
    let ports: serde_json::Map<String, Value> =
        ports(config).iter().map(|(n, p)| ((*n).into(), json!(p))).collect();
    let mailboxes: Vec<Value> = mailboxes.iter().map(|(a, p)| json!({"address": a, "password": p})).collect();
    json!({"ports": ports, "mailboxes": mailboxes, "apiKey": key, "graphqlUrl": graphql_url(config)})
}

fn as_text(config: &Config, mailboxes: &[(&str, Option<String>)], key: Option<&str>) -> String {
    let host = host(config);
    let mut out =
        format!("\nA demonstration server for {DOMAIN}, data in {}:\n\n", config.data_dir.display());
    for (name, port) in ports(config) {
        let port = port.map_or("off".into(), |p| format!("{host}:{p}"));
        out.push_str(&format!("  {name:<12} {port}\n"));
    }
    out.push('\n');
    let mut reset = false;
    for (address, password) in mailboxes {
        let shown = password.as_deref().unwrap_or("(made at an earlier start)");
        reset |= password.is_none();
        out.push_str(&format!("  {address:<22} password {shown}\n"));
    }
    let dir = config.data_dir.display();
    out.push_str(&format!(
        "  {:<22} {}\n",
        "API key",
        key.unwrap_or("(made at an earlier start; make another one with `inbox key create`)")
    ));
    if reset {
        let address = mailboxes.first().map_or("", |(a, _)| a);
        out.push_str(&format!(
            "\nPasswords are shown once. To set a new one:\n  echo NEW | inbox mailbox passwd {address} --password-stdin --data-dir {dir}\n"
        ));
    }
    let password = |n: usize| mailboxes.get(n).and_then(|(_, p)| p.as_deref()).unwrap_or("PASSWORD");
    let [alice, bob] = MAILBOXES;
    out.push_str("\nTo try:\n");
    if let Some(port) = config.ports.smtp_transfer {
        out.push_str(&format!("  swaks --server {host}:{port} --from you@example.org --to {alice}\n"));
    }
    if let Some(port) = config.ports.smtp_submission {
        out.push_str(&format!(
            "  swaks --server {host}:{port} --tls --auth PLAIN --auth-user {alice} --auth-password {} --from {alice} --to {bob}\n",
            password(0)
        ));
    }
    if let Some(port) = config.ports.imaps {
        out.push_str(&format!(
            "  curl --insecure --user {bob}:{} 'imaps://{host}:{port}/INBOX;MAILINDEX=1'\n",
            password(1)
        ));
    }
    if let Some(url) = graphql_url(config) {
        out.push_str(&format!(
            "  curl {url} -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d \
             '{{\"query\":\"mutation{{sendEmail(from:\\\"{alice}\\\" to:[\\\"{bob}\\\"] subject:\\\"Hello\\\" textBody:\\\"Hi\\\")}}\"}}'\n",
            key.unwrap_or("KEY")
        ));
    }
    if let Some(port) = config.ports.http {
        out.push_str(&format!("  curl http://{host}:{port}/health/ready\n"));
    }
    let kept = if config.outbound.queue.enabled {
        "is sent"
    } else {
        "is kept, not sent (start with --deliver to send it)"
    };
    out.push_str(&format!("\nMail for other domains {kept}. Stop with Ctrl-C.\n\n"));
    out
}
