//! TI1: whatever the schema offers, asked with real IDs of another organisation, gives what it gives for IDs that never
//! were. A field that this file does not know fails the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::User;
use crate::harness::{Inbox, eventually, free_port, have};
use crate::signing::Helper;

/// What somebody of another organisation may be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// The error NOT_FOUND.
    NotFound,
    /// An empty list.
    Nothing,
    /// It names nothing of anybody's: it concerns the caller's own organisation.
    Own,
    /// The error FORBIDDEN: it is for whoever runs the installation.
    Forbidden,
    /// The error INVALID_ARGUMENT, with the same words for a domain that nobody has.
    Refused,
}

/// Every field of the roots, and a document that names what is the victim's.
fn fields() -> Vec<(&'static str, &'static str, Told)> {
    use Told::*;
    vec![
        ("email", "query($email: ID!) { email(id: $email) { id } }", NotFound),
        ("emails", "{ emails { edges { node { id } } } }", Nothing),
        ("deliveryEvents", "query($email: ID) { deliveryEvents(emailId: $email) { id } }", Nothing),
        ("apiKeys", "{ apiKeys { id } }", Own),
        ("auditLog", "{ auditLog { id } }", Own),
        ("suppressions", "{ suppressions { entry } }", Nothing),
        ("webhooks", "{ webhooks { id } }", Nothing),
        ("templates", "{ templates { id } }", Nothing),
        ("template", "query($template: ID!) { template(id: $template) { id } }", NotFound),
        (
            "sendEmail",
            "mutation { sendEmail(from: \"a@other.test\", to: [\"a@simulator.invalid\"], textBody: \"x\") }",
            Own,
        ),
        (
            "sendEmails",
            "mutation { sendEmails(emails: [{from: \"a@other.test\", to: [\"a@simulator.invalid\"], textBody: \"x\"}]) { id } }",
            Own,
        ),
        (
            "updateScheduledEmail",
            "mutation($email: ID!) { updateScheduledEmail(id: $email, sendAt: \"2000-01-01T00:00:00Z\") { id } }",
            NotFound,
        ),
        ("cancelEmail", "mutation($email: ID!) { cancelEmail(id: $email) { id } }", NotFound),
        ("createApiKey", "mutation { createApiKey(name: \"x\", scopes: [READ]) { apiKey { id } } }", Own),
        ("revokeApiKey", "mutation($key: ID!) { revokeApiKey(id: $key) }", NotFound),
        ("suppress", "mutation { suppress(entry: \"x@example.net\") { entry } }", Own),
        ("unsuppress", "mutation { unsuppress(entry: \"gone@example.net\") }", Own),
        ("createWebhook", "mutation { createWebhook(url: \"https://a.example/\") { webhook { id } } }", Own),
        (
            "updateWebhook",
            "mutation($webhook: ID!) { updateWebhook(id: $webhook, enabled: false) { id } }",
            NotFound,
        ),
        (
            "rotateWebhookSecret",
            "mutation($webhook: ID!) { rotateWebhookSecret(id: $webhook) { secret } }",
            NotFound,
        ),
        ("replayWebhook", "mutation($webhook: ID!) { replayWebhook(id: $webhook) { id } }", NotFound),
        ("deleteWebhook", "mutation($webhook: ID!) { deleteWebhook(id: $webhook) }", NotFound),
        (
            "saveTemplate",
            "mutation($template: ID) { saveTemplate(id: $template, name: \"x\", subject: \"x\", textBody: \"x\") { id } }",
            NotFound,
        ),
        ("deleteTemplate", "mutation($template: ID!) { deleteTemplate(id: $template) }", NotFound),
        ("domains", "{ domains { name } }", Own),
        ("mailboxes", "{ mailboxes { address } }", Nothing),
        (
            "createMailbox",
            "mutation($new: String!) { createMailbox(address: $new, password: \"a long one\") { address } }",
            NotFound,
        ),
        (
            "updateMailbox",
            "mutation($mailbox: String!) { updateMailbox(address: $mailbox, disabled: true) { address } }",
            NotFound,
        ),
        ("deleteMailbox", "mutation($mailbox: String!) { deleteMailbox(address: $mailbox) }", NotFound),
        ("aliases", "{ aliases { address } }", Nothing),
        (
            "addAlias",
            "mutation($new: String!) { addAlias(address: $new, targets: [\"a@other.test\"]) { address } }",
            NotFound,
        ),
        ("deleteAlias", "mutation($alias: String!) { deleteAlias(address: $alias) }", NotFound),
        ("organization", "{ organization { id name mailboxes usedBytes } }", Own),
        ("organizations", "{ organizations { id } }", Forbidden),
        ("domainProof", "{ domainProof(name: \"mine.test\") { name value } }", Own),
        (
            "receivedReports",
            "query($mailbox: String!) { receivedReports(kind: TLS, mailbox: $mailbox) }",
            NotFound,
        ),
        ("createOrganization", "mutation { createOrganization(name: \"x\") { id } }", Forbidden),
        ("deleteOrganization", "mutation($org: ID!) { deleteOrganization(id: $org) }", Forbidden),
        (
            "createOrganizationKey",
            "mutation($org: ID!) { createOrganizationKey(organizationId: $org, name: \"x\", scopes: [READ]) { secret } }",
            Forbidden,
        ),
        ("createDomain", "mutation($domain: String!) { createDomain(name: $domain) { name } }", Refused),
        (
            "updateDomain",
            "mutation($domain: String!) { updateDomain(name: $domain, settings: {plusAddressing: false}) { name } }",
            NotFound,
        ),
        (
            "setQuotas",
            "mutation($domain: String!) { setQuotas(domain: $domain, quotas: {hourlySendLimit: 1}) { name } }",
            Forbidden,
        ),
        ("deleteDomain", "mutation($domain: String!) { deleteDomain(name: $domain) }", NotFound),
        ("rotateDkimKeys", "mutation($domain: String!) { rotateDkimKeys(name: $domain) { name } }", NotFound),
        ("queue", "{ queue { id } }", Nothing),
        ("actOnJob", "mutation($job: ID!) { actOnJob(id: $job, action: CANCEL) { id } }", NotFound),
    ]
}

