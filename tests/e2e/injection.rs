//! HG13: what looks like SurrealQL is text wherever it stands. Every string that an operation takes is found in the
//! schema, so that a new one is tried without anybody thinking of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::api::User;
use crate::harness::{Inbox, free_port, have};
use crate::signing::Helper;

/// Octets that end a string, name what is not asked for, or run something, in the language of the database.
const INJECTIONS: [&str; 18] = [
    "'; DELETE mailbox; --",
    "\"; DELETE api_key; \"",
    "x' OR '1'='1",
    "$auth",
    "$value",
    "`mailbox`",
    "⟨mailbox⟩",
    "mailbox:1",
    "organization:⟨a⟩",
    "a..b",
    "..",
    "rand::uuid()",
    "function() { return 1; }",
    "fn::f()",
    "\\'; REMOVE TABLE mailbox; \\",
    "\\u{27}; DELETE mailbox",
    "a\0b",
    "{ DELETE mailbox }; COMMIT; BEGIN;",
];

/// Words of the database and of our own insides that no answer may hold.
const INSIDES: [&str; 6] = ["surreal", "Parse error", "SELECT ", "UPSERT", "panicked", ".rs:"];

/// One place for a string: the operation, the way to it through the arguments, and the arguments around it.
struct Place {
    mutation: bool,
    operation: String,
    arguments: Vec<(String, String)>,
    values: Map<String, Value>,
    path: Vec<String>,
    selection: String,
}

/// The types of the schema, by name.
struct Schema {
    types: Map<String, Value>,
    roots: [(bool, String); 2],
}

const TYPE: &str = "type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

