//! Objects in YAML: what is read of a text is what is read of the same object in JSON, as an API server sends it; and an error says where
//! it is.

use outrigger_control_plane::objects::{Kind, from_json, read};
use serde_json::Value;

/// Runs the target.
///
/// # Panics
/// When the two differ.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let document = match read(text) {
        Ok(document) => document,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error without words");
            return;
        }
    };
    assert_eq!(read(text).as_ref(), Ok(&document), "the second time");
    for object in &document.objects {
        assert!(!object.id().to_string().is_empty());
    }
    let [object] = &document.objects[..] else { return };
    if !document.skipped.is_empty() {
        return;
    }
    // One document: the same as JSON.
    let Ok(value) = serde_saphyr::from_str::<Value>(text) else { return };
    let group = value["apiVersion"].as_str().unwrap_or_default().rsplit_once('/').map_or("", |(group, _)| group);
    let Some(kind) = Kind::named(group, value["kind"].as_str().unwrap_or_default()) else { return };
    match from_json(kind, value) {
        Ok(same) => assert_eq!(same, *object, "as JSON"),
        // In YAML a number or a boolean where a string belongs is taken for its text (`version: 1` of a selector); JSON tells them apart.
        Err(error) if error.to_string().contains("expected a string") => {}
        Err(error) => panic!("not as JSON: {error}"),
    }
}
