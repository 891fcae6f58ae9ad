//! Templates: subject and bodies with places for variables, checked when they are made and when they are used.
//!
//! What is put into HTML is escaped; what is put into the subject or the text is not, for there is nothing to escape
//! from: the subject is checked as any other. A value is never a template itself (HG14).

mod bounds;

use std::collections::BTreeSet;

use api_message::Request;
use api_message::limits::{BODY_MAX, SUBJECT_MAX};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use storage::{Template, TemplateId, TemplateVariable};

use super::auth::{Caller, Scope};
use super::error::ApiError;
use crate::app::App;
use bounds::Bounded;

/// Steps that making one text may take: loops over lists of a thousand are fine, endless ones are not.
const FUEL: u64 = 200_000;
/// Variables of a template.
pub const VARIABLES_MAX: usize = 100;
/// Octets of a variable's name.
const NAME_MAX: usize = 64;
/// Octets of all values together, as JSON.
const VALUES_MAX: usize = 1024 * 1024;
/// What a variable can hold.
const KINDS: [&str; 5] = ["string", "number", "boolean", "list", "object"];

/// A template as somebody wants it.
pub struct Wanted {
    /// Of which it is a new version; none: a new one.
    pub id: Option<TemplateId>,
    /// What people call it.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// The body as text.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// What can be put into it.
    pub variables: Vec<TemplateVariable>,
}

fn wrong(argument: &str, message: impl std::fmt::Display) -> ApiError {
    ApiError::argument(argument, "SYNTAX", format!("{argument}: {message}"))
}

/// Makes a template, or the next version of one. Needs the scope `admin`.
pub async fn save(app: &App, caller: &Caller, wanted: Wanted) -> Result<Template, ApiError> {
    caller.needs(Scope::Admin)?;
    check_variables(&wanted.variables)?;
    if wanted.text.is_none() && wanted.html.is_none() {
        return Err(ApiError::argument("textBody", "MISSING", "a template has textBody, htmlBody or both"));
    }
    let known: BTreeSet<&str> = wanted.variables.iter().map(|v| v.name.as_str()).collect();
    let parts = [
        ("subject", Some(&wanted.subject), SUBJECT_MAX),
        ("textBody", wanted.text.as_ref(), BODY_MAX / 8),
        ("htmlBody", wanted.html.as_ref(), BODY_MAX / 8),
    ];
    for (argument, source, max) in parts {
        let Some(source) = source else { continue };
        if source.len() > max {
            return Err(ApiError::argument(
                argument,
                "TOO_LARGE",
                format!("{argument}: at most {max} octets"),
            ));
        }
        bounds::check(source).map_err(|why| wrong(argument, why))?;
        let environment = environment(false);
        let parsed = environment.template_from_str(source).map_err(|e| wrong(argument, explained(&e)))?;
        if let Some(name) =
            parsed.undeclared_variables(false).into_iter().find(|n| !known.contains(n.as_str()))
        {
            return Err(wrong(argument, format!("{name} is not among the variables")));
        }
    }
    let store = app.storage.store();
    let id = match wanted.id {
        Some(id) => store.template(caller.org, id, None).await?.id,
        None => TemplateId::random(),
    };
    let template = Template {
        id,
        org: caller.org,
        version: 0,
        name: wanted.name,
        subject: wanted.subject,
        text: wanted.text,
        html: wanted.html,
        variables: wanted.variables,
        created: app.storage.store_now(),
    };
    Ok(store.add_template(&template).await?)
}

fn check_variables(variables: &[TemplateVariable]) -> Result<(), ApiError> {
    if variables.len() > VARIABLES_MAX {
        return Err(ApiError::argument(
            "variables",
            "TOO_MANY",
            format!("variables: at most {VARIABLES_MAX}"),
        ));
    }
    let mut names = BTreeSet::new();
    for variable in variables {
        let mut letters = variable.name.chars();
        let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let good = first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !good || variable.name.len() > NAME_MAX {
            return Err(wrong(
                "variables",
                "a name holds letters, digits and `_`, and does not begin with a digit",
            ));
        }
        if !KINDS.contains(&variable.kind.as_str()) {
            return Err(wrong("variables", format!("a type is one of {}", KINDS.join(", "))));
        }
        if !names.insert(&variable.name) {
            return Err(wrong("variables", format!("{} is there twice", variable.name)));
        }
    }
    Ok(())
}