/// The fields of the roots by the schema, those of subscriptions left out: they answer what the query of that name does.
fn schema_fields() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.graphql");
    let text = fs::read_to_string(path).expect("the schema");
    let (mut inside, mut described, mut found) = (false, false, BTreeSet::new());
    for line in text.lines() {
        if line.trim().starts_with("\"\"\"") {
            described ^= line.matches("\"\"\"").count() == 1;
            continue;
        }
        inside |= line == "type Query {" || line == "type Mutation {";
        inside &= line != "}";
        let name = line.strip_prefix('\t').filter(|rest| inside && !described && !rest.starts_with('\t'));
        let name =
            name.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default());
        found.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    found
}

/// What the first organisation has.
fn victim(inbox: &Inbox) -> (User, Value) {
    let user = User::made(inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let id = |document: &str, path: &str| {
        let answer = user.graphql(document, json!({}));
        answer.pointer(path).unwrap_or_else(|| panic!("{path} in {answer}")).clone()
    };
    user.graphql("mutation { suppress(entry: \"gone@example.net\") { entry } }", json!({}));
    let alias =
        "mutation { addAlias(address: \"alias@example.test\", targets: [\"bob@example.test\"]) { address } }";
    user.graphql(alias, json!({}));
    let queued = "mutation { sendEmail(from: \"alice@example.test\", to: [\"a@example.net\"], textBody: \"x\", sendAt: \"AT\") }";
    let soon =
        std::process::Command::new("date").args(["-u", "-d", "+1 hour", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    let soon = String::from_utf8(soon.expect("date runs").stdout).expect("text");
    user.graphql(&queued.replace("AT", soon.trim()), json!({}));
    let ids = json!({
        "email": id(
            "mutation { sendEmail(from: \"alice@example.test\", to: [\"bob@example.test\"], textBody: \"x\") }",
            "/data/sendEmail",
        ),
        "webhook": id(
            "mutation { createWebhook(url: \"https://a.example/\") { webhook { id } } }",
            "/data/createWebhook/webhook/id",
        ),
        "template": id(
            "mutation { saveTemplate(name: \"x\", subject: \"x\", textBody: \"x\") { id } }",
            "/data/saveTemplate/id",
        ),
        "job": id("{ queue { id } }", "/data/queue/0/id"),
        "key": id(
            "mutation { createApiKey(name: \"x\", scopes: [READ]) { apiKey { id } } }",
            "/data/createApiKey/apiKey/id",
        ),
        "org": id("{ organization { id } }", "/data/organization/id"),
        "mailbox": "bob@example.test", "alias": "alias@example.test", "new": "new@example.test",
        "domain": "example.test",
    });
    (user, ids)
}

/// Everything that the victim can see, for comparison.
fn seen(user: &User) -> Value {
    let document = "{ emails { edges { node { id state } } } apiKeys { id } suppressions { entry } webhooks { id enabled url position } \
                    templates { id version } domains { name plusAddressing hourlySendLimit dnsRecords { name value } } \
                    mailboxes { address disabled } aliases { address targets } queue { id state } }";
    let mut answer = user.graphql(document, json!({}));
    assert!(answer.get("errors").is_none(), "{answer}");
    // The webhook's address does not exist, and where it stands moves on.
    if let Some(webhooks) = answer.pointer_mut("/data/webhooks").and_then(Value::as_array_mut) {
        webhooks.iter_mut().for_each(|webhook| webhook["position"] = Value::Null);
    }
    answer
}

#[test]
fn ti1_another_organisation_is_told_what_it_would_be_told_of_what_never_was() {
    let known: BTreeSet<String> = fields().iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(schema_fields(), known, "every field has a row here");
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let _names = named(&mut inbox);
    inbox.start();
    let (owner, ids) = victim(&inbox);
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "send,read,admin"]);
    let never = json!({
        "email": "0123456789abcdefghjkmnpqrs", "webhook": "0123456789abcdefghjkmnpqrs",
        "template": "0123456789abcdefghjkmnpqrs", "key": "0123456789abcdefghjkmnpqrs",
        "job": "0123456789abcdefghjkmnpqrs", "org": "0123456789abcdefghjkmnpqrs", "domain": "never.test",
        "mailbox": "bob@never.test", "alias": "alias@never.test", "new": "new@never.test",
    });
    let before = seen(&owner);
    // What the other organisation makes of its own comes last: the lists must be empty before.
    let mut all = fields();
    all.sort_by_key(|(_, _, told)| *told == Told::Own);
    for (name, document, told) in all {
        let answer = other.graphql(document, ids.clone());
        match told {
            Told::NotFound => {
                assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND", "{name}: {answer}");
                assert_eq!(answer, other.graphql(document, never.clone()), "{name}");
            }
            Told::Forbidden | Told::Refused => {
                let code = if told == Told::Forbidden { "FORBIDDEN" } else { "INVALID_ARGUMENT" };
                assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{name}: {answer}");
                assert_eq!(answer, other.graphql(document, never.clone()), "{name}");
            }
            Told::Nothing => {
                let text = answer["data"][name].to_string();
                assert!(text == "[]" || text == "{\"edges\":[]}", "{name}: {answer}");
            }
            Told::Own => {
                assert!(answer.get("errors").is_none(), "{name}: {answer}");
                let text = answer.to_string();
                let theirs = |id: &Value| text.contains(id.as_str().expect("an ID"));
                assert!(!ids.as_object().expect("IDs").values().any(theirs), "{name}: {answer}");
            }
        }
        // Nobody at all is told the same, whatever it is.
        let anonymous = User { port: other.port, authorization: "Bearer nonsense".into() };
        let answer = anonymous.ask("POST", "/graphql", &json!({"query": document, "variables": ids}));
        assert_eq!(answer.status, 401, "{name}");
    }
    assert_eq!(seen(&owner), before, "nothing of the first organisation has changed");
}

/// A name server, whose zone the test writes.
fn named(inbox: &mut Inbox) -> (Helper, std::path::PathBuf) {
    let (dns, zone) = (free_port(), inbox.dir.0.join("zone.json"));
    fs::write(&zone, "{}").expect("written");
    inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}"));
    (Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()]), zone)
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