impl Schema {
    fn asked(user: &User) -> Schema {
        let document = format!(
            "{{ __schema {{ queryType {{ name }} mutationType {{ name }} types {{ name kind enumValues {{ name }} \
             inputFields {{ name {TYPE} }} fields {{ name {TYPE} args {{ name {TYPE} }} }} }} }} }}"
        );
        let answer = user.graphql(&document, json!({}));
        let schema = &answer["data"]["__schema"];
        let types = schema["types"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let name = |of: &Value| of["name"].as_str().expect("a name").to_owned();
        Schema {
            types: types.iter().map(|t| (name(t), t.clone())).collect(),
            roots: [(false, name(&schema["queryType"])), (true, name(&schema["mutationType"]))],
        }
    }

    fn list<'a>(&'a self, of: &str, what: &str) -> &'a [Value] {
        self.types.get(of).and_then(|t| t[what].as_array()).map_or(&[], Vec::as_slice)
    }

    /// Something that a type takes, and that does as little as possible.
    fn plain(&self, name: &str, of: &Value) -> Value {
        match of["kind"].as_str().unwrap_or_default() {
            "NON_NULL" => self.plain(name, &of["ofType"]),
            "LIST" => json!([self.plain(name, &of["ofType"])]),
            "ENUM" => self.list(of["name"].as_str().unwrap_or_default(), "enumValues")[0]["name"].clone(),
            "INPUT_OBJECT" => {
                let fields = self.list(of["name"].as_str().unwrap_or_default(), "inputFields");
                let needed = fields.iter().filter(|field| field["type"]["kind"] == "NON_NULL");
                let value = |field: &Value| {
                    let name = field["name"].as_str().expect("a name");
                    (name.to_owned(), self.plain(name, &field["type"]))
                };
                Value::Object(needed.map(value).collect())
            }
            _ => match (of["name"].as_str().unwrap_or_default(), name) {
                ("Int", _) => json!(1),
                ("Float", _) => json!(1.0),
                ("Boolean", _) => json!(true),
                ("DateTime", _) => json!("2000-01-01T00:00:00Z"),
                ("JSON", _) => json!({}),
                ("ID", _) => json!("0123456789abcdefghjkmnpqrs"),
                (_, "from") => json!("alice@example.test"),
                (_, "to" | "targets" | "entry" | "address") => json!("nobody@example.test"),
                (_, "url") => json!("https://hook.example/"),
                (_, "password") => json!("a long one"),
                _ => json!("x"),
            },
        }
    }

    /// The ways to every string within a type.
    fn strings(&self, of: &Value, depth: usize) -> Vec<Vec<String>> {
        match of["kind"].as_str().unwrap_or_default() {
            "NON_NULL" => self.strings(&of["ofType"], depth),
            "LIST" => {
                let inner = self.strings(&of["ofType"], depth).into_iter();
                inner.map(|rest| [vec!["0".to_owned()], rest].concat()).collect()
            }
            "INPUT_OBJECT" if depth < 4 => {
                let fields = self.list(of["name"].as_str().unwrap_or_default(), "inputFields").iter();
                let inner = |field: &Value| {
                    let name = field["name"].as_str().expect("a name").to_owned();
                    let rest = self.strings(&field["type"], depth + 1).into_iter();
                    rest.map(move |rest| [vec![name.clone()], rest].concat()).collect::<Vec<_>>()
                };
                fields.flat_map(inner).collect()
            }
            "SCALAR" => match of["name"].as_str().unwrap_or_default() {
                "Int" | "Float" | "Boolean" => Vec::new(),
                "JSON" => vec![vec!["member".to_owned()]],
                _ => vec![Vec::new()],
            },
            _ => Vec::new(),
        }
    }

    fn selection(&self, of: &Value) -> String {
        match of["kind"].as_str().unwrap_or_default() {
            "NON_NULL" | "LIST" => self.selection(&of["ofType"]),
            "OBJECT" | "UNION" | "INTERFACE" => "{ __typename }".into(),
            _ => String::new(),
        }
    }

    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (mutation, root) in &self.roots {
            for field in self.list(root, "fields") {
                let args = field["args"].as_array().expect("arguments");
                let name = |of: &Value| of["name"].as_str().expect("a name").to_owned();
                for arg in args {
                    for path in self.strings(&arg["type"], 0) {
                        // What the operation needs beside it, and it.
                        let used = args.iter().filter(|a| *a == arg || a["type"]["kind"] == "NON_NULL");
                        let used: Vec<&Value> = used.collect();
                        places.push(Place {
                            mutation: *mutation,
                            operation: name(field),
                            arguments: used.iter().map(|a| (name(a), written(&a["type"]))).collect(),
                            values: used
                                .iter()
                                .map(|a| (name(a), self.plain(&name(a), &a["type"])))
                                .collect(),
                            path: [vec![name(arg)], path].concat(),
                            selection: self.selection(&field["type"]),
                        });
                    }
                }
            }
        }
        places
    }
}

/// A type as a document has it.
fn written(of: &Value) -> String {
    match of["kind"].as_str().unwrap_or_default() {
        "NON_NULL" => format!("{}!", written(&of["ofType"])),
        "LIST" => format!("[{}]", written(&of["ofType"])),
        _ => of["name"].as_str().expect("a name").to_owned(),
    }
}

impl Place {
    fn request(&self, text: &str) -> Value {
        let declared: Vec<String> =
            self.arguments.iter().map(|(name, of)| format!("${name}: {of}")).collect();
        let given: Vec<String> = self.arguments.iter().map(|(name, _)| format!("{name}: ${name}")).collect();
        let kind = if self.mutation { "mutation" } else { "query" };
        let query = format!(
            "{kind}({}) {{ {}({}) {} }}",
            declared.join(", "),
            self.operation,
            given.join(", "),
            self.selection
        );
        let mut variables = Value::Object(self.values.clone());
        put(&mut variables, &self.path, text);
        json!({"query": query, "variables": variables})
    }
}

