//! Media types: the `Accept` a client sends, the `Content-Type` of bodies and patches.
//!
//! Invariant: the first acceptable clause by quality wins, in upstream's order; a clause with a parameter that the
//! endpoint cannot honour is passed over, not answered in another form.

use crate::status::Status;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// In the order in which upstream lists and prefers them.
    pub const ALL: [Encoding; 3] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf];

    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The type of a watch stream.
    pub fn watch_content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml;stream=watch",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// The encoding of a body; parameters are ignored, no header means JSON.
    pub fn of_content_type(header: &str) -> Result<Encoding, Status> {
        let media = header.split(';').next().unwrap_or_default().trim();
        if media.is_empty() {
            return Ok(Encoding::Json);
        }
        let found =
            Encoding::ALL.into_iter().find(|encoding| encoding.content_type().eq_ignore_ascii_case(media));
        found.ok_or_else(|| Status::unsupported_media_type(&Encoding::ALL.map(Encoding::content_type)))
    }
}

/// Into what an object is turned before it is written. The version is `v1` or `v1beta1` (`v2`, `v2beta1` for discovery).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Convert {
    #[default]
    None,
    Table(String),
    PartialObjectMetadata(String),
    PartialObjectMetadataList(String),
    /// Aggregated discovery.
    Discovery(String),
}

/// What the endpoint can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allow {
    /// `as=Table` and `as=PartialObjectMetadata(List)`.
    pub transforms: bool,
    /// `as=APIGroupDiscoveryList`.
    pub discovery: bool,
    /// The answer is a watch stream: YAML has none.
    pub watch: bool,
    /// Whole objects have no protobuf form: those of custom resources. Their metadata has one.
    pub custom: bool,
}

/// The form agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    pub encoding: Encoding,
    pub convert: Convert,
    pub pretty: bool,
}

/// Chooses from an `Accept` header (several headers are joined with commas); none or an empty one means JSON.
pub fn negotiate(header: &str, allow: Allow) -> Result<Accepted, Status> {
    if header.trim().is_empty() {
        return Ok(Accepted { encoding: Encoding::Json, convert: Convert::None, pretty: false });
    }
    let mut clauses: Vec<Clause<'_>> = header.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    for clause in &clauses {
        for encoding in Encoding::ALL {
            if allow.watch && encoding == Encoding::Yaml {
                continue;
            }
            if clause.covers(encoding)
                && let Some(accepted) = clause.accept(encoding, allow)
            {
                return Ok(accepted);
            }
        }
    }
    if allow.watch {
        return Err(Status::not_acceptable(&[
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch",
        ]));
    }
    Err(Status::not_acceptable(&Encoding::ALL.map(Encoding::content_type)))
}

struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Clause<'a>> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| !media.is_empty())?;
        let mut clause =
            Clause { media: if media == "*" { "*/*" } else { media }, parameters: vec![], quality: 1.0 };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            if key == "q" {
                clause.quality = value.parse().unwrap_or(1.0);
            } else if !key.is_empty() {
                clause.parameters.push((key, value));
            }
        }
        Some(clause)
    }

    fn covers(&self, encoding: Encoding) -> bool {
        self.media == "*/*"
            || self.media == "application/*"
            || self.media.eq_ignore_ascii_case(encoding.content_type())
    }

    /// `None` when a parameter asks for something that is not to be had.
    fn accept(&self, encoding: Encoding, allow: Allow) -> Option<Accepted> {
        let (mut kind, mut group, mut version, mut pretty) = ("", "", "", false);
        for (key, value) in &self.parameters {
            match *key {
                "as" => kind = value,
                "g" => group = value,
                "v" => version = value,
                "pretty" => pretty = *value == "1",
                "stream" if !value.is_empty() && (!allow.watch || *value != "watch") => return None,
                _ => {}
            }
        }
        let convert = match (kind, group, version) {
            ("", "", "") if allow.custom && encoding == Encoding::Protobuf => return None,
            ("", "", "") => Convert::None,
            ("Table", "meta.k8s.io", "v1" | "v1beta1")
                if allow.transforms && encoding != Encoding::Protobuf =>
            {
                Convert::Table(version.to_owned())
            }
            ("PartialObjectMetadata", "meta.k8s.io", "v1" | "v1beta1") if allow.transforms => {
                Convert::PartialObjectMetadata(version.to_owned())
            }
            ("PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") if allow.transforms => {
                Convert::PartialObjectMetadataList(version.to_owned())
            }
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2" | "v2beta1")
                if allow.discovery && encoding == Encoding::Json =>
            {
                Convert::Discovery(version.to_owned())
            }
            _ => return None,
        };
        Some(Accepted { encoding, convert, pretty })
    }
}

/// The four kinds of PATCH body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    StrategicMerge,
    Apply,
}

impl PatchType {
    const ALL: [PatchType; 4] =
        [PatchType::Json, PatchType::Merge, PatchType::StrategicMerge, PatchType::Apply];

    pub fn content_type(self) -> &'static str {
        match self {
            PatchType::Json => "application/json-patch+json",
            PatchType::Merge => "application/merge-patch+json",
            PatchType::StrategicMerge => "application/strategic-merge-patch+json",
            PatchType::Apply => "application/apply-patch+yaml",
        }
    }

    /// 415 with the list for anything else.
    pub fn of_content_type(header: &str) -> Result<PatchType, Status> {
        let media = header.split(';').next().unwrap_or_default().trim();
        let found = PatchType::ALL.into_iter().find(|kind| kind.content_type() == media);
        found.ok_or_else(|| Status::unsupported_media_type(&PatchType::ALL.map(PatchType::content_type)))
    }
}
