//! An object as a watch brings it: read and trimmed while it is parsed, so that what the mesh does not ask for is never
//! held, and one that cannot be read does not take the others with it.

use std::borrow::Cow;

use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::kinds::WATCHED;
use crate::objects::{self, Object, ObjectId};

/// An object of the kind `WATCHED[INDEX]`.
#[derive(Clone, Debug)]
pub(super) struct Seen<const INDEX: usize> {
    meta: ObjectMeta,
    object: Result<Object, String>,
}

impl<const INDEX: usize> Seen<INDEX> {
    /// Returns which object it is, and what it says or why that cannot be read.
    pub(super) fn into_parts(self) -> (ObjectId, Result<Object, String>) {
        let kind = WATCHED[INDEX].kind;
        let text = |part: Option<String>| part.unwrap_or_default().into();
        let id = match &self.object {
            Ok(object) => object.id(),
            Err(_) => ObjectId { kind, namespace: text(self.meta.namespace), name: text(self.meta.name) },
        };
        (id, self.object)
    }
}

impl<'de, const INDEX: usize> Deserialize<'de> for Seen<INDEX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = |field: &str| value.get("metadata")?.get(field)?.as_str().map(str::to_owned);
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        let object = objects::from_json(WATCHED[INDEX].kind, value).map_err(|error| error.to_string());
        Ok(Self { meta, object })
    }
}

impl<const INDEX: usize> Resource for Seen<INDEX> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn metadata_api() -> bool {
        WATCHED[INDEX].metadata_only
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
