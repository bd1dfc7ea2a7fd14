use super::*;
use proptest::prelude::*;
use serde_json::json;

fn lines_and_values(text: &str) -> Vec<(usize, Value)> {
    documents(text)
        .unwrap()
        .into_iter()
        .map(|document| (document.line, document.value))
        .collect()
}

#[test]
fn documents_are_split_at_marker_lines_and_empty_ones_dropped() {
    let text = "# head\n---\na: 1\n---\n# only a comment\n---\n--- # note\nb: |\n  ---\n  x\n--- {c: 3}\n";
    assert_eq!(
        lines_and_values(text),
        [
            (3, json!({"a": 1})),
            (8, json!({"b": "---\nx\n"})),
            (11, json!({"c": 3}))
        ]
    );
}

#[test]
fn a_marker_needs_a_blank_behind_it() {
    assert_eq!(lines_and_values("a: 1\n---b: 2\n"), [(1, json!({"a": 1, "---b": 2}))]);
}

#[test]
fn directives_stay_with_their_document() {
    assert_eq!(
        lines_and_values("%YAML 1.1\n---\na: on\n---\nb: 1"),
        [(3, json!({"a": true})), (5, json!({"b": 1}))]
    );
}

#[test]
fn json_streams_keep_json_escapes() {
    assert_eq!(
        lines_and_values("{\"a\": \"x\\/\\ud83d\\ude42\"}\n\n{\"b\": 1.0}\n"),
        [(1, json!({"a": "x/🙂"})), (3, json!({"b": 1.0}))]
    );
}

#[test]
fn errors_name_the_line_of_the_whole_text() {
    let error = documents("a: 1\n---\nb: 2\nc: [1\n---\nd: 1\n").unwrap_err();
    assert!(
        error.to_string().starts_with("line 5: ") || error.to_string().starts_with("line 4: "),
        "{error}"
    );
    let error = documents("a: 1\n---\nb: !!int x\n").unwrap_err();
    assert_eq!(error.to_string(), "line 3: cannot read `x` as !!int");
    assert_eq!(to_json("a: 1\nb: \u{1}").unwrap_err().line, 2);
}

#[test]
fn an_alias_inside_its_own_anchor_is_refused_also_through_a_merge() {
    for text in ["a: &a [*a]", "a: &a {<<: *a}", "a: &a {b: {<<: [*a]}}"] {
        assert!(to_json(text).unwrap_err().message.contains("contains itself"), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(to_json(&nested(DEPTH_MAX)).is_ok());
    assert!(to_json(&nested(DEPTH_MAX + 1)).is_err());
    assert!(to_json(&nested(50_000)).is_err());
    let chained: String = (1..200).map(|n| format!("a{n}: &a{n} [[*a{}]]\n", n - 1)).collect();
    assert!(to_json(&format!("a0: &a0 [1]\n{chained}")).is_err());
}

#[test]
fn float_keys_are_printed_at_32_bits() {
    assert_eq!(
        to_json("1.5: a\n1e30: b\n0.1: c\n1e-5: d").unwrap(),
        json!({"1.5": "a", "1e+30": "b", "0.1": "c", "1e-05": "d"})
    );
}

#[test]
fn a_literal_block_at_the_end_of_the_text_has_no_added_newline() {
    for (text, expect) in [
        ("a: |\n  x", "x"),
        ("a: |\n  x  \n  ", "x  \n"),
        ("a: |\n  x\n     ", "x\n   "),
        ("a: |+\n  x\n\n", "x\n\n"),
        ("a: >\n  é\n  y", "é y"),
        ("a: |2\n    x\n  ", "  x\n"),
    ] {
        assert_eq!(to_json(text).unwrap(), json!({"a": expect}), "{text:?}");
    }
}

#[test]
fn a_tag_before_a_comma_is_refused_and_a_text_like_it_is_not() {
    for text in ["[!x, 1]", "{!,", "{a: &b !!str, c: 1}", "[\"a!,b\", !c, 1]"] {
        assert!(to_json(text).unwrap_err().message.contains("behind a tag"), "{text}");
    }
    let text = "a: [\"hey!, you\", a!, !!str ]\nb: x!,y\nc: |\n  wow!, z\n# !,\n";
    assert_eq!(
        to_json(text).unwrap(),
        json!({"a": ["hey!, you", "a!", ""], "b": "x!,y", "c": "wow!, z\n"})
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,60}") {
        let _ = (to_json(&text).is_ok(), documents(&text).is_ok());
    }

    #[test]
    fn no_text_of_yaml_marks_is_a_panic(text in "([|>]|[-+?:,&*!#%@]|[\\[\\]{}'\"\\\\ \t\r\n]|[a0é~<]|---|\\.\\.\\.|!!|!<|\\\\x4|\\\\u00|%YAML |%TAG |1\\.1|&a|\\*a|\n  ){0,25}") {
        let _ = (to_json(&text).is_ok(), documents(&text).is_ok());
    }
}
