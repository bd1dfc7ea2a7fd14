use super::*;
use serde_json::json;

fn evaluate(text: &str, result: &Measured) -> Result<bool, ConditionError> {
    Condition::parse(text)?
        .at("2026-01-01T00:00:00Z".parse().unwrap())
        .evaluate(result)
}

#[test]
fn ranges_are_times() {
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    assert_eq!(
        range_time("now() - duration(\"1h\")", now).unwrap().to_string(),
        "2026-01-01T11:00:00Z"
    );
    assert_eq!(range_time("now()", now).unwrap(), now);
    assert_eq!(
        range_time("date(\"2025-01-01\")", now).unwrap().to_string(),
        "2025-01-01T00:00:00Z"
    );
    for text in ["1", "now() -", "result", "duration(\"1h\")", "now() - 1"] {
        assert!(range_time(text, now).is_err(), "{text}");
    }
}

#[test]
fn no_data_is_named_as_such_and_a_broken_condition_is_not() {
    let message = evaluate("result[0] > 0.9", &Measured::Vector(vec![]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "metric result is nil or empty: no data returned from the metric provider"
    );
    let message = evaluate("result[0] == \"1\"", &Measured::Vector(vec![]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "invalid operation: == (mismatched types float64 and string) (at column 1)"
    );
    let message = evaluate("result[0]", &Measured::Vector(vec![1.0]))
        .unwrap_err()
        .to_string();
    assert_eq!(message, "expected bool, but got float64");
    let message = evaluate("result > ", &Measured::Scalar(1.0)).unwrap_err().to_string();
    assert_eq!(message, "unexpected token EOF (at column 10)");
}

#[test]
fn now_needs_a_time() {
    let condition = Condition::parse("now() > date(\"2020-01-01\")").unwrap();
    assert!(condition.evaluate(&Measured::Scalar(0.0)).is_err());
    assert_eq!(
        condition.at(Timestamp::UNIX_EPOCH).evaluate(&Measured::Scalar(0.0)),
        Ok(false)
    );
}

#[test]
fn nesting_and_growth_are_bounded() {
    let scalar = Measured::Scalar(1.0);
    let nested = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    assert_eq!(evaluate(&nested(DEPTH_MAX - 10), &scalar), Ok(true));
    let chain = |links: usize| vec!["result > 2"; links].join(" || ");
    assert_eq!(evaluate(&chain(DEPTH_MAX - 10), &scalar), Ok(false));
    let twice = (0..60).fold("1".to_owned(), |inner, _| format!("(1 < ({inner}) < 2)"));
    let elvis = (0..60).fold("true".to_owned(), |inner, _| format!("(({inner}) ?: false)"));
    for text in [
        nested(30_000),
        chain(5_000),
        "!".repeat(5_000) + "true",
        "-".repeat(5_000) + "1",
        format!("result{}", ".a".repeat(5_000)),
        format!("result{}", "[0]".repeat(5_000)),
        "[".repeat(5_000),
        "all([1], ".repeat(5_000),
        "if true { ".repeat(5_000),
        "let x = 1; ".repeat(5_000),
        "true ? ".repeat(5_000),
        "1 < ".repeat(5_000) + "1",
        twice,
        elvis,
        "1 ".repeat(TEXT_BYTES_MAX),
        "len(1..2000000) > 0".to_owned(),
        "len(1..9223372036854775807) > 0".to_owned(),
        "all(1..5000, all(1..5000, # > 0))".to_owned(),
        "repeat(repeat(\"x\", 1000000), 1000) == \"\"".to_owned(),
        "let a = 1..900000; len(concat(a, a)) > 1".to_owned(),
    ] {
        assert!(
            evaluate(&text, &scalar).is_err(),
            "{}",
            text.chars().take(60).collect::<String>()
        );
    }
}

#[test]
fn a_chain_of_optional_members_ends_at_nil_but_not_beyond_parentheses() {
    let json = Measured::Json(json!({"a": null}));
    assert_eq!(evaluate("result.a?.b.c == nil", &json), Ok(true));
    assert!(evaluate("(result.a?.b).c == nil", &json).is_err());
    assert!(evaluate("result.a ?? true && false", &json).is_err());
    assert_eq!(evaluate("result.a?.b ?? true", &json), Ok(true));
}

#[test]
fn functions_of_lists_and_texts() {
    let json = Measured::Json(json!({"t": "a-b-c", "n": [3, 1, 2], "m": {"x": 1}}));
    for condition in [
        "split(result.t, '-', 2) == ['a', 'b-c']",
        "split('abc', '') == ['a', 'b', 'c']",
        "splitAfter(result.t, '-') == ['a-', 'b-', 'c']",
        "take(sort(result.n), 2) == [1, 2]",
        "sortBy(result.n, -#) == [3, 2, 1]",
        "median(result.n, 5) == 2.5",
        "fromPairs(toPairs(result.m)) == result.m",
        "flatten([1, [2, [3]]]) == [1, 2, 3]",
        "reduce(1..4, #acc * #, 1) == 24",
        "filter(result.n, #index > 0) == [1, 2]",
        "result.t matches '^a.*c$' and result.t not contains 'z'",
        "toJSON(1.5e-7) == '1.5e-7' and string(1.5e-7) == '1.5e-07'",
        "toJSON({'a': '<', 'b': []}) == \"{\\n  \\\"a\\\": \\\"\\\\u003c\\\",\\n  \\\"b\\\": []\\n}\"",
        "duration('90s') * 2 == duration('3m')",
        "date('2024-01-01T00:00:00+02:00').Year() == 2024 and date('2024-01-01T00:00:00+02:00') < date('2024-01-01')",
        "bitand(6, 3) == 2 and bitshl(1, 4) == 16 and bitushr(-1, 63) == 1",
        "fromBase64(toBase64('é')) == 'é'",
        "result | get('m') | get('x') == 1",
        "`raw\\n` == 'raw\\\\n'",
        "/* one */ true // two",
    ] {
        assert_eq!(evaluate(condition, &json), Ok(true), "{condition}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_a_panic(text in "(result|[-+*/%<>=!?.:,;|&#(){}\\[\\]'\"`\\\\ ]|\\.\\.|all\\(|len\\(|now\\(\\)|1|2.5|a|é|not |in |let |if |nil){0,25}") {
        for measured in [Measured::Scalar(1.0), Measured::Vector(vec![1.0, f64::NAN]), Measured::Json(json!({"a": [1]}))] {
            let _ = evaluate(&text, &measured).is_ok();
        }
    }
}
