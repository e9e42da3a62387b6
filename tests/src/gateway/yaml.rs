//! The routes of a group, from the short form of their headers.

/// The manifests: those that shall be made before the others, and the others.
///
/// # Panics
/// On a header that is none.
pub(super) fn manifests(routes: &str) -> (String, String) {
    let (mut first, mut then) = (String::new(), String::new());
    let mut oldest = false;
    for line in routes.lines() {
        let text = match line.strip_prefix("== ") {
            None => format!("{line}\n"),
            Some(head) => {
                oldest = head.ends_with(OLDEST);
                header(head.trim_end_matches(OLDEST)).unwrap_or_else(|| panic!("not a route: {line}"))
            }
        };
        oldest &= line != "---";
        if oldest { &mut first } else { &mut then }.push_str(&text);
    }
    (first, then)
}

/// `KIND [NAMESPACE/]NAME on [NAMESPACE/]SERVICE[:PORT][#SECTION]…`
fn header(text: &str) -> Option<String> {
    let (route, parents) = text.split_once(" on ")?;
    let (kind, name) = route.split_once(' ')?;
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    let mut yaml = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  \
         parentRefs:\n"
    );
    for parent in parents.split_whitespace() {
        let (parent, section) =
            parent.split_once('#').map_or((parent, None), |(parent, section)| (parent, Some(section)));
        let (parent, port) = parent.split_once(':').map_or((parent, None), |(parent, port)| (parent, Some(port)));
        let (of, name) = parent.split_once('/').map_or((None, parent), |(of, name)| (Some(of), name));
        yaml.push_str(&format!("    - group: \"\"\n      kind: Service\n      name: {name}\n"));
        for (field, value) in [("namespace", of), ("port", port), ("sectionName", section)] {
            if let Some(value) = value {
                yaml.push_str(&format!("      {field}: {value}\n"));
            }
        }
    }
    yaml.push_str("  rules:\n");
    Some(yaml)
}

const OLDEST: &str = ", oldest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_becomes_an_object() {
        let (first, then) = manifests("== TCPRoute other/r on shop/web:80#http api, oldest\n    - x\n---\nkind: A\n");

        assert_eq!(
            first,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata:\n  name: r\n  namespace: other\nspec:\n  \
             parentRefs:\n    - group: \"\"\n      kind: Service\n      name: web\n      namespace: shop\n      port: 80\n      sectionName: http\n    \
             - group: \"\"\n      kind: Service\n      name: api\n  rules:\n    - x\n"
        );
        assert_eq!(then, "---\nkind: A\n");
    }
}
