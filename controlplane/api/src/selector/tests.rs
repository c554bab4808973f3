//! Selectors against upstream's cases, and parse-print round trips.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn label_selectors_match_as_upstream() {
    // selector, labels, expected
    type Labels<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(&str, Labels<'_>, bool)] = &[
        ("", &[("a", "b")], true),
        ("x=y", &[("x", "y")], true),
        ("x==y,z=w", &[("x", "y"), ("z", "w")], true),
        ("x!=y", &[("x", "y")], false),
        ("x!=y", &[], true),
        ("x", &[("x", "anything")], true),
        ("!x", &[("y", "z")], true),
        ("x in (a,b)", &[("x", "b")], true),
        ("x in (a,b)", &[], false),
        ("x notin (a,b)", &[], true),
        ("x notin (a, b)", &[("x", "a")], false),
        ("x in (a,)", &[("x", "")], true),
        ("x in ()", &[("x", "")], true),
        ("x>1", &[("x", "2")], true),
        ("x<1", &[("x", "2")], false),
        ("x=", &[("x", "")], true),
        ("in=in", &[("in", "in")], true),
        ("kubernetes.io/cluster-service=true", &[("kubernetes.io/cluster-service", "true")], true),
    ];
    for (selector, labels, expect) in cases {
        let parsed = LabelSelector::parse(selector).expect(selector);
        assert_eq!(parsed.matches(*labels), *expect, "{selector}");
    }
}

#[test]
fn label_selector_errors() {
    let cases = [
        ("x==a==b", "found '==', expected: ',' or 'end of string'"),
        ("!x=a", "found '=', expected: ',' or 'end of string'"),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
    ];
    for (selector, expect) in cases {
        assert_eq!(LabelSelector::parse(selector).unwrap_err().to_string(), expect, "{selector}");
    }
    let bad_key = LabelSelector::parse("-x=a").unwrap_err().to_string();
    assert!(
        bad_key.starts_with(
            "unable to parse requirement: <nil>: Invalid value: \"-x\": name part must consist of"
        ),
        "{bad_key}"
    );
    let bad_value = LabelSelector::parse("x=-a").unwrap_err().to_string();
    assert!(
        bad_value
            .starts_with("unable to parse requirement: values[0][x]: Invalid value: \"-a\": a valid label"),
        "{bad_value}"
    );
}

#[test]
fn object_form() {
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]});
    let selector = LabelSelector::from_object(Some(&selector)).expect("valid");
    assert_eq!(selector.to_string(), "app=web,tier notin (db)");
    assert!(selector.matches([("app", "web")].as_slice()));
    assert!(!LabelSelector::from_object(None).expect("nothing").matches([("a", "b")].as_slice()));
    assert!(LabelSelector::from_object(Some(&json!({}))).expect("everything").is_everything());
    let odd = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
    let error = LabelSelector::from_object(Some(&odd)).unwrap_err().to_string();
    assert_eq!(error, "\"Like\" is not a valid label selector operator");
}

#[test]
fn field_selectors() {
    let read = |field: &str| match field {
        "a" => Cow::Borrowed("1"),
        "b" => Cow::Borrowed("x,y"),
        _ => Cow::Borrowed(""),
    };
    for (selector, expect) in
        [("a=1", true), ("a!=1", false), ("a==1,b=x\\,y", true), ("c=", true), ("", true), ("c=x", false)]
    {
        assert_eq!(FieldSelector::parse(selector).expect(selector).matches(read), expect, "{selector}");
    }
    let cases = [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=\\q", "invalid field selector: invalid escape sequence: \\q"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
    ];
    for (selector, expect) in cases {
        assert_eq!(FieldSelector::parse(selector).unwrap_err().to_string(), expect);
    }
    assert_eq!(FieldSelector::parse("metadata.name=p").expect("valid").exact("metadata.name"), Some("p"));
}

proptest! {
    #[test]
    fn never_panics_and_prints_what_it_parsed(text in "[a-c!=<>(), nit/.-]{0,24}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()).expect("reparses"), selector);
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            // Their order is that of the text, as upstream, and `==` is printed as `=`.
            let sorted = |selector: &FieldSelector| {
                let mut all: Vec<String> =
                    selector.requirements().iter().map(|one| format!("{one:?}")).collect();
                all.sort();
                all
            };
            let again = FieldSelector::parse(&selector.to_string()).expect("reparses");
            prop_assert_eq!(sorted(&again), sorted(&selector));
        }
    }
}
