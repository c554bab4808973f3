//! Expressions and their values, as the specification and Kubernetes' libraries have them.

use serde_json::{Value as Json, json};

use super::*;
use crate::structural;

fn run(source: &str, object: &Json) -> Result<Json, String> {
    let program =
        Program::compile(source, &[("self", Type::Dyn)], &Type::Dyn).map_err(|error| error.to_string())?;
    let mut budget = Budget::new(CALL_LIMIT);
    let value =
        program.run(&[("self", Value::of(object, None))], &mut budget).map_err(|error| error.to_string())?;
    Ok(value.to_json().unwrap_or_else(|| json!(value.type_name())))
}

#[track_caller]
fn check(source: &str, expect: Json) {
    let object = json!({"n": 3, "s": "héllo", "l": [3, 1, 2], "m": {"a": 1, "b": 2}, "objects": [{"name": "x", "on": true}, {"name": "y"}]});
    assert_eq!(run(source, &object), Ok(expect), "{source}");
}

#[track_caller]
fn fails(source: &str, why: &str) {
    let object = json!({"n": 3, "s": "x", "l": [1]});
    let error = run(source, &object).expect_err(source);
    assert!(error.contains(why), "{source}: {error}");
}

#[test]
fn operators_and_macros() {
    check("1 + 2 * 3 - 4 / 2", json!(5));
    check("-7 % 3", json!(-1));
    check("'a' + \"b\" + r'\\n'", json!("ab\\n"));
    check("self.n > 2 && self.s.size() == 5", json!(true));
    check("self.missing || true", json!(true));
    check("false && self.missing", json!(false));
    check("self.n == 3.0 ? 'yes' : 'no'", json!("yes"));
    check("2 in self.l && 'a' in self.m && !('z' in self.m)", json!(true));
    check("self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x == 3)", json!(true));
    check("self.l.map(x, x * 2)", json!([6, 2, 4]));
    check("self.l.map(x, x > 1, x * 2)", json!([6, 4]));
    check("self.l.filter(x, x > 1)", json!([3, 2]));
    check("self.m.all(k, self.m[k] > 0)", json!(true));
    check("self.l.all(i, x, x > 0 && i < 3)", json!(true));
    check("self.m.transformMap(k, v, v + 1)", json!({"a": 2, "b": 3}));
    check("has(self.n) && !has(self.z)", json!(true));
    check("self.objects.filter(o, has(o.on) && o.on).map(o, o.name)", json!(["x"]));
    check("self.?z.orValue('d') + self.?s.orValue('e')", json!("dhéllo"));
    check("self.?n.optMap(x, x + 1).orValue(0)", json!(4));
    check("[1, ?self.?z, 2]", json!([1, 2]));
    check("{'a': 1}.a + {'b': 2}['b']", json!(3));
    check("type(1) == int && type('') == string", json!(true));
    check("1u + 2u == 3u && 0x10 == 16 && 1e2 == 100.0", json!(true));
    fails("1 / 0", "division by zero");
    fails("9223372036854775807 + 1", "integer overflow");
    fails("self.l[4]", "index out of bounds: 4");
    fails("self.z", "no such key: z");
}