/// A domain is given to whoever proves that it is theirs, and to nobody else; how many records it has then.
fn prove_a_domain(tenant: &User, zone: &Path) -> usize {
    let create = "mutation { createDomain(name: \"Tenant.Test\") { name dnsRecords(check: true) { name type value live } } }";
    assert_eq!(tenant.graphql(create, json!({}))["errors"][0]["extensions"]["reason"], "NOT_PROVED");
    let proof = tenant.graphql("{ domainProof(name: \"tenant.test\") { name type value } }", json!({}));
    let proof = &proof["data"]["domainProof"];
    let mut published = json!({});
    published[proof["name"].as_str().expect("a name")] = json!({"TXT": [proof["value"]]});
    published["tenant.test."] = json!({"MX": ["10 mx.example.test."]});
    let temporary = zone.with_extension("tmp");
    fs::write(&temporary, published.to_string()).expect("written");
    fs::rename(&temporary, zone).expect("renamed");
    let mut given = Value::Null;
    eventually(Duration::from_secs(30), "the proof is found", || {
        given = tenant.graphql(create, json!({}));
        given["data"]["createDomain"]["name"] == "tenant.test"
    });
    let records = given["data"]["createDomain"]["dnsRecords"].as_array().expect("records").clone();
    let live = |kind: &str| records.iter().find(|r| r["type"] == kind).map(|r| r["live"].clone());
    assert_eq!((live("MX"), live("SRV")), (Some(json!(true)), Some(json!(false))), "{records:?}");
    records.len()
}