fn put(value: &mut Value, path: &[String], text: &str) {
    match path {
        [] => *value = json!(text),
        [name, rest @ ..] => match (name.parse::<usize>(), value) {
            (Ok(_), Value::Array(list)) if !list.is_empty() => put(&mut list[0], rest, text),
            (Ok(_), value) => {
                let mut inner = Value::Null;
                put(&mut inner, rest, text);
                *value = json!([inner]);
            }
            (Err(_), value) => {
                if !value.is_object() {
                    *value = json!({});
                }
                put(&mut value[name.as_str()], rest, text);
            }
        },
    }
}

/// What an operation may change of its own organisation. One that is not known here may change nothing.
fn own_rows(operation: &str) -> &'static [&'static str] {
    match operation {
        "sendEmail" | "sendEmails" | "cancelEmail" | "updateScheduledEmail" => &["emails", "queue"],
        "createApiKey" | "revokeApiKey" | "createOrganizationKey" => &["apiKeys"],
        "suppress" | "unsuppress" => &["suppressions"],
        "createWebhook" | "updateWebhook" | "rotateWebhookSecret" | "replayWebhook" | "deleteWebhook" => {
            &["webhooks"]
        }
        "saveTemplate" | "deleteTemplate" => &["templates"],
        "createMailbox" | "updateMailbox" | "deleteMailbox" => &["mailboxes"],
        "addAlias" | "deleteAlias" => &["aliases"],
        "createDomain" | "updateDomain" | "deleteDomain" | "setQuotas" | "rotateDkimKeys" => &["domains"],
        "actOnJob" => &["queue", "emails"],
        "createOrganization" | "deleteOrganization" => &["organizations"],
        _ => &[],
    }
}

/// Everything that somebody can see of their own organisation, and an operator of the installation.
fn seen(user: &User, operator: bool) -> Map<String, Value> {
    let document = "{ emails(first: 100) { edges { node { id state } } } apiKeys { id name } suppressions { entry } \
                    webhooks { id url enabled } templates { id name version } \
                    domains { name plusAddressing catchAll hourlySendLimit } mailboxes { address name disabled } \
                    aliases { address targets } queue { id state } }";
    let answer = user.graphql(document, json!({}));
    let mut seen = answer["data"].as_object().unwrap_or_else(|| panic!("{answer}")).clone();
    if operator {
        let answer = user.graphql("{ organizations { name } }", json!({}));
        seen.insert("organizations".into(), answer["data"]["organizations"].clone());
    }
    seen
}

fn without(mut seen: Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    names.iter().for_each(|name| drop(seen.remove(*name)));
    seen
}

/// A name server that knows nothing: no address of a test is looked up elsewhere.
fn no_names(inbox: &mut Inbox) -> Helper {
    let (dns, zone) = (free_port(), inbox.dir.0.join("zone.json"));
    fs::write(&zone, "{}").expect("written");
    inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}"));
    Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()])
}

/// Two organisations with something of everything; whoever attacks, and whose rows must stay.
fn two(inbox: &Inbox) -> (User, User) {
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    inbox.add_mailbox("carol@other.test");
    let attacker = User::made(inbox, &["--org", "test", "--scope", "send,read,admin,operator"]);
    let victim = User::made(inbox, &["--org", "other", "--scope", "send,read,admin"]);
    for (user, domain) in [(&attacker, "example.test"), (&victim, "other.test")] {
        for document in [
            "mutation { suppress(entry: \"gone@example.net\") { entry } }",
            "mutation { createWebhook(url: \"https://hook.example/\") { webhook { id } } }",
            "mutation { saveTemplate(name: \"kept\", subject: \"x\", textBody: \"x\") { id } }",
            "mutation { createApiKey(name: \"kept\", scopes: [READ]) { apiKey { id } } }",
            "mutation { addAlias(address: \"kept@DOMAIN\", targets: [\"a@example.net\"]) { address } }",
        ] {
            let answer = user.graphql(&document.replace("DOMAIN", domain), json!({}));
            assert!(answer.get("errors").is_none(), "{answer}");
        }
    }
    (attacker, victim)
}

