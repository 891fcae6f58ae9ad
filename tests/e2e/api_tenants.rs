//! TI1: whatever the schema offers, asked with real IDs of another organisation, gives what it gives for IDs that never
//! were. A field that this file does not know fails the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::api::User;
use crate::harness::Inbox;

/// What somebody of another organisation may be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// The error NOT_FOUND.
    NotFound,
    /// An empty list.
    Nothing,
    /// It names nothing of anybody's: it concerns the caller's own organisation.
    Own,
}

/// Every field of the roots, and a document that names what is the victim's.
fn fields() -> Vec<(&'static str, &'static str, Told)> {
    use Told::*;
    vec![
        ("email", "query($email: ID!) { email(id: $email) { id } }", NotFound),
        ("emails", "{ emails { edges { node { id } } } }", Nothing),
        ("deliveryEvents", "query($email: ID) { deliveryEvents(emailId: $email) { id } }", Nothing),
        ("apiKeys", "{ apiKeys { id } }", Own),
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
        "mailbox": "bob@example.test", "alias": "alias@example.test", "new": "new@example.test",
    });
    (user, ids)
}

/// Everything that the victim can see, for comparison.
fn seen(user: &User) -> Value {
    let document = "{ emails { edges { node { id state } } } apiKeys { id } suppressions { entry } webhooks { id enabled url position } \
                    templates { id version } mailboxes { address disabled } aliases { address targets } queue { id state } }";
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
    let inbox = Inbox::started();
    let (owner, ids) = victim(&inbox);
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "send,read,admin"]);
    let never = json!({
        "email": "0123456789abcdefghjkmnpqrs", "webhook": "0123456789abcdefghjkmnpqrs",
        "template": "0123456789abcdefghjkmnpqrs", "key": "0123456789abcdefghjkmnpqrs",
        "job": "0123456789abcdefghjkmnpqrs",
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