/// One fixed form of a value: two that are equal are written alike, in whatever order their members came.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let each = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::String(name.clone()), canonical(value)));
            format!("{{{}}}", each.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

/// Puts what a request's template makes of its variables in the place of subject and bodies.
pub async fn apply(app: &App, caller: &Caller, mut request: Request) -> Result<Request, ApiError> {
    let Some(wanted) = request.template.take() else { return Ok(request) };
    let given = [&request.subject, &request.text, &request.html];
    if given.iter().any(|part| part.is_some()) {
        let message = "templateId: subject and bodies come from the template";
        return Err(ApiError::argument("templateId", "CONFLICT", message));
    }
    let not_found = || ApiError { argument: Some("templateId".into()), ..ApiError::not_found() };
    let id = TemplateId::parse(&wanted.id).ok_or_else(not_found)?;
    let template = match app.storage.store().template(caller.org, id, wanted.version).await {
        Err(storage::Error::NotFound) => return Err(not_found()),
        template => template?,
    };
    if wanted.variables.len() > VALUES_MAX {
        let message = format!("variables: at most {VALUES_MAX} octets");
        return Err(ApiError::argument("variables", "TOO_LARGE", message));
    }
    let variables: Value =
        serde_json::from_str(&wanted.variables).map_err(|_| wrong("variables", "this is no object"))?;
    let made = blocking::unblock(move || make(&template, &variables)).await?;
    (request.subject, request.text, request.html) = (Some(made.subject), made.text, made.html);
    Ok(request)
}

/// What a template makes of variables.
struct Made {
    subject: String,
    text: Option<String>,
    html: Option<String>,
}

fn make(template: &Template, variables: &Value) -> Result<Made, ApiError> {
    check_values(&template.variables, variables)?;
    let render = |argument: &str, source: &str, html: bool| {
        let failed = |why| wrong("variables", format!("{argument} cannot be made: {why}"));
        // One of an earlier version may be one that would not be taken now.
        bounds::check(source).map_err(failed)?;
        let environment = environment(html);
        let mut out = Bounded::new(BODY_MAX);
        let made = environment.template_from_str(source);
        let made = made.and_then(|template| template.render_captured_to(variables, &mut out).map(drop));
        made.map_err(|e| failed(explained(&e)))?;
        Ok::<_, ApiError>(out.into_text())
    };
    let optional = |argument: &str, source: &Option<String>, html| {
        source.as_ref().map(|source| render(argument, source, html)).transpose()
    };
    Ok(Made {
        subject: render("subject", &template.subject, false)?,
        text: optional("textBody", &template.text, false)?,
        html: optional("htmlBody", &template.html, true)?,
    })
}

/// Every value is one that the template has a place for, and of its type.
fn check_values(variables: &[TemplateVariable], values: &Value) -> Result<(), ApiError> {
    let Value::Object(values) = values else { return Err(wrong("variables", "this is no object")) };
    let unknown = values.keys().find(|name| !variables.iter().any(|v| v.name == **name));
    if let Some(name) = unknown {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
        return Err(wrong("variables", format!("the template has no variable {shown}")));
    }
    for variable in variables {
        let kind = match values.get(&variable.name) {
            None | Some(Value::Null) if variable.optional => continue,
            None | Some(Value::Null) => {
                let message = format!("variables: {} is missing", variable.name);
                return Err(ApiError::argument("variables", "MISSING", message));
            }
            Some(Value::String(_)) => "string",
            Some(Value::Number(_)) => "number",
            Some(Value::Bool(_)) => "boolean",
            Some(Value::Array(_)) => "list",
            Some(Value::Object(_)) => "object",
        };
        if kind != variable.kind {
            return Err(wrong("variables", format!("{} is of type {}", variable.name, variable.kind)));
        }
    }
    Ok(())
}

fn environment(html: bool) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(move |_| if html { AutoEscape::Html } else { AutoEscape::None });
    // One that is optional and absent is empty; what is behind it is an error.
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    bounds::bound(&mut environment);
    environment
}

/// What is wrong with a template, without what stands around it.
fn explained(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    match error.detail() {
        Some(detail) => format!("{}{line}: {detail}", error.kind()),
        None => format!("{}{line}", error.kind()),
    }
}

/// The newest version of a template, or the one named.
pub async fn find(app: &App, caller: &Caller, id: &str, version: Option<u32>) -> Result<Template, ApiError> {
    caller.needs(Scope::Read)?;
    let id = TemplateId::parse(id).ok_or_else(ApiError::not_found)?;
    Ok(app.storage.store().template(caller.org, id, version).await?)
}