/// What a domain does with its mail is its organisation's to say, what it may send is not.
fn set_and_limit(tenant: &User, operator: &User) {
    let settings = "mutation { updateDomain(name: \"tenant.test\", settings: {catchAll: \"all\", plusDelimiter: \"-\"}) \
                    { catchAll plusDelimiter plusAddressing } }";
    let set = tenant.graphql(settings, json!({}));
    assert_eq!(
        set["data"]["updateDomain"],
        json!({"catchAll": "all@tenant.test", "plusDelimiter": "-", "plusAddressing": true})
    );
    let quotas = "mutation { setQuotas(domain: \"tenant.test\", quotas: {hourlySendLimit: 1, mailboxQuotaBytes: 5000}) \
                  { hourlySendLimit dailySendLimit mailboxQuotaBytes catchAll } }";
    assert_eq!(code(&tenant.graphql(quotas, json!({}))), "FORBIDDEN");
    let set = operator.graphql(quotas, json!({}));
    assert_eq!(
        set["data"]["setQuotas"],
        json!({"hourlySendLimit": 1, "dailySendLimit": null, "mailboxQuotaBytes": 5000, "catchAll": "all@tenant.test"})
    );
    let mailbox =
        "mutation { createMailbox(address: \"all@tenant.test\", password: \"a long one\") { address } }";
    tenant.graphql(mailbox, json!({}));
    let mail = json!({"from": "all@tenant.test", "to": ["x@tenant.test"], "textBody": "x"});
    tenant.send(mail.clone());
    assert_eq!(tenant.ask("POST", "/v1/emails", &mail).json()["error"]["code"], "QUOTA_EXCEEDED");
    let usage =
        tenant.graphql("{ domains { sentThisHour } organization { mailboxes usedBytes } }", json!({}));
    assert_eq!(
        (&usage["data"]["domains"][0]["sentThisHour"], &usage["data"]["organization"]["mailboxes"]),
        (&json!(1), &json!(1))
    );
    assert!(usage["data"]["organization"]["usedBytes"].as_u64().expect("a number") > 0, "{usage}");
    let edit = "mutation($quota: Int) { updateMailbox(address: \"all@tenant.test\", name: \"All\", quotaBytes: $quota) \
                { name quotaBytes } }";
    let edited = tenant.graphql(edit, json!({"quota": 9_000}));
    assert_eq!(edited["data"]["updateMailbox"], json!({"name": "All", "quotaBytes": 9000}));
    let edited = tenant.graphql(edit, json!({"quota": null}));
    assert_eq!(edited["data"]["updateMailbox"], json!({"name": "All", "quotaBytes": null}));
}

