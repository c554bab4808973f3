//! Images as lines, in the columns that crictl users know.

use cri_api::v1::Image;

const NONE: &str = "<none>";
/// Hexadecimal digits of an id that are shown.
const ID_DIGITS: usize = 13;

/// One line for each name, or one for an image without a name.
pub fn images(images: &[Image]) -> String {
    let mut rows = vec![["IMAGE", "TAG", "IMAGE ID", "SIZE"].map(str::to_owned)];
    for image in images {
        let id: String = image
            .id
            .split_once(':')
            .map_or(image.id.as_str(), |(_, hex)| hex)
            .chars()
            .take(ID_DIGITS)
            .collect();
        let size = bytes(image.size);
        if image.repo_tags.is_empty() {
            let name = image.repo_digests.first().and_then(|name| name.split('@').next()).unwrap_or(NONE);
            rows.push([name.to_owned(), NONE.to_owned(), id, size]);
            continue;
        }
        for tag in &image.repo_tags {
            let (name, tag) = tag.rsplit_once(':').unwrap_or((tag, NONE));
            rows.push([name.to_owned(), tag.to_owned(), id.clone(), size.clone()]);
        }
    }
    rows[1..].sort();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    rows.iter()
        .map(|[name, tag, id, size]| {
            format!(
                "{name:<a$}   {tag:<b$}   {id:<c$}   {size}\n",
                a = widths[0],
                b = widths[1],
                c = widths[2]
            )
        })
        .collect()
}

/// `12.3MB`: three figures and a decimal unit.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if value < 10.0 && unit != "B" {
                format!("{value:.2}{unit}")
            } else if value < 100.0 && unit != "B" {
                format!("{value:.1}{unit}")
            } else {
                format!("{value:.0}{unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1}TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_figures() {
        for (count, shown) in
            [(0, "0B"), (999, "999B"), (1234, "1.23kB"), (45_600_000, "45.6MB"), (7_000_000_000, "7.00GB")]
        {
            assert_eq!(bytes(count), shown);
        }
    }

    #[test]
    fn every_name_has_its_line() {
        let image = |id: &str, tags: &[&str], digests: &[&str]| Image {
            id: format!("sha256:{id}"),
            repo_tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            repo_digests: digests.iter().map(|t| (*t).to_owned()).collect(),
            size: 1_500_000,
            ..Default::default()
        };
        let shown = images(&[
            image("0123456789abcdef", &["r.io/b:1", "r.io:5000/a:2"], &[]),
            image("ff", &[], &["r.io/c@sha256:1"]),
        ]);
        assert_eq!(
            shown,
            "IMAGE         TAG      IMAGE ID        SIZE\n\
             r.io/b        1        0123456789abc   1.50MB\n\
             r.io/c        <none>   ff              1.50MB\n\
             r.io:5000/a   2        0123456789abc   1.50MB\n"
        );
    }
}