/// The newest versions of all.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Template>, ApiError> {
    caller.needs(Scope::Read)?;
    Ok(app.storage.store().templates(caller.org).await?)
}

/// Removes one with all its versions.
pub async fn remove(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    caller.needs(Scope::Admin)?;
    let id = TemplateId::parse(id).ok_or_else(ApiError::not_found)?;
    match app.storage.store().remove_template(caller.org, id).await? {
        true => Ok(()),
        false => Err(ApiError::not_found()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol_core::Timestamp;
    use serde_json::json;
    use storage::{Id, OrgId};

    fn template(subject: &str, html: &str, variables: &[(&str, &str, bool)]) -> Template {
        let variable = |(name, kind, optional): &(&str, &str, bool)| TemplateVariable {
            name: (*name).into(),
            kind: (*kind).into(),
            optional: *optional,
        };
        Template {
            id: TemplateId(Id([1; 16])),
            org: OrgId(Id([2; 16])),
            version: 1,
            name: "n".into(),
            subject: subject.into(),
            text: Some(html.into()),
            html: Some(html.into()),
            variables: variables.iter().map(variable).collect(),
            created: Timestamp(0),
        }
    }

    #[test]
    fn hg14_values_are_escaped_by_where_they_stand_and_are_no_templates() {
        let template =
            template("Hi {{ name }}", "<p title=\"{{ name }}\">{{ name }}</p>", &[("name", "string", false)]);
        let evil = "<script>\"'&{{ 7 * 7 }}{% raw %}";
        let made = make(&template, &json!({"name": evil})).unwrap();
        assert_eq!(made.subject, format!("Hi {evil}"));
        assert_eq!(made.text.unwrap(), format!("<p title=\"{evil}\">{evil}</p>"));
        let html = made.html.unwrap();
        assert!(!html.contains("<script>") && !html.contains("49") && !html.contains("\"\"'"), "{html}");
        assert!(html.contains("&lt;script&gt;&quot;&#x27;&amp;{{ 7 * 7 }}{% raw %}"), "{html}");
    }

    #[test]
    fn values_have_the_types_of_their_variables() {
        let variables = [("n", "number", false), ("items", "list", true)];
        let template = template("{{ n }}", "{% for item in items %}{{ item.name }},{% endfor %}", &variables);
        let made = make(&template, &json!({"n": 3, "items": [{"name": "a"}, {"name": "b"}]})).unwrap();
        assert_eq!((made.subject.as_str(), made.text.as_deref()), ("3", Some("a,b,")));
        assert_eq!(make(&template, &json!({"n": 3})).unwrap().text.as_deref(), Some(""));
        for bad in [
            json!({}),
            json!({"n": null}),
            json!({"n": "3"}),
            json!({"n": 3, "items": {}}),
            json!({"n": 3, "other": 1}),
            json!([]),
        ] {
            assert!(make(&template, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_never_ends_is_ended() {
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        assert!(make(&template("s", endless, &[]), &json!({})).is_err());
        assert!(make(&template("s", "{% include 'other' %}", &[]), &json!({})).is_err());
        let long = "{% for a in range(10000) %}{{ x }}{% endfor %}";
        let values = json!({"x": "x".repeat(100_000)});
        assert!(make(&template("s", long, &[("x", "string", false)]), &values).is_err());
    }

    #[test]
    fn equal_values_are_written_alike() {
        let one: Value = serde_json::from_str(r#"{"b": [1, {"z": null, "y": "x"}], "a": 1.5}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"a": 1.5, "b": [1, {"y": "x", "z": null}]}"#).unwrap();
        assert_eq!(canonical(&one), r#"{"a":1.5,"b":[1,{"y":"x","z":null}]}"#);
        assert_eq!(canonical(&one), canonical(&two));
    }

    #[test]
    fn names_and_types_of_variables_are_checked() {
        let of = |name: &str, kind: &str| {
            check_variables(&[TemplateVariable { name: name.into(), kind: kind.into(), optional: false }])
                .is_ok()
        };
        assert!(of("a_1", "string") && of("_x", "object"));
        assert!(!of("1a", "string") && !of("", "string") && !of("a b", "string") && !of("a", "text"));
        let many = |n: usize| {
            let each = (0..n).map(|n| TemplateVariable {
                name: format!("v{n}"),
                kind: "list".into(),
                optional: true,
            });
            check_variables(&each.collect::<Vec<_>>()).is_ok()
        };
        assert!(many(VARIABLES_MAX) && !many(VARIABLES_MAX + 1));
    }
}