#[test]
fn libraries() {
    check("'a,b'.split(',')", json!(["a", "b"]));
    check("self.s.charAt(1) + self.s.substring(2, 4)", json!("éll"));
    check("'abcabc'.lastIndexOf('b')", json!(4));
    check("'%s=%d %.2f'.format(['x', 5, 1.5])", json!("x=5 1.50"));
    check("['a', 'b'].join('-').upperAscii()", json!("A-B"));
    check("'a1b22'.findAll('[0-9]+')", json!(["1", "22"]));
    check("self.l.sum() + self.l.min() + self.l.max()", json!(10));
    check("[1, 2, 2].distinct().size() == 2 && [1, 2].isSorted()", json!(true));
    check("sets.contains([1, 2], [1]) && sets.equivalent([1, 1], [1])", json!(true));
    check("url('https://u@h.example:8080/p?a=b').getHostname()", json!("h.example"));
    check("isURL('https://x/y') && !isURL('nope')", json!(true));
    check("ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('1.2.3')", json!(true));
    check(
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP('11.0.0.1')",
        json!(true),
    );
    check("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", json!(true));
    check(
        "quantity('1Gi').isGreaterThan(quantity('1000M')) && isQuantity('5k') && !isQuantity('x')",
        json!(true),
    );
    check("quantity('50k').add(20).asInteger()", json!(50020));
    check(
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
        json!(true),
    );
    check("format.dns1123Label().validate('a-b') == optional.none()", json!(true));
    check("!format.dns1123Label().validate('A').hasValue()", json!(false));
    check(
        "timestamp('2026-01-02T03:04:05Z').getFullYear() == 2026 && duration('90m').getHours() == 1",
        json!(true),
    );
    check(
        "timestamp('2026-01-01T00:00:00Z') + duration('1h') == timestamp('2026-01-01T01:00:00Z')",
        json!(true),
    );
    check("string(duration('90s')) + string(1.5) + string(true)", json!("90s1.5true"));
}

#[test]
fn errors_show_where() {
    fails("self.n +", "ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting");
    fails(
        "nope > 1",
        "ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope > 1\n | ^",
    );
    fails("'a' + 1", "found no matching overload for '_+_' applied to '(string, int)'");
    fails("'a'.nope()", "undeclared reference to 'nope'");
    fails("'a'.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'");
}

#[test]
fn schemas_give_types_and_bounds() {
    let schema = structural::read(&json!({"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 10},
        "when": {"type": "string", "format": "date-time"},
        "x-y": {"type": "integer"},
        "namespace": {"type": "string"},
        "items": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}},
        "free": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}}}));
    let compile = |source: &str| Program::compile(source, &[("self", Type::of(&schema, true))], &Type::Bool);
    assert!(compile("self.when < timestamp('2026-01-01T00:00:00Z')").is_ok());
    assert!(compile("self.x__dash__y > 1 && self.__namespace__ == 'a'").is_ok());
    assert!(
        compile("self.nope == 1").is_err_and(|error| error.to_string().contains("undefined field 'nope'"))
    );
    assert!(compile("self.name == 1").is_err_and(|error| error.to_string().contains("'(string, int)'")));
    assert_eq!(
        compile("self.name").map(drop),
        Err(CompileError("must evaluate to bool but got string".into()))
    );
    let cheap = compile("self.items.all(x, x.startsWith('a'))").expect("a rule").estimate;
    assert!(cheap < 200, "{cheap}");
    let dear = compile("self.free.all(x, x.all(y, y.matches('a.*b')))").expect("a rule").estimate;
    assert!(dear > ESTIMATE_LIMIT, "{dear}");
    let object = json!({"when": "2025-01-01T00:00:00Z", "x-y": 2, "namespace": "a"});
    let names = [("self", Value::of(&object, Some(&schema)))];
    let early = compile(
        "self.when < timestamp('2026-01-01T00:00:00Z') && self.x__dash__y > 1 && self.__namespace__ == 'a'",
    );
    assert_eq!(early.expect("a rule").holds(&names, &mut Budget::new(1000)), Ok(true));
}

#[test]
fn nothing_costs_more_than_its_budget() {
    let object = json!((0..2000).collect::<Vec<i64>>());
    let program = Program::compile(
        "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))",
        &[("self", Type::Dyn)],
        &Type::Dyn,
    );
    let mut budget = Budget::new(100_000);
    let error = program
        .expect("a program")
        .run(&[("self", Value::of(&object, None))], &mut budget)
        .expect_err("too dear");
    assert!(error.is_out_of_budget() && budget.left() == 0);
    // Where the budget is gone, no alternative saves it.
    let program =
        Program::compile("self.all(a, self.all(b, true)) || true", &[("self", Type::Dyn)], &Type::Dyn);
    assert!(
        program
            .expect("a program")
            .run(&[("self", Value::of(&object, None))], &mut Budget::new(1000))
            .is_err()
    );
}

