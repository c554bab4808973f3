//! How fast a large image comes in. Run in release: `cargo test --release -p keelson-image bench -- --nocapture`.

use std::time::Instant;

use harness::image::{Compression, ImageBuilder, Layer};
use harness::registry::fake::{Answer, Fake};

use super::{Ground, noise};

/// Files of one layer, half noise and half text.
const FILES: usize = 400;
const FILE_BYTES: usize = 256 << 10;
const LAYERS: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn bench_of_a_large_image() {
    if cfg!(debug_assertions) {
        return harness::skip("bench_of_a_large_image", "needs a release build");
    }
    if !harness::root_or_skip("bench_of_a_large_image") {
        return;
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let image = (0..LAYERS).fold(ImageBuilder::new(), |image, layer| {
            let mut data = noise(FILE_BYTES, layer + 1);
            data[FILE_BYTES / 2..].iter_mut().for_each(|byte| *byte = b'a' + *byte % 8);
            let files = (0..FILES).fold(Layer::new(), |files, at| {
                data[at] ^= 1;
                files.file(&format!("layer{layer}/{at}"), 0o644, &data)
            });
            image.layer(files, compression)
        });
        let image = image.build();
        let stored: usize = image.layers.iter().map(|layer| image.blobs[layer].len()).sum();
        let unpacked = LAYERS as usize * FILES * FILE_BYTES;
        let fake = Fake::start(&[("1", &image)], |_, _| Answer::Serve);
        let ground = Ground::fresh();
        let (start, cpu) = (Instant::now(), cpu_seconds());
        ground.store.pull(&format!("{}/a:1", fake.address), None).await.unwrap();
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        println!(
            "{compression:?}: {:.0} MiB stored, {:.0} MiB unpacked, {LAYERS} layers: {seconds:.2} s, {:.0} MiB/s unpacked, \
             {cpu:.2} s of CPU (registry included)",
            mib(stored),
            mib(unpacked),
            mib(unpacked) / seconds
        );
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
