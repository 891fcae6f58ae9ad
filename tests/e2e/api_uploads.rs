//! Attachments that come beside a document, as octets (the GraphQL multipart request specification).

use serde_json::{Value, json};

use crate::api::{Answer, User, http};
use crate::harness::{Inbox, http_status};

const BOUNDARY: &str = "a-boundary-of-our-own";
/// Octets of one attachment.
const ATTACHMENT_MAX: usize = 18_874_368;

const SEND: &str = "mutation($file: Upload!, $key: String) { sendEmail(from: \"alice@example.test\", to: [\"bob@example.test\"], \
                    textBody: \"x\", idempotencyKey: $key, attachments: [{filename: \"a.bin\", file: $file}]) }";

/// A body with these operations, and each file where the map says.
fn body(operations: &Value, map: &Value, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, text) in [("operations", operations.to_string()), ("map", map.to_string())] {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    for (name, octets) in files {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f{name}.bin\"\r\n\
             Content-Type: application/x-test\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(octets);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn ask(user: &User, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let own = [("Authorization", user.authorization.as_str()), ("Content-Type", kind.as_str())];
    http(user.port, "POST", "/graphql", &[&own, fields].concat(), body)
}

/// The ID, or the code of the error.
fn sent(answer: &Answer) -> String {
    let json = answer.json();
    let id = json["data"]["sendEmail"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| json["errors"][0]["extensions"]["code"].as_str().unwrap_or("?").to_owned())
}

const PREFLIGHT: [(&str, &str); 1] = [("GraphQL-Require-Preflight", "1")];

fn one(user: &User, octets: &[u8], key: Option<&str>) -> String {
    let operations = json!({"query": SEND, "variables": {"file": null, "key": key}});
    sent(&ask(user, &PREFLIGHT, &body(&operations, &json!({"0": ["variables.file"]}), &[("0", octets)])))
}

#[test]
fn a_file_beside_a_document_is_an_attachment_as_one_in_base64_is() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let octets: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let id = one(&user, &octets, Some("one"));
    assert_eq!(id.len(), 26, "{id}");
    // The same request in the other form is the same request.
    use base64::Engine as _;
    let content = base64::engine::general_purpose::STANDARD.encode(&octets);
    let same = json!({
        "from": "alice@example.test", "to": ["bob@example.test"], "textBody": "x", "idempotencyKey": "one",
        "attachments": [{"filename": "a.bin", "contentType": "application/x-test", "content": content}],
    });
    assert_eq!(user.send(same), id);
    let mail = inbox.dir.0.join("bob.mbox").display().to_string();
    inbox.cli_ok(&["export", "mbox", &mail, "--mailbox", "bob@example.test"]);
    let text = std::fs::read_to_string(mail).expect("readable").replace(['\r', '\n'], "");
    assert!(text.contains(&content) && text.contains("application/x-test"), "the octets arrived");
}

#[test]
fn a_form_of_a_page_and_what_is_no_file_are_refused() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let operations = json!({"query": SEND, "variables": {"file": null}});
    let good = body(&operations, &json!({"0": ["variables.file"]}), &[("0", b"x")]);
    // A browser sends this type for any page, without asking.
    assert_eq!(ask(&user, &[], &good).status, 415);
    assert_eq!(ask(&user, &[("X-Requested-With", "a client")], &good).status, 200);
    let reader = User::made(&inbox, &["--org", "test", "--scope", "read"]);
    assert_eq!(ask(&reader, &PREFLIGHT, &good).status, 415, "only who may send uploads anything");
    let cut = &good[..good.len() - 20];
    assert_eq!(sent(&ask(&user, &PREFLIGHT, cut)), "BAD_REQUEST");
    for marked in
        ["#__graphql_file__:0", "#__graphql_file__:x", "#__graphql_file__:99999999999999999999", "x"]
    {
        let answer = user.graphql(SEND, json!({"file": marked}));
        assert!(answer["errors"][0]["extensions"]["code"].is_string(), "{marked}: {answer}");
    }
    for attachment in [json!({"filename": "x"}), json!({"filename": "x", "file": "x"})] {
        let email = json!({
            "from": "alice@example.test", "to": ["bob@example.test"], "textBody": "x", "attachments": [attachment],
        });
        assert_eq!(user.ask("POST", "/v1/emails", &email).status, 400, "{email}");
    }
    assert_eq!(http_status(inbox.port("HTTP_PORT"), "/health/ready"), Some(200));
}

#[test]
fn files_at_their_limits_and_one_past_them() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let mut octets = vec![b'x'; ATTACHMENT_MAX];
    assert_eq!(one(&user, &octets, None).len(), 26, "a file of the largest size");
    octets.push(b'x');
    assert_eq!(one(&user, &octets, None), "TOO_LARGE", "an octet more");
    octets.resize(29 * 1024 * 1024, b'x');
    assert_eq!(one(&user, &octets, None), "TOO_LARGE", "more than a body may have");
    // One file in many places counts in each of them.
    octets.truncate(14_000_000);
    let twice = "mutation($a: Upload!, $b: Upload!) { sendEmail(from: \"alice@example.test\", to: [\"bob@example.test\"], \
                 textBody: \"x\", attachments: [{file: $a}, {file: $b}]) }";
    let operations = json!({"query": twice, "variables": {"a": null, "b": null}});
    let map = json!({"0": ["variables.a", "variables.b"]});
    let answer = ask(&user, &PREFLIGHT, &body(&operations, &map, &[("0", &octets)])).json();
    assert_eq!(answer["errors"][0]["extensions"]["argument"], "attachments[1].file", "{answer}");
    // Files beside one document.
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        let query = "mutation($files: [AttachmentInput!]) { sendEmail(from: \"alice@example.test\", to: [\"bob@example.test\"], \
                     textBody: \"x\", attachments: $files) }";
        let place = |name: &String| (name.clone(), json!([format!("variables.files.{name}.file")]));
        let map: Value = names.iter().map(place).collect();
        let places = vec![json!({"file": null}); count];
        let operations = json!({"query": query, "variables": {"files": places}});
        sent(&ask(&user, &PREFLIGHT, &body(&operations, &map, &files)))
    };
    assert_eq!(many(100).len(), 26);
    assert_eq!(many(101), "TOO_LARGE");
}
