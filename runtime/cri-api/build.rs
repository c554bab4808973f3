//! Compiles `proto/` without protoc: protox parses, tonic-prost-build writes messages and stubs.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["api.proto", "keelson_images.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Output in a stable order: info maps, labels and annotations are printed and compared.
        .btree_map(".")
        // What a command said is handed on, not copied.
        .bytes(".runtime.v1.ExecSyncResponse")
        // Written by hand in src/redact.rs: passwords and tokens are not printable.
        .skip_debug([".runtime.v1.AuthConfig", ".keelson.images.v1.Credentials"])
        .compile_fds(files)?;
    Ok(())
}
