//! Request lines and query options as tables.

use super::*;

fn parse(method: &str, target: &str) -> RequestInfo {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    RequestInfo::parse(method, path, &Query::parse(query)).expect("parses")
}

#[test]
fn paths() {
    // method, target -> verb, group, version, namespace, resource, subresource, name
    let cases = [
        ("GET", "/api/v1/namespaces", ["list", "", "v1", "", "namespaces", "", ""]),
        ("GET", "/api/v1/namespaces/other", ["get", "", "v1", "other", "namespaces", "", "other"]),
        ("GET", "/api/v1/namespaces/other/pods", ["list", "", "v1", "other", "pods", "", ""]),
        ("GET", "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "", "foo"]),
        ("HEAD", "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "", "foo"]),
        ("GET", "/api/v1/pods", ["list", "", "v1", "", "pods", "", ""]),
        ("GET", "/api/v1/watch/pods", ["watch", "", "v1", "", "pods", "", ""]),
        ("GET", "/api/v1/watch/namespaces/other/pods", ["watch", "", "v1", "other", "pods", "", ""]),
        ("GET", "/api/v1/pods?watch=true", ["watch", "", "v1", "", "pods", "", ""]),
        ("GET", "/api/v1/pods?watch=", ["watch", "", "v1", "", "pods", "", ""]),
        ("GET", "/api/v1/pods?watch=False", ["list", "", "v1", "", "pods", "", ""]),
        (
            "GET",
            "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Dp",
            ["watch", "", "v1", "", "pods", "", "p"],
        ),
        ("GET", "/api/v1/namespaces/n/status", ["get", "", "v1", "n", "namespaces", "status", "n"]),
        ("PUT", "/api/v1/namespaces/n/finalize", ["update", "", "v1", "n", "namespaces", "finalize", "n"]),
        (
            "PUT",
            "/apis/apps/v1/namespaces/n/deployments/d/scale",
            ["update", "apps", "v1", "n", "deployments", "scale", "d"],
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/n/deployments",
            ["deletecollection", "apps", "v1", "n", "deployments", "", ""],
        ),
        ("DELETE", "/api/v1/nodes/n1", ["delete", "", "v1", "", "nodes", "", "n1"]),
        ("POST", "/api/v1/namespaces/n/pods/p/binding", ["create", "", "v1", "n", "pods", "binding", "p"]),
        ("GET", "/api/v1/proxy/namespaces/n/pods/p/x", ["proxy", "", "v1", "n", "pods", "", "p"]),
        ("PATCH", "/api/v1/namespaces/n", ["patch", "", "v1", "n", "namespaces", "", "n"]),
        ("GET", "/api/v1/nodes/n1/proxy/logs/a", ["get", "", "v1", "", "nodes", "proxy", "n1"]),
    ];
    for (method, target, want) in cases {
        let info = parse(method, target);
        let got = [
            info.verb.as_str(),
            &info.group,
            &info.version,
            &info.namespace,
            &info.resource,
            &info.subresource,
            &info.name,
        ];
        assert!(info.is_resource_request, "{target}");
        assert_eq!(got, want, "{method} {target}");
    }
    assert_eq!(parse("GET", "/api/v1/nodes/n1/proxy/logs/a").rest, "logs/a");
}

#[test]
fn non_resource_paths() {
    for (method, target, verb) in [
        ("GET", "/healthz", "get"),
        ("GET", "/apis", "get"),
        ("POST", "/api", "post"),
        ("GET", "/apis/apps/v1", "get"),
        ("GET", "/", "get"),
        ("GET", "/api/v1/", "get"),
    ] {
        let info = parse(method, target);
        assert!(!info.is_resource_request, "{target}");
        assert_eq!(info.verb.as_str(), verb);
    }
    let error = RequestInfo::parse("GET", "/api/v1/watch", &Query::default()).unwrap_err();
    assert_eq!(error.to_string(), "unable to determine kind and namespace from url, /api/v1/watch");
}

#[test]
fn list_options_say_what_is_wrong() {
    let cases = [
        ("limit=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "resourceVersionMatch=Exact",
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "watch=1&sendInitialEvents=true",
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    ];
    for (query, code, message) in cases {
        let status = ListOptions::parse(&Query::parse(query)).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message), "{query}");
    }
    let query = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=5&limit=500";
    let options = ListOptions::parse(&Query::parse(query)).expect("valid");
    assert!(options.watch && options.allow_watch_bookmarks);
    assert_eq!(
        (options.send_initial_events, options.timeout_seconds, options.limit),
        (Some(true), Some(5), 500)
    );
}

#[test]
fn write_options() {
    let options = CreateOptions::parse(&Query::parse("dryRun=All&fieldManager=m&fieldValidation=Strict"))
        .expect("valid");
    assert_eq!(
        options,
        CreateOptions { dry_run: true, field_manager: "m".into(), field_validation: FieldValidation::Strict }
    );
    let cases = [
        (
            CreateOptions::parse(&Query::parse("fieldValidation=x")).unwrap_err(),
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported values: \"Ignore\", \"Warn\", \"Strict\"",
        ),
        (
            PatchOptions::parse(&Query::parse("force=true"), false).unwrap_err(),
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
        ),
        (
            PatchOptions::parse(&Query::parse(""), true).unwrap_err(),
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (
            DeleteOptions::parse(&Query::parse("propagationPolicy=x")).unwrap_err(),
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"x\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        ),
    ];
    for (status, message) in cases {
        assert_eq!(status.message, message);
    }
    let body = serde_json::json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background", "preconditions": {"uid": "u"}});
    let options = DeleteOptions::from_body(&body).expect("valid");
    assert_eq!(options.propagation, Some(Propagation::Background));
    assert_eq!((options.grace_period_seconds, options.preconditions.uid.as_deref()), (Some(0), Some("u")));
}
