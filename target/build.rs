//! Refuses to build into this crate's own folder: `target/` holds sources here, and a `cargo clean` there would delete
//! them.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    let crate_dir = resolved(Path::new(env!("CARGO_MANIFEST_DIR")));
    for variable in ["OUT_DIR", "CARGO_TARGET_DIR"] {
        let Some(dir) = std::env::var_os(variable) else { continue };
        // A relative CARGO_TARGET_DIR means the caller's directory; OUT_DIR, always absolute, tells where that came to.
        if Path::new(&dir).is_absolute() && resolved(Path::new(&dir)).starts_with(&crate_dir) {
            println!(
                "cargo::error={variable} is inside the crate target/, which holds sources: run cargo from the repository \
                 root, where .cargo/config.toml sets the build directory to build/"
            );
            std::process::exit(1);
        }
    }
}

/// Without symbolic links, as far as the path exists.
fn resolved(path: &Path) -> PathBuf {
    path.ancestors()
        .find_map(|known| {
            let rest = path.strip_prefix(known).ok()?;
            Some(known.canonicalize().ok()?.join(rest))
        })
        .unwrap_or_else(|| path.to_owned())
}
