//! The OpenAPI 3.1 document, made from the table of routes and the types that serve them.
//!
//! The committed copy is `openapi.json`; the console's types are generated from it. A test holds the copy equal to
//! the code.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{Object, Ref, Schema, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, RefOr, Required,
};
use utoipa::{PartialSchema, ToSchema};

use crate::routes::{Method, ROUTES, Route, Who};
use crate::schema;

/// Schemas by name, collected while the document is made.
pub type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Adds a type and what it uses to the schemas and returns a reference to it.
pub type DescribeBody = fn(&mut Schemas) -> Ref;

/// What the document says about a route.
pub struct Describe {
    /// Operation id.
    pub id: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Type of the JSON body of the request, if it has one.
    pub request: Option<DescribeBody>,
    /// Body of the answer when all goes well.
    pub answer: Answer,
    /// Statuses of refusals and failures beside those that its callers and every route have.
    pub refusals: &'static [u16],
}

/// Body of an answer.
pub enum Answer {
    /// None: status 204.
    Nothing,
    /// JSON of a type.
    Json(DescribeBody),
    /// JSON of the first type, or server-sent events of the second when the request asks for a stream.
    JsonOrStream(DescribeBody, DescribeBody),
    /// Text of a media type.
    Text(&'static str),
}

/// [`DescribeBody`] of a type.
pub fn describe<T: ToSchema>(schemas: &mut Schemas) -> Ref {
    let mut used = Vec::new();
    T::schemas(&mut used);
    schemas.extend(used);
    schemas.insert(T::name().into_owned(), <T as PartialSchema>::schema());
    Ref::from_schema_name(T::name())
}

/// The document as pretty JSON with a final newline.
#[must_use]
pub fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut text = serde_json::to_string_pretty(&build()).unwrap_or_default();
        text.push('\n');
        text
    })
}

fn build() -> OpenApi {
    let mut schemas = Schemas::new();
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        paths = paths.path(route.path, path_item(route, &mut schemas));
    }
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(
            "key",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some("API key `<id>.<secret>`; the header `x-api-key` works too"))
                    .build(),
            ),
        )
        .security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                crate::sessions::COOKIE_NAME,
                "Session of the console; calls that change something also need the header `x-jingui-console: 1`",
            ))),
        )
        .build();
    let info = InfoBuilder::new()
        .title("Jingui")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "What the gateway answers on the LAN. Every answer carries `x-request-id`.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .build()
}

fn path_item(route: &Route, schemas: &mut Schemas) -> PathItem {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.describe.id))
        .summary(Some(route.describe.summary))
        .tag(if route.path.starts_with("/v1/") {
            "api"
        } else if route.path.starts_with("/api/") {
            "console"
        } else {
            "box"
        });
    operation = match route.who {
        Who::Public | Who::Console => operation,
        Who::Key => operation.security(SecurityRequirement::new("key", [] as [&str; 0])),
        Who::Session => operation.security(SecurityRequirement::new("session", [] as [&str; 0])),
    };
    for name in path_parameters(route.path) {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text_schema())),
        );
    }
    if let Some(request) = route.describe.request {
        let content = ContentBuilder::new().schema(Some(request(schemas))).build();
        operation = operation.request_body(Some(
            RequestBodyBuilder::new()
                .required(Some(Required::True))
                .content("application/json", content)
                .build(),
        ));
    }
    let (status, answer) = answer(&route.describe.answer, schemas);
    operation = operation.response(status, answer);
    for status in refusal_statuses(route) {
        operation = operation.response(status.to_string(), refusal(route.path, status, schemas));
    }
    PathItem::new(http_method(route.method), operation)
}

fn http_method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::Get,
        Method::Post => HttpMethod::Post,
        Method::Delete => HttpMethod::Delete,
    }
}

/// Names in braces.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn text_schema() -> RefOr<Schema> {
    RefOr::T(Schema::Object(Object::with_type(Type::String)))
}

fn answer(body: &Answer, schemas: &mut Schemas) -> (&'static str, ResponseBuilder) {
    let content = |schema| ContentBuilder::new().schema(Some(schema)).build();
    match body {
        Answer::Nothing => ("204", ResponseBuilder::new().description("Done")),
        Answer::Json(describe) => (
            "200",
            ResponseBuilder::new()
                .description("Done")
                .content("application/json", content(RefOr::Ref(describe(schemas)))),
        ),
        Answer::JsonOrStream(whole, chunk) => (
            "200",
            ResponseBuilder::new()
                .description("The answer: JSON, or server-sent events when `stream` is true")
                .content("application/json", content(RefOr::Ref(whole(schemas))))
                .content("text/event-stream", content(RefOr::Ref(chunk(schemas)))),
        ),
        Answer::Text(media_type) => (
            "200",
            ResponseBuilder::new()
                .description("Done")
                .content(*media_type, content(text_schema())),
        ),
    }
}

/// Statuses beside success: the route's own, and what its callers can run into.
fn refusal_statuses(route: &Route) -> Vec<u16> {
    let mut statuses: Vec<u16> = route.describe.refusals.to_vec();
    match route.who {
        Who::Public => {}
        Who::Console => statuses.push(403),
        Who::Key => statuses.push(401),
        Who::Session => statuses.extend([401, 403]),
    }
    if route.path.starts_with("/v1/") || route.path.starts_with("/api/") {
        statuses.push(500);
    }
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn refusal(path: &str, status: u16, schemas: &mut Schemas) -> ResponseBuilder {
    let (media_type, schema) = if path.starts_with("/api/") {
        ("application/problem+json", describe::<schema::Problem>(schemas))
    } else {
        ("application/json", describe::<schema::ErrorBody>(schemas))
    };
    let description = axum::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason());
    ResponseBuilder::new()
        .description(description.unwrap_or("Refused"))
        .content(
            media_type,
            ContentBuilder::new().schema(Some(RefOr::Ref(schema))).build(),
        )
}

#[cfg(test)]
mod tests;
