//! Services, Endpoints, EndpointSlices.

use serde_json::{Value, json};

use super::{Case, created, expect, updated, with};

fn service(changes: &[(&str, Value)]) -> Value {
    let base = json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"selector": {"app": "a"}, "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]},
    });
    with(&base, changes)
}

#[test]
fn service_ports() {
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("none", json!([]), &["spec.ports: Required value"]),
        (
            "names",
            json!([{"port": 80, "name": "a"}, {"port": 81}, {"port": 82, "name": "a"}, {"port": 83, "name": "B"}]),
            &[
                "spec.ports[1].name: Required value",
                "spec.ports[2].name: Duplicate value: \"a\"",
                "spec.ports[3].name: Invalid value: \"B\": a lowercase RFC 1123 label...",
            ],
        ),
        (
            "numbers",
            json!([{"port": 70000, "targetPort": "x_y", "protocol": "ICMP", "appProtocol": "/"}]),
            &[
                "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ports[0].targetPort: Invalid value: \"x_y\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "spec.ports[0].appProtocol: Invalid value: \"/\": prefix part must be non-empty",
                "spec.ports[0].appProtocol: Invalid value: \"/\": name part must be non-empty",
                "spec.ports[0].appProtocol: Invalid value: \"/\": name part must consist...",
            ],
        ),
        (
            "twice",
            json!([{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]),
            &["spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":80}"],
        ),
        (
            "node port",
            json!([{"port": 80, "nodePort": 30000}]),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
    ];
    for (what, ports, wanted) in cases {
        expect(what, &created("", "Service", service(&[("/spec/ports", ports)])), wanted);
    }
    let ports =
        json!([{"port": 80, "name": "a", "nodePort": 30000}, {"port": 81, "name": "b", "nodePort": 30000}]);
    let object = service(&[("/spec/type", json!("NodePort")), ("/spec/ports", ports)]);
    expect(
        "node ports",
        &created("", "Service", object),
        &["spec.ports[1].nodePort: Duplicate value: 30000"],
    );
}

#[test]
fn service_rules() {
    let external = [
        ("/spec/type", json!("ExternalName")),
        ("/spec/clusterIP", Value::Null),
        ("/spec/clusterIPs", Value::Null),
    ];
    let load_balancer = ("/spec/type", json!("LoadBalancer"));
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        ("digit first", vec![("/metadata/name", json!("1st"))], &[]),
        (
            "type",
            vec![("/spec/type", json!("Odd"))],
            &[
                "spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        ("no name", external.to_vec(), &["spec.externalName: Required value"]),
        (
            "name and families",
            [&external[..], &[("/spec/externalName", json!("A.")), ("/spec/ipFamilies", json!(["IPv4"]))]]
                .concat(),
            &[
                "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
                "spec.externalName: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
            ],
        ),
        (
            "headless with type",
            vec![
                load_balancer.clone(),
                ("/spec/clusterIP", json!("None")),
                ("/spec/clusterIPs", json!(["None"])),
            ],
            &[
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
            ],
        ),
        (
            "affinity",
            vec![("/spec/sessionAffinity", json!("Odd"))],
            &["spec.sessionAffinity: Unsupported value: \"Odd\": supported values: \"ClientIP\", \"None\""],
        ),
        (
            "affinity seconds",
            vec![
                ("/spec/sessionAffinity", json!("ClientIP")),
                ("/spec/sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 90000}})),
            ],
            &[
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400",
            ],
        ),
        (
            "addresses do not agree",
            vec![("/spec/clusterIPs", json!(["10.96.0.8"]))],
            &["spec.clusterIPs: Invalid value: [\"10.96.0.8\"]: first value must match `clusterIP`"],
        ),
        (
            "address",
            vec![("/spec/clusterIP", json!("010.0.0.1")), ("/spec/clusterIPs", json!(["010.0.0.1"]))],
            &["spec.clusterIPs[0]: Invalid value: \"010.0.0.1\": must not have leading 0s"],
        ),
        (
            "one family twice",
            vec![("/spec/clusterIPs", json!(["10.96.0.7", "10.96.0.8"]))],
            &[
                "spec.clusterIPs: Invalid value: [\"10.96.0.7\",\"10.96.0.8\"]: may specify no more than one IP for each IP family",
            ],
        ),
        (
            "families",
            vec![
                ("/spec/ipFamilies", json!(["IPv6", "IPv6", "IPv5"])),
                ("/spec/ipFamilyPolicy", json!("Odd")),
            ],
            &[
                "spec.ipFamilies[1]: Duplicate value: \"IPv6\"",
                "spec.ipFamilies[2]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"",
                "spec.ipFamilyPolicy: Unsupported value: \"Odd\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
                "spec.clusterIPs[0]: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by `ipFamilies[0]`",
            ],
        ),
        (
            "external addresses",
            vec![("/spec/externalIPs", json!(["x", "127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1"]))],
            &[
                "spec.externalIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "spec.externalIPs[2]: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                "spec.externalIPs[3]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                "spec.externalIPs[4]: Invalid value: \"224.0.0.1\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
            ],
        ),
        (
            "load balancer's only",
            vec![
                ("/spec/loadBalancerSourceRanges", json!(["10.0.0.0/8"])),
                ("/spec/allocateLoadBalancerNodePorts", json!(true)),
                ("/spec/loadBalancerClass", json!("a/b")),
                ("/spec/healthCheckNodePort", json!(1)),
                ("/spec/externalTrafficPolicy", json!("Local")),
            ],
            &[
                "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                "spec.healthCheckNodePort: Invalid value: 1: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ],
        ),
        (
            "policies",
            vec![
                load_balancer,
                ("/spec/externalTrafficPolicy", json!("Local")),
                ("/spec/internalTrafficPolicy", json!("Odd")),
                ("/spec/trafficDistribution", json!("Far")),
            ],
            &[
                "spec.healthCheckNodePort: Required value",
                "spec.internalTrafficPolicy: Unsupported value: \"Odd\": supported values: \"Cluster\", \"Local\"",
                "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created("", "Service", service(&changes)), wanted);
    }
}

#[test]
fn service_updates() {
    let dual = service(&[
        ("/spec/clusterIPs", json!(["10.96.0.7", "fd00::7"])),
        ("/spec/ipFamilies", json!(["IPv4", "IPv6"])),
        ("/spec/ipFamilyPolicy", json!("PreferDualStack")),
    ]);
    let cases: Vec<(&str, Value, Value, &[&str])> = vec![
        (
            "other address",
            service(&[]),
            service(&[("/spec/clusterIP", json!("10.96.0.8")), ("/spec/clusterIPs", json!(["10.96.0.8"]))]),
            &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"],
        ),
        (
            "no address",
            service(&[]),
            service(&[("/spec/clusterIP", Value::Null), ("/spec/clusterIPs", Value::Null)]),
            &["spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset"],
        ),
        (
            "second address",
            dual.clone(),
            with(&dual, &[("/spec/clusterIPs", json!(["10.96.0.7"])), ("/spec/ipFamilies", json!(["IPv4"]))]),
            &[
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP",
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily",
            ],
        ),
        (
            "to ExternalName",
            service(&[]),
            service(&[
                ("/spec/type", json!("ExternalName")),
                ("/spec/externalName", json!("a.b")),
                ("/spec/clusterIP", Value::Null),
                ("/spec/clusterIPs", Value::Null),
            ]),
            &[],
        ),
    ];
    for (what, old, new, wanted) in cases {
        expect(what, &updated("", "Service", "", new, old), wanted);
    }
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    let new = service(&[("/status", ingress)]);
    let wanted =
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"];
    expect("status", &updated("", "Service", "status", new.clone(), service(&[])), &wanted);
    let new = with(&new, &[("/spec/type", json!("LoadBalancer"))]);
    let new = with(&new, &[("/status/loadBalancer/ingress/0/ipMode", json!("Odd"))]);
    let wanted = [
        "status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Odd\": supported values: \"Proxy\", \"VIP\"",
    ];
    expect("mode", &updated("", "Service", "status", new.clone(), new), &wanted);
}

#[test]
fn endpoints() {
    let object = json!({"metadata": {"name": "a", "namespace": "default"}, "subsets": [
        {},
        {"addresses": [{"ip": "127.0.0.1", "hostname": "A", "nodeName": "B"}], "ports": [{"port": 0}, {"port": 1, "name": "x"}]},
    ]});
    let wanted = [
        "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
        "subsets[1].addresses[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label...",
        "subsets[1].addresses[0].nodeName: Invalid value: \"B\": a lowercase RFC 1123 subdomain...",
        "subsets[1].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        "subsets[1].ports[0].name: Required value",
        "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
    ];
    expect("endpoints", &created("", "Endpoints", object), &wanted);
}

#[test]
fn slices() {
    let slice = |kind: &str, endpoints: Value, ports: Value| {
        json!({"metadata": {"name": "a", "namespace": "default"}, "addressType": kind,
            "endpoints": endpoints, "ports": ports})
    };
    let group = "discovery.k8s.io";
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("fine", slice("IPv4", json!([{"addresses": ["10.0.0.1"]}]), json!([{"port": 80}])), &[]),
        ("no type", slice("", json!([]), json!([])), &["addressType: Required value"]),
        (
            "type",
            slice("IP", json!([]), json!([])),
            &["addressType: Unsupported value: \"IP\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
        ),
        (
            "addresses",
            slice(
                "IPv4",
                json!([{"addresses": []}, {"addresses": ["fd00::1", "127.0.0.1"], "hostname": "A", "nodeName": "B"}]),
                json!([]),
            ),
            &[
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"fd00::1\": must be an IPv4 address",
                "endpoints[1].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[1].nodeName: Invalid value: \"B\": a lowercase RFC 1123 subdomain...",
                "endpoints[1].hostname: Invalid value: \"A\": a lowercase RFC 1123 label...",
            ],
        ),
        (
            "no address",
            slice("IPv6", json!([{"addresses": ["x", "::ffff:10.0.0.1"]}]), json!([])),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "endpoints[0].addresses[1]: Invalid value: \"::ffff:10.0.0.1\": must not be an IPv4-mapped IPv6 address",
            ],
        ),
        (
            "domains",
            slice("FQDN", json!([{"addresses": ["a", "a.b."]}]), json!([])),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"a\": should be a domain with at least two segments separated by dots",
            ],
        ),
        (
            "ports",
            slice("IPv4", json!([]), json!([{"name": "a", "protocol": "X"}, {"name": "a"}, {"name": "B"}])),
            &[
                "ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "ports[1].name: Duplicate value: \"a\"",
                "ports[2].name: Invalid value: \"B\": a lowercase RFC 1123 label...",
            ],
        ),
        (
            "hints",
            slice(
                "IPv4",
                json!([{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}]),
                json!([]),
            ),
            &["endpoints[0].hints.forZones[1].name: Duplicate value: \"a\""],
        ),
        (
            "too many",
            slice("IPv4", json!(vec![json!({"addresses": ["10.0.0.1"]}); 1001]), json!([])),
            &["endpoints: Too many: 1001: must have at most 1000 items"],
        ),
    ];
    for (what, object, wanted) in cases {
        expect(what, &created(group, "EndpointSlice", object), wanted);
    }
    let (old, new) = (slice("IPv4", json!([]), json!([])), slice("IPv6", json!([]), json!([])));
    let wanted = ["addressType: Invalid value: \"IPv6\": field is immutable"];
    expect("update", &updated(group, "EndpointSlice", "", new, old), &wanted);
}

fn policy(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
}

#[test]
fn network_policies() {
    let port = |port: Value| json!({"podSelector": {}, "ingress": [{"ports": [port]}]});
    let peer = |peer: Value| json!({"podSelector": {}, "egress": [{"to": [peer]}]});
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("deny all", json!({"podSelector": {}}), &[]),
        ("names and ranges", port(json!({"port": "http"})), &[]),
        ("one port", port(json!({"port": 80, "endPort": 80, "protocol": "SCTP"})), &[]),
        (
            "selector",
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            &[
                "spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        ),
        (
            "types",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Sideways"]}),
            &[
                "spec.policyTypes[1]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\"",
            ],
        ),
        (
            "too many types",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress", "Ingress"]}),
            &[
                "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes",
            ],
        ),
        (
            "port",
            port(json!({"port": 0, "protocol": "ICMP"})),
            &[
                "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
                "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            "range",
            port(json!({"port": 80, "endPort": 79})),
            &["spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`"],
        ),
        (
            "a range without its beginning",
            port(json!({"endPort": 79})),
            &[
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is not specified",
            ],
        ),
        (
            "a range of a name",
            port(json!({"port": "http", "endPort": 79})),
            &[
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric",
            ],
        ),
        ("nobody", peer(json!({})), &["spec.egress[0].to[0]: Required value: must specify a peer"]),
        (
            "block and selector",
            peer(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
            &["spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer"],
        ),
        (
            "no block",
            peer(json!({"ipBlock": {"cidr": ""}})),
            &["spec.egress[0].to[0].ipBlock.cidr: Required value"],
        ),
        (
            "except",
            peer(
                json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/8", "fd00::/8"]}}),
            ),
            &[
                "spec.egress[0].to[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "spec.egress[0].to[0].ipBlock.except[2]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
                "spec.egress[0].to[0].ipBlock.except[3]: Invalid value: \"fd00::/8\": must be a strict subset of `cidr`",
            ],
        ),
        (
            "range with zeros",
            peer(json!({"ipBlock": {"cidr": "010.0.0.1/8"}})),
            &[
                "spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"010.0.0.1/8\": must not have leading 0s in IP or prefix length",
            ],
        ),
        ("everything but", peer(json!({"ipBlock": {"cidr": "::/0", "except": ["fd00::/8"]}})), &[]),
    ];
    for (what, spec, wanted) in cases {
        expect(what, &created("networking.k8s.io", "NetworkPolicy", policy(spec)), wanted);
    }
}
