//! Says what to do when the console's files, which go into the program, are not there yet.

use std::path::Path;

fn main() {
    let index = Path::new("../console/dist/index.html");
    println!("cargo::rerun-if-changed=../console/dist");
    if !index.exists() {
        println!(
            "cargo::error=The console is not built: appliance/console/dist/index.html is missing. Run scripts/run, \
             or `npm ci && npm run build` in appliance/console."
        );
    }
}