fn rotate_keys(tenant: &User, before: usize) {
    let rotate = "mutation($finish: Boolean!) { rotateDkimKeys(name: \"tenant.test\", finish: $finish) { dnsRecords { name } } }";
    let rotated = tenant.graphql(rotate, json!({"finish": false}));
    let now = rotated["data"]["rotateDkimKeys"]["dnsRecords"].as_array().expect("records").len();
    assert_eq!(now, before + 2, "{rotated}");
    assert_eq!(code(&tenant.graphql(rotate, json!({"finish": true}))), "CONFLICT");
}

#[test]
fn whoever_runs_the_installation_makes_organisations_that_look_after_themselves() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let (_names, zone) = named(&mut inbox);
    inbox.start();
    let operator = User::made(&inbox, &["--org", "test", "--scope", "read,operator"]);
    let made = operator
        .graphql("mutation { createOrganization(name: \"tenant\") { id name mailboxes } }", json!({}));
    let org = made["data"]["createOrganization"]["id"].clone();
    assert!(org.is_string(), "{made}");
    let again = operator.graphql("mutation { createOrganization(name: \"tenant\") { id } }", json!({}));
    assert_eq!(code(&again), "CONFLICT", "{again}");
    let listed = operator.graphql("{ organizations { name } }", json!({}));
    assert_eq!(listed["data"]["organizations"], json!([{"name": "tenant"}, {"name": "test"}]));
    let key = "mutation($org: ID!, $scopes: [KeyScope!]!) { createOrganizationKey(organizationId: $org, name: \"first\", \
               scopes: $scopes) { secret apiKey { scopes } } }";
    let refused = operator.graphql(key, json!({"org": org, "scopes": ["OPERATOR"]}));
    assert_eq!(code(&refused), "FORBIDDEN", "{refused}");
    let first = operator.graphql(key, json!({"org": org, "scopes": ["SEND", "READ", "ADMIN"]}));
    let secret = first["data"]["createOrganizationKey"]["secret"].as_str().expect("a secret");
    let tenant = User { port: operator.port, authorization: format!("Bearer {secret}") };
    let own = "mutation { createApiKey(name: \"x\", scopes: [OPERATOR]) { secret } }";
    assert_eq!(code(&tenant.graphql(own, json!({}))), "FORBIDDEN");

    let records = prove_a_domain(&tenant, &zone);
    let other = operator.graphql("{ domainProof(name: \"tenant.test\") { value } }", json!({}));
    assert_eq!(code(&other), "FORBIDDEN", "the operator's key has no scope admin");
    set_and_limit(&tenant, &operator);
    rotate_keys(&tenant, records);
    let delete = "mutation { deleteDomain(name: \"tenant.test\") }";
    assert_eq!(code(&tenant.graphql(delete, json!({}))), "CONFLICT", "it has a mailbox");
    tenant.graphql("mutation { deleteMailbox(address: \"all@tenant.test\") }", json!({}));
    assert_eq!(tenant.graphql(delete, json!({}))["data"]["deleteDomain"], "tenant.test");
    let gone = operator.graphql("mutation($org: ID!) { deleteOrganization(id: $org) }", json!({"org": org}));
    assert_eq!(gone["data"]["deleteOrganization"], org);
    assert_eq!(tenant.ask("POST", "/graphql", &json!({"query": "{ __typename }"})).status, 401);
}
