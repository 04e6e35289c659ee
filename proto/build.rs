//! Compiles the contract without a system protoc, and keeps its descriptors for server reflection.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

const ROOT: &str = "haulier/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ROOT}");

    let mut files = Vec::new();
    for entry in fs::read_dir(ROOT)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();

    let descriptors = protox::compile(&files, ["."])?;
    let out_dir = env::var("OUT_DIR")?;
    fs::write(Path::new(&out_dir).join("haulier_descriptor.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
