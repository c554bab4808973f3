//! Reads `schema/table.txt`.

use std::collections::BTreeMap;

pub struct Field {
    pub name: String,
    pub number: u32,
    pub shape: String,
    pub flags: Vec<String>,
}

pub struct Type {
    pub atomic: bool,
    pub fields: Vec<Field>,
}

#[derive(Default)]
pub struct Table {
    pub enums: BTreeMap<String, Vec<String>>,
    pub types: BTreeMap<String, Type>,
}

pub fn parse(text: &str) -> Table {
    let mut table = Table::default();
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let is_field = line.starts_with(' ');
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            None | Some("#") => {}
            Some("enum") if !is_field => {
                let name = words.next().unwrap_or_default();
                table.enums.insert(name, words.collect());
            }
            Some("type") if !is_field => {
                current = words.next().unwrap_or_default();
                let atomic = words.next().as_deref() == Some("atomic");
                table.types.insert(current.clone(), Type { atomic, fields: vec![] });
            }
            Some(name) => {
                let number = words.next().and_then(|word| word.parse().ok());
                let (Some(number), Some(shape)) = (number, words.next()) else {
                    panic!("schema/table.txt:{}: expected NAME NUMBER SHAPE", index + 1);
                };
                let field = Field { name: name.to_owned(), number, shape, flags: words.collect() };
                table.types.get_mut(&current).expect("a type line comes first").fields.push(field);
            }
        }
    }
    table
}

/// `core.v1.Pod` -> `io.k8s.api.core.v1.Pod`.
pub fn full_name(short: &str) -> String {
    const ELSEWHERE: [(&str, &str); 3] = [
        ("meta.", "io.k8s.apimachinery.pkg.apis."),
        ("apiextensions.", "io.k8s.apiextensions-apiserver.pkg.apis."),
        ("apiregistration.", "io.k8s.kube-aggregator.pkg.apis."),
    ];
    let package = ELSEWHERE.iter().find(|(group, _)| short.starts_with(group));
    format!("{}{short}", package.map_or("io.k8s.api.", |(_, package)| package))
}
