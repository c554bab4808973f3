//! Images mounted into containers besides their own: what they show, what they do not let happen, and how long they stay.

use cri_api::v1::{
    ContainerConfig, IdMapping, ImageSpec, Mount, NamespaceMode, PodSandboxConfig, RemoveContainerRequest,
    RemoveImageRequest, UserNamespace,
};
use harness::image::{Compression, ImageBuilder, Layer};
use tonic::Code;

use super::cri_node::{Client, Stage, stage};

/// Two layers with a whiteout between them, and links that lead out.
fn models(stage: &Stage) -> String {
    let bottom = Layer::new()
        .folder("dir/", 0o755)
        .file("dir/kept", 0o644, b"kept")
        .file("dir/gone", 0o644, b"gone")
        .file("tool", 0o755, b"#!/bin/sh\necho ran\n")
        .symlink("out", "/../../etc")
        .symlink("dir/within", "../tool");
    let top = Layer::new().file("dir/.wh.gone", 0o644, b"").file("dir/new", 0o644, b"new");
    let image = ImageBuilder::new().layer(bottom, Compression::Gzip).layer(top, Compression::Gzip);
    stage.registry.push("models", "1", &image.build())
}

async fn pulled(stage: &Stage, client: &mut Client) -> String {
    let image = ImageSpec { image: models(stage), ..Default::default() };
    let mut puller = Client { image, ..client.clone() };
    puller.pull().await.expect("the image is pulled")
}

fn volume(image: &str, at: &str, sub_path: &str) -> Mount {
    Mount {
        container_path: at.into(),
        readonly: true,
        image: Some(ImageSpec { image: image.into(), ..Default::default() }),
        image_sub_path: sub_path.into(),
        ..Default::default()
    }
}

fn with(client: &Client, name: &str, mounts: Vec<Mount>) -> ContainerConfig {
    ContainerConfig { mounts, ..client.container(name, "exec sleep 600") }
}

async fn remove(client: &mut Client, container: &str) {
    client.stop(container, 0).await.expect("stopped");
    let request = RemoveContainerRequest { container_id: container.to_owned() };
    client.runtime.remove_container(request).await.expect("removed");
}

/// The unpacked layers in the store.
fn layers(stage: &Stage) -> usize {
    std::fs::read_dir(stage.folder.path().join("root/images/layers")).expect("layers").count()
}

fn with_own_ids(mut pod: PodSandboxConfig) -> PodSandboxConfig {
    let rows = vec![IdMapping { container_id: 0, host_id: 300_000, length: 65_536 }];
    let user = UserNamespace { mode: NamespaceMode::Pod.into(), uids: rows.clone(), gids: rows };
    let security = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default().userns_options = Some(user);
    pod
}

#[test]
fn images_are_mounted_to_be_read() {
    stage("images_are_mounted_to_be_read", async |stage, mut client| {
        let id = pulled(stage, &mut client).await;
        let host = || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        super::cri_node::write_network(&mut client, "10.213.10.0/24").await;
        let mut pods = vec![client.pod("host-ids")];
        if super::cri_node::maps_tmpfs_or_skip("images_are_mounted_to_be_read: a pod with ids of its own") {
            pods.push(with_own_ids(client.pod("own-ids")));
        }
        for pod in pods {
            let sandbox = client.run(&pod).await.expect("a sandbox");
            let before = host().lines().count();
            let mounts = vec![
                volume(&id, "/models", ""),
                volume(&id, "/part", "./dir"),
                volume(&id, "/deep/file", "dir/new"),
                volume(&id, "/linked", "dir/within"),
            ];
            let container = client.create(&sandbox, &pod, with(&client, "c", mounts)).await.expect("created");
            client.start(&container).await.expect("started");
            for (script, expect) in [
                ("cat /models/dir/kept /models/dir/new", "keptnew"),
                ("ls /models/dir /part | grep -c gone", "0"),
                ("ls /part | tr '\\n' ' '", "kept new within"),
                ("cat /deep/file", "new"),
                ("head -n 1 /linked", "#!/bin/sh"),
                ("stat -c %u:%g /models /models/tool /part /deep/file | sort -u", "0:0"),
                ("touch /models/x 2>/dev/null || echo no", "no"),
                ("rm /part/kept 2>/dev/null || echo no", "no"),
                ("mount -o remount,rw /models 2>/dev/null || echo no", "no"),
                ("/models/tool", "ran"),
                ("readlink -f /models/out/passwd", "/etc/passwd"),
            ] {
                assert_eq!(client.output(&container, script).await, expect, "{script}");
            }
            let table = client.output(&container, "grep ' /models ' /proc/self/mountinfo").await;
            for option in ["ro", "nosuid", "nodev"] {
                assert!(table.contains(option), "{option}: {table}");
            }
            assert!(!table.contains("noexec"), "{table}");
            assert_eq!(host().lines().count(), before, "the host sees no mount of it");
            let status = client.status(&container).await.expect("a status");
            let told = status.mounts[1].clone();
            let shown = told.image.unwrap_or_default();
            assert_eq!(
                (shown.image, shown.image_ref, told.image_sub_path),
                (id.clone(), id.clone(), "./dir".into())
            );
            refusals(&mut client, &sandbox, &pod, &id).await;
            client.end(&sandbox).await.expect("removed");
        }
        stays(stage, &mut client, &id).await;
    });
}

async fn refusals(client: &mut Client, sandbox: &str, pod: &PodSandboxConfig, id: &str) {
    let both = Mount { host_path: "/etc".into(), ..volume(id, "/v", "") };
    for (mount, code, part) in [
        (volume(id, "/v", "none"), Code::InvalidArgument, "sub path \"none\""),
        (volume(id, "/v", "dir/gone"), Code::InvalidArgument, "does not exist"),
        (volume(id, "/v", "tool/x"), Code::InvalidArgument, "does not exist"),
        (volume(id, "/v", "out/passwd"), Code::InvalidArgument, "does not exist"),
        (volume(id, "/v", "../etc"), Code::InvalidArgument, "without `..`"),
        (volume("nobody/has:1", "/v", ""), Code::NotFound, "image \"nobody/has:1\" not found"),
        (
            Mount { readonly: false, ..volume(id, "/v", "") },
            Code::InvalidArgument,
            "an image can be mounted read-only only",
        ),
        (both, Code::InvalidArgument, "exclude each other"),
    ] {
        let refused = client.create(sandbox, pod, with(client, "wrong", vec![mount])).await.expect_err(part);
        assert!(refused.code() == code && refused.message().contains(part), "{refused}");
    }
}

/// What is mounted outlives its image, over a restart of the daemon and of the container.
async fn stays(stage: &mut Stage, client: &mut Client, id: &str) {
    let pod = client.pod("stays");
    let sandbox = client.run(&pod).await.expect("a sandbox");
    let config = with(client, "c", vec![volume(id, "/models", "dir")]);
    let container = client.create(&sandbox, &pod, config).await.expect("created");
    let with_it = layers(stage);
    let image = Some(ImageSpec { image: id.to_owned(), ..Default::default() });
    client.images.remove_image(RemoveImageRequest { image }).await.expect("removed");
    assert_eq!(layers(stage), with_it, "the layers are in use");
    stage.kill();
    stage.start();
    *client = stage.connect().await;
    assert_eq!(layers(stage), with_it, "also over a restart");
    client.start(&container).await.expect("started");
    assert_eq!(client.output(&container, "cat /models/kept").await, "kept");
    remove(client, &container).await;
    assert_eq!(layers(stage), with_it - 2, "nobody needs them any more");
    client.end(&sandbox).await.expect("removed");
}
