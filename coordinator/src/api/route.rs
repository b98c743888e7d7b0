//! What is said of a route: the router, the check of keys and the OpenAPI document are made of it.

use axum::routing::MethodRouter;
use hyperfarm_api::request::Request;
use hyperfarm_api::schema::Schemas;
use hyperfarm_api::{Data, Page};
use schemars::{JsonSchema, Schema};

use super::Api;
use super::error::Code;
use crate::api_keys::Scope;

/// What a route answers with.
#[derive(Debug, Clone, Copy)]
pub enum Answers {
    /// `{"data": …}`, of this schema.
    One(SchemaOf),
    /// A page of a list, of this schema.
    Page(SchemaOf),
    /// JSON of this schema.
    Whole(SchemaOf),
    /// Something else, of this media type.
    Raw(&'static str),
}

/// What a route takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// JSON.
    Json {
        /// Its schema.
        schema: SchemaOf,
        /// A body that could be sent.
        example: &'static str,
        /// Whether it may not be left out.
        is_required: bool,
    },
    /// A form with a file, of this schema.
    Form(SchemaOf),
    /// Bytes.
    Bytes,
}

/// Whose clients a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Those of the HyperFrames API.
    HyperFrames,
    /// Those of inference.sh, whose errors are problem details (RFC 9457).
    Inference,
}

/// Adds a type to the document's schemas.
pub type SchemaOf = fn(&mut Schemas) -> Schema;

pub(super) const fn one<T: JsonSchema>() -> Answers {
    Answers::One(Schemas::answer::<Data<T>>)
}

pub(super) const fn page<T: JsonSchema>() -> Answers {
    Answers::Page(Schemas::answer::<Page<T>>)
}

/// One route.
pub struct Route {
    /// In lower case, as OpenAPI has it.
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    /// The scope that a key needs; none where a signature is the right, and for health.
    pub needs: Option<Scope>,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Its body.
    pub body: Option<Takes>,
    /// Parameters of the query.
    pub query: Option<SchemaOf>,
    /// Whether its handler makes ids from the seed of an `Idempotency-Key`. Of other changes the answer alone is kept.
    pub ids_from_idempotency_key: bool,
    /// What the audit log calls it, if it is an administrative act.
    pub action: Option<&'static str>,
    /// Status of success.
    pub status: u16,
    /// Its answer.
    pub answers: Answers,
    /// Codes of its own, beside those that every route can answer with.
    pub errors: &'static [Code],
    /// Whose clients it is for.
    pub dialect: Dialect,
    /// Makes the handler.
    pub(super) handler: fn() -> MethodRouter<Api>,
}

impl Route {
    pub(super) const fn new(
        method: &'static str,
        path: &'static str,
        needs: Option<Scope>,
        about: &'static str,
        answers: Answers,
        handler: fn() -> MethodRouter<Api>,
    ) -> Self {
        Self {
            method,
            path,
            needs,
            about,
            body: None,
            query: None,
            ids_from_idempotency_key: false,
            action: None,
            status: 200,
            answers,
            errors: &[],
            dialect: Dialect::HyperFrames,
            handler,
        }
    }

    pub(super) const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) const fn takes(mut self, body: Takes) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) const fn json<T: Request>(self) -> Self {
        self.takes(Takes::Json { schema: Schemas::request::<T>, example: T::EXAMPLE, is_required: T::IS_REQUIRED })
    }

    pub(super) const fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(Schemas::query::<T>);
        self
    }

    pub(super) const fn inference(mut self) -> Self {
        self.dialect = Dialect::Inference;
        self
    }

    pub(super) const fn ids_from_idempotency_key(mut self) -> Self {
        self.ids_from_idempotency_key = true;
        self
    }

    pub(super) const fn audited(mut self, action: &'static str) -> Self {
        self.action = Some(action);
        self
    }

    /// Whether it changes something for a caller with a key. All changes take an `Idempotency-Key`.
    pub fn is_change(&self) -> bool {
        self.needs.is_some() && self.method != "get"
    }

    pub(super) const fn errors(mut self, errors: &'static [Code]) -> Self {
        self.errors = errors;
        self
    }
}
