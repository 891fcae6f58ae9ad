//! Replays the committed corpora on any toolchain: `cargo test --no-default-features`.

use std::path::Path;

#[test]
fn every_target_passes_its_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in inbox_fuzz::TARGETS {
        let mut files: Vec<_> = std::fs::read_dir(root.join(name))
            .unwrap_or_else(|e| panic!("corpus/{name}: {e}"))
            .map(|entry| entry.expect("a readable entry").path())
            .collect();
        files.sort();
        assert!(files.len() >= 8, "corpus/{name} holds {} files", files.len());
        for file in files {
            println!("{}", file.display());
            target(&std::fs::read(&file).expect("a readable file"));
        }
    }
}
