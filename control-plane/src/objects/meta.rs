//! Metadata, names, and the values that Kubernetes writes in more than one form.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use outrigger_proto::WorkloadName;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// What the mesh reads of an object's metadata; the rest is skipped.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The object's name.
    pub name: Name,
    /// The object's namespace, `default` when unset.
    #[serde(default)]
    pub namespace: Name,
    /// Tells an object from another one of its name; empty outside Kubernetes.
    #[serde(default, deserialize_with = "text")]
    pub uid: Arc<str>,
    /// Counts the changes of its spec; 0 outside Kubernetes.
    #[serde(default)]
    pub generation: i64,
    /// Labels.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations that mean something to the mesh.
    #[serde(default, deserialize_with = "our_annotations")]
    pub annotations: BTreeMap<String, String>,
    /// What made the object and manages it; none outside of Kubernetes.
    #[serde(rename = "ownerReferences", default, deserialize_with = "controller")]
    pub controller: Option<Box<Controller>>,
    /// When the object was made; files rarely tell.
    #[serde(default, deserialize_with = "timestamp")]
    pub creation_timestamp: Option<jiff::Timestamp>,
}

/// The controller of an object, such as a pod's ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Such as `ReplicaSet`.
    pub kind: Box<str>,
    /// Its name, in the object's namespace.
    pub name: Box<str>,
}

impl Metadata {
    /// Returns namespace and name as a workload's name.
    #[must_use]
    pub fn workload_name(&self) -> WorkloadName {
        WorkloadName { namespace: self.namespace.arc(), name: self.name.arc() }
    }

    /// Says whether every label of `selector` is here. An empty selector selects nothing, as in a Service.
    #[must_use]
    pub fn is_selected_by(&self, selector: &BTreeMap<String, String>) -> bool {
        !selector.is_empty() && selector.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }
}

/// An object's name or namespace: lower-case letters, digits, `-` and `.` (RFC 1123), so that it can be part of a
/// resource key and of a SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Returns the shared text.
    #[must_use]
    pub fn arc(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl Name {
    /// Reads a name.
    pub(super) fn parse<E: Error>(text: String) -> Result<Self, E> {
        let label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        // The wire's own parser has the last word: what it refuses could never be subscribed to.
        match format!("{text}/x").parse::<WorkloadName>() {
            Ok(name) if text.split('.').all(label) => Ok(Self(name.namespace)),
            _ => Err(E::invalid_value(
                Unexpected::Str(&text),
                &"a name of lower-case letters, digits, `-` and `.` (RFC 1123)",
            )),
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?)
    }
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrName {
    /// A number.
    Number(std::num::NonZeroU16),
    /// The name of a workload's port.
    Name(Arc<str>),
}

impl<'de> Deserialize<'de> for IntOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = IntOrName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number from 1 to 65535 or a port name")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<IntOrName, E> {
                let port = u16::try_from(value).ok().and_then(std::num::NonZeroU16::new);
                port.map(IntOrName::Number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<IntOrName, E> {
                u64::try_from(value)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
                    .and_then(|value| self.visit_u64(value))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<IntOrName, E> {
                match value.parse::<u64>() {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Ok(IntOrName::Name(value.into())),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Reads an explicit `null` as the default, as Kubernetes does.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    null_is_default::<D, String>(deserializer).map(Arc::from)
}

/// Skips what the mesh does not ask for: other tools keep whole manifests in annotations.
fn our_annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut annotations: BTreeMap<String, String> = null_is_default(deserializer)?;
    annotations.retain(|name, _| OURS.iter().any(|ours| name.starts_with(ours)));
    Ok(annotations)
}

/// Finds the owner that manages the object; others own it only to have it removed with them.
fn controller<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Controller>>, D::Error> {
    #[derive(serde::Deserialize)]
    struct Owner {
        kind: Box<str>,
        name: Box<str>,
        #[serde(default, deserialize_with = "null_is_default")]
        controller: bool,
    }

    let owners: Vec<Owner> = null_is_default(deserializer)?;
    let managing = owners.into_iter().find(|owner| owner.controller);
    Ok(managing.map(|Owner { kind, name, .. }| Box::new(Controller { kind, name })))
}

fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::invalid_value(Unexpected::Str(&text), &"a timestamp (RFC 3339)"))
}

/// Beginnings of the annotations that are read somewhere.
const OURS: [&str; 2] = ["config.outrigger.io/", "resource.opentelemetry.io/"];
