//! Templates of an organisation.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use storage::{TemplateId, TemplateVariable};

use super::query::parts;
use super::types::DateTime;
use crate::api::error::ApiError;
use crate::api::templates;

/// What a variable of a template holds.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum VariableType {
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    List,
    /// Names and values.
    Object,
}

const VARIABLE_TYPES: [(VariableType, &str); 5] = [
    (VariableType::String, "string"),
    (VariableType::Number, "number"),
    (VariableType::Boolean, "boolean"),
    (VariableType::List, "list"),
    (VariableType::Object, "object"),
];

/// A variable of a template.
#[derive(SimpleObject)]
pub struct Variable {
    /// Its name.
    name: String,
    /// What it holds.
    r#type: VariableType,
    /// It may be left out.
    optional: bool,
}

/// A variable of a template.
#[derive(InputObject)]
pub struct VariableInput {
    /// Its name.
    name: String,
    /// What it holds.
    r#type: VariableType,
    /// It may be left out.
    #[graphql(default)]
    optional: bool,
}

/// One version of a template.
#[derive(SimpleObject)]
pub struct Template {
    /// Its ID, the same for all versions.
    id: ID,
    /// Which version this is, from 1.
    version: u32,
    /// What people call it.
    name: String,
    /// The subject, with places for variables.
    subject: String,
    /// The body as plain text, with places for variables.
    text_body: Option<String>,
    /// The body as HTML, with places for variables.
    html_body: Option<String>,
    /// What can be put into it.
    variables: Vec<Variable>,
    /// When this version was made.
    created_at: DateTime,
}

impl From<storage::Template> for Template {
    fn from(template: storage::Template) -> Template {
        let kind = |kind: &str| VARIABLE_TYPES.iter().find(|(_, name)| *name == kind).map(|(kind, _)| *kind);
        let variable = |v: TemplateVariable| {
            Some(Variable { r#type: kind(&v.kind)?, name: v.name, optional: v.optional })
        };
        Template {
            id: ID(template.id.to_string()),
            version: template.version,
            name: template.name,
            subject: template.subject,
            text_body: template.text,
            html_body: template.html,
            variables: template.variables.into_iter().filter_map(variable).collect(),
            created_at: DateTime(template.created),
        }
    }
}

/// What can be asked about templates.
#[derive(Default)]
pub struct TemplateQuery;

#[Object]
impl TemplateQuery {
    /// The newest versions of the organisation's templates. Needs the scope `read`.
    async fn templates(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Template>> {
        let (app, caller) = parts(context)?;
        Ok(templates::list(app, caller).await?.into_iter().map(Template::from).collect())
    }

    /// One template. Needs the scope `read`.
    async fn template(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
        #[graphql(desc = "Which version; the newest when absent.")] version: Option<u32>,
    ) -> async_graphql::Result<Template> {
        let (app, caller) = parts(context)?;
        Ok(templates::find(app, caller, &id, version).await?.into())
    }
}

/// What can be done with templates.
#[derive(Default)]
pub struct TemplateMutation;

#[Object]
impl TemplateMutation {
    /// Makes a template, or the next version of one. Versions are never changed. Needs the scope `admin`.
    #[allow(clippy::too_many_arguments)] // each is an argument of the field
    async fn save_template(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Of which it is a new version; absent: a new template.")] id: Option<ID>,
        #[graphql(desc = "What people call it.")] name: String,
        #[graphql(desc = "The subject; {{ name }} is the place of a variable.")] subject: String,
        #[graphql(desc = "The body as plain text.")] text_body: Option<String>,
        #[graphql(desc = "The body as HTML; what is put into it is escaped.")] html_body: Option<String>,
        #[graphql(desc = "What can be put into it.")] variables: Option<Vec<VariableInput>>,
    ) -> async_graphql::Result<Template> {
        let (app, caller) = parts(context)?;
        let kind = |wanted: VariableType| {
            VARIABLE_TYPES.iter().find(|(kind, _)| *kind == wanted).map_or("", |(_, name)| name).to_owned()
        };
        let variable =
            |v: VariableInput| TemplateVariable { kind: kind(v.r#type), name: v.name, optional: v.optional };
        let wanted = templates::Wanted {
            id: id.map(|id| TemplateId::parse(&id).ok_or_else(ApiError::not_found)).transpose()?,
            name,
            subject,
            text: text_body,
            html: html_body,
            variables: variables.unwrap_or_default().into_iter().map(variable).collect(),
        };
        Ok(templates::save(app, caller, wanted).await?.into())
    }

    /// Removes a template with all its versions. Needs the scope `admin`.
    async fn delete_template(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
    ) -> async_graphql::Result<ID> {
        let (app, caller) = parts(context)?;
        templates::remove(app, caller, &id).await?;
        Ok(id)
    }
}
