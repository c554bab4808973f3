//! Manifests, indexes and configurations as registries send them: understood or refused with a sentence.

use image::registry::manifest::Manifest;
use image::{ImageConfig, Platform, Reference};

use crate::mutate::{self, Verdict};

const MANIFESTS: [&[u8]; 3] = [
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":18446744073709551615,"annotations":{"a":"b"}}]}"#,
    br#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":5,"platform":{"os":"linux","architecture":"amd64","variant":"v2"}},{"digest":"sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e","size":5,"platform":{"os":"linux","architecture":"arm64"}},{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1}]}"#,
    br#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":9}]}"#,
];

const CONFIGS: [&[u8]; 2] = [
    br#"{"created":"2026-01-01T00:00:00Z","architecture":"amd64","os":"linux","variant":"v1","config":{"User":"web:logs","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","A"],"Entrypoint":["sh","-c"],"Cmd":["x"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"a":"b"},"StopSignal":"SIGRTMIN+3"},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"history":[{"empty_layer":true}]}"#,
    br#"{"architecture":"arm64","os":"linux","config":{"User":null,"Env":null,"Entrypoint":null,"Cmd":null,"Labels":null,"Volumes":null},"rootfs":{"type":"layers","diff_ids":null}}"#,
];

const WORDS: [&str; 14] = [
    "null",
    "[]",
    "{}",
    "sha256:",
    "sha512:00",
    "layers",
    "manifests",
    "windows",
    "arm",
    "v8",
    "fsLayers",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.index.v1+json",
    "rootfs",
];

#[test]
fn manifests() {
    mutate::run("manifest", &MANIFESTS, &WORDS, |input| match Manifest::parse(input) {
        Ok(Manifest::Index { manifests }) => {
            for host in [Platform::here(), Platform::new("linux", "arm", "")] {
                match Manifest::choose(&manifests, &host) {
                    Ok(member) => assert!(manifests.contains(member)),
                    Err(why) => assert!(!why.is_empty()),
                }
            }
            Verdict::Understood
        }
        Ok(Manifest::Image { .. }) => Verdict::Understood,
        Err(why) => {
            assert!(!why.is_empty());
            Verdict::Refused
        }
    });
}

#[test]
fn configurations() {
    mutate::run("configuration", &CONFIGS, &WORDS, |input| match ImageConfig::parse(input) {
        Ok(_) => Verdict::Understood,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Verdict::Refused
        }
    });
}

/// A reference is what people type and what pods say: one that is taken is read again as the same.
#[test]
fn references() {
    let corpus: [&[u8]; 4] = [
        b"busybox",
        b"registry.example:5000/a/b-c__d.e:v1.2_3",
        b"[::1]:5000/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"127.0.0.1:80/x:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ];
    mutate::run("reference", &corpus, &["latest", "localhost", "docker.io", "library"], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return Verdict::Refused };
        let Ok(reference) = text.parse::<Reference>() else { return Verdict::Refused };
        let shown = reference.to_string();
        let again = shown.parse::<Reference>().expect("what was read is read again");
        assert_eq!(again.to_string(), shown);
        Verdict::Understood
    });
}