#[test]
fn hg13_what_looks_like_a_query_is_text_in_every_string_of_every_operation() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let _names = no_names(&mut inbox);
    inbox.start();
    let (attacker, victim) = two(&inbox);
    let places = Schema::asked(&attacker).places();
    let operations: std::collections::BTreeSet<&str> = places.iter().map(|p| p.operation.as_str()).collect();
    assert!(operations.len() >= 30 && places.len() >= 80, "{} places of {operations:?}", places.len());
    let theirs = seen(&victim, false);
    let mut tried = 0;
    for operation in &operations {
        let before = without(seen(&attacker, true), own_rows(operation));
        for place in places.iter().filter(|place| place.operation == *operation) {
            for text in INJECTIONS {
                let answer = attacker.ask("POST", "/graphql", &place.request(text));
                let (body, path) = (answer.text(), &place.path);
                assert!(answer.status < 500, "{operation} {path:?} {text:?}: {}", answer.status);
                assert!(!body.contains("\"INTERNAL"), "{operation} {path:?} {text:?}: {body}");
                let told = |word: &&&str| body.contains(**word) && !text.contains(**word);
                let inside = INSIDES.iter().find(told);
                assert_eq!(inside, None, "{operation} {path:?} {text:?}: {body}");
                tried += 1;
            }
        }
        let after = without(seen(&attacker, true), own_rows(operation));
        assert_eq!(after, before, "{operation} changed what is not its own");
        assert_eq!(seen(&victim, false), theirs, "{operation} changed what is another's");
    }
    assert!(tried >= 80 * INJECTIONS.len(), "{tried} requests");
}

/// As it stands in a path.
fn encoded(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

#[test]
fn hg13_what_looks_like_a_query_is_text_in_every_parameter_of_rest() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let _names = no_names(&mut inbox);
    inbox.start();
    let (attacker, victim) = two(&inbox);
    let (ours, theirs) = (without(seen(&attacker, true), &["emails", "queue"]), seen(&victim, false));
    let text = include_str!("../../runtime-smol/src/api/openapi.json");
    let described: Value = serde_json::from_str(text).expect("JSON");
    let good =
        json!({"from": "alice@example.test", "to": ["nobody@example.test"], "subject": "x", "textBody": "x"});
    let members = described["components"]["schemas"]["SendEmail"]["properties"].as_object().expect("members");
    let mut tried = 0;
    for text in INJECTIONS {
        let mut check = |method: &str, path: &str, body: &Value| {
            let answer = attacker.ask(method, path, body);
            assert!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.text());
            tried += 1;
        };
        for (path, methods) in described["paths"].as_object().expect("paths") {
            for method in methods.as_object().expect("methods").keys() {
                let parts = path.split('/').map(|part| match part.starts_with('{') {
                    true => encoded(text),
                    false => part.to_owned(),
                });
                let path: Vec<String> = parts.collect();
                check(&method.to_uppercase(), &path.join("/"), &good);
            }
        }
        for (name, member) in members {
            let mut body = good.clone();
            body[name] = match member["type"].as_str() {
                Some("array") if member["items"]["type"] == "object" => {
                    json!([{"name": text, "value": text}])
                }
                Some("array") => json!([text]),
                Some("object") => json!({text: text}),
                _ => json!(text),
            };
            check("POST", "/v1/emails", &body);
        }
    }
    assert!(tried >= 10 * INJECTIONS.len(), "{tried} requests");
    assert_eq!(without(seen(&attacker, true), &["emails", "queue"]), ours);
    assert_eq!(seen(&victim, false), theirs);
}

/// The sources of a directory and those below it.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        match entry.path() {
            path if path.is_dir() => sources(&path, found),
            path if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            _ => {}
        }
    }
}