#[test]
fn a_long_expression_is_no_deep_one() {
    let chain = |first: &str, more: &str, count: usize| format!("{first}{}", more.repeat(count));
    // Threads that answer requests have no more stack than this.
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let thread = small.spawn(move || {
        let most = super::MOST_BYTES;
        let deep = [
            chain("1", "+1", most / 2 - 1),
            chain("1", "*1", most / 2 - 1),
            chain("self", ".n", most / 2 - 4),
            chain("self", "[0]", most / 3 - 4),
            chain("self", ".n()", most / 4 - 4),
            chain("1", "<1", most / 2 - 1),
            format!("{}1{}", "[".repeat(most / 2 - 1), "]".repeat(most / 2 - 1)),
            chain("", "!", most / 2) + "true",
            chain("", "true?1:", most / 7 - 1) + "1",
            format!("{}1{}", "(1+1+".repeat(99), "+1+1)".repeat(99)),
        ];
        for source in deep {
            fails(&source, "expression recursion limit exceeded");
        }
        check(&chain("true", "&&true", most / 6 - 1), json!(true));
        check(&chain("false", "||false", most / 7 - 1), json!(false));
        check(&chain("1", "+1", 99), json!(100));
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn macros_of_the_extensions() {
    check("{'a': 1, 'b': 2}.transformMapEntry(k, v, {k + '!': v}) == {'a!': 1, 'b!': 2}", json!(true));
    check("['x', 'y'].transformMapEntry(i, v, i > 0, {v: i})", json!({"y": 1}));
    fails("['x', 'x'].transformMapEntry(i, v, {v: i})", "insert failed: key x already exists");
    check("self.objects.sortBy(o, o.name == 'y' ? 0 : 1).map(o, o.name)", json!(["y", "x"]));
    check("[3, 1, 2].sortBy(x, -x)", json!([3, 2, 1]));
    check("self.l.all(i, x, self.l[i] == x) && self.m.exists(k, v, k == 'b' && v == 2)", json!(true));
    check("[1, 2].existsOne(i, x, x > 1) && [1, 2].transformList(i, x, i == 0, x * 3) == [3]", json!(true));
    check("optional.unwrap([optional.of(1), optional.none()]) == [1]", json!(true));
    check("[self.?n, self.?z].unwrapOpt()", json!([3]));
    check("[[1], [2, [3]]].flatten(2) == [1, 2, 3] && [1, 2, 3].first().value() == 1", json!(true));
    check("'abc'.split('', 2)", json!(["a", "bc"]));
    check(
        "'aéa'.indexOf('a', 1) == 2 && 'aéa'.lastIndexOf('a', 1) == 0 && 'ab'.indexOf('') == 0",
        json!(true),
    );
}

#[test]
fn names_are_given_where_devices_are_chosen() {
    let source = "cel.bind(x, self.n, cel.bind(y, x + 1, x + y)) == 7";
    let names = [("self", Type::Dyn)];
    let bound = Program::compile_binding(source, &names, &Type::Bool).expect("a program");
    let object = json!({"n": 3});
    let holds = |limit| bound.holds(&[("self", Value::of(&object, None))], &mut Budget::new(limit));
    assert_eq!(holds(CALL_LIMIT), Ok(true));
    assert!(holds(20).is_err_and(|error| error.is_out_of_budget()), "each name costs what a list does");
    assert!(bound.estimate >= 20);
    let refused =
        Program::compile(source, &names, &Type::Bool).expect_err("upstream has it for devices alone");
    assert!(refused.to_string().contains("undeclared reference to 'cel'"), "{refused}");
}

#[test]
fn what_is_written_down_is_read_at_once() {
    fails("self.n > 0 || duration('1x') == duration('1s')", "<input>:1:24: invalid duration argument");
    fails("timestamp('yesterday') < timestamp(self.s)", "invalid timestamp argument");
    fails("self.s.matches('[')", "invalid matches argument");
    check("duration('1h').getHours() == 1 && 'a'.matches('^a$')", json!(true));
}

/// Runs an expression that wants more than its budget, and says how long that took.
#[track_caller]
fn too_dear(source: &str, object: &Json) {
    let begun = std::time::Instant::now();
    let error = run(source, object).expect_err(source);
    assert!(error.contains(OUT_OF_BUDGET) || error.contains("too long"), "{source}: {error}");
    // Seconds, where what is paid for too little takes hours or all memory.
    assert!(begun.elapsed().as_secs() < 30, "{source}: {:?}", begun.elapsed());
}

#[test]
fn what_grows_is_paid_for_before_it_is_there() {
    let doubled =
        |seed: &str, twice: &str| format!("[{seed}]{}.size() == 0", format!(".map(x, {twice})").repeat(40));
    let object = json!({"a": "a".repeat(1 << 20), "s": "x", "many": vec![json!("abcdefgh"); 50_000]});
    for source in [
        doubled("b'0123456789'", "x + x"),
        doubled("'0123456789'", "x + x"),
        doubled("[0]", "x + x"),
        // Small, and without end where every part of it is looked at.
        format!("[0]{} == [0]{}", ".map(x, [x, x])".repeat(40), ".map(x, [x, x])".repeat(40)),
        format!("[[0]{}].flatten(99).size() == 0", ".map(x, [x, x])".repeat(40)),
        format!("'%s'.format([[0]{}]) == ''", ".map(x, [x, x])".repeat(40)),
        "self.a.replace('', self.a) == ''".to_owned(),
        "self.many.join(self.a) == ''".to_owned(),
        "self.many.all(x, ''.matches(self.a))".to_owned(),
        "self.many.all(x, isURL(self.a) || true)".to_owned(),
    ] {
        too_dear(&source, &object);
    }
    fails("['a', 'b'].sum()", "no such overload");
    fails("'%.70000f'.format([1.0])", "precision 70000 is too large");
    fails("[duration('9000000000s')].map(x, x + x).map(x, x + x)[0] == duration('0s')", "integer overflow");
    fails("timestamp(self.n).getHours('9223372036854775807:00') == 0", "unknown time zone");
}

#[test]
fn searching_is_linear() {
    let long = "a".repeat(400_000);
    let object = json!({"text": &long, "part": long[..200_000].to_owned() + "b"});
    let begun = std::time::Instant::now();
    assert_eq!(
        run("self.text.indexOf(self.part) + self.text.lastIndexOf(self.part)", &object),
        Ok(json!(-2))
    );
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    // An inner loop that ends at once looks at one item, not at all.
    let object = json!((0..200_000).collect::<Vec<i64>>());
    assert_eq!(run("self.all(x, self.exists(y, true))", &object), Ok(json!(true)));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn estimates_do_not_wrap() {
    let endless = "'a'".to_owned() + &".replace('a', self)".repeat(8) + ".matches('a.*b')";
    let source = format!("[{endless}, {endless}, true][0]");
    let program = Program::compile(&source, &[("self", Type::Text)], &Type::Bool).expect("a program");
    assert_eq!(program.estimate.max(ESTIMATE_TOTAL), program.estimate);
    let many = format!("[{}].all(x, x)", vec![format!("[1].all(y, {endless})"); 3].join(", "));
    let program = Program::compile(&many, &[("self", Type::Text)], &Type::Bool).expect("a program");
    assert!(program.estimate > ESTIMATE_TOTAL, "{}", program.estimate);
}