/// What may stand within the text of a query, and why. Everything else is bound.
const IN_QUERIES: [(&str, &str); 8] = [
    ("{table}", "the name of a table: a literal of ours, or of DavTable"),
    ("${table}", "the same as the name of a parameter"),
    ("${name}", "the name of a parameter: a literal of ours, or one with a number"),
    ("{separator}", "a comma or nothing"),
    ("$f{n}", "the name of a parameter with a number"),
    ("{folders}", "names of parameters with numbers"),
    ("{text}", "statements of ours between BEGIN and COMMIT"),
    ("{next}", "a migration, which is a constant"),
];

/// Every `{...}` of a format string, with the `$` or `$f` in front that makes it the name of a parameter.
fn insertions(text: &str) -> Vec<String> {
    let text = text.replace("{{", "").replace("}}", "");
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('{') {
        let Some(end) = rest[at..].find('}') else { break };
        let front = rest[..at].rfind('$').filter(|from| at - from <= 2).unwrap_or(at);
        found.push(rest[front..=at + end].to_owned());
        rest = &rest[at + end + 1..];
    }
    found
}

#[test]
fn hg13_no_query_is_made_of_anything_but_constants() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    sources(&root.join("storage/src"), &mut files);
    sources(&root.join("runtime-smol/src"), &mut files);
    let mut formats = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let name = file.to_string_lossy().into_owned();
        let of_database = name.contains("storage/src/surreal/");
        // One place asks the database: what goes there comes through `read` and `transaction` beside it.
        let asks = text.matches("db.query(").count();
        assert_eq!(asks, if name.ends_with("storage/src/surreal/call.rs") { 2 } else { 0 }, "{name}");
        for word in ["use surrealdb", "surrealdb::Surreal", "surrealdb_core::"] {
            assert!(of_database || !text.contains(word), "{name} knows {word}");
        }
        if !of_database {
            continue;
        }
        for (at, _) in text.match_indices("format!(") {
            let Some(literal) = literal(&text[at + "format!(".len()..]) else { continue };
            // Only what has the look of a query: names of parameters and error texts have none.
            let words = ["SELECT ", "INSERT ", "UPDATE ", "UPSERT ", "DELETE ", "RETURN ", "BEGIN", "$f"];
            if !words.iter().any(|word| literal.contains(word)) {
                continue;
            }
            formats += 1;
            for inserted in insertions(literal) {
                // The names of all tables of a sum, each a parameter with a number.
                let sum = inserted == "{}" && text[at..].contains("names.join(\", \"))");
                let known = IN_QUERIES.iter().any(|(known, _)| *known == inserted);
                assert!(known || sum, "{name}: {inserted} in {literal:?}");
            }
        }
        // What is put into a query by name is a literal where it comes from.
        for call in ["self.insert(", "self.replace(", "self.delete(", "self.delete_range(", "self.each("] {
            for (at, _) in text.match_indices(call) {
                let argument = text[at + call.len()..].trim_start();
                let literal = argument.starts_with('"')
                    || argument.starts_with("&format!(\"all_{table}_{n}\")")
                    || argument.starts_with("&format!(\"dav_gone_{n}\")")
                    || ["&name,", "table,", "name,"].iter().any(|own| argument.starts_with(own));
                assert!(literal, "{name}: {call}{}", argument.lines().next().unwrap_or_default());
            }
        }
    }
    assert!(formats >= 8, "only {formats} were looked at");
}

/// The string literal that a text begins with.
fn literal(text: &str) -> Option<&str> {
    let text = text.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = text.find(|c: char| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    })?;
    Some(&text[..end])
}

#[test]
fn hg13_the_check_finds_what_it_looks_for() {
    assert_eq!(insertions("SELECT * FROM {x} WHERE a = ${n} {{ b }}"), ["{x}", "${n}"]);
    assert_eq!(literal(" \"a \\\" {b}\", c)"), Some("a \\\" {b}"));
    let bad = insertions("SELECT * FROM mailbox WHERE address = '{address}'");
    assert!(IN_QUERIES.iter().all(|(known, _)| *known != bad[0]));
}
